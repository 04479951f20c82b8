"""Lines: outputs as the sinks take them, a sorting key, NUL and the sealed JSON; of records, or straight from columns.

Figures are published by the thousand, so they are written column by column, a fraction of the cost of a record each. A
column is an array of byte strings. NumPy pads those with NUL, which no JSON text holds, so that a page of lines is one
array of rows, and its text is what is left when the NULs are taken out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice, repeat
from typing import Any, get_args, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from risk.amounts import RATIO_SCALE, TICKS_PER_DOLLAR, Floats, Ints
from schemas.codec import to_json
from schemas.ids import seal, sealed
from schemas.outputs import Event
from schemas.scalars import EXACT_LIMIT, QUANTITY_SCALE, Time

#: Lines of one topic at one instant.
Lines = tuple[str, list[bytes]]

#: The JSON texts of one value of every line, (n,), or of all of them, (); NULs within are padding.
Texts = NDArray[np.bytes_]

#: So few lines are written one by one: a page of them would cost more than they do.
FEW = 32

#: Accounts whose lines are written at a time; at the close every account's are.
PAGE = 1000


def key_of(as_of: int, account_id: str) -> bytes:
    """What lines are sorted by, before their own text."""
    return f"{as_of:020d}{account_id}\0".encode()


def line_of(record: msgspec.Struct) -> bytes:
    """The record's line behind its sorting key."""
    key = key_of(int(getattr(record, "as_of", 0)), getattr(record, "account_id", ""))
    return key + (sealed(record) if isinstance(record, Event) else to_json(record))


def lines_by_topic(outputs: Iterable[tuple[str, msgspec.Struct]]) -> Iterator[Lines]:
    """The lines of (topic, record) outputs, topic by topic."""
    found: dict[str, list[bytes]] = {}
    for topic, record in outputs:
        found.setdefault(topic, []).append(line_of(record))
    yield from found.items()


def text_of(line: bytes) -> bytes:
    """The JSON of a line, without its sorting key."""
    return line[line.index(b"\0") + 1 :]


def account_of(line: bytes) -> bytes:
    """The account in a line's sorting key; empty where the record has none."""
    return line[20 : line.index(b"\0")]


@cache
def form_of(record: type, **counts: int) -> bytes:
    """The record's JSON without event_id and with %s for each value; a tuple that has a count has that many items."""
    fields = [field for field in msgspec.structs.fields(record) if field.name != "event_id"]
    hints = get_type_hints(record)
    places = (b'"%b":%b' % (f.name.encode(), _value_form(hints[f.name], counts.get(f.name))) for f in fields)
    return b"{%b}" % b",".join(places)


def _value_form(kind: Any, count: int | None) -> bytes:
    return b"%s" if count is None else b"[%b]" % b",".join([form_of(get_args(kind)[0])] * count)


def filled(form: bytes, count: int, columns: Sequence[Texts | list[bytes]]) -> list[bytes]:
    """The form `count` times, with each column's texts in its place.

    A column whose texts differ much in length is a list, so as not to be padded to the longest.

    Raises:
      ValueError: the form has more places than there are columns, or fewer.
    """
    if form.count(b"%s") != len(columns):
        raise ValueError(f"expected {form.count(b'%s')} columns, found {len(columns)}")
    if count <= FEW:
        listed = (column if isinstance(column, list) else column.tolist() for column in columns)
        # One text for all is no list.
        rows = zip(*(texts if isinstance(texts, list) else repeat(texts, count) for texts in listed), strict=True)
        return [(form % row).translate(None, b"\0") for row in rows]
    padded = [_LATER if isinstance(column, list) else column for column in columns]
    pieces = [piece for pair in zip(_literals_of(form), [*padded, np.array(b"")], strict=True) for piece in pair]
    page = np.empty(count, [(f"piece{n}", piece.dtype) for n, piece in enumerate(pieces)])
    for n, piece in enumerate(pieces):
        page[f"piece{n}"] = piece
    lines = page.tobytes().translate(None, b"\0").split(b"\n")[:-1]
    for column in columns:
        if isinstance(column, list):
            lines = [line.replace(_LATER.item(), text, 1) for line, text in zip(lines, column, strict=True)]
    return lines


@cache
def _literals_of(form: bytes) -> list[Texts]:
    return [np.array(literal) for literal in (form + b"\n").split(b"%s")]


#: Stands where a list's text goes; JSON has no such character.
_LATER = np.array(b"\1")


def sealed_lines(keys: Sequence[bytes], contents: Iterable[bytes]) -> list[bytes]:
    """The lines of one event an account, byte for byte those of line_of, from their JSON without event_id."""
    return [key + seal(content) for key, content in zip(keys, contents, strict=True)]


def arrays_of(items: list[bytes], counts: Iterable[int]) -> list[bytes]:
    """JSON arrays of so many of the items each, in turn."""
    rest = iter(items)
    return [b"[%b]" % b",".join(islice(rest, count)) for count in counts]


#: Amounts are written in groups of four digits, of which the lowest are the decimals of a dollar.
_GROUP = int(TICKS_PER_DOLLAR)
_DECIMALS = np.array([b'.%04d"' % n for n in range(_GROUP)])
_PADDED = np.array([b"%04d" % n for n in range(_GROUP)])
#: By n, without leading zeros (none at all for 0; "0" for the units), and from _GROUP on with them.
_LEADING = np.append(np.array([(b"%d" % n if n else b"").rjust(4, b"\0") for n in range(_GROUP)]), _PADDED)
_UNITS = np.append(np.array([(b"%d" % n).rjust(4, b"\0") for n in range(_GROUP)]), _PADDED)
_MONEY = [("sign", "S2"), ("high", "S4"), ("middle", "S4"), ("units", "S4"), ("decimals", "S6")]


def money_texts(ticks: Floats) -> Texts:
    """The JSON of whole ticks, of the same shape; Money.within of each."""
    sizes = np.minimum(np.abs(ticks), EXACT_LIMIT - 1).astype(np.int64)
    dollars, decimals = np.divmod(sizes, _GROUP)
    thousands, units = np.divmod(dollars, _GROUP)
    large = bool((thousands >= _GROUP).any())
    out = np.empty(ticks.shape, _MONEY if large else [field for field in _MONEY if field[0] != "high"])
    out["sign"] = np.where(ticks < 0, b'"-', b'"')
    if large:
        high, thousands = np.divmod(thousands, _GROUP)
        out["high"] = _LEADING[high]
        out["middle"] = _LEADING[thousands + _GROUP * (high > 0)]
    else:
        out["middle"] = _LEADING[thousands]
    out["units"] = _UNITS[units + _GROUP * (dollars >= _GROUP)]
    out["decimals"] = _DECIMALS[decimals]
    return out.view(f"S{out.itemsize}")


def ratio_texts(fractions: Floats) -> Texts:
    """The JSON of finite fractions in millionths, of the same shape; Ratio.within of each."""
    millionths = (
        np.rint(fractions * RATIO_SCALE).clip(1 - EXACT_LIMIT, EXACT_LIMIT - 1).astype(np.int64).ravel().tolist()
    )
    texts = [b'"%b%d.%06d"' % (b"-" if m < 0 else b"", *divmod(abs(m), RATIO_SCALE)) for m in millionths]
    return np.array(texts, np.bytes_).reshape(fractions.shape)


def plain_texts(values: Iterable[Any]) -> Texts:
    """The JSON of strings, numbers and None, one by one."""
    return np.array([_ENCODE(value) for value in values], np.bytes_)


def few_texts(values: Sequence[str | None]) -> Texts:
    """The JSON of strings and None of which few differ."""
    place = {value: n for n, value in enumerate(dict.fromkeys(values))}
    return plain_texts(place)[[place[value] for value in values]]


def number_texts(numbers: Floats | Ints) -> Texts:
    """The JSON of (n,) finite numbers."""
    texts = _ENCODE(numbers.tolist())[1:-1].split(b",")
    return np.array(texts[: len(numbers)], np.bytes_)


def quantity_texts(millionths: Ints) -> Texts:
    """The JSON of (n,) quantities: whole numbers without decimals."""
    units, parts = np.divmod(millionths, QUANTITY_SCALE)
    broken = np.flatnonzero(parts)
    texts = number_texts(units)
    if len(broken):
        texts = texts.astype("S24")
        texts[broken] = number_texts(millionths[broken] / QUANTITY_SCALE)
    return texts


def time_texts(clock: Ints) -> Texts:
    """The JSON of (n,) times, microseconds, null where below zero; most are one of a few instants."""
    found, which = np.unique(clock, return_inverse=True)
    return plain_texts(None if at < 0 else Time(at).text() for at in found.tolist())[which]


_ENCODE = msgspec.json.Encoder().encode
