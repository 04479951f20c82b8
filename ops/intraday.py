"""The intraday margin of a document with transactions: how each changed the margin level, and the day's deficit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np

from ops.document import NEW_YORK, Portfolio, PortfolioError, Transaction
from pipeline.day import sessions_around
from risk.amounts import TICKS_PER_DOLLAR
from risk.block import AccountBlock
from risk.intraday import UNKNOWN, intraday_deficits, is_minor
from risk.margin import margin_levels
from schemas.scalars import Time


def intraday(portfolio: Portfolio, block_of: Callable[[Portfolio], AccountBlock]) -> dict[str, Any] | None:
    """The path of IML through the document's transactions, which are applied to it one after another.

    A transaction is valued at its own price, as the price in force at its instant. (d)(2) does not apply to portfolio
    margin accounts: their deficit is zero.

    Raises:
      PortfolioError: a rulebook without intraday margin.
    """
    # Those without a time come last: what they change is computed once, and then put where it is worst.
    transactions = sorted(portfolio.transactions, key=lambda t: (t.executed_at is None, t.executed_at))
    if not transactions:
        return None
    rules = block_of(portfolio).rules.intraday
    if rules is None:
        raise PortfolioError(f"transactions: rulebook {block_of(portfolio).rules.name} has no intraday margin rule")
    if rules.cash_first:
        for moved in [t for t in transactions if t.amount is not None]:
            _book(portfolio, moved)
            transactions.remove(moved)
    (opening,), _ = margin_levels(block_of(portfolio), rules)
    changes = []
    for transaction in transactions:
        before = portfolio.model_copy(deep=True)
        if transaction.symbol is not None:
            before.instruments[transaction.symbol].price = transaction.price
        after = before.model_copy(deep=True)
        _book(after, transaction)
        (now,), (then,) = (margin_levels(block_of(own), rules)[0] for own in (after, before))
        changes.append(now - then)
        _book(portfolio, transaction)
    times = np.array([UNKNOWN if t.executed_at is None else t.executed_at for t in transactions], np.int64)
    zeros = np.zeros(len(changes), np.int64)
    deficit = float(intraday_deficits(np.array([opening]), zeros, np.array(changes), times)[0])
    block = block_of(portfolio)
    if block.portfolio is not None and block.portfolio[0]:
        deficit = 0.0
    level, equity = margin_levels(block, rules)
    day = dt.datetime.fromtimestamp(portfolio.as_of / 1e6, NEW_YORK).date()
    ends, sessions = int(Time.parse(dt.datetime.combine(day, dt.time(23), NEW_YORK))), sessions_around(day)
    return {
        "opening_iml": float(opening) / TICKS_PER_DOLLAR,
        "path": [
            {
                "executed_at": None if t.executed_at is None else Time(t.executed_at).text(),
                "change": float(change) / TICKS_PER_DOLLAR,
            }
            for t, change in zip(transactions, changes, strict=True)
        ],
        "iml": float(level[0]) / TICKS_PER_DOLLAR,
        "deficit": deficit / TICKS_PER_DOLLAR,
        "minor": bool(is_minor(np.array([deficit]), equity, rules)[0]),
        "capital_charge_after": Time(sessions.close_after(ends, rules.capital_days)).text(),
        "outstanding_until": Time(sessions.close_after(ends, rules.outstanding_days)).text(),
    }


def _book(portfolio: Portfolio, transaction: Transaction) -> None:
    if transaction.amount is not None:
        portfolio.account.cash += transaction.amount
    elif transaction.symbol is not None and transaction.quantity is not None and transaction.price is not None:
        portfolio.fill(transaction.symbol, transaction.quantity, transaction.price)
