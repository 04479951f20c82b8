"""Objects of the archive: what goes in comes out, links follow from content, names say where."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.custody import load_custody
from pipeline.objects import UNREADABLE, decode_rows, encode_rows, rows_of
from pipeline.store import ConflictError, FolderStore
from schemas.archive import (
    HourDigest,
    Part,
    digest_json,
    digest_name,
    hour_of,
    link_of,
    linked,
    object_name,
    read_digest,
    sealed_digest,
)
from schemas.codec import to_json
from schemas.inputs import Fill, Price
from schemas.scalars import Quantity, Time
from tests.days import at
from transforms.parse import decode_plain

FILL = Fill(
    fill_id="F-BUST",
    account_id="A0",
    symbol="S0",
    quantity=Quantity(10**6),
    price=10.5,
    kind="BUST",
    ref_fill_id="F",
    version=2,
    executed_at=at(3),
    arrived_at=at(5),
)


def received(*values: bytes) -> list:
    return list(linked("", "log", "fills.v1", 0, iter((n, at(5 + n), value) for n, value in enumerate(values))))


def test_rows_survive_their_object_and_equal_rows_are_equal_bytes() -> None:
    rows = list(rows_of("log", "fills.v1", 0, received(to_json(FILL), b"{nothing"), decode_plain))
    content = encode_rows(rows)
    assert decode_rows(content, "fills.v1") == rows
    assert encode_rows(decode_rows(content, "fills.v1")) == content
    assert decode_rows(content, "fills.v1", [1, 0, 2]) == rows[::-1]
    fill, bad = rows
    assert (fill.key, fill.kind, fill.at, fill.correlation_id) == ("A0", "BUST", at(3), "F")
    assert (bad.key, bad.kind, bad.at, bad.value) == ("", UNREADABLE, at(6), b"{nothing")


def test_a_record_that_came_twice_has_one_id_and_two_links() -> None:
    one, other = rows_of("log", "fills.v1", 0, received(to_json(FILL), to_json(FILL)), decode_plain)
    assert one.event_id == other.event_id
    assert one.link != other.link


def test_a_price_is_found_by_its_symbol_at_its_own_time() -> None:
    price = Price(symbol="S0", price=1.0, as_of=at(1), arrived_at=at(2))
    (row,) = rows_of("log", "prices.v1", 0, received(to_json(price)), decode_plain)
    assert (row.key, row.kind, row.at, row.received_at) == ("S0", "LIVE", at(1), at(5))


def test_a_link_is_of_everything_that_a_record_is() -> None:
    whole: tuple = ("before", "log", "fills.v1", 0, 7, 8, b"value")
    links = {link_of(*whole)}
    for place, other in enumerate(("other", "other", "cash.v1", 1, 8, 9, b"other")):
        links.add(link_of(*whole[:place], other, *whole[place + 1 :]))
    assert len(links) == 8


def test_names() -> None:
    hour = hour_of(Time.parse("2026-01-05T14:59:59.999999Z"))
    assert object_name("log", "fills.v1", 3, hour, 12).endswith(
        "/date=2026-01-05/hour=14/log-00003-" + "12".zfill(20) + ".parquet"
    )
    assert digest_name("log", hour) == "digests/log=log/2026-01-05T14-00-00.json"


def test_a_digest_survives_and_its_hash_is_of_its_content() -> None:
    part = Part(name="n", topic="fills.v1", partition=0, begin=0, end=2, records=2, previous="", link="l", content="c")
    digest = sealed_digest(HourDigest(log="log", hour=Time(0), parts=(part,), facts=(), previous=""))
    assert read_digest(digest_json(digest)) == digest
    assert sealed_digest(digest) == digest
    assert len(digest.digest) == 64


def test_a_folder_keeps_what_is_there(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert store.put("a/b/c.txt", b"one")
    assert not store.put("a/b/c.txt", b"one")
    with pytest.raises(ConflictError, match=r"c\.txt: expected what is written now"):
        store.put("a/b/c.txt", b"two")
    store.put("a/bc.txt", b"two")
    assert list(store.names("a/b")) == ["a/b/c.txt", "a/bc.txt"]
    assert (store.get("a/b/c.txt"), store.get("a/x")) == (b"one", None)


def test_the_custodies_that_ship_are_read() -> None:
    assert load_custody("folder").years("fills.v1") == 6
    assert load_custody("s3").lock == "COMPLIANCE"
