"""What the archive has of an account, a stretch of time or a type, as it was known at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from ops.audit.question import Question
from ops.audit.reader import Reader
from ops.formats import new_york, text_table, words
from schemas.archive import Row
from schemas.codec import to_json
from schemas.topics import FILLS, LIQUIDATIONS, MARGIN_CALLS, RESTRICTIONS
from transforms.parse import Decode

#: Topics in which a record takes the place of another.
SUPERSEDING = (MARGIN_CALLS.name, RESTRICTIONS.name, LIQUIDATIONS.name, FILLS.name)
#: What the columns of a table say already.
_SAID = ("event_id", "account_id", "symbol", "as_of", "arrived_at", "kind", "status", "cause_id", "supersedes")


@dataclass(frozen=True, slots=True)
class Told:
    """A row, the one that took its place, of what was known by the time that was asked for, and its record in JSON."""

    row: Row
    superseded_by: Row | None
    text: bytes | None

    def document(self) -> dict[str, Any]:
        """The row as plain data: the record as JSON, or the bytes in base64 where they are no record."""
        ended = self.superseded_by
        return {
            **{name: getattr(self.row, name) for name in self.row.__struct_fields__ if name != "value"},
            "superseded_by": ended and ended.event_id,
            "superseded_known_at": ended and ended.received_at,
            "record": None if self.text is None else msgspec.Raw(self.text),
            "base64": self.row.value if self.text is None else None,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows in order; more: there were others behind them."""

    rows: tuple[Told, ...]
    more: bool


def ask(reader: Reader, question: Question, decode: Decode, limit: int | None = None) -> Answer:
    """The first rows that a question asks for, and what took their place by its received_before.

    Raises:
      StoreError: the archive cannot be read.
    """
    found = list(islice(reader.rows(question), None if limit is None else limit + 1))
    own = found if limit is None else found[:limit]
    keys = tuple(sorted({row.key for row in own if row.topic in SUPERSEDING}))
    ends: dict[str, Row] = {}
    if keys:
        known = Question(topics=SUPERSEDING, keys=keys, received_before=question.received_before, log=question.log)
        ends = superseded(reader.rows(known), decode)
    told = tuple(Told(row, ends.get(row.event_id), text_of(row, decode)) for row in own)
    return Answer(told, len(found) > len(own))


def superseded(rows: Iterable[Row], decode: Decode) -> dict[str, Row]:
    """By event id what took its place: the record that ends it, or of a fill the highest version of its original."""
    ends: dict[str, Row] = {}
    fills: dict[tuple[str, str | None], list[tuple[int, Row]]] = {}
    for row in rows:
        if row.supersedes is not None:
            ends[row.supersedes] = row
        elif row.topic == FILLS.name and row.correlation_id is not None:
            version = getattr(decode(row.topic, row.value), "version", 0)
            fills.setdefault((row.key, row.correlation_id), []).append((version, row))
    for versions in fills.values():
        highest, last = max(versions, key=lambda own: (own[0], -own[1].received_at))
        ends |= {row.event_id: last for version, row in versions if version < highest}
    return ends


def text_of(row: Row, decode: Decode) -> bytes | None:
    """The record of a row as a line of JSON; None where it is no record."""
    try:
        msgspec.json.decode(row.value)
        return row.value
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return to_json(decode(row.topic, row.value))
    except (msgspec.DecodeError, ValueError):
        return None


def render(answer: Answer, console: Console) -> None:
    """Print a row a record."""
    if not answer.rows:
        console.print("Nothing that was asked for is in the archive.")
        return
    times = ("was so", "was known")
    table = text_table("Times are New York's", *times, "topic", "whose", "what", "superseded", "what it says")
    for told in answer.rows:
        row, ended = told.row, told.superseded_by
        gone = "" if ended is None else f"by {ended.event_id[:8]} at {_time(ended.received_at)}"
        cells = (_time(row.at), _time(row.received_at), row.topic, row.key, words(row.kind), gone, gist(told))
        table.add_row(*(Text(cell, "dim" if ended else "") for cell in cells))
    console.print(table)
    more = "; there are more, --limit says how many are shown" if answer.more else ""
    console.print(f"{len(answer.rows):,} records{more}", style="dim", highlight=False)


def gist(told: Told, most: int = 200) -> str:
    """What a record says beside whose it is and when, on a line."""
    if told.text is None:
        return f"{len(told.row.value):,} bytes that are no record"
    record = msgspec.json.decode(told.text)
    own = record.items() if isinstance(record, dict) else ()
    said = ", ".join(f"{name} {value}" for name, value in own if name not in _SAID and _plain(value))
    return said if len(said) <= most else f"{said[:most]}\N{HORIZONTAL ELLIPSIS}"


def _plain(told: Any) -> bool:
    return told is not None and told != "" and not isinstance(told, dict | list)


def _time(at: int) -> str:
    return f"{new_york(at):%Y-%m-%d %H:%M:%S}"
