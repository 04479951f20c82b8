"""What accounts bought and sold on a day, as Regulation T sees it: net by security, from the fills that stand."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from risk.amounts import TICKS_PER_DOLLAR, Floats, Ints
from transforms.state import ShardState


def day_trades(state: ShardState, accounts: Ints, since: int) -> tuple[Floats, Floats]:
    """(n,) ticks of what the accounts at the rows bought or sold short after an instant, microseconds, and of what they
    sold or covered: of each security the net, at the average price of its fills."""
    opened, closed = np.zeros(len(accounts)), np.zeros(len(accounts))
    book, market = state.book, state.market
    for place, row in enumerate(accounts.tolist()):
        # Whole millionths and ticks, so that the order of the fills cannot matter.
        traded: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for entry in state.ledger.of(book.ids[row]).fills.values():
            fill = entry.effect()
            if fill is None or entry.applied_at <= since:
                continue
            own = traded[fill.symbol]
            own[0] += fill.quantity
            own[1] += abs(fill.quantity)
            own[2] += round(abs(fill.quantity) * entry.size * fill.price * TICKS_PER_DOLLAR / 1e6)
        if not traded:
            continue
        held = book.held(np.array([row]), market)
        now = {market.symbols[symbol]: quantity for symbol, quantity in zip(held.symbols, held.quantity, strict=True)}
        for symbol, (net, gross, value) in sorted(traded.items()):
            after = int(now.get(symbol, 0))
            before = after - net
            price = value / gross if gross else 0.0
            same = before * after >= 0
            opened[place] += np.rint(max(abs(after) - abs(before) if same else abs(after), 0.0) * price)
            closed[place] += np.rint(max(abs(before) - abs(after) if same else abs(before), 0.0) * price)
    return opened, closed
