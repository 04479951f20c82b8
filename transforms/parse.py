"""ParseRecords: bytes to records, each bad one to the dead letters with its origin, none lost or delayed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.metrics import Metrics

from risk.ledger import cash_effect
from schemas.codec import from_avro_dict, from_json
from schemas.inputs import Fill, Input, Price
from schemas.outputs import DeadLetter
from schemas.scalars import EXACT_LIMIT, MONEY_SCALE, Time
from schemas.topics import BY_NAME
from transforms.fold import collect_garbage_seldom
from transforms.lines import line_of
from transforms.records import Parsed, origin_of

RECORDS, DEADLETTERS = "records", "deadletters"

_EVENTS, _REFUSED = (Metrics.counter("margin", name) for name in ("events", "deadletters"))

#: A topic's name and a value of it to its record. A ValueError, such as msgspec.DecodeError, makes a dead letter of the
#: value; any other error fails the bundle, which is run again.
Decode = Callable[[str, Any], Input]


@dataclass(frozen=True, slots=True)
class Raw:
    """Records of a topic and partition as received: JSON, or what Avro's reader gave.

    Fields:
      offsets: of every value; of a file its line numbers from zero.
      arrived_at: when the broker appended every value, microseconds; it replaces what the payload says. None: of a
        file, whose records say it.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    values: Sequence[Any]
    arrived_at: Sequence[int] | None = None


@dataclass(frozen=True)
class Bounds:
    """What a record's times must lie in, microseconds: the day (None live), how far ahead of arrival each may be."""

    opens_at: int | None
    closes_at: int | None
    price_ahead: int
    fill_ahead: int

    def check(self, record: Input) -> None:
        """Raise ValueError naming the field, what was expected and what was found."""
        arrived = record.arrived_at
        if arrived is None:
            raise ValueError("arrived_at: expected the time the firm received the record, found nothing")
        if self.opens_at is not None and not self.opens_at <= arrived < (self.closes_at or 0):
            day = f"{Time(self.opens_at).text()} to {Time(self.closes_at or 0).text()}"
            raise ValueError(f"arrived_at: expected within the day, {day}, found {arrived.text()}")
        if isinstance(record, Price):
            if record.as_of > arrived + self.price_ahead:
                raise ValueError(
                    f"as_of: expected at most {self.price_ahead / 1e6:g} s after arrival, found {record.as_of.text()}"
                )
        elif isinstance(record, Fill):
            self._check_fill(record, arrived)

    def _check_fill(self, fill: Fill, arrived: int) -> None:
        if fill.executed_at is not None and fill.executed_at > arrived + self.fill_ahead:
            ahead = f"at most {self.fill_ahead / 1e6:g} s after arrival"
            raise ValueError(f"executed_at: expected {ahead}, found {fill.executed_at.text()}")
        if fill.kind == "NEW":
            if fill.ref_fill_id is not None:
                raise ValueError(f"ref_fill_id: expected nothing on a NEW fill, found {fill.ref_fill_id}")
        elif fill.ref_fill_id is None or fill.version < 2:
            raise ValueError(f"ref_fill_id, version: a {fill.kind} needs the original's id and a version of 2 or more")
        if fill.kind != "BUST":
            if fill.quantity == 0:
                raise ValueError("quantity: expected a number other than zero, found 0")
            if fill.price <= 0:
                raise ValueError(f"price: expected above 0, found {fill.price}")
            if not abs(cash_effect(fill.quantity, fill.price, fill.fees)) < EXACT_LIMIT:
                limit = f"${EXACT_LIMIT // MONEY_SCALE:,}"
                raise ValueError(
                    f"quantity, price: expected less than {limit}, found {fill.quantity / 1e6 * fill.price:,.0f}"
                )


def decode_plain(topic: str, value: Any) -> Input:
    """The record of a line of JSON, or of what Avro's reader gave. Raises msgspec.DecodeError."""
    kind = BY_NAME[topic].record
    return from_json(kind, value) if isinstance(value, bytes) else from_avro_dict(kind, value)  # type: ignore[no-any-return]


def plain() -> Decode:
    """The decoder of topics in JSON."""
    return decode_plain


def parse(raw: Raw, bounds: Bounds, decode: Decode = decode_plain) -> tuple[Parsed, list[DeadLetter]]:
    """Decode and check every value of a raw element."""
    kind = BY_NAME[raw.topic].record.__name__
    good, bad = Parsed(raw.topic, [], []), list[DeadLetter]()
    for offset, value, arrived_at in zip(raw.offsets, raw.values, raw.arrived_at or repeat(None), strict=False):
        try:
            record = decode(raw.topic, value)
            if arrived_at is not None:
                record = msgspec.structs.replace(record, arrived_at=Time(arrived_at))
            bounds.check(record)
        except (msgspec.DecodeError, ValueError) as error:
            payload = value if isinstance(value, bytes) else msgspec.json.encode(value)
            reason = f"{kind}: {error}"
            bad.append(
                DeadLetter(topic=raw.topic, partition=raw.partition, offset=offset, payload=payload, reason=reason)
            )
        else:
            good.records.append(record)
            good.origins.append(origin_of(raw.partition, offset))
    return good, bad


@dataclass(eq=False)
class ParseRecords(beam.PTransform):
    """Raw in; tagged RECORDS (Parsed) and DEADLETTERS ((topic, lines)) out.

    Fields:
      bounds: what the records' times must lie in.
      decoder: makes, on each worker, what turns values into records.
    """

    bounds: Bounds
    decoder: Callable[[], Decode] = plain

    def expand(self, raws: beam.PCollection) -> Any:
        """Apply parse to every element."""
        parsed = beam.ParDo(_Parse(self.bounds, self.decoder)).with_output_types(Parsed)
        return raws | "Parse" >> parsed.with_outputs(DEADLETTERS, main=RECORDS)


class _Parse(beam.DoFn):
    def __init__(self, bounds: Bounds, decoder: Callable[[], Decode]) -> None:
        self.bounds = bounds
        self.decoder = decoder

    def setup(self) -> None:
        collect_garbage_seldom()
        self.decode = self.decoder()

    def process(self, raw: Raw) -> Iterable[Any]:
        good, bad = parse(raw, self.bounds, self.decode)
        _EVENTS.inc(len(good.records))
        _REFUSED.inc(len(bad))
        if good.records:
            yield good
        if bad:
            yield beam.pvalue.TaggedOutput(DEADLETTERS, ("deadletter.v1", [line_of(letter) for letter in bad]))
