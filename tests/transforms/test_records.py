"""Records on their way: what an engine that cuts the graph would carry, and payloads by instant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.inputs import Input
from tests import days
from transforms.monitor import in_total_order
from transforms.records import Parsed, ParsedCoder, decode_records, encode_records, pieces_of


@given(days.days())
def test_parsed_records_survive_their_coder(day: list[Input]) -> None:
    coder = ParsedCoder()
    records = days.by_topic(day)
    for topic, batch in records.batches.items():
        parsed = Parsed(topic, batch, records.origins[topic])
        assert coder.decode(coder.encode(parsed)) == parsed


@given(days.days().filter(bool), st.sampled_from([1, 1000, 60_000_000]))
def test_pieces_hold_every_record_at_its_instant(day: list[Input], interval: int) -> None:
    def instant_of(stamp: int) -> int:
        return (stamp // interval + 1) * interval

    pieces = list(pieces_of(encode_records(days.by_topic(day)), instant_of))
    found = [(instant, record) for instant, piece in pieces for record in decode_records(piece)]
    assert len({instant for instant, _ in pieces}) == len(pieces)
    assert all(instant == instant_of(int(r.arrived_at or 0)) for instant, r in found)
    assert list(in_total_order(r for _, r in found)) == list(in_total_order(day))
