"""Every record survives its codecs, the checked-in Avro schemas are those of the types, and errors say what to fix."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import codec
from schemas.inputs import Beta, Fill, Snapshot, SnapshotPosition
from schemas.scalars import EXACT_LIMIT, Money, Quantity, Ratio, Time
from schemas.topics import BY_NAME

TOPICS = sorted(BY_NAME)
EXACT = st.integers(1 - EXACT_LIMIT, EXACT_LIMIT - 1)
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    NoneType: st.none(),
    bool: st.booleans(),
    bytes: st.binary(max_size=40),
    Time: st.integers(0, Time.parse("2200-01-01T00:00:00Z")).map(Time),
    Quantity: st.integers(1 - 2**52, 2**52 - 1).map(Quantity),
    Money: EXACT.map(Money),
    Ratio: EXACT.map(Ratio),
}
FILL = {"fill_id": "F1", "account_id": "A1", "symbol": "SPY", "quantity": 1.5, "price": 410.25}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a type hint of the contract allows."""
    bounds = msgspec.Meta()
    if get_origin(hint) is Annotated:
        hint, bounds = get_args(hint)
    if hint in LEAVES:
        return LEAVES[hint]
    if hint is str:
        text = st.characters(codec="utf-8")
        return st.text(text, min_size=bounds.min_length or 0, max_size=min(bounds.max_length or 12, 12))
    if hint is int:
        return st.integers(-(2**63) if bounds.ge is None else int(bounds.ge), 2**63 - 1)
    if hint is float:
        low = bounds.gt if bounds.gt is not None else bounds.ge
        return st.floats(low, bounds.le, exclude_min=bounds.gt is not None, allow_nan=False, allow_infinity=False)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, UnionType):
        return st.one_of([values(arm) for arm in args])
    if origin is tuple:
        return st.lists(values(args[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=3)
    return records(hint)


@cache
def records(kind: type) -> st.SearchStrategy[Any]:
    """Any record of a type, with every field filled in."""
    return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind, include_extras=True).items()})


def kinds(value: Any) -> Any:
    """The types in a record, since Money(1) == 1 == True."""
    if isinstance(value, msgspec.Struct):
        return type(value), [kinds(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, tuple):
        return [kinds(item) for item in value]
    return [kinds(item) for item in value.values()] if isinstance(value, dict) else type(value)


@pytest.mark.parametrize("name", TOPICS)
@given(data=st.data())
def test_json_round_trip(name: str, data: st.DataObject) -> None:
    record = data.draw(records(BY_NAME[name].record))
    line = codec.to_json(record)
    again = codec.from_json(type(record), line)
    assert again == record
    assert kinds(again) == kinds(record)
    assert b"\n" not in line


@pytest.mark.parametrize("name", TOPICS)
@given(data=st.data())
def test_avro_round_trip(name: str, data: st.DataObject) -> None:
    record = data.draw(records(BY_NAME[name].record))
    again = codec.from_avro(type(record), codec.to_avro(record))
    assert again == record
    assert kinds(again) == kinds(record)


@pytest.mark.parametrize("name", TOPICS)
def test_checked_in_schema_is_that_of_the_record(name: str) -> None:
    text = files("schemas").joinpath("avsc", f"{name}.avsc").read_text()
    assert json.loads(text) == codec.avro_schema(BY_NAME[name].record), "run `make schemas`"


def test_no_schema_without_a_topic() -> None:
    assert sorted(path.name for path in files("schemas").joinpath("avsc").iterdir()) == [f"{n}.avsc" for n in TOPICS]


@given(value=EXACT.filter(lambda value: value % 10))
def test_a_fifth_decimal_of_money_is_refused_at_any_size(value: int) -> None:
    text = f"{'-' if value < 0 else ''}{abs(value) // 10**5}.{abs(value) % 10**5:05d}"
    with pytest.raises(msgspec.ValidationError, match="at most 4 decimal places"):
        codec.from_json(Fill, json.dumps({**FILL, "fees": text}).encode())


@pytest.mark.parametrize(
    ("change", "field", "expected", "found"),
    [
        ({"price": "cheap"}, "$.price", "Expected `float`", "cheap"),
        ({"price": -1}, "$.price", ">= 0.0", "-1"),
        ({"price": None}, "$.price", "Expected `float`", "null"),
        ({"pryce": 1}, "pryce", "unknown field", "pryce"),
        ({"fees": "1.00001"}, "$.fees", "at most 4 decimal places", "1.00001"),
        ({"fees": "free"}, "$.fees", "a decimal number", "free"),
        ({"fees": "NaN"}, "$.fees", "a finite number", "NaN"),
        ({"fees": "1e999999999999"}, "$.fees", "a finite number", "1e999999999999"),
        ({"fees": 900719925475}, "$.fees", "below 900,719,925,474", "900719925475"),
        ({"quantity": 0.0000001}, "$.quantity", "at most 6 decimal places", "1e-07"),
        ({"quantity": True}, "$.quantity", "a number", "bool"),
        ({"executed_at": "2026-01-05T14:30:00"}, "$.executed_at", "with its offset", "2026-01-05T14:30:00"),
        ({"executed_at": "noon"}, "$.executed_at", "RFC 3339", "noon"),
        ({"executed_at": 10**30}, "$.executed_at", "years 1 to 9999", str(10**30)),
        ({"kind": "SPLIT"}, "$.kind", "enum", "SPLIT"),
        ({"fill_id": ""}, "$.fill_id", "length >= 1", "''"),
        ({"price": float("nan")}, '"price": N', "one Fill in JSON", "NaN"),
    ],
)
def test_bad_json_names_field_expected_and_found(change: dict[str, Any], field: str, expected: str, found: str) -> None:
    with pytest.raises(msgspec.DecodeError) as error:
        codec.from_json(Fill, json.dumps({**FILL, **change}).encode())
    for part in (field, expected, found):
        assert part in str(error.value)


def test_a_missing_field_is_named() -> None:
    line = json.dumps({name: value for name, value in FILL.items() if name != "price"}).encode()
    with pytest.raises(msgspec.ValidationError, match="missing required field `price`"):
        codec.from_json(Fill, line)


def test_a_bad_element_of_a_list_is_named() -> None:
    snapshot = {"account_id": "A1", "as_of": 0, "positions": [{"symbol": "SPY", "quantity": "many"}]}
    with pytest.raises(msgspec.ValidationError, match=r"found 'many' - at `\$.positions\[0\].quantity`"):
        codec.from_json(Snapshot, json.dumps(snapshot).encode())


def test_the_value_of_an_element_out_of_bounds_is_shown() -> None:
    snapshot = {"account_id": "A1", "as_of": 0, "positions": [{"symbol": "SPY", "quantity": 1, "close": -5}]}
    with pytest.raises(msgspec.ValidationError, match=r"> 0.0, found '-5' - at `\$.positions\[0\].close`"):
        codec.from_json(Snapshot, json.dumps(snapshot).encode())


@pytest.mark.parametrize("line", [b'{"fees":' + b"[" * 10**5, b'{"pryce":1', b"[" * 10**5, b"\xff", b"[]"])
def test_hostile_lines_only_raise_a_decode_error(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        codec.from_json(Fill, line)


@given(cut=st.integers(0, len(json.dumps(FILL)) - 1))
def test_a_truncated_line_shows_where_it_ends(cut: int) -> None:
    line = json.dumps(FILL).encode()[:cut]
    with pytest.raises(msgspec.DecodeError, match="one Fill in JSON") as error:
        codec.from_json(Fill, line)
    assert repr(line[-32:].decode())[1:-1] in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_avro_cannot_smuggle_in_a_number_that_is_not_finite(value: float) -> None:
    payload = codec.to_avro(Beta(symbol="SPY", beta=value, effective_at=Time(0)))
    with pytest.raises(msgspec.ValidationError, match=rf"finite `float`, found {value} - at `\$.beta`"):
        codec.from_avro(Beta, payload)


def test_avro_refuses_what_breaks_the_contract() -> None:
    fill = Fill(fill_id="F1", account_id="A1", symbol="SPY", quantity=Quantity(1), price=-1.0)
    with pytest.raises(msgspec.ValidationError, match=r"Expected `float` >= 0.0, found '-1.0' - at `\$.price`"):
        codec.from_avro(Fill, codec.to_avro(fill))
    huge = Snapshot(
        account_id="A1", as_of=Time(0), positions=(SnapshotPosition(symbol="SPY", quantity=Quantity(2**60)),)
    )
    with pytest.raises(msgspec.ValidationError, match=r"below .*, found \d+ - at `\$.positions\[0\].quantity`"):
        codec.from_avro(Snapshot, codec.to_avro(huge))


@pytest.mark.parametrize("name", TOPICS)
@given(payload=st.binary(max_size=80))
@example(payload=b'"\x80"')
@example(payload=b'{"symbol":"\x80"}')
def test_bytes_that_are_no_record_only_ever_raise_a_decode_error(name: str, payload: bytes) -> None:
    for decode in (codec.from_json, codec.from_avro):
        try:
            decode(BY_NAME[name].record, payload)
        except msgspec.DecodeError:
            continue


@given(cut=st.integers(0, 20))
def test_a_truncated_payload_is_a_decode_error(cut: int) -> None:
    payload = codec.to_avro(codec.from_json(Fill, json.dumps(FILL).encode()))
    with pytest.raises(msgspec.DecodeError, match="one Fill in Avro"):
        codec.from_avro(Fill, payload[:cut])
