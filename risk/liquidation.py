"""Liquidation: which positions to close, how many, in what order and why, so that an account is just above its line.

The line is the requirement and a buffer on it, after what trading costs. Where an account has few enough books all of
them are candidates, the cheapest first, and the first that cures is the best there is. Otherwise the hedge group that
gains most for a dollar traded is closed, again and again, the last one sized; then every order is cut to where a lot
less would not do. What is best, and the search: risk.sizing. What is closed together: risk.hedge_groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from risk.amounts import TICKS_PER_DOLLAR, Floats, Ints
from risk.block import AccountBlock
from risk.hedge_groups import MILLION, HedgeGroups, hedge_groups
from risk.lines import RULES
from risk.rulebook import LiquidationRules
from risk.sizing import Sizing
from risk.whatif import WhatIf


@dataclass(frozen=True, slots=True)
class Order:
    """One order.

    Fields:
      position: place in the block. units: of the underlying, signed: what is sold is negative.
      price, limit: dollars a unit, as assumed and at worst. value, cost: ticks, not negative.
      why: what it was margined by, and what closing that adds to excess.
    """

    position: int
    units: float
    price: float
    limit: float
    value: float
    cost: float
    why: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """Orders as they are to be sent, one after another, and how the account stands once they fill at assumed prices.

    Fields:
      equity, requirement, excess: ticks, costs paid.
      cured: whether excess is the buffer or more. reason: why not; empty where it is.
      unsecured_debit: ticks that equity is below zero even when all is sold that has a price; 0.0 where it is cured.
      exact: whether it is the best there is; otherwise only no order, or hedge, can be a lot less.
    """

    orders: tuple[Order, ...]
    equity: float
    requirement: float
    excess: float
    cured: bool
    unsecured_debit: float
    reason: str
    exact: bool


def propose(
    block: AccountBlock,
    *,
    names: Sequence[str],
    last: NDArray[np.bool_] | None = None,
    rules: LiquidationRules | None = None,
) -> Proposal:
    """What to close of the one account of a block.

    Args:
      names: the symbol at each row that the block's symbols may be.
      last: (p,) positions to liquidate last: only where the others do not cure, and least of them. None unless given.
      rules: those of the block's rulebook unless given.

    Raises:
      ValueError: not one account, or no rules of liquidation.
    """
    rules = rules or block.rules.liquidation
    if rules is None:
        raise ValueError("rules: expected those of liquidation, for the rulebook has none")
    if len(block.accounts) != 1:
        raise ValueError(f"block: expected one account, found {len(block.accounts)}")
    symbols = [names[row] for row in block.symbols.tolist()]
    # By symbol, so that the order in which they are held cannot matter.
    order = np.array(sorted(range(len(symbols)), key=lambda at: (symbols[at], -block.quantity[at])), np.int64)
    own, last = _ordered(block, order), np.zeros(len(order), np.bool_) if last is None else last[order]
    groups = hedge_groups(own, rules.lot)
    account = WhatIf(own, groups, rules)
    sizing = Sizing(account, last)
    lots = best = sizing.best()
    if lots is None:
        lots = sizing.in_rounds()
    equity, requirement = (float(figure[0]) for figure in account.figures(lots[None]))
    cured, debit, reason = bool(sizing.cures(lots[None])[0]), 0.0, ""
    if not cured:
        debit = max(0.0, -float(account.figures(groups.lots[None])[0][0]))
        reason = _reason(own, account, [symbols[at] for at in order.tolist()], debit)
    return Proposal(
        orders=tuple(_orders(own, account, lots, last, order.tolist(), rules)),
        equity=equity,
        requirement=requirement,
        excess=equity - requirement,
        cured=cured,
        unsecured_debit=debit,
        reason=reason,
        exact=best is not None,
    )


def _ordered(block: AccountBlock, order: Ints) -> AccountBlock:
    """The block with its positions in another order."""
    return replace(
        block,
        symbols=block.symbols[order],
        quantity=block.quantity[order],
        price=block.price[order],
        beta=block.beta[order],
        unreliable=block.unreliable[order],
        unpriced=block.unpriced[order],
        defaulted=block.defaulted[order],
        volatility=None if block.volatility is None else block.volatility[order],
    )


def _reason(block: AccountBlock, account: WhatIf, symbols: Sequence[str], debit: float) -> str:
    """Why an account cannot be cured: all that stands against it."""
    groups, reasons = account.groups, list[str]()
    held = np.where(block.unpriced, 0.0, np.rint(np.abs(block.quantity) * MILLION))
    limited = [symbols[at] for at in np.flatnonzero(held > account.cap).tolist()]
    unpriced = [symbols[at] for at in np.flatnonzero(block.unpriced & (block.quantity != 0)).tolist()]
    if debit:
        reasons.append("unsecured debit: equity is below zero when all is sold")
    if limited:
        reasons.append(f"no more may be traded of {', '.join(limited)}: share of volume")
    if unpriced:
        reasons.append(f"no price: {', '.join(unpriced)}")
    if not reasons:
        reasons.append("no sale adds to excess" if len(groups.lots) else "no position")
    return "; ".join(reasons)


def _orders(
    block: AccountBlock,
    account: WhatIf,
    lots: Floats,
    last: NDArray[np.bool_],
    places: list[int],
    rules: LiquidationRules,
) -> list[Order]:
    """Orders for lots (g,), as they are to be sent: hedges whole, what gains most for a dollar first."""
    traded, groups = account.traded(lots), account.groups
    values, costs = account.values(traded), account.costs(traded)
    gained = _gained(account, lots)
    worth = np.maximum(account.values(account.traded(np.diag(lots))).sum(axis=1), 1.0)
    deferred = [bool(last[groups.members(group)].any()) for group in range(len(lots))]
    taken = sorted(
        np.flatnonzero(lots).tolist(), key=lambda group: (deferred[group], -gained[group] / worth[group], group)
    )
    turns, why = dict[int, list[int]](), dict[int, list[str]]()
    for turn, group in enumerate(taken):
        for at in groups.members(group).tolist():
            turns.setdefault(at, []).append(turn)
            why.setdefault(at, []).append(_why(groups, group, gained[group]))
    option = block.is_option()

    def sent(at: int) -> tuple:
        # What is short is bought back before what covers it goes, also where that is sold with other groups: an option
        # before the stock that it is written on. A long option goes last, for until then it protects.
        short = block.quantity[at] < 0
        return (min if short else max)(turns[at]), not short, option[at] != short, at

    found = []
    for at in sorted(turns, key=sent):
        side, price = -float(np.sign(block.quantity[at])), float(block.price[at])
        found.append(
            Order(
                position=places[at],
                units=side * float(traded[at]) / MILLION,
                price=price,
                limit=float(np.rint(price * (1 + side * rules.price_band) * TICKS_PER_DOLLAR) / TICKS_PER_DOLLAR),
                value=float(values[at]),
                cost=float(costs[at]),
                why="; ".join(why[at]),
            )
        )
    return found


def _gained(account: WhatIf, lots: Floats) -> Floats:
    """(g,) ticks of excess that lots (g,) of each group add to those of all others."""
    without = np.repeat(lots[None], len(lots) + 1, axis=0)
    without[np.arange(len(lots)), np.arange(len(lots))] = 0.0
    equity, requirement = account.figures(without)
    excess = equity - requirement
    return excess[-1] - excess[:-1]


def _why(groups: HedgeGroups, group: int, gained: float) -> str:
    parameter, what = RULES[groups.rule[group]]
    return f"{what} ({parameter}): adds {gained / TICKS_PER_DOLLAR:,.2f} to excess"
