"""The close of a day: every account's snapshot, which opens the next one, and the corrections that found no fill."""

from __future__ import annotations

from collections.abc import Iterator

from risk.block import AccountBlock
from risk.ladder import LEVELS
from risk.ledger import Entry
from schemas.inputs import Fill, Snapshot, SnapshotFill, SnapshotPosition
from schemas.scalars import Money, Quantity, Time
from transforms.figures import priced
from transforms.lines import Lines, line_of
from transforms.positions import refusal
from transforms.state import ShardState


def close_day(state: ShardState, block: AccountBlock) -> Iterator[Lines]:
    """The closing snapshot of every account, one at a time, and the corrections whose fill never came."""
    fills: dict[str, list[str]] = {}
    for account_id, fill_id, entry in state.ledger.entries():
        if entry.original:
            fills.setdefault(account_id, []).append(fill_id)
        else:
            orphan = _orphan(account_id, fill_id, entry)
            reason = f"{orphan.kind} of fill {fill_id}: the fill never came before the day closed"
            yield "deadletter.v1", [line_of(refusal(orphan, reason))]
    paid: dict[str, list[str]] = {}
    for account_id, cash_id in state.ledger.paid():
        paid.setdefault(account_id, []).append(cash_id)
    for account in block.accounts.tolist():
        account_id = state.book.ids[account]
        effects = tuple(
            _effect(fill_id, state.ledger.entry(account_id, fill_id)) for fill_id in sorted(fills.pop(account_id, ()))
        )
        snapshot = _snapshot(state, block.instant, account, effects, tuple(sorted(paid.pop(account_id, ()))))
        yield "snapshots.v1", [line_of(snapshot)]


def _snapshot(
    state: ShardState, instant: int, account: int, fills: tuple[SnapshotFill, ...], cash_ids: tuple[str, ...]
) -> Snapshot:
    ladder, closing = state.ladder, Time(instant)
    flags, since = int(ladder.flags[account]), int(ladder.deficient_since[account])
    return Snapshot(
        arrived_at=closing,
        account_id=state.book.ids[account],
        as_of=closing,
        positions=tuple(
            SnapshotPosition(symbol=p.symbol, quantity=p.quantity, close=p.price if p.price > 0 else None)
            for p in priced(state, account, instant)
        ),
        cash=Money(state.book.cash[account]),
        fills=fills,
        cash_ids=cash_ids,
        levels=tuple(LEVELS[n + 1] for n in range(4) if flags >> n & 1),
        deficient_since=None if since < 0 else Time(since),
        opened={LEVELS[k.bit_length()]: v for k, v in sorted(ladder.opened.get(account, {}).items())},
        audit_head=ladder.heads[account],
        cut=closing,
    )


def _effect(fill_id: str, entry: Entry) -> SnapshotFill:
    _, symbol, quantity, price, fees, executed_at, _ = entry.latest
    return SnapshotFill(
        fill_id=fill_id,
        version=entry.version,
        symbol=symbol,
        quantity=Quantity(quantity),
        price=price,
        fees=Money(fees),
        executed_at=None if executed_at < 0 else Time(executed_at),
        arrived_at=Time(entry.applied_at),
        effective=entry.effect() is not None,
    )


def _orphan(account_id: str, fill_id: str, entry: Entry) -> Fill:
    kind, symbol, quantity, price, fees, executed_at, own_id = entry.latest
    return Fill(
        fill_id=own_id,
        account_id=account_id,
        symbol=symbol,
        quantity=Quantity(quantity),
        price=price,
        fees=Money(fees),
        executed_at=None if executed_at < 0 else Time(executed_at),
        kind=kind,
        ref_fill_id=fill_id,
        version=entry.version,
    )
