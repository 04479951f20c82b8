"""Hours sealed: what the objects of each hour are, as one chained digest (schemas.archive)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from risk.market import NEVER
from schemas.archive import NOTHING, Fact, Head, HourDigest, Part, digest_json, sealed_digest
from schemas.scalars import Time
from transforms.archive import Encoded
from transforms.cells import decode_cell, encode_cell
from transforms.fold import Following


class Written(msgspec.Struct, frozen=True):
    """An object that is in the store. hour: that it is of, microseconds."""

    hour: int
    part: Part


def encode_written(written: Written, seconds: int) -> Encoded:
    """What seals an hour sees of an object: not before the hour is over."""
    return (written.hour + seconds * 1_000_000).to_bytes(8, "big") + _ENCODER.encode(written)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=int)
_WRITTEN = msgspec.msgpack.Decoder(Written)


class SealState:
    """The digests as they are known. now: microseconds, -1: nothing came yet. hour: the next that is sealed."""

    def __init__(self) -> None:
        self.now = -1
        self.hour = -1
        self.previous = NOTHING
        #: By topic and partition: the next offset, and the last link.
        self.heads: dict[tuple[str, int], tuple[int, str]] = {}
        #: By name: objects that came after their hour was sealed, and wait for the next.
        self.late: dict[str, Part] = {}
        self.dirty = False

    def load(self, read: Callable[[str], bytes | None]) -> None:
        """Take what drain gave."""
        payload = read("last")
        if payload is not None:
            self.now, self.hour, self.previous, heads, late = decode_cell(payload)
            self.heads = {(topic, partition): (end, link) for topic, partition, end, link in heads}
            self.late = {part.name: part for part in msgspec.convert(late, list[Part])}

    def drain(self) -> Iterator[tuple[str, bytes]]:
        """The cell, if it changed."""
        if self.dirty:
            heads = [(*place, *head) for place, head in self.heads.items()]
            yield "last", encode_cell((self.now, self.hour, self.previous, heads, list(self.late.values())))
        self.dirty = False


@dataclass(frozen=True)
class SealHours(Following):
    """What the objects of each hour are, as a chain of digests: a fold for InTimeOrder behind whoever writes objects.

    Fields:
      log: whose. seconds: of an hour. facts: what every digest names beside its objects.
      last: the digest that the chain goes on from; None: it begins.
      until: where a replayed day ends for objects, microseconds; None live.
    """

    log: str
    seconds: int = 3600
    facts: tuple[Fact, ...] = ()
    last: HourDigest | None = None
    until: int | None = None

    cells = ("last",)
    output = bytes

    start = staticmethod(SealState)

    @property
    def horizon(self) -> int | None:
        """The objects of the last hour are seen right after it."""
        return None if self.until is None else self.instant_of(self.until)

    def decode(self, payload: bytes) -> Written:
        """An object that is in the store."""
        return _WRITTEN.decode(memoryview(payload)[8:])

    def stamp_of(self, element: Written) -> int:
        """When its hour was over."""
        return element.hour + self.seconds * 1_000_000

    def next_deadline(self, state: SealState) -> int:
        """When the next hour can be sealed: an hour without records has a digest, too, or one could be removed."""
        return NEVER if state.hour < 0 else self.instant_of(state.hour + self.seconds * 1_000_000)

    def advance(
        self, state: SealState, arrivals: Iterable[Written], until: int
    ) -> Generator[Encoded, None, Mapping[str, int]]:
        """The digest of every hour that is over."""
        arrivals = list(arrivals)
        if state.hour < 0 and arrivals:
            first = min(written.hour for written in arrivals)
            state.hour = first if self.last is None else int(self.last.hour) + self.last.seconds * 1_000_000
            if self.last is not None:
                state.previous = self.last.digest
                state.heads = {(own.topic, own.partition): (own.end, own.link) for own in self.last.heads}
        # An object that was written again is the same object; one of a sealed hour is named by the next digest.
        parts = {state.hour: state.late}
        for written in arrivals:
            parts.setdefault(max(written.hour, state.hour), {})[written.part.name] = written.part
        while state.hour >= 0 and self.next_deadline(state) <= until:
            hour = state.hour
            own = sorted(parts.get(hour, {}).values(), key=attrgetter("name"))
            for part in own:
                place = part.topic, part.partition
                state.heads[place] = max(state.heads.get(place, (0, NOTHING)), (part.end, part.link))
            digest = sealed_digest(
                HourDigest(
                    log=self.log,
                    hour=Time(hour),
                    seconds=self.seconds,
                    parts=tuple(own),
                    facts=self.facts,
                    previous=state.previous,
                    heads=tuple(
                        Head(topic=topic, partition=partition, end=end, link=link)
                        for (topic, partition), (end, link) in sorted(state.heads.items())
                    ),
                )
            )
            state.previous, state.hour = digest.digest, hour + self.seconds * 1_000_000
            yield digest_json(digest)
        state.late = parts.get(state.hour, {})
        state.now, state.dirty = until, True
        return {}
