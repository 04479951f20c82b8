"""Bad input: each bad line becomes a dead letter that says what to fix, and the rest of the day is unharmed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.configuration import ConfigurationError
from pipeline.day import DayError
from pipeline.job import load_job
from pipeline.replay import monitor_of, replay
from pipeline.rules import load_rulebook
from runners.direct import ENGINE
from runners.engine import Run
from schemas.inputs import Input
from schemas.outputs import DeadLetter
from schemas.topics import INPUTS
from tests import days
from transforms.parse import Raw, parse
from transforms.records import Records, decode_records, encode_records

Day = dict[str, list[bytes]]

BOUNDS = monitor_of(days.MANIFEST, rules=["seed"], shards=1).bounds
FILL: dict[str, Any] = {
    "arrived_at": "2026-01-05T15:02:00Z",
    "fill_id": "F9",
    "account_id": "A0",
    "symbol": "S0",
    "quantity": 10,
    "price": 100.0,
}
PRICE: dict[str, Any] = {
    "arrived_at": "2026-01-05T15:03:00Z",
    "symbol": "S0",
    "price": 99.0,
    "as_of": "2026-01-05T15:03:00Z",
}
CASH = {"arrived_at": "2026-01-05T15:01:00Z", "cash_id": "D", "account_id": "A0", "amount": "900", "kind": "DEPOSIT"}


def line(record: dict[str, Any], **change: Any) -> bytes:
    return json.dumps(record | change).encode()


def good_day() -> Day:
    """A day with a call in it; two lines a topic, so that a bad one has a neighbour on either side."""
    return {
        "accounts.v1": [line({"arrived_at": "2026-01-05T15:00:30Z", "account_id": "A0"})],
        "cash.v1": [line(CASH), line(CASH, cash_id="E", amount="-50.25")],
        "fills.v1": [line(FILL, fill_id="F0"), line(FILL, fill_id="F1", quantity=20)],
        "prices.v1": [line(PRICE), line(PRICE, arrived_at="2026-01-05T15:20:00Z", as_of="2026-01-05T15:20:00Z")],
    }


def parsed(day: Day) -> tuple[list[Input], list[DeadLetter]]:
    """The records of a day and its dead letters, each topic as one element of partition 3 from offset 100."""
    records: list[Input] = []
    letters: list[DeadLetter] = []
    for topic, values in day.items():
        good, bad = parse(Raw(topic, 3, range(100, 100 + len(values)), values), BOUNDS)
        records += good.records
        letters += bad
    return records, letters


def dead(records: list[Input]) -> list[DeadLetter]:
    """The dead letters of the fold."""
    return [record for topic, record in days.run(records) if topic == "deadletter.v1"]  # type: ignore[misc]


def with_line(topic: str, bad: bytes) -> Day:
    day = good_day()
    return day | {topic: [day[topic][0], bad, *day[topic][1:]]}


YEAR_3000 = "3000-01-01T00:00:00Z"
BAD_LINES = {
    "truncated line": ("fills.v1", line(FILL)[:40], ["expected one Fill in JSON", "found", "truncated"]),
    "empty line": ("fills.v1", b"", ["expected one Fill in JSON", "found"]),
    "not text": ("fills.v1", b"\xff\x00{", ["expected one Fill in JSON", "found"]),
    "wrong type": ("fills.v1", line(FILL, price="cheap"), ["price", "xpected `float`", "found", "cheap"]),
    "unknown field": ("fills.v1", line(FILL, qty=3), ["unknown field `qty`"]),
    "missing field": ("fills.v1", b'{"fill_id":"F9"}', ["missing required field `account_id`"]),
    "NaN": ("prices.v1", line(PRICE, price=float("nan")), ["expected one Price in JSON", "NaN"]),
    "infinity": ("fills.v1", line(FILL).replace(b"100.0", b"1e999"), ["Number out of range - at `$.price`"]),
    "negative price": ("prices.v1", line(PRICE, price=-1.5), ["price", "xpected `float` > 0", "found '-1.5'"]),
    "negative fill price": ("fills.v1", line(FILL, price=-1.5), ["price", "xpected `float` >= 0", "found '-1.5'"]),
    "zero price": ("fills.v1", line(FILL, price=0), ["price: expected above 0, found 0"]),
    "zero quantity": ("fills.v1", line(FILL, quantity=0), ["quantity: expected a number other than zero, found 0"]),
    "as_of in the year 3000": ("prices.v1", line(PRICE, as_of=YEAR_3000), ["as_of: expected at most 5 s", YEAR_3000]),
    "price of the year 3000": ("prices.v1", line(PRICE, arrived_at=YEAR_3000), ["arrived_at: expected", YEAR_3000]),
    "fill of the year 3000": ("fills.v1", line(FILL, arrived_at=YEAR_3000), ["arrived_at: expected", YEAR_3000]),
    "executed in the year 3000": ("fills.v1", line(FILL, executed_at=YEAR_3000), ["executed_at: expected", YEAR_3000]),
    "no arrival": ("cash.v1", line(CASH, arrived_at=None), ["arrived_at: expected", "found nothing"]),
    "time without offset": ("cash.v1", line(CASH, arrived_at="2026-01-05T15:01:00"), ["arrived_at", "with its offset"]),
    "fraction of a tick": (
        "cash.v1",
        line(CASH, amount="1.00001"),
        ["amount", "expected at most 4 decimal", "1.00001"],
    ),
    "an integer of 65 bits": ("prices.v1", line(PRICE, sequence=2**64), ["sequence", "xpected `int` <=", str(2**64)]),
    "a price beyond all prices": ("prices.v1", line(PRICE, price=1e9), ["price", "xpected `float` <= 100000000.0"]),
    "a fill beyond all fills": (
        "fills.v1",
        line(FILL, quantity=9e9, price=1e8),
        ["quantity, price: expected less than $900,719,925,474, found 900,000,000,000,000,000"],
    ),
    "correction of nothing": ("fills.v1", line(FILL, kind="CORRECT", version=2), ["ref_fill_id"]),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_a_dead_letter_and_harms_no_other(name: str) -> None:
    topic, bad, said = BAD_LINES[name]
    records, letters = parsed(with_line(topic, bad))
    (letter,) = letters
    assert (letter.topic, letter.partition, letter.offset, letter.payload) == (topic, 3, 101, bad)
    for words in said:
        assert words in letter.reason
    assert days.outputs(records) == days.outputs(parsed(good_day())[0])


def test_an_avro_record_with_nan_is_a_dead_letter() -> None:
    time = days.MANIFEST.opens_at
    value = {"arrived_at": time, "symbol": "S0", "price": float("nan"), "as_of": time}
    good, (letter,) = parse(Raw("prices.v1", 0, [7], [value]), BOUNDS)
    assert (good.records, letter.offset) == ([], 7)
    assert "found nan - at `$.price`" in letter.reason


def test_an_unknown_account_opens_provisionally_with_an_alert() -> None:
    records, letters = parsed(with_line("fills.v1", line(FILL, account_id="WHO")))
    assert not letters
    outputs = days.run(records)
    alerts: list[Any] = [record for topic, record in outputs if topic == "alerts.v1"]
    assert [a.account_id for a in alerts if a.kind == "PROVISIONAL_ACCOUNT"] == ["WHO"]
    snapshots: list[Any] = [record for topic, record in outputs if topic == "snapshots.v1"]
    assert [(p.symbol, p.quantity) for s in snapshots if s.account_id == "WHO" for p in s.positions] == [("S0", 10**7)]
    # The firm has the account in it.
    others, as_before = (
        [line for topic, line in lines if topic != "firm.totals.v1" and b'"account_id":"WHO"' not in line]
        for lines in (days.lines(outputs), days.outputs(parsed(good_day())[0]))
    )
    assert others == as_before


def test_an_unknown_symbol_is_held_at_a_missing_price() -> None:
    records, letters = parsed(with_line("fills.v1", line(FILL, symbol="WHAT")))
    assert not letters
    outputs = days.run(records)
    states: list[Any] = [record for topic, record in outputs if topic == "accounts.state.v1"]
    assert [(p.symbol, p.quantity, p.price, p.state) for p in states[-1].positions][1:] == [
        ("WHAT", 10**7, 100.0, "MISSING")
    ]


def test_a_correction_of_a_fill_never_seen_is_a_dead_letter_at_the_close() -> None:
    orphan = line(FILL, fill_id="F9-2", kind="CORRECT", version=2, ref_fill_id="NEVER")
    records, letters = parsed(with_line("fills.v1", orphan))
    assert not letters
    (letter,) = dead(records)
    assert letter.topic == "fills.v1"
    assert b"F9-2" in letter.payload
    assert letter.reason == "CORRECT of fill NEVER: the fill never came before the day closed"
    assert days.outputs(records) == days.outputs(parsed(good_day())[0])


@pytest.mark.parametrize(
    ("topic", "bad"),
    [
        ("fills.v1", line(FILL, fill_id="F1", quantity=21, arrived_at="2026-01-05T15:02:00.001Z")),
        ("cash.v1", line(CASH, cash_id="D", amount="901", arrived_at="2026-01-05T15:01:00.001Z")),
    ],
)
def test_other_content_under_a_known_id_is_refused(topic: str, bad: bytes) -> None:
    records, letters = parsed(with_line(topic, bad))
    assert not letters
    (letter,) = dead(records)
    assert letter.topic == topic
    assert b".001000Z" in letter.payload
    assert "expected" in letter.reason
    assert "found" in letter.reason
    assert days.outputs(records) == days.outputs(parsed(good_day())[0])


# Folders and rulebooks.


def folder_of(root: Path, day: Day) -> Path:
    root.mkdir()
    (root / "manifest.json").write_text(days.MANIFEST.model_dump_json())
    for topic, values in day.items():
        (root / f"{topic}.jsonl").write_bytes(b"".join(value + b"\n" for value in values))
    return root


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_replay_goes_on_past_a_bad_line(tmp_path: Path) -> None:
    bad = line(FILL)[:40]
    replay(folder_of(tmp_path / "good", good_day()), tmp_path / "a", ENGINE.options(Run()), shards=2)
    replay(folder_of(tmp_path / "bad", with_line("fills.v1", bad)), tmp_path / "b", ENGINE.options(Run()), shards=2)
    good, other = read(tmp_path / "a"), read(tmp_path / "b")
    letter = json.loads(other.pop("deadletter.v1.jsonl"))
    assert good.pop("deadletter.v1.jsonl") == b""
    assert good == other
    assert good["accounts.state.v1.jsonl"]
    assert (letter["topic"], letter["offset"]) == ("fills.v1", 1)


def test_an_empty_day_gives_empty_outputs(tmp_path: Path) -> None:
    replay(folder_of(tmp_path / "day", {topic.name: [] for topic in INPUTS}), tmp_path / "out", ENGINE.options(Run()))
    assert set(read(tmp_path / "out").values()) == {b""}
    assert days.outputs([]) == []


def test_a_folder_without_files_says_what_it_expected(tmp_path: Path) -> None:
    with pytest.raises(DayError, match=r"expected <topic>.jsonl or .avro files"):
        replay(folder_of(tmp_path / "day", {}), tmp_path / "out", ENGINE.options(Run()))


def test_a_missing_file_is_a_topic_without_records(tmp_path: Path) -> None:
    day = good_day()
    del day["prices.v1"]
    replay(folder_of(tmp_path / "day", day), tmp_path / "out", ENGINE.options(Run()))
    assert b'"MISSING"' in read(tmp_path / "out")["accounts.state.v1.jsonl"]


def test_a_file_of_no_topic_is_named(tmp_path: Path) -> None:
    with pytest.raises(DayError, match=r"expected one of .*fills.v1.*, found filles.v1"):
        replay(folder_of(tmp_path / "day", {"filles.v1": []}), tmp_path / "out", ENGINE.options(Run()))


@pytest.mark.parametrize("make", [False, True])
def test_a_missing_folder_or_manifest_is_named(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "day").mkdir()
    with pytest.raises(DayError, match=r"day/manifest.json: No such file or directory; a day is a folder"):
        replay(tmp_path / "day", tmp_path / "out", ENGINE.options(Run()))


def test_an_unwritable_output_folder_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        replay(folder_of(tmp_path / "day", good_day()), tmp_path / "file" / "out", ENGINE.options(Run()))


def test_an_unknown_rulebook_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"rules sead: .*known: .*seed"):
        replay(folder_of(tmp_path / "day", good_day()), tmp_path / "out", ENGINE.options(Run()), rules=["sead"])


@pytest.mark.parametrize(
    ("file", "was", "now", "said"),
    [
        ("rules/seed", "long_rate: {value: 0.25", "long_rate: {value: a quarter", "long_rate"),
        ("rules/seed", "long_rate: {value: 0.25", "long_rate: {value: -1", "long_rate"),
        ("rules/seed", "long_rate:", "long_rat:", "long_rat"),
        ("rules/seed", "value: -0.08", "value: -0.07", "severe_move: expected one of spy_moves"),
        ("rules/seed", "parameters:", "parameters: [", "expected"),
        ("jobs/replay", "shards: 1", "shards: 0", "shards"),
        ("jobs/replay", "shards: 1", "shard: 1", "shard"),
        ("jobs/replay", "value: 5", "value: soon", "price_ahead"),
        ("jobs/replay", "value: 5, source", "value: 5, sauce", "source"),
    ],
)
def test_a_bad_value_in_conf_names_its_field(tmp_path: Path, file: str, was: str, now: str, said: str) -> None:
    text = Path(f"conf/{file}.yaml").read_text()
    assert was in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(was, now))
    load: Any = load_rulebook if file.startswith("rules") else load_job
    with pytest.raises(ConfigurationError, match=r"mine\.yaml") as error:
        load(str(path))
    assert said in str(error.value)


def test_a_contradiction_is_a_dead_letter_with_its_own_origin() -> None:
    """Known only to the fold, after records were batched, split by instant and sent to shards."""
    day = good_day() | {"fills.v1": [line(FILL), line(FILL), line(FILL, quantity=7)]}
    fold, batches = monitor_of(days.MANIFEST, rules=["seed"], shards=1).fold, Records()
    for topic, values in day.items():
        good, _ = parse(Raw(topic, 3, range(100, 100 + len(values)), values), BOUNDS)
        batches.add(topic, good.records, good.origins)
    pieces = [decode_records(piece) for _, piece in fold.pieces(encode_records(batches))]
    outputs = days.records_of(fold.advance(fold.start(), pieces, days.CLOSES))
    (letter,) = [record for _, record in outputs if isinstance(record, DeadLetter)]
    assert (letter.topic, letter.partition, letter.offset) == ("fills.v1", 3, 102)
