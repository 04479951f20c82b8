"""What the archive has of an account, a stretch of time or a type, as it was known at a time."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
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
from schemas.topics import FILLS, LIQUIDATIONS, MARGIN_CALLS, RESTRICTIONS
from transforms.parse import Decode

#: Topics in which a record takes the place of another.
SUPERSEDING = (MARGIN_CALLS.name, RESTRICTIONS.name, LIQUIDATIONS.name, FILLS.name)
#: What the columns of a table say already.
_SAID = ("event_id", "account_id", "symbol", "as_of", "arrived_at", "kind", "status", "cause_id", "supersedes")


@dataclass(frozen=True, slots=True)
class Told:
    """A row, and the one that took its place, of what was known by the time that was asked for."""

    row: Row
    superseded_by: Row | None

    def document(self) -> dict[str, Any]:
        """The row as plain data: the record as JSON where it is, and in base64 where it is not."""
        names = [name for name in self.row.__struct_fields__ if name not in ("value", "link")]
        ended = self.superseded_by
        return {
            **{name: getattr(self.row, name) for name in names},
            "superseded_by": ended and ended.event_id,
            "superseded_known_at": ended and ended.received_at,
            "link": self.row.link,
            **content_of(self.row.value),
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
    return Answer(tuple(Told(row, ends.get(row.event_id)) for row in own), len(found) > len(own))


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


def content_of(value: bytes) -> dict[str, Any]:
    """A value as JSON, or what cannot be in base64."""
    try:
        return {"record": msgspec.Raw(msgspec.json.format(value, indent=-1) if msgspec.json.decode(value) else b"{}")}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"base64": base64.b64encode(value).decode()}


def render(answer: Answer, console: Console) -> None:
    """Print a row a record."""
    if not answer.rows:
        console.print("Nothing that was asked for is in the archive.")
        return
    times = ("was so", "was known")
    table = text_table("Times are New York's", *times, "topic", "account", "what", "superseded", "what it says")
    for told in answer.rows:
        row, ended = told.row, told.superseded_by
        gone = "" if ended is None else f"by {ended.event_id[:8]} at {_time(ended.received_at)}"
        cells = (_time(row.at), _time(row.received_at), row.topic, row.key, words(row.kind), gone, gist(row.value))
        table.add_row(*(Text(cell, "dim" if ended else "") for cell in cells))
    console.print(table)
    more = "; there are more, --limit says how many are shown" if answer.more else ""
    console.print(f"{len(answer.rows):,} records{more}", style="dim", highlight=False)


def gist(value: bytes, most: int = 200) -> str:
    """What a record says beside whose it is and when, on a line."""
    try:
        record = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{len(value):,} bytes"
    if not isinstance(record, dict):
        return str(record)[:most]
    said = ", ".join(f"{name} {told}" for name, told in record.items() if name not in _SAID and _plain(told))
    return said if len(said) <= most else f"{said[:most]}\N{HORIZONTAL ELLIPSIS}"


def _plain(told: Any) -> bool:
    return told is not None and told != "" and not isinstance(told, dict | list)


def _time(at: int) -> str:
    return f"{new_york(at):%Y-%m-%d %H:%M:%S}"


def rows_of(answers: Sequence[Told]) -> list[Row]:
    """The rows alone."""
    return [told.row for told in answers]
