"""The whole story of one decision: what was decided, by which rule, on which data, and whether it comes out again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from ops.audit.query import Told, gist, text_of
from ops.audit.question import Question
from ops.audit.reader import Reader
from ops.audit.recompute import Inputs, Recomputed, RecomputeError, Recorded, recompute
from ops.formats import new_york, text_table, words
from pipeline.store import Store
from schemas.archive import Row
from schemas.codec import from_json
from schemas.outputs import Audit
from schemas.topics import AUDIT, INPUTS, OUTPUTS
from transforms.parse import Decode, decode_plain

#: Records of the account that came in before the decision, that are told of, the newest.
RECENT = 20
_OWN = tuple(topic.name for topic in INPUTS if not topic.market)


@dataclass(frozen=True)
class Decision:
    """A link of an account's chain, and what it stands among.

    Fields:
      row, link: as stored. asked: the event that was asked for, where that is another of the same instant.
      followed: what else the account was told at the instant. led: records of the account that came in before it, the
      newest. episode: the links of the same episode. rulebook: the texts that its rules were read from.
      recomputed: everything that the account was told at the instant, again.
    """

    row: Row
    link: Audit
    asked: Row
    followed: tuple[Told, ...]
    led: tuple[Told, ...]
    episode: tuple[Told, ...]
    rulebook: tuple[str, ...]
    recomputed: Recomputed

    @property
    def again(self) -> Audit | None:
        """The link as it came out again: the one that has the same place in its chain; None: there is none."""
        made = [from_json(Audit, line) for line in self.recomputed.recomputed.get(AUDIT.name, ())]
        return next((own for own in made if own.previous == self.link.previous), None)

    def document(self) -> dict[str, Any]:
        """The story as plain data."""
        return {
            "decision": self.link,
            "asked": self.asked.event_id,
            "received_at": self.row.received_at,
            "place": self.row.place,
            "link": self.row.link,
            "rulebook": self.rulebook,
            "followed": [told.document() for told in self.followed],
            "led": [told.document() for told in self.led],
            "episode": [told.row.event_id for told in self.episode],
            "recomputed": {
                "equal": self.recomputed.equal,
                "records": sum(map(len, self.recomputed.recorded.values())),
                "inputs": self.recomputed.inputs,
                "decision": self.again,
                "differences": [
                    {"topic": topic, "recorded": one.decode(), "recomputed": other.decode()}
                    for topic, one, other in self.recomputed.differences()
                ],
            },
        }


def decision_of(reader: Reader, store: Store, event_id: str, decode: Decode = decode_plain) -> Decision:
    """The decision of an audit link, or of an event that it led to.

    Raises:
      RecomputeError: there is no such event, or no decision of its instant. StoreError: something cannot be read.
    """
    asked = next(reader.rows(Question(event_ids=(event_id,))), None)
    if asked is None:
        raise RecomputeError(
            f"{event_id}: expected an event of the archive, found none; `margin audit query` lists them"
        )
    if asked.topic not in {topic.name for topic in OUTPUTS}:
        raise RecomputeError(f"{event_id}: expected a decision or what it led to, found a record of {asked.topic}")
    account, at = asked.key, int(asked.at)
    told = list(reader.rows(Question(keys=(account,), begin=at, end=at + 1, log=asked.log, topics=_OUTPUT)))
    links = [(row, _link(row, decode)) for row in told if row.topic == AUDIT.name]
    row, link = next(((r, own) for r, own in links if _tells_of(own, asked)), links[0] if links else (None, None))
    if row is None or link is None:
        raise RecomputeError(f"{event_id}: nothing was decided on {account} at {asked.at.text()}; it is a figure")
    recorded = Recorded(store, asked.log)
    chain = reader.rows(Question(topics=(AUDIT.name,), keys=(account,), log=asked.log))
    before = reader.rows(Question(topics=_OWN, keys=(account,), received_before=at, log=asked.log))
    episode = [own for own in chain if own.correlation_id is not None and own.correlation_id == row.correlation_id]
    return Decision(
        row=row,
        link=link,
        asked=asked,
        followed=_told((own for own in told if own.event_id != row.event_id), decode),
        led=_told(sorted(before, key=lambda own: own.received_at)[-RECENT:], decode),
        episode=_told(episode, decode),
        rulebook=tuple(recorded.facts.get(link.rulebook, ())),
        recomputed=recompute(Inputs(reader, recorded, decode), account, at),
    )


_OUTPUT = tuple(topic.name for topic in OUTPUTS)


def _link(row: Row, decode: Decode) -> Audit:
    text = text_of(row, decode)
    if text is None:
        raise RecomputeError(f"{row.place}: expected a link of an account's chain, found what cannot be read")
    found: Audit = from_json(Audit, text)
    return found


def _tells_of(link: Audit, asked: Row) -> bool:
    return asked.event_id in (link.event_id, *link.inputs.get("causes", "").split())


def _told(rows: Iterable[Row], decode: Decode) -> tuple[Told, ...]:
    return tuple(Told(row, None, text_of(row, decode)) for row in rows)


def render(found: Decision, console: Console) -> None:
    """Print the story."""
    link, row = found.link, found.row
    console.print(
        Text(f"{words(link.kind)} on {link.account_id}, {new_york(link.as_of):%d %b %Y %H:%M:%S.%f} New York", "bold")
    )
    for name, value in (
        ("link", link.event_id),
        ("follows from", link.causation_id or ""),
        ("is about", link.correlation_id or ""),
        ("supersedes", ", ".join(link.supersedes)),
        ("link before it", link.previous or "none, the chain begins here"),
        (
            "rules",
            f"{link.rulebook}, as its text was kept"
            if found.rulebook
            else f"{link.rulebook}, of which no text was kept",
        ),
        ("stored as", f"{row.place}, chained as {row.link}"),
    ):
        if value:
            console.print(Text.assemble((f"{name:>15}  ", "dim"), value))
    _figures(found, console)
    _positions(link, console)
    _records("What came in before it, of the account", found.led, console)
    _records("What else was told at that instant", found.followed, console)
    _verdict(found, console)


#: Longer facts are words, not figures.
_FIGURE = 32


def _figures(found: Decision, console: Console) -> None:
    made = {} if found.again is None else found.again.inputs
    table = text_table("\nOn these figures", "figure", "recorded", "recomputed", right="recorded|recomputed")
    facts = found.link.inputs
    for name, value in facts.items():
        if len(value) <= _FIGURE:
            other = made.get(name, "")
            table.add_row(words(name), value, Text(other, "green" if other == value else "bold red"))
    console.print(table)
    for name, value in facts.items():
        if len(value) > _FIGURE:
            again = "" if made.get(name) == value else f"; recomputed: {made.get(name, 'nothing')}"
            console.print(Text.assemble((f"{words(name)}  ", "dim"), value, (again, "bold red")))
    if found.link.thresholds:
        lines = ", ".join(f"{words(name)} {value}" for name, value in found.link.thresholds.items())
        console.print(Text.assemble(("compared with  ", "dim"), lines))


def _positions(link: Audit, console: Console) -> None:
    if not link.positions:
        return
    columns = ("symbol", "quantity", "price", "state", "source", "as of", "beta")
    table = text_table("\nOn these positions", *columns, right="quantity|price|beta")
    for own in link.positions:
        as_of = "" if own.as_of is None else f"{new_york(own.as_of):%H:%M:%S.%f}"
        beta = "" if own.beta is None else f"{own.beta:.4g}"
        table.add_row(
            Text(own.symbol), f"{own.quantity / 1e6:,g}", f"{own.price:,.4f}", own.state, own.source, as_of, beta
        )
    console.print(table)


def _records(title: str, told: tuple[Told, ...], console: Console) -> None:
    if told:
        table = text_table(f"\n{title}", "received", "topic", "what", "event", "what it says")
        for own in told:
            row = own.row
            time = f"{new_york(row.received_at):%H:%M:%S.%f}"
            table.add_row(time, row.topic, words(row.kind), row.event_id[:8], Text(gist(own)))
        console.print(table)


def _verdict(found: Decision, console: Console) -> None:
    made, count = found.recomputed, sum(map(len, found.recomputed.recorded.values()))
    if made.equal:
        console.print(
            f"\n[bold green]Recomputed from the store alone[/], from {made.inputs:,} records that came in and the "
            f"rulebook as it was kept: all {count:,} records of the instant are equal, byte by byte.",
            highlight=False,
        )
        return
    console.print("\n[bold red]Recomputed from the store alone, it is not what was recorded[/]:", highlight=False)
    for topic, one, other in made.differences():
        console.print(
            Text(f"{topic}\n  recorded    {one.decode() or 'nothing'}\n  recomputed  {other.decode() or 'nothing'}")
        )
