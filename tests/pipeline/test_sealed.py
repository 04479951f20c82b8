"""Hours are sealed once: a job that begins again makes the digests that are there, whatever it sees in time."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive import Sealed
from pipeline.store import FolderStore
from schemas.archive import NOTHING, HourDigest, Part, digest_json, digest_name, object_name, read_digest
from transforms.digests import SealHours, Written

HOUR = 3_600_000_000
BEGIN = 490_000 * HOUR
FOLD = SealHours("log")
#: Hours that objects are of, and hours until all have been seen.
HOURS, LATE = 5, 3

Seen = list[tuple[Written, int]]


def written(hour: int, partition: int) -> Written:
    name = object_name("log", "fills.v1", partition, BEGIN + hour * HOUR, hour)
    part = Part(
        name=name,
        topic="fills.v1",
        partition=partition,
        begin=hour,
        end=hour + 1,
        records=1,
        previous=NOTHING,
        link=f"{hour}",
        content="",
    )
    return Written(BEGIN + hour * HOUR, part)


def digests_of(seen: Seen) -> list[HourDigest]:
    """The digests where each object is seen so many hours after its own was over."""
    state, found = FOLD.start(), []
    for hour in range(HOURS + 2 * LATE):
        arrivals = [own for own, late in seen if (own.hour - BEGIN) // HOUR + late == hour]
        found += FOLD.advance(state, arrivals, FOLD.instant_of(BEGIN + (hour + 1) * HOUR))
    return [read_digest(own) for own in found]


places = st.sets(st.tuples(st.integers(0, HOURS - 1), st.integers(0, 2)), min_size=1)


@given(places, st.data())
def test_begun_again_it_makes_the_digests_that_are_there_and_names_everything_once(
    objects: set[tuple[int, int]], data: st.DataObject
) -> None:
    delays = st.integers(0, LATE)
    own = [written(*place) for place in sorted(objects)]
    before = digests_of([(one, data.draw(delays)) for one in own])
    kept = before[: data.draw(st.integers(0, len(before)))]
    named = {part.name for digest in kept for part in digest.parts}
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        for digest in kept:
            store.put(digest_name("log", digest.hour), digest_json(digest))
        sealed = Sealed(store, "log", 3600)
        again = [Written(sealed.hour_of(one.part.name, one.hour), one.part) for one in own]
    after = digests_of([(one, 0 if one.part.name in named else data.draw(delays)) for one in again])
    assert after[: len(kept)] == kept
    assert sorted(part.name for digest in after for part in digest.parts) == sorted(one.part.name for one in own)
