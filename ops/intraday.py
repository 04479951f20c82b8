"""The intraday margin of a document with transactions: how each changed the margin level, and the day's deficit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np

from ops.document import Portfolio, PortfolioError, Transaction
from pipeline.day import sessions_around
from risk.amounts import TICKS_PER_DOLLAR
from risk.block import AccountBlock
from risk.intraday import UNKNOWN, intraday_deficits, is_minor
from risk.margin import lines_of
from schemas.scalars import Time


def margin_level(block: AccountBlock) -> tuple[float, float]:
    """IML and equity of a block of one account, ticks."""
    found = lines_of(block)
    equity = float(block.cash[0] + found.equity.sum())
    return equity - float(found.requirement.sum()), equity


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
    block = block_of(portfolio)
    rules = block.rules.intraday
    if rules is None:
        raise PortfolioError(f"transactions: rulebook {block.rules.name} has no intraday margin rule")
    opening, _ = margin_level(block)
    changes, times = [], []
    for transaction in transactions:
        before, after = (portfolio.model_copy(deep=True) for _ in range(2))
        _book(after, transaction)
        for own in (before, after):
            if transaction.symbol is not None:
                own.instruments[transaction.symbol].price = transaction.price
        changes.append(margin_level(block_of(after))[0] - margin_level(block_of(before))[0])
        unknown = 0 if rules.cash_first and transaction.symbol is None else UNKNOWN
        times.append(unknown if unknown == 0 or transaction.executed_at is None else transaction.executed_at)
        _book(portfolio, transaction)
    zeros = np.zeros(len(changes), np.int64)
    deficit = float(intraday_deficits(np.array([opening]), zeros, np.array(changes), np.array(times))[0])
    if block.portfolio is not None and block.portfolio[0]:
        deficit = 0.0
    level, equity = margin_level(block_of(portfolio))
    sessions = sessions_around(dt.datetime.fromtimestamp(portfolio.as_of / 1e6, dt.UTC).date())
    return {
        "opening_iml": opening / TICKS_PER_DOLLAR,
        "path": [
            {"executed_at": None if time == UNKNOWN else Time(time).text(), "change": change / TICKS_PER_DOLLAR}
            for time, change in zip(times, changes, strict=True)
        ],
        "iml": level / TICKS_PER_DOLLAR,
        "deficit": deficit / TICKS_PER_DOLLAR,
        "minor": bool(is_minor(np.array([deficit]), np.array([equity]), rules)[0]),
        "capital_charge_after": Time(sessions.close_after(portfolio.as_of, rules.capital_days)).text(),
        "outstanding_until": Time(sessions.close_after(portfolio.as_of, rules.outstanding_days)).text(),
    }


def _book(portfolio: Portfolio, transaction: Transaction) -> None:
    if transaction.amount is not None:
        portfolio.account.cash += transaction.amount
    elif transaction.symbol is not None and transaction.quantity is not None and transaction.price is not None:
        portfolio.fill(transaction.symbol, transaction.quantity, transaction.price)
