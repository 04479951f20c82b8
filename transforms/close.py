"""The close of a day: every account's snapshot, which opens the next one, and the corrections that found no fill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from risk.block import AccountBlock
from risk.ladder import LEVELS
from schemas.inputs import Snapshot, SnapshotFill, SnapshotPosition
from schemas.outputs import DeadLetter
from schemas.scalars import Money, Quantity, Time
from transforms.figures import priced
from transforms.state import ShardState


def close_day(state: ShardState, block: AccountBlock) -> Iterator[tuple[str, Any]]:
    """The closing snapshot of every account, and the corrections whose fill never came."""
    effects: dict[str, list[SnapshotFill]] = {}
    for bucket in state.ledger.buckets:
        for key, entry in bucket.items():
            if entry.original:
                account_id, fill_id = key.split("\0", 1)
                _, _, symbol, quantity, price, fees, executed_at, _ = entry.latest
                effects.setdefault(account_id, []).append(
                    SnapshotFill(
                        fill_id=fill_id,
                        version=max(entry.versions),
                        symbol=symbol,
                        quantity=Quantity(quantity),
                        price=price,
                        fees=Money(fees),
                        executed_at=None if executed_at < 0 else Time(executed_at),
                        arrived_at=Time(entry.applied_at),
                        effective=entry.effect is not None,
                    )
                )
    paid: dict[str, list[str]] = {}
    for key in state.ledger.cash:
        account_id, cash_id = key.split("\0", 1)
        paid.setdefault(account_id, []).append(cash_id)
    for account in block.accounts.tolist():
        account_id, ladder = state.book.ids[account], state.ladder
        flags, since = int(ladder.flags[account]), int(ladder.deficient_since[account])
        yield (
            "snapshots.v1",
            Snapshot(
                arrived_at=Time(block.instant),
                account_id=account_id,
                as_of=Time(block.instant),
                positions=tuple(
                    SnapshotPosition(symbol=p.symbol, quantity=p.quantity, close=p.price if p.price > 0 else None)
                    for p in priced(state, account, block.instant)
                ),
                cash=Money(state.book.cash[account]),
                fills=tuple(sorted(effects.get(account_id, []), key=lambda f: f.fill_id)),
                cash_ids=tuple(sorted(paid.get(account_id, []))),
                levels=tuple(LEVELS[n + 1] for n in range(4) if flags >> n & 1),
                deficient_since=None if since < 0 else Time(since),
                opened={LEVELS[k.bit_length()]: v for k, v in sorted(ladder.opened.get(account, {}).items())},
                audit_head=ladder.heads[account],
                cut=Time(block.instant),
            ),
        )
    for root, content in state.ledger.orphans():
        payload = repr(content).encode()
        reason = f"{content[0]} of fill {root}: the fill never came before the day closed"
        yield (
            "deadletter.v1",
            DeadLetter(topic="fills.v1", partition=-1, offset=-1, payload=payload, reason=reason),
        )
