"""JSON and Avro codecs of every record, derived from its type; the .avsc files are checked against them."""

from __future__ import annotations

import io
import math
import re
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
    try:
        return _decoder(record).decode(line)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(_with_found(str(error), _plain(line))) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(f"expected one {record.__name__} in JSON, found {_near(str(error), line)}") from None


def to_avro(record: msgspec.Struct) -> bytes:
    """The record in Avro's binary encoding, without header or framing."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, parsed_schema(type(record)), to_avro_dict(record))
    return out.getvalue()


def from_avro(record: type, payload: bytes) -> Any:
    """The inverse of to_avro. Raises msgspec.DecodeError as from_json does."""
    schema = parsed_schema(record)
    try:
        value: Any = fastavro.schemaless_reader(io.BytesIO(payload), schema, schema)
    except (EOFError, IndexError, OverflowError, ValueError) as error:
        reason = str(error) or "a truncated payload"
        raise msgspec.DecodeError(f"expected one {record.__name__} in Avro, found {reason}") from None
    return from_avro_dict(record, value)


def to_avro_dict(record: msgspec.Struct) -> dict[str, Any]:
    """The record as fastavro writes it."""
    return msgspec.to_builtins(record, enc_hook=encode_avro, builtin_types=(bytes,))


def from_avro_dict(record: type, value: dict[str, Any]) -> Any:
    """The record from what fastavro read. Raises msgspec.ValidationError with field, expected and found."""
    _check_finite(value, "$")
    try:
        return msgspec.convert(value, record, dec_hook=decode_avro)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(_with_found(str(error), value)) from None


def _check_finite(value: Any, path: str) -> None:
    # JSON cannot carry NaN or infinity; Avro can, and the bounds of a field let some through.
    if isinstance(value, float):
        if not math.isfinite(value):
            raise msgspec.ValidationError(f"Expected a finite `float`, found {value} - at `{path}`")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_finite(item, f"{path}.{name}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _check_finite(item, f"{path}[{place}]")


def _plain(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _with_found(message: str, value: Any) -> str:
    """The message with the value at its path, which msgspec leaves out; below a map msgspec gives no path."""
    text, _, path = message.partition(" - at `$.")
    if not path or "found" in text or "[...]" in path:
        return message
    try:
        for place, name in re.findall(r"\[(\d+)\]|(\w+)", path):
            value = value[int(place)] if place else value[name]
    except (LookupError, TypeError):
        return message
    return f"{text}, found {str(value)[:80]!r} - at `$.{path}"


def _near(message: str, line: bytes) -> str:
    """What is wrong with a line that is not JSON, with the text up to the place."""
    at = re.search(r"byte (\d+)", message)
    end = int(at[1]) + 8 if at else len(line)
    return f"{line[max(end - 40, 0) : end].decode(errors='replace')!r}: {message}"


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
    return _schema_of(record, record.__name__, set())  # type: ignore[no-any-return]


def _schema_of(kind: Any, name: str, named: set[str]) -> Any:
    """named: the records that were described; a second time their name stands for them."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "string"
    if origin in (Union, UnionType):
        return ["null", *(_schema_of(arm, name, named) for arm in args if arm is not NoneType)]
    if origin is tuple:
        if args[-1] is not Ellipsis:
            raise TypeError(f"{name}: a tuple of mixed types has no Avro form; give it a record")
        return {"type": "array", "items": _schema_of(args[0], name, named)}
    if origin is dict:
        return {"type": "map", "values": _schema_of(args[1], name, named)}
    if kind.__name__ in named:
        return f"margin.{kind.__name__}"
    named.add(kind.__name__)
    hints = get_type_hints(kind, include_extras=True)
    fields = []
    for field in msgspec.structs.fields(kind):
        spec = {"name": field.name, "type": _schema_of(hints[field.name], field.name.capitalize(), named)}
        if field.default is None:
            spec["default"] = None
        fields.append(spec)
    doc = (kind.__doc__ or "").strip().splitlines()[0]
    return {"type": "record", "name": kind.__name__, "namespace": "margin", "doc": doc, "fields": fields}
