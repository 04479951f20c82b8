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
from risk.terms import OPTION, Terms
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
    moves, add = np.asarray(block.rules.spy_moves), block.measures
    pnl, deltas, requirement, equity = (_at_one_rate if block.rules.options is None else _by_lines)(block, moves)
    add["stress_pnl"] = block.sums(pnl)
    add["stress_equity"] = _worth(block) + add["stress_pnl"]
    add["exposure"] = block.sums(ticks(deltas * block.beta))
    add["stress_requirement"] = requirement
    add["stress_excess"] = (add["stress_equity"] if equity is None else equity) - requirement


def _at_one_rate(block: AccountBlock, moves: Floats) -> tuple[Floats, Floats, Floats, None]:
    """(moves, p) ticks that positions gain, (p,) dollars that they move with, (moves, n) ticks of requirement; equity
    is what everything is worth."""
    pnl = _pnl(moves, block)
    maintenance, addon, _ = requirement_of(ticks(block.values) + pnl, block)
    return pnl, block.values, maintenance + addon, None


def _by_lines(block: AccountBlock, moves: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The same by lines, and (moves, n) ticks of the equity that they give."""
    # Once, for what a price implies must not be found anew at a moved one.
    block, accounts = with_volatilities(block), len(block.accounts)
    assert block.terms is not None
    # All moves and both bumps at once: the dear part of a value is its tree, which is as wide as they are.
    shares = np.maximum(moves[:, None] * block.terms.beta, -1.0)
    bumps = np.array([[_BUMP], [-_BUMP]]) * np.ones(shares.shape[1])
    *gained, up, down = _gains(block, np.concatenate([shares, bumps]))
    again = lines_of(_moved(block, shares, np.array(gained)))
    requirement, equity = (
        again.sums(amounts, len(moves) * accounts).reshape(len(moves), accounts)
        for amounts in (again.requirement, again.equity)
    )
    pnl, deltas = ticks(block.quantity * np.array(gained)), block.quantity * (up - down) / (2 * _BUMP)
    return pnl, deltas, requirement, block.cash + equity


def distance_to_call(moves: Floats, excess: Floats) -> Floats:
    """(n,) the SPY move nearest to none at which an account has no excess left, between the moves of the ladder by a
    straight line; NaN where there is none on it.

    Args:
      moves: (k,) ascending. excess: (k, n) ticks after each, requirement recomputed.
    """
    before, after = excess[:-1], excess[1:]
    crosses = (before < 0) != (after < 0)
    part = np.divide(before, before - after, out=np.zeros_like(before), where=crosses)
    at = np.where(crosses, moves[:-1, None] + np.diff(moves)[:, None] * part, np.inf)
    nearest = np.take_along_axis(at, np.abs(at).argmin(axis=0)[None], axis=0)[0]
    return np.where(np.isfinite(nearest), nearest, np.nan)


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


def _moved(block: AccountBlock, shares: Floats, gained: Floats) -> AccountBlock:
    """The block after each of (k, symbols) moves of what underlies the symbols, by which a unit of each position gained
    (k, p) dollars: a symbol and an account are one for each move."""
    market, k = block.terms, len(shares)
    assert market is not None
    held, place = np.unique(np.stack([block.symbols, market.underlying[block.symbols]]), return_inverse=True)
    first = np.arange(k)[:, None] * len(held)
    own = market.at(held)
    price = np.where(own.type == OPTION, own.price, own.price * (1.0 + shares[:, held]))
    option = block.is_option()
    positions = np.where(option, block.price + gained, block.price * (1.0 + shares[:, block.symbols]))
    symbols = place.reshape(2, -1)[0]
    price[:, symbols[option]] = positions[:, option]
    terms = Terms(*(np.tile(getattr(own, name), k) for name in Terms.__slots__))
    underlying = np.searchsorted(held, own.underlying) + first
    # What was published is around the price of today: where that moves, the model says it.
    published = None
    if block.published is not None:
        published = np.where(shares[:, None, held] == 0.0, block.published[:, held], np.nan)
        published = np.concatenate([*published], axis=1)
    return block.repeated(
        k,
        symbols=(symbols + first).ravel(),
        price=positions.ravel(),
        terms=replace(terms, underlying=underlying.ravel(), price=price.ravel()),
        published=published,
    )
