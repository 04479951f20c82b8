"""The archive's folds: whatever the blocks, the same objects and digests; nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from schemas.archive import NOTHING, Head, HourDigest, link_of, read_digest, sealed_digest
from transforms.archive import Draft, KeepPartition, block_of, decode_draft
from transforms.digests import SealHours, Written, encode_written
from transforms.ordered import advance_through
from transforms.parse import Raw

HOUR = 3_600_000_000
BEGIN = 490_000 * HOUR
HORIZON = BEGIN + 6 * HOUR
FOLD = KeepPartition("log", records=4, horizon=HORIZON)

Record = tuple[int, int, bytes]


@st.composite
def partitions(draw: st.DrawFn) -> list[Record]:
    """Records of a partition in order: offsets with gaps, stamps that stand still or go on by up to two hours."""
    steps = draw(
        st.lists(st.tuples(st.integers(1, 3), st.sampled_from((0, 1, 10**6, HOUR // 2, 2 * HOUR))), max_size=12)
    )
    offset, stamp, found = -1, BEGIN + 5, []
    for further, later in steps:
        offset, stamp = offset + further, min(stamp + later, HORIZON - 1)
        found.append((offset, stamp, b"value %d" % offset))
    return found


def payloads(records: Sequence[Record], cuts: Sequence[int]) -> list[bytes]:
    """The records in blocks that end at the cuts."""
    bounds = sorted({0, len(records), *(cut % (len(records) + 1) for cut in cuts)})
    found = []
    for begin, end in pairwise(bounds):
        offsets, stamps, values = zip(*records[begin:end], strict=True)
        found.append(block_of(Raw("fills.v1", 0, offsets, values, stamps))[1])
    return found


def drafts(records: Sequence[Record], cuts: Sequence[int] = (), fold: KeepPartition = FOLD) -> list[Draft]:
    blocks = payloads(records, cuts)
    return [decode_draft(own) for own in advance_through(fold, "key", fold.start(), blocks)] if blocks else []


@given(partitions(), st.lists(st.integers(0, 12), max_size=4))
def test_blocks_change_no_object_and_every_record_is_in_one(records: list[Record], cuts: list[int]) -> None:
    found = drafts(records, cuts)
    assert found == drafts(records)
    kept = [(own.offset, int(own.received_at), own.value) for draft in found for own in draft.records]
    assert kept == records
    link, end = NOTHING, 0
    for draft in found:
        part = draft.part
        assert (part.begin, part.previous, part.records) == (end, link, len(draft.records))
        assert len(draft.records) <= FOLD.records
        assert len({own.received_at // HOUR for own in draft.records}) == 1
        for own in draft.records:
            link = link_of(link, "log", "fills.v1", 0, own.offset, own.received_at, own.value)
            assert own.link == link
        assert part.link == link
        end = part.end
        assert end == draft.records[-1].offset + 1


@given(partitions(), st.data())
def test_it_goes_on_from_where_a_digest_left_it(records: list[Record], data: st.DataObject) -> None:
    whole = drafts(records)
    ends = {draft.part.end: draft for draft in whole}
    # A digest names whole hours.
    hours = [own for own, after in pairwise(whole) if _hour(after) != _hour(own)] + whole[-1:]
    if hours:
        last = data.draw(st.sampled_from(hours)).part
        head = Head(topic="fills.v1", partition=0, end=last.end, link=last.link)
        fold = KeepPartition("log", 4, heads=(head,), horizon=HORIZON)
        rest = drafts([own for own in records if own[0] >= last.end], fold=fold)
        assert rest == [draft for end, draft in ends.items() if end > last.end]


def _hour(draft: Draft) -> int:
    return int(draft.records[0].received_at) // HOUR


@given(partitions(), st.lists(st.integers(0, 12), max_size=4))
def test_instant_by_instant_and_through_its_cells_it_is_the_same(records: list[Record], cuts: list[int]) -> None:
    state, cells = FOLD.start(), dict[str, bytes]()
    pieces = [piece for payload in payloads(records, cuts) for piece in FOLD.pieces(payload)]
    instants = {instant for instant, _ in pieces} | {BEGIN + n * HOUR for n in range(1, 7)}
    found = []
    for instant in sorted(instants):
        arrivals = [FOLD.decode(payload) for own, payload in pieces if own == instant]
        found += [decode_draft(own) for own in FOLD.advance(state, arrivals, instant)]
        cells |= state.drain()
        state = FOLD.start()
        state.load(cells.get)
    assert found == drafts(records)


def test_what_comes_behind_the_watermark_is_of_the_hour_that_is_open() -> None:
    state = FOLD.start()
    early, late = (FOLD.decode(payloads([(n, BEGIN + n, b"")], ())[0]) for n in (0, 1))
    (first,) = FOLD.advance(state, [early], BEGIN + HOUR)
    assert list(FOLD.advance(state, [late], BEGIN + HOUR + 10**6)) == []
    (second,) = FOLD.advance(state, [], BEGIN + 2 * HOUR)
    assert decode_draft(first).part.end == decode_draft(second).part.begin == 1
    assert decode_draft(second).records[0].received_at == BEGIN + HOUR


def sealed(written: Sequence[Written], fold: SealHours) -> list[HourDigest]:
    blocks = [encode_written(own, fold.seconds) for own in written]
    return [read_digest(own) for own in advance_through(fold, "key", fold.start(), blocks)]


@given(partitions(), st.randoms())
def test_every_hour_has_one_digest_that_names_its_objects_and_the_one_before(
    records: list[Record], random: object
) -> None:
    written = [Written(_hour(draft) * HOUR, draft.part) for draft in drafts(records)]
    shuffled = [*written, *written[:2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    digests = sealed(shuffled, SealHours("log", until=HORIZON)) if written else []
    assert [part for digest in digests for part in digest.parts] == sorted(
        (own.part for own in written), key=lambda own: own.name
    )
    previous = NOTHING
    for number, digest in enumerate(digests):
        assert digest.hour == digests[0].hour + number * HOUR
        assert digest.previous == previous
        assert digest == sealed_digest(digest)
        ends = [part for own in digests[: number + 1] for part in own.parts]
        assert [(own.end, own.link) for own in digest.heads] == [(ends[-1].end, ends[-1].link)]
        previous = digest.digest
    if digests:
        assert digests[-1].hour + HOUR == HORIZON
        assert sum(not digest.parts for digest in digests) == len(digests) - len({own.hour for own in written})


def test_a_chain_of_digests_goes_on_from_the_last() -> None:
    (draft,) = drafts([(0, BEGIN + 3 * HOUR, b"")])
    written = Written(BEGIN + 3 * HOUR, draft.part)
    last = sealed_digest(HourDigest(log="log", hour=BEGIN, parts=(), facts=(), previous="x"))  # type: ignore[arg-type]
    digests = sealed([written], SealHours("log", last=last, until=BEGIN + 4 * HOUR))
    assert [(own.hour - BEGIN) // HOUR for own in digests] == [1, 2, 3]
    assert digests[0].previous == last.digest


def test_an_object_that_comes_after_its_hour_was_sealed_is_named_by_the_next_digest() -> None:
    """Also where that hour is not over yet: the fold forgot it, and no digest ever named it."""
    on_time, late = (Written(BEGIN, own.part) for own in drafts([(n, BEGIN + n, b"") for n in range(8)]))
    fold, cells = SealHours("log"), dict[str, bytes]()
    state = fold.start()
    (first,) = fold.advance(state, [on_time], fold.instant_of(BEGIN + HOUR))
    assert list(fold.advance(state, [late], BEGIN + HOUR + 60 * 10**6)) == []
    cells |= state.drain()
    state = fold.start()
    state.load(cells.get)
    (second,) = fold.advance(state, [], fold.instant_of(BEGIN + 2 * HOUR))
    assert [read_digest(own).parts for own in (first, second)] == [(on_time.part,), (late.part,)]
    assert [own.end for own in read_digest(second).heads] == [late.part.end]
    (third,) = fold.advance(state, [], fold.instant_of(BEGIN + 3 * HOUR))
    assert read_digest(third).parts == ()
