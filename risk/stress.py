"""The beta-weighted SPY ladder (rules.md section 6).

A SPY move m moves a stock by beta x m, never below -100%; an option is revalued in full at what underlies it then.
Equity after a move is what everything would be worth at market, options too. Two conventions are reported: the
requirement held at its base, and requirement and equity recomputed by the rules at the stressed prices.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from risk.amounts import Floats, ticks
from risk.block import AccountBlock
from risk.margin import lines_of, requirement_of
from risk.terms import OPTION
from risk.valuation import gains, with_volatilities, worth_of

#: Of the spot, to either side: what an option gains from one to the other is its delta.
_BUMP = 0.01


def run_severe(block: AccountBlock) -> None:
    """Add severe_equity (n,), after the rulebook's severe move, to the measures, in ticks."""
    pnl = _pnl(np.array([block.rules.severe_move]), block)[0]
    block.measures["severe_equity"] = _worth(block) + block.sums(pnl)


def run_stress(block: AccountBlock) -> None:
    """Add exposure (n,), and by move (moves, n) stress_pnl, stress_equity, stress_requirement and stress_excess to the
    measures, in ticks."""
    moves = np.asarray(block.rules.spy_moves)
    add, accounts = block.measures, len(block.accounts)
    if block.rules.options is not None:
        # Once, for what a price implies must not be found anew at a moved one.
        block = with_volatilities(block)
    pnl = _pnl(moves, block)
    add["stress_pnl"] = block.sums(pnl)
    add["stress_equity"] = equity = _worth(block) + add["stress_pnl"]
    if block.rules.options is None:
        maintenance, addon, _ = requirement_of(ticks(block.values) + pnl, block)
        add["exposure"] = block.sums(ticks(block.values * block.beta))
        requirement = maintenance + addon
    else:
        again = [lines_of(_moved(block, move)) for move in moves[:, None]]
        assert block.terms is not None
        up, down = _gains(block, np.array([[_BUMP], [-_BUMP]]) * np.ones(len(block.terms.price)))
        add["exposure"] = block.sums(ticks(block.quantity * (up - down) / (2 * _BUMP) * block.beta))
        requirement = np.stack([found.sums(found.requirement, accounts) for found in again])
        equity = block.cash + np.stack([found.sums(found.equity, accounts) for found in again])
    add["stress_requirement"] = requirement
    add["stress_excess"] = equity - requirement


def _worth(block: AccountBlock) -> Floats:
    """(n,) ticks of cash and everything at market, which is equity where no option is in it."""
    if block.rules.options is None:
        return block.measures["equity"]
    return block.cash + block.sums(worth_of(block))


def _pnl(moves: Floats, block: AccountBlock) -> Floats:
    """(moves, p) ticks of each position."""
    if block.rules.options is None:
        return ticks(block.values * np.maximum(moves[:, None] * block.beta, -1.0))
    block = with_volatilities(block)
    assert block.terms is not None
    return ticks(block.quantity * _gains(block, moves[:, None] * block.terms.beta))


def _gains(block: AccountBlock, moves: Floats) -> Floats:
    """(k, p) dollars that a unit of each position gains at (k, symbols) moves of what underlies it."""
    at, out = np.flatnonzero(~block.unpriced), np.zeros((len(moves), len(block.symbols)))
    out[:, at] = gains(block, at, moves)
    return out


def _moved(block: AccountBlock, move: Floats) -> AccountBlock:
    """The block after a SPY move, (1,)."""
    market = block.terms
    assert market is not None
    share = np.maximum(move * market.beta, -1.0)
    price = np.where(market.type == OPTION, market.price, market.price * (1.0 + share))
    option = market.type[block.symbols] == OPTION
    gained = _gains(block, share[None])[0]
    own = np.where(option, block.price + gained, block.price * (1.0 + share[block.symbols]))
    price[block.symbols[option]] = own[option]
    # What was published is around the price of today: where that moves, the model says it.
    published = None if block.published is None else np.where(share == 0.0, block.published, np.nan)
    return replace(block, price=own, terms=replace(market, price=price), published=published)
