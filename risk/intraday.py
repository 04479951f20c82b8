"""Intraday margin deficits: FINRA 4210(a)(17)-(19) and (d)(2), in force since 2026-06-04.

The intraday margin level (IML) of an account is its equity less its maintenance requirement: the cash that could be
withdrawn or, negative, that is missing. A transaction that lowers it reduces IML. The deficit of a day (IMD) is the
largest negative IML with respect to such a transaction: the opening IML and the changes since, in the order of their
execution. Where that order cannot be shown the one that gives the highest deficit counts, (d)(2)(B).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from risk.amounts import TICKS_PER_DOLLAR, Floats, Ints
from risk.rulebook import IntradayRules

#: When a transaction was executed, where nobody can say.
UNKNOWN = -1


def intraday_deficits(opening: Floats, account: Ints, change: Floats, executed_at: Ints) -> Floats:
    """The deficit of a day of n accounts.

    Args:
      opening: (n,) ticks of IML at the start of the day.
      account: (m,) which account each transaction is of. change: (m,) ticks that it changed IML by, at the prices in
        force at its instant. executed_at: (m,) microseconds, or UNKNOWN.

    Returns:
      (n,) ticks, not below zero.
    """
    reduces = change < 0
    known = executed_at != UNKNOWN
    # The worst order: of equal times what reduces first; of unknown ones what reduces before all, what adds after all.
    place = np.where(known, executed_at, np.where(reduces, np.iinfo(np.int64).min, np.iinfo(np.int64).max))
    order = np.lexsort((~reduces, place, account))
    account, change = account[order], change[order]
    total = np.cumsum(change)
    before = np.append(0.0, total)[np.searchsorted(account, account)]
    level = opening[account] + total - before
    found = np.zeros(len(opening))
    np.maximum.at(found, account[change < 0], -level[change < 0])
    return found


def is_minor(deficit: Floats, equity: Floats, rules: IntradayRules) -> NDArray[np.bool_]:
    """(n,) whether a deficit builds no practice of failing to meet them, of equity at the end of its day; ticks."""
    limit = np.minimum(np.maximum(equity, 0.0) * rules.minor_share, rules.minor_amount * TICKS_PER_DOLLAR)
    return deficit <= limit
