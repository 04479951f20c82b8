"""The special memorandum account of Regulation T, 12 CFR 220.5: a line of credit that rises and does not fall with the
market.

It takes deposits and dividends whole, of a sale or a cover half its value or, if that is greater, the excess after it,
and every new high of the Regulation T excess. Purchases and short sales take half their value from it, withdrawals all.
What it lacks for a trade is a Regulation T call. Buying power is twice the SMA; what of it may be withdrawn must leave
maintenance and the minimum equity.
"""

from __future__ import annotations

import numpy as np

from risk.amounts import Floats
from risk.rulebook import InitialRules


def after_trade(
    sma: Floats, opened: Floats, closed: Floats, excess: Floats, rules: InitialRules
) -> tuple[Floats, Floats]:
    """SMA, and the Regulation T call, after trades.

    Args:
      sma: (n,) before. opened: (n,) value bought, or sold short. closed: (n,) value sold, or covered. excess: (n,)
        Regulation T excess after the trades.

    Returns:
      (n,) SMA; (n,) call, not below zero. All in ticks.
    """
    released = np.rint(closed * rules.long_rate)
    left = sma + released - np.rint(opened * rules.long_rate)
    raised = np.where((closed > 0) & (excess > 0), np.maximum(left, excess), left)
    return np.maximum(raised, 0.0), np.maximum(-raised, 0.0)


def after_cash(sma: Floats, amount: Floats) -> Floats:
    """SMA after cash came in (a deposit, a dividend, a payment of interest) or went out; ticks."""
    return np.maximum(sma + amount, 0.0)


def marked(sma: Floats, excess: Floats) -> Floats:
    """SMA at the close: never less than the Regulation T excess then, and no less than it was; ticks."""
    return np.maximum(sma, excess)


def at_close(
    sma: Floats, cash: Floats, opened: Floats, closed: Floats, spent: Floats, excess: Floats, rules: InitialRules
) -> tuple[Floats, Floats]:
    """SMA at the close, and the Regulation T call, after a day's cash and trades.

    Args:
      sma: (n,) at the last close. cash: (n,) paid in, less withdrawals, without what covered an older call. opened,
        closed: (n,) values as in after_trade. spent: (n,) of what was released, what covered an older call; what of
        that was bought back in the end is asked for again. excess: (n,) Regulation T excess at the close.

    Returns:
      (n,) SMA; (n,) call. All in ticks.
    """
    left, call = after_trade(after_cash(sma, cash), opened, closed - spent / rules.long_rate, excess, rules)
    return marked(left, excess), call


def buying_power(sma: Floats, rules: InitialRules) -> Floats:
    """What may be bought without a deposit; ticks."""
    return np.rint(np.maximum(sma, 0.0) / rules.long_rate)


def withdrawable(sma: Floats, excess: Floats, equity: Floats, minimum: Floats) -> Floats:
    """Cash that may leave: no more than SMA, than what leaves maintenance (excess over it) and the minimum equity."""
    return np.maximum(np.minimum(np.minimum(sma, excess), equity - minimum), 0.0)
