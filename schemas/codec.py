"""JSON and Avro codecs of every record, derived from its type; the .avsc files are checked against them."""

from __future__ import annotations

import io
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import fastavro
import msgspec

from schemas.scalars import Money, Quantity, Ratio, Time, decode_avro, decode_scalar, encode_avro, encode_json

_ENCODER = msgspec.json.Encoder(enc_hook=encode_json)


@cache
def _decoder(record: type) -> msgspec.json.Decoder:
    return msgspec.json.Decoder(record, dec_hook=decode_scalar)


def to_json(record: msgspec.Struct) -> bytes:
    """One line of JSON, without the line feed."""
    return _ENCODER.encode(record)


def from_json(record: type, line: bytes) -> Any:
    """The record on one line. Raises msgspec.DecodeError with field, expected and found."""
    return _decoder(record).decode(line)


def to_avro(record: msgspec.Struct) -> bytes:
    """The record in Avro's binary encoding, without header or framing."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, parsed_schema(type(record)), to_avro_dict(record))
    return out.getvalue()


def from_avro(record: type, payload: bytes) -> Any:
    """The inverse of to_avro. Raises msgspec.ValidationError where the content breaks the contract."""
    schema = parsed_schema(record)
    return from_avro_dict(record, fastavro.schemaless_reader(io.BytesIO(payload), schema, schema))


def to_avro_dict(record: msgspec.Struct) -> dict[str, Any]:
    """The record as fastavro writes it."""
    return msgspec.to_builtins(record, enc_hook=encode_avro, builtin_types=(bytes,))


def from_avro_dict(record: type, value: dict[str, Any]) -> Any:
    """The record from what fastavro read."""
    return msgspec.convert(value, record, dec_hook=decode_avro)


@cache
def parsed_schema(record: type) -> Any:
    """The record's Avro schema, parsed once."""
    return fastavro.parse_schema(avro_schema(record))


_SCALARS: dict[type, Any] = {
    str: "string",
    int: "long",
    float: "double",
    bool: "boolean",
    bytes: "bytes",
    NoneType: "null",
    Time: {"type": "long", "logicalType": "timestamp-micros"},
    Quantity: "long",
    Money: "string",
    Ratio: "string",
}


def avro_schema(record: type) -> dict[str, Any]:
    """The Avro schema of a record type; tuples of mixed types become records of their places."""
    return _schema_of(record, record.__name__)  # type: ignore[no-any-return]


def _schema_of(kind: Any, name: str) -> Any:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "string"
    if origin in (Union, UnionType):
        return ["null", *(_schema_of(arm, name) for arm in args if arm is not NoneType)]
    if origin is tuple:
        if args[-1] is not Ellipsis:
            raise TypeError(f"{name}: a tuple of mixed types has no Avro form; give it a record")
        return {"type": "array", "items": _schema_of(args[0], name)}
    if origin is dict:
        return {"type": "map", "values": _schema_of(args[1], name)}
    hints = get_type_hints(kind, include_extras=True)
    fields = []
    for field in msgspec.structs.fields(kind):
        spec = {"name": field.name, "type": _schema_of(hints[field.name], field.name.capitalize())}
        if field.default is None:
            spec["default"] = None
        fields.append(spec)
    doc = (kind.__doc__ or "").strip().splitlines()[0]
    return {"type": "record", "name": kind.__name__, "namespace": "margin", "doc": doc, "fields": fields}
