"""Liquidations as a replay left them: each from the record that made it due to its end, and what was proposed of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.folder import check_folder, read
from ops.formats import cents, moment, text_table, words
from schemas import topics
from schemas.inputs import LiquidationOrder
from schemas.outputs import Liquidation
from schemas.scalars import QUANTITY_SCALE, Money, Time

#: What a liquidation is, other than the steps of what is proposed of it.
DUE, ENDS = "DUE", ("CLEARED", "CANCELLED")
#: Of an instant: a correction may end a liquidation that is due again at once; a proposal may be approved at once.
_ORDER = (*ENDS, DUE, "IMPOSSIBLE", "PROPOSED", "APPROVED", "FILLED", "EXECUTED", "REJECTED", "WITHDRAWN")
_PROPOSALS_END = ("REJECTED", "EXECUTED", "WITHDRAWN", "IMPOSSIBLE")
_COLUMNS = ("account", "status", "lacking", "due", "deficiency $", "to close $", "proposal", "ended")
_PROPOSED = ("account", "proposed", "status", "ended", "order", "filled", "why", "by")


@dataclass(frozen=True, slots=True)
class Proposed:
    """What was proposed of a liquidation, after its last step; IMPOSSIBLE: nothing that may be sold helps.

    Fields:
      orders: none of what is impossible. market_value_to_close: of what is not filled, ticks.
      unsecured_debit, reason: as it was proposed. by: who approved or rejected.
    """

    proposal_id: str
    status: str
    proposed_at: Time
    orders: tuple[LiquidationOrder, ...]
    market_value_to_close: Money
    unsecured_debit: Money
    reason: str
    by: str | None
    ended_at: Time | None


@dataclass(frozen=True, slots=True)
class Found:
    """A liquidation: its figures as it became due, and whether it still is.

    due_at: when it became due; None of one from before the folder begins, whose figures are of its first record here.
    """

    account_id: str
    status: str
    rule: str
    due_at: Time | None
    deficient_since: Time | None
    deficiency: Money
    market_value_to_close: Money
    ended_at: Time | None
    proposals: tuple[Proposed, ...] = ()


def read_liquidations(out: Path, account: str | None = None) -> list[Found]:
    """The liquidations of an output folder, by account and time. Raises OutcomeError."""
    check_folder(out)
    return fold(read(out, topics.LIQUIDATIONS, account=account))


def in_order(steps: Iterable[Liquidation]) -> list[Liquidation]:
    """Steps in the order in which they were taken. A folder has those of an instant in no such order."""
    return sorted(
        steps, key=lambda step: (step.as_of, _ORDER.index(step.status), sum(abs(own.filled) for own in step.orders))
    )


def fold(steps: Iterable[Liquidation]) -> list[Found]:
    """The liquidations that steps are of, by account and time."""
    found: dict[str, list[Found]] = {}
    # Of each proposal: which of its account's liquidations it is of. There is one at a time, so the newest then.
    places: dict[tuple[str, str], int] = {}
    for step in in_order(steps):
        own = found.setdefault(step.account_id, [])
        if step.status == DUE or not own:
            own.append(_due(step))
        if step.status in ENDS:
            own[-1] = replace(own[-1], status=step.status, ended_at=step.as_of)
        elif step.status != DUE:
            at = places.setdefault((step.account_id, step.cause_id), len(own) - 1)
            known = {proposal.proposal_id: proposal for proposal in own[at].proposals}
            known[step.cause_id] = _proposed(step, known.get(step.cause_id))
            own[at] = replace(own[at], proposals=tuple(known.values()))
    return [row for account in sorted(found) for row in found[account]]


def _due(step: Liquidation) -> Found:
    before = step.status != DUE
    return Found(
        account_id=step.account_id,
        status=DUE,
        rule=step.rule,
        due_at=None if before else step.as_of,
        deficient_since=step.deficient_since,
        deficiency=step.deficiency,
        market_value_to_close=step.market_value_to_close,
        ended_at=None,
    )


def _proposed(step: Liquidation, before: Proposed | None) -> Proposed:
    return Proposed(
        proposal_id=step.cause_id,
        # A part of it that is filled leaves it approved.
        status="APPROVED" if step.status == "FILLED" else step.status,
        proposed_at=step.as_of if before is None else before.proposed_at,
        orders=step.orders,
        market_value_to_close=step.market_value_to_close,
        unsecured_debit=step.unsecured_debit if before is None else before.unsecured_debit,
        reason=step.reason if before is None else before.reason,
        by=step.by,
        ended_at=step.as_of if step.status in _PROPOSALS_END else None,
    )


def render(found: Sequence[Found], console: Console) -> None:
    """Print a row a liquidation, and a row an order of what was proposed."""
    if not found:
        console.print("No liquidations.")
        return
    still = sum(row.ended_at is None for row in found)
    title = f"Liquidations: {len(found):,}, of which {still:,} still due (times in New York)"
    table = text_table(title, *_COLUMNS, right="deficiency $|to close $")
    for row in found:
        table.add_row(
            Text(row.account_id),
            Text(words(row.status), "" if row.ended_at else "bold red"),
            moment(row.deficient_since),
            moment(row.due_at),
            cents(row.deficiency),
            cents(row.market_value_to_close),
            words(row.proposals[-1].status) if row.proposals else "",
            moment(row.ended_at),
        )
    console.print(table)
    if any(row.proposals for row in found):
        console.print(_orders(found))


def _orders(found: Sequence[Found]) -> Table:
    table = text_table("\nProposed", *_PROPOSED, right="filled")
    for row in found:
        for own in row.proposals:
            head = (Text(row.account_id), moment(own.proposed_at), words(own.status), moment(own.ended_at))
            debit = f"unsecured debit {cents(own.unsecured_debit)}" if own.unsecured_debit else ""
            said = "; ".join(part for part in (own.reason, debit) if part)
            lines = [(order_text(order), _quantity(order.filled), order.why) for order in own.orders]
            if said or not lines:
                lines.append(("", "", said))
            for number, (text, filled, why) in enumerate(lines):
                cells = head if number == 0 else ("", "", "", "")
                table.add_row(*cells, Text(text), filled, Text(why), Text(own.by or "") if number == 0 else "")
    return table


def orders_text(orders: Iterable[LiquidationOrder]) -> Iterator[str]:
    """Each order on a line, with what of it is filled."""
    for order in orders:
        yield order_text(order) + (f", {_quantity(order.filled)} filled" if order.filled else "")


def order_text(order: LiquidationOrder) -> str:
    """An order: its quantity, what of, the price that it was sized at, and the worst that it may fill at."""
    return f"{_quantity(order.quantity)} {order.symbol} @ {order.price:,.10g}, limit {order.limit:,.10g}"


def _quantity(millionths: int) -> str:
    return f"{millionths / QUANTITY_SCALE:,.10g}".replace("-", "\N{MINUS SIGN}")
