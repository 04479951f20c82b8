"""Objects of the archive: the received records of one partition and hour as a Parquet file, with what finds them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import inputs, outputs
from schemas.archive import Received, Row
from schemas.ids import digest
from schemas.scalars import Time
from schemas.topics import BY_NAME, DEADLETTER
from transforms.parse import Decode

_TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("log", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("received_at", _TIME, nullable=False),
        pa.field("at", _TIME, nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("causation_id", pa.string()),
        pa.field("correlation_id", pa.string()),
        pa.field("supersedes", pa.string()),
        pa.field("value", pa.binary(), nullable=False),
        pa.field("link", pa.string(), nullable=False),
    ]
)
#: Of a value that is no record of its topic.
UNREADABLE = "UNREADABLE"


def rows_of(log: str, topic: str, partition: int, records: Iterable[Received], decode: Decode) -> Iterator[Row]:
    """Received records with what they are found by; what cannot be read has no key."""
    for own in records:
        try:
            found = _found_by(topic, decode(topic, own.value), own)
        except (ValueError, msgspec.DecodeError):
            found = {"at": own.received_at, "key": "", "kind": UNREADABLE, "event_id": _content_id(topic, own.value)}
        yield Row(
            log=log,
            topic=topic,
            partition=partition,
            offset=own.offset,
            received_at=own.received_at,
            value=own.value,
            link=own.link,
            **{"causation_id": None, "correlation_id": None, "supersedes": None} | found,
        )


def _content_id(topic: str, value: bytes) -> str:
    return digest(topic.encode() + b"\0" + value)


def _found_by(topic: str, record: Any, own: Received) -> dict[str, Any]:
    if isinstance(record, outputs.Event):
        ends = getattr(record, "supersedes", None)
        # Of a correction several.
        supersedes = " ".join(ends) or None if isinstance(ends, tuple) else ends
        return {
            "at": record.as_of,
            "key": record.account_id,
            "kind": str(getattr(record, "kind", "") or getattr(record, "status", "") or getattr(record, "level", "")),
            "event_id": record.event_id,
            "causation_id": getattr(record, "causation_id", None) or supersedes,
            "correlation_id": getattr(record, "correlation_id", None) or getattr(record, "cause_id", None),
            "supersedes": supersedes,
        }
    found: dict[str, Any] = {"at": own.received_at, "event_id": _content_id(topic, own.value)}
    if topic == DEADLETTER.name:
        return found | {"key": record.topic, "kind": "REFUSED"}
    found |= {"key": getattr(record, BY_NAME[topic].key), "kind": _kind(record)}
    told = getattr(record, _TOLD_AT.get(type(record), ""), None)
    if told is not None:
        found["at"] = Time(told)
    if isinstance(record, inputs.Fill):
        found["correlation_id"] = record.ref_fill_id or record.fill_id
    elif isinstance(record, inputs.Override):
        found |= {"causation_id": record.target, "correlation_id": record.target or record.override_id}
    return found


def _kind(record: Any) -> str:
    return str(
        next(
            (v for name in ("kind", "action", "status", "type", "margin_type") if (v := getattr(record, name, ""))), ""
        )
    )


#: The field that says when it was so, of inputs that have one.
_TOLD_AT: dict[type, str] = {
    inputs.Fill: "executed_at",
    inputs.Price: "as_of",
    inputs.Beta: "effective_at",
    inputs.Snapshot: "as_of",
}


def encode_rows(rows: Iterable[Row]) -> bytes:
    """Rows of one log, topic and partition as a Parquet file; equal rows are equal bytes for one version of pyarrow."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for row in rows:
        for name, column in columns.items():
            value = getattr(row, name)
            column.append(int(value) if isinstance(value, Time) else value)
    out = io.BytesIO()
    table = pa.Table.from_pydict(columns, schema=SCHEMA)
    pq.write_table(table, out, compression="zstd", use_dictionary=["log", "key", "kind"], row_group_size=16_384)
    return out.getvalue()


def decode_rows(content: bytes, topic: str, numbers: Iterable[int] | None = None) -> list[Row]:
    """The inverse of encode_rows. Raises pyarrow.ArrowInvalid for what is no such file.

    Args:
      numbers: only these rows, in this order, from 0; those that are not there are left out.
    """
    table = pq.read_table(io.BytesIO(content), schema=SCHEMA)
    if numbers is not None:
        table = table.take([number for number in numbers if number < table.num_rows])
    columns = {name: table[name] for name in SCHEMA.names}
    for name in ("received_at", "at"):
        columns[name] = columns[name].cast(pa.int64())
    lists = {name: column.to_pylist() for name, column in columns.items()}
    found = []
    for values in zip(*lists.values(), strict=True):
        own = dict(zip(lists, values, strict=True))
        own["received_at"], own["at"] = Time(own["received_at"]), Time(own["at"])
        found.append(Row(topic=topic, **own))
    return found
