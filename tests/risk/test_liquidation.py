"""Liquidations worked by hand: sizes, hedges, limits, and what cannot be cured. See docs/rules/liquidation.md."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from risk.amounts import TICKS_PER_DOLLAR
from risk.liquidation import Proposal, propose
from risk.rulebook import LiquidationRules, Rulebook
from tests.risk.one_account import (
    FINRA,
    HOUSE,
    PLAIN,
    RULES,
    SEED,
    Held,
    account,
    figures,
    filled,
    names_of,
    option,
    traded,
)

NO_TIERS = replace(SEED, concentration_rate=0.0)


def found(
    cash: float,
    *held: Held,
    book: Rulebook = FINRA,
    rules: LiquidationRules = PLAIN,
    last: str = "",
    portfolio: bool = False,
) -> tuple[dict[str, float], Proposal]:
    """Units by symbol in the order of the orders, and the proposal, which is what it says once it is filled."""
    block = account(cash, held, book, portfolio=portfolio)
    deferred = np.array([own.symbol in last.split() for own in held], np.bool_)
    proposal = propose(block, names=names_of(held), last=deferred, rules=rules)
    after = figures(filled(block, traded(proposal), rules))
    assert after == (proposal.equity, proposal.requirement)
    return {held[order.position].symbol: order.units for order in proposal.orders}, proposal


SIZES = [
    # Cash, units, price, what is to be traded: D / m, and shares = D / max(dollars a share, m x P), rounded up.
    ("call-sell-25: 9,000 / 0.25", -84_000, 1000, 100.0, -360),
    ("cover-30: 5,000 / 0.30, not / 1.30", 60_000, -1000, 50.0, 334),
    ("cover-floor: 2,000 / $5.00 a share", 13_000, -1000, 10.0, 400),
    ("cover-cheap: 500 / $2.50 a share", 3_000, -1000, 1.0, 200),
    ("not below its line", -75_000, 1000, 100.0, 0),
]


@pytest.mark.parametrize(("what", "cash", "units", "price", "expected"), SIZES, ids=[row[0] for row in SIZES])
def test_a_position_is_sold_by_its_deficiency_over_its_rate(
    what: str, cash: float, units: float, price: float, expected: float
) -> None:
    orders, proposal = found(cash, Held("AAA", units, price))
    assert orders == ({"AAA": expected} if expected else {})
    assert (proposal.cured, proposal.exact, proposal.reason, proposal.unsecured_debit) == (True, True, "", 0.0)


@pytest.mark.parametrize(
    ("rules", "shares"),
    [
        (replace(PLAIN, cost_rate=0.001), 362),  # 9,000 / (0.25 - 0.001) = 36,144.58
        (replace(PLAIN, cost_per_order=10.0), 361),  # 9,010 / 0.25 = 36,040
        (replace(PLAIN, buffer=0.02), 373),  # (1.02 x 25,000 - 16,000) / (1.02 x 0.25) = 37,254.90
        (RULES, 375),  # (25,500 - 16,000 + 1) / (0.255 - 0.001) = 37,405.51
        (replace(RULES, lot=100), 400),
    ],
)
def test_cost_buffer_and_lots(rules: LiquidationRules, shares: float) -> None:
    orders, proposal = found(-84_000, Held("AAA", 1000, 100.0), rules=rules)
    assert orders == {"AAA": -shares}
    (order,) = proposal.orders
    assert (order.price, order.limit) == (100.0, 95.0)
    assert order.value == shares * 100 * TICKS_PER_DOLLAR
    assert order.cost == round(order.value * rules.cost_rate) + rules.cost_per_order * TICKS_PER_DOLLAR
    assert order.why.startswith("long (long_rate): adds ")


def test_the_exercise_of_the_seed_is_wrong_by_the_rate() -> None:
    """Selling until proceeds are 1.1 D leaves most of D: what a sale frees is m of it."""
    block = account(-84_000, [Held("AAA", 1000, 100.0)], NO_TIERS)
    equity, requirement = figures(filled(block, {0: -99.0}, PLAIN))
    assert requirement - equity == 6_525 * TICKS_PER_DOLLAR
    assert found(-84_000, Held("AAA", 1000, 100.0), book=NO_TIERS)[0] == {"AAA": -360}


def test_a_tier_is_not_linear() -> None:
    """31% of gross value in AAA is charged 10% more; 15 shares less and nothing is. By its 35%, 83 would be sold."""
    others = [Held(f"B{n}", 100, 138.0) for n in range(5)]
    orders, proposal = found(-74_800, Held("AAA", 310, 100.0), *others, book=SEED)
    assert orders == {"AAA": -15}
    assert proposal.requirement == 24_625 * TICKS_PER_DOLLAR


def test_a_tier_of_the_house_is_not_linear() -> None:
    """Three days of volume are charged 20% beside 30%, two 10%: the last share above a tier frees 20,000 x 10%."""
    busy = {"average_daily_volume": 10_000.0}
    calm = replace(HOUSE, house=replace(HOUSE.house, issuer_long=()))
    held = Held("AAA", 20_100, 10.0, busy)
    # Equity 80,900; 50% of 201,000 = 100,500. Once 20,000 are left: 40% of 200,000 = 80,000.
    orders, _ = found(-120_100, held, book=calm, rules=replace(PLAIN, volume_share=1.0))
    assert orders == {"AAA": -100}


def test_what_gains_most_for_a_dollar_goes_first() -> None:
    """AAA alone cures by 40,000 of sales; $2.50 a share at a dollar frees 7,500 for 3,000 bought back."""
    held = (Held("AAA", 10_000, 10.0), Held("ZZZ", -3000, 1.0))
    orders, proposal = found(-74_500, *held)
    assert list(orders.items()) == [("ZZZ", 3000), ("AAA", -1000)]
    assert not proposal.exact


def test_a_covered_call_is_closed_whole_and_the_call_first() -> None:
    """Equity 5,000, requirement 6,250. A lot of 100 shares and a call frees 1,250 and costs 100 of equity."""
    held = (Held("AAA", 500, 50.0), option("AAA C 55", -500, 1.0))
    orders, proposal = found(-20_000, *held)
    assert list(orders.items()) == [("AAA C 55", 200), ("AAA", -200)]
    assert (proposal.equity, proposal.requirement) == (48_000_000, 37_500_000)
    assert proposal.exact


def test_a_long_that_covers_a_short_stays() -> None:
    """Five spreads of 5.00 require 2,500. To sell the long calls would bring 100 each, and leave naked ones."""
    held = (Held("AAA", 0, 50.0), option("AAA C 50", -500, 3.0), option("AAA C 55", 500, 1.0))
    orders, _ = found(2_000, *held)
    # A spread less frees 500 and costs 300 - 100.
    assert list(orders.items()) == [("AAA C 50", 200), ("AAA C 55", -200)]


def test_shares_beside_a_hedge_are_sold_alone() -> None:
    """Of 300 shares 100 cover a call: those that do not are enough. Equity 2,900, requirement 3,750."""
    held = (Held("AAA", 300, 50.0), option("AAA C 55", -100, 9.0))
    orders, _ = found(-12_100, *held)
    assert orders == {"AAA": -68}


def test_a_butterfly_is_one_lot_of_its_ratio() -> None:
    wings = (option("AAA C 50", 300, 4.0), option("AAA C 60", 300, 0.5))
    held = (Held("AAA", 0, 50.0), *wings, option("AAA C 55", -600, 1.0))
    # Nothing is required, so that equity of -500 needs the proceeds: 400 + 50 - 200 = 250 a lot.
    orders, _ = found(-500, *held)
    assert orders == {"AAA C 55": 400, "AAA C 50": -200, "AAA C 60": -200}
    assert next(iter(orders)) == "AAA C 55"


def test_liquidate_last_waits_for_the_others_and_is_then_sold_least() -> None:
    held = (Held("AAA", 1000, 50.0), Held("BBB", 1000, 50.0))
    assert found(-84_000, *held)[0] == {"AAA": -720}
    assert found(-84_000, *held, last="AAA")[0] == {"BBB": -720}
    orders, proposal = found(-88_000, *held, last="AAA")
    # 13,000 / 0.25 = 52,000: all of BBB, and 40 shares of AAA.
    assert list(orders.items()) == [("BBB", -1000), ("AAA", -40)]
    assert proposal.cured


def test_a_share_of_volume_limits_an_order() -> None:
    limited = Held("AAA", 1000, 100.0, {"average_daily_volume": 1005.0})
    orders, proposal = found(-84_000, limited)
    assert orders == {"AAA": -100}
    assert not proposal.cured
    assert proposal.reason == "no more may be traded of AAA: share of volume"
    assert (proposal.excess, proposal.unsecured_debit) == (-6_500 * TICKS_PER_DOLLAR, 0.0)
    # 11,000 / 0.25 = 44,000: what AAA cannot, BBB does.
    orders, proposal = found(-116_000, limited, Held("BBB", 2000, 20.0))
    assert (orders, proposal.cured) == ({"AAA": -100, "BBB": -1700}, True)


def test_a_hedge_that_is_too_large_to_trade_stays() -> None:
    held = (Held("AAA", 500, 50.0, {"average_daily_volume": 900.0}), option("AAA C 55", -500, 1.0))
    orders, proposal = found(-20_000, *held)
    assert (orders, proposal.cured) == ({}, False)
    assert "AAA" in proposal.reason


def test_an_unsecured_debit_is_what_is_left_when_all_is_sold() -> None:
    orders, proposal = found(-105_000, Held("AAA", 1000, 100.0), rules=RULES)
    assert orders == {"AAA": -1000}
    # 5,000 and a cost of 0.1% and $1.00.
    assert proposal.unsecured_debit == 5_101 * TICKS_PER_DOLLAR
    assert proposal.reason == "unsecured debit: equity is below zero when all is sold"
    assert not proposal.cured


def test_what_has_no_price_is_not_sold() -> None:
    orders, proposal = found(-21_000, Held("AAA", 100, 100.0), Held("BBB", 100, None))
    assert orders == {"AAA": -100}
    assert proposal.reason == "unsecured debit: equity is below zero when all is sold; no price: BBB"
    assert found(-21_000, Held("BBB", 100, None))[1].reason.endswith("no price: BBB")


def test_an_account_without_positions() -> None:
    assert found(-1.0)[1].unsecured_debit == TICKS_PER_DOLLAR
    assert found(0.0)[1].cured


def test_a_future_moves_no_cash() -> None:
    """Its value is in no equity: of 20% x 15,000 = 3,000 with equity of 2,000 a third is closed."""
    orders, proposal = found(2_000, Held("AAA", 300, 50.0, {"type": "SECURITY_FUTURE"}))
    assert orders == {"AAA": -100}
    assert proposal.equity == 2_000 * TICKS_PER_DOLLAR


def test_portfolio_margin_is_sized_on_its_own_grid() -> None:
    """15% of 100,000 = 15,000; equity 9,000: 6,000 / 0.15 = 40,000."""
    orders, proposal = found(-91_000, Held("AAA", 1000, 100.0), portfolio=True)
    assert orders == {"AAA": -400}
    assert proposal.orders[0].why.startswith("class group (portfolio.points)")


def test_a_class_group_is_closed_in_its_ratio() -> None:
    held = (Held("AAA", 400, 100.0), option("AAA P 95", 400, 2.0), Held("BBB", 100, 50.0))
    orders, proposal = found(-45_000, *held, portfolio=True)
    assert proposal.cured
    assert orders["AAA"] == orders["AAA P 95"]
    assert orders["AAA"] % 100 == 0


def test_stock_on_one_side_of_a_class_group_is_no_hedge() -> None:
    held = (Held("SPY", 100, 500.0, {"type": "ETF"}), Held("VOO", 37, 460.0, {"type": "ETF"}))
    orders, proposal = found(-66_000, *held, portfolio=True)
    # Each by itself; of 8% of what is left, 4,000 and 8,740, no more than the equity of 1,020.
    assert (orders, proposal.exact) == ({"SPY": -92, "VOO": -18}, True)


def test_same_security_long_and_short_is_closed_evenly() -> None:
    held = (Held("AAA", 400, 20.0), Held("AAA", -400, 20.0))
    block = account(300, held)
    proposal = propose(block, names=names_of(held), rules=PLAIN)
    # 5% of 8,000 = 400 for equity of 300: 100 shares of each.
    assert [(order.position, order.units) for order in proposal.orders] == [(1, 100.0), (0, -100.0)]


def test_more_than_one_account_and_no_rules_are_refused() -> None:
    block = account(0, [Held("AAA", 1, 1.0)], SEED)
    with pytest.raises(ValueError, match="expected those of liquidation"):
        propose(block, names=["AAA"])
    with pytest.raises(ValueError, match="expected one account, found 2"):
        propose(block.repeated(2), names=["AAA"], rules=RULES)
