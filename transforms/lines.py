"""Lines: outputs as the sinks take them, a sorting key, NUL and the sealed JSON; of records, or straight from columns.

Figures are published by the thousand, so they are written column by column: a tenth of the cost of a record each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec
import numpy as np

from risk.amounts import RATIO_SCALE, TICKS_PER_DOLLAR, Floats
from schemas.codec import to_json
from schemas.ids import seal, sealed
from schemas.outputs import Event

#: Lines of one topic at one instant.
Lines = tuple[str, list[bytes]]

_CENTS = [f'.{n:04d}"' for n in range(int(TICKS_PER_DOLLAR))]


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


@cache
def form_of(record: type, **counts: int) -> str:
    """The record's JSON without event_id and with %s for each value; a tuple that has a count has that many items."""
    fields = [field for field in msgspec.structs.fields(record) if field.name != "event_id"]
    hints = get_type_hints(record)
    return "{" + ",".join(f'"{f.name}":{_value_form(hints[f.name], counts.get(f.name))}' for f in fields) + "}"


def _value_form(kind: Any, count: int | None) -> str:
    return "%s" if count is None else f"[{','.join([form_of(get_args(kind)[0])] * count)}]"


def lines_of(form: str, keys: Sequence[bytes], columns: Iterable[Sequence[str]]) -> list[bytes]:
    """The lines of one event an account, byte for byte those of line_of.

    Args:
      form: of the events' type.
      keys: (n,) the sorting keys of their accounts.
      columns: (n,) JSON texts for every place of the form in turn.
    """
    contents = (form % values for values in zip(*columns, strict=True))
    return [key + seal(content.encode()) for key, content in zip(keys, contents, strict=True)]


def money_texts(ticks: Floats) -> list[list[str]]:
    """The JSON of (k, n) whole ticks, by row."""
    dollars, cents = np.divmod(np.abs(ticks).astype(np.int64), int(TICKS_PER_DOLLAR))
    whole: list[Any] = np.where(ticks < 0, -dollars, dollars).ravel().tolist()
    for place in np.flatnonzero((ticks < 0) & (dollars == 0)).tolist():
        whole[place] = "-0"
    return _rows([f'"{w}{_CENTS[c]}' for w, c in zip(whole, cents.ravel().tolist(), strict=True)], ticks.shape)


def ratio_texts(fractions: Floats) -> list[list[str]]:
    """The JSON of (k, n) finite fractions in millionths, by row."""
    millionths = np.rint(fractions * RATIO_SCALE).astype(np.int64).ravel().tolist()
    texts = [f'"{"-" * (m < 0)}{abs(m) // RATIO_SCALE}.{abs(m) % RATIO_SCALE:06d}"' for m in millionths]
    return _rows(texts, fractions.shape)


def plain_texts(values: Iterable[Any]) -> list[str]:
    """The JSON of strings, numbers and None, one by one."""
    return [_ENCODE(value).decode() for value in values]


def number_texts(values: list[float]) -> list[str]:
    """The JSON of finite numbers."""
    return _ENCODE(values)[1:-1].decode().split(",") if values else []


_ENCODE = msgspec.json.Encoder().encode


def _rows(texts: list[str], shape: tuple[int, ...]) -> list[list[str]]:
    rows, width = shape
    return [texts[row * width : (row + 1) * width] for row in range(rows)]
