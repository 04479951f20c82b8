"""Dead letters on librdkafka's mock broker: found, corrected, and sent again only once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ops import letters as commands
from ops.capture import CaptureError
from ops.deadletters import Choice, DeadLetterError, DeadLetters, load_edits
from pipeline import registry as room
from pipeline.registry import HEAD, Formats, Registry
from schemas.codec import from_json, to_avro, to_json
from schemas.inputs import Price
from schemas.outputs import DeadLetter
from tests.broker import MockBroker
from tests.pipeline.test_bad_input import FILL, PRICE, line

#: What could not be read, what came too early, what is not text, and what the fold refused.
BROKEN = DeadLetter(topic="fills.v1", partition=3, offset=0, payload=b'{"fill_id":"F9"}', reason="Fill: missing field")
EARLY = DeadLetter(topic="prices.v1", partition=1, offset=0, payload=line(PRICE), reason="Price: as_of: expected [5 s]")
BYTES = DeadLetter(topic="fills.v1", partition=3, offset=1, payload=b"\xff\x00{", reason="Fill: expected one Fill")
REFUSED = DeadLetter(topic="fills.v1", partition=-1, offset=-1, payload=line(FILL), reason="CORRECT of fill NEVER")
LETTERS = (BROKEN, EARLY, BYTES, REFUSED)


@pytest.fixture
def broker() -> MockBroker:
    found = MockBroker()
    # The records themselves, where the dead letters say that they are.
    for letter in LETTERS[:3]:
        found.send(letter.topic, letter.payload, letter.partition)
    for letter in (*LETTERS, BROKEN):
        found.send("deadletter.v1", to_json(letter))
    return found


@pytest.fixture
def dead(broker: MockBroker) -> DeadLetters:
    return DeadLetters(broker.kafka)


def test_each_dead_letter_is_found_once(dead: DeadLetters) -> None:
    found = {letter.id: letter.record for letter in dead.chosen(Choice())}
    (refused,) = (id for id, record in found.items() if record == REFUSED)
    assert refused.startswith("fills.v1/")
    assert found == {"fills.v1/3/0": BROKEN, "fills.v1/3/1": BYTES, "prices.v1/1/0": EARLY, refused: REFUSED}


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Choice(), LETTERS),
        (Choice(topic="prices.v1"), (EARLY,)),
        (Choice(reason="as_of"), (EARLY,)),
        (Choice(topic="fills.v1", partition=3), (BROKEN, BYTES)),
        (Choice(topic="fills.v1", offsets=(1, 9)), (BYTES,)),
        (Choice(reason="no such text"), ()),
    ],
)
def test_a_choice_takes_what_fits_all_of_it(choice: Choice, taken: tuple[DeadLetter, ...]) -> None:
    assert tuple(filter(choice.takes, LETTERS)) == taken


def test_without_the_topic_it_says_so() -> None:
    empty = MockBroker()
    with pytest.raises(CaptureError, match=r"deadletter\.v1"):
        DeadLetters(empty.kafka).chosen(Choice())


def test_bytes_go_back_as_they_were_with_their_key_and_only_once(dead: DeadLetters, broker: MockBroker) -> None:
    chosen = dead.chosen(Choice(topic="prices.v1"))
    plan = dead.planned(chosen)
    assert [(resend.fault, resend.sent) for resend in plan] == [(None, False)]
    assert dead.send(plan) == 1
    first, again = broker.records("prices.v1")
    assert (again.value(), again.key(), again.partition()) == (first.value(), b"S0", 1)
    assert again.headers() == [("replayed_from", b"prices.v1/1/0")]
    plan = dead.planned(chosen)
    assert [resend.sent for resend in plan] == [True]
    assert dead.send(plan) == 0
    assert len(broker.records("prices.v1")) == 2


def test_one_that_the_fold_refused_goes_back_only_once(dead: DeadLetters, broker: MockBroker) -> None:
    for sent in (1, 0):
        assert dead.send(dead.planned(dead.chosen(Choice(partition=-1)))) == sent
    assert [message.value() for message in broker.records("fills.v1") if message.headers()] == [REFUSED.payload]


def test_what_still_cannot_be_read_is_told(dead: DeadLetters) -> None:
    (resend,) = dead.planned(dead.chosen(Choice(offsets=(0, 0), topic="fills.v1")))
    assert resend.key is None
    assert "missing required field `account_id`" in (resend.fault or "")


def test_a_corrected_line_goes_back_in_place_of_the_broken_one(
    dead: DeadLetters, broker: MockBroker, tmp_path: Path
) -> None:
    (letter,) = dead.chosen(Choice(offsets=(0, 0), topic="fills.v1"))
    row = json.loads(json.dumps({"id": letter.id, "payload": dead.row_of(letter).payload | FILL}))
    file = tmp_path / "corrected.jsonl"
    file.write_text(json.dumps(row))
    (resend,) = plan = dead.planned([letter], load_edits(file))
    assert resend.fault is None
    dead.send(plan)
    again = broker.records("fills.v1")[-1]
    assert (json.loads(again.value()), again.key(), again.partition()) == (FILL, b"A0", 3)


def test_rows_hold_any_bytes(dead: DeadLetters) -> None:
    rows = {row.id: row for row in map(dead.row_of, dead.chosen(Choice()))}
    assert rows["fills.v1/3/1"].value == BYTES.payload
    assert rows["prices.v1/1/0"].payload == PRICE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", r"mine\.jsonl:2: expected a line of margin deadletter list --json"),
        ('{"payload":{}}', r"mine\.jsonl:2: .*required field `id`"),
        ('{"id":"x","paylaod":{}}', "unknown field `paylaod`"),
    ],
)
def test_a_bad_correction_is_named(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"id":"x","payload":"y"}\n' + text)
    with pytest.raises(DeadLetterError, match=said):
        load_edits(file)


def test_a_correction_of_nothing_is_refused(dead: DeadLetters) -> None:
    with pytest.raises(DeadLetterError, match=r"expected those of dead letters .* found fills\.v1/3/7"):
        dead.planned(dead.chosen(Choice()), {"fills.v1/3/7": b"{}"})


def test_avro_goes_back_as_it_was_and_a_corrected_line_as_avro(broker: MockBroker) -> None:
    room._client.cache_clear()
    formats = Formats(topics={"prices.v1": "avro", "deadletter.v1": "avro"}, registry=Registry(url="mock://dead"))
    encode, frame = formats.encoder(), formats.encoder()("prices.v1", line(PRICE))
    for partition, payload in enumerate((frame, frame[:9])):
        letter = DeadLetter(topic="prices.v1", partition=partition, offset=5, payload=payload, reason="bad")
        broker.send("deadletter.v1", encode("deadletter.v1", to_json(letter)))
    dead = DeadLetters(broker.kafka, formats)
    whole, cut = dead.chosen(Choice(reason="bad"))
    assert dead.row_of(whole).payload == json.loads(to_json(from_json(Price, line(PRICE))))
    assert dead.row_of(cut).base64 == frame[:9]
    plan = dead.planned([whole, cut], {cut.id: line(PRICE)})
    assert [(resend.value, resend.key, resend.fault) for resend in plan] == [(frame, b"S0", None)] * 2
    assert frame == HEAD.pack(0, 1) + to_avro(from_json(Price, line(PRICE)))


# The commands.


@pytest.fixture
def _live(broker: MockBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import job

    monkeypatch.setattr(job, "load_live_job", lambda _: SimpleNamespace(kafka=broker.kafka, formats=Formats()))
    monkeypatch.setattr(commands.console, "_width", 200)


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(commands.app, arguments)
    assert result.exit_code == status, result.output
    return result.output


@pytest.mark.usefixtures("_live")
def test_the_list_tells_when_what_and_why() -> None:
    text = run("list", "--topic", "prices.v1", "--payload")
    assert "Price: as_of: expected [5 s]" in text
    assert '"symbol":"S0"' in text.replace(" ", "")
    assert "1 of 1" in text
    assert "3 of 4" in run("list", "--limit", "3")
    (row,) = run("list", "--offsets", "1", "--json").splitlines()
    assert json.loads(row)["base64"] == "/wB7"


@pytest.mark.usefixtures("_live")
def test_a_replay_sends_nothing_until_it_is_told_to(broker: MockBroker) -> None:
    text = run("replay", "--topic", "prices.v1")
    assert "can be read now" in text
    assert "nothing was sent" in text
    assert len(broker.records("prices.v1")) == 1
    assert "sent 1" in run("replay", "--topic", "prices.v1", "--send")
    text = run("replay", "--topic", "prices.v1", "--send")
    assert "was sent before" in text
    assert "sent 0" in text
    assert len(broker.records("prices.v1")) == 2


@pytest.mark.usefixtures("_live")
def test_only_what_is_corrected_is_sent_with_corrections(broker: MockBroker, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"id": "fills.v1/3/0", "payload": FILL}))
    assert "sent 1" in run("replay", "--edit", str(file), "--send")
    assert json.loads(broker.records("fills.v1")[-1].value()) == FILL
    assert "error: " in run("replay", "--edit", str(tmp_path / "none.jsonl"), status=1)
    assert "expected FIRST-LAST" in run("list", "--offsets", "some", status=2)
