"""Admission: each rule by an example worked by hand, and what holds of every order that is admitted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.portfolio import calculate
from risk.admission import Answer, Trades, admit
from risk.amounts import TICKS_PER_DOLLAR
from risk.block import AccountBlock
from risk.ladder import LIQUIDATION, MARGIN_CALL, RESTRICTION, WARNING
from risk.rulebook import Rulebook
from tests.risk.one_account import FINRA, HOUSE, NOW, PLAIN, SEED, Held, account, option, portfolios

FREE = replace(FINRA, call_release=0.0, liquidation=PLAIN)


def order(block: AccountBlock, *legs: tuple[int, float] | tuple[int, float, float], flags: int = 0) -> Answer:
    """Legs of (position, units), at the position's price unless a third says another."""
    at = np.array([leg[0] for leg in legs])
    price = [leg[2] if len(leg) == 3 else block.price[leg[0]] for leg in legs]
    return admit(block, Trades(at, np.array([leg[1] for leg in legs], np.float64), np.array(price)), flags)


def dollars(amount: float | None) -> float:
    assert amount is not None
    return amount / TICKS_PER_DOLLAR


# Without a call.


def test_a_purchase_is_admitted_as_far_as_regulation_t_lets() -> None:
    # Equity 50,000 in cash; 100,000 of stock asks for 25,000, and for 50,000 by Regulation T.
    flat = account(50_000, [Held("XYZ", 0, 100.0)], FREE)
    found = order(flat, (0, 1_000))
    assert (found.admitted, found.rule) == (True, "MARGIN")
    assert found.reason == "enough margin: excess 50,000.00 to 25,000.00, Regulation T excess 50,000.00 to 0.00"
    assert [dollars(getattr(found.after, name)) for name in ("equity", "requirement", "excess")] == [
        50_000,
        25_000,
        25_000,
    ]
    assert (dollars(found.after.initial_requirement), dollars(found.after.reg_t_excess)) == (50_000, 0)
    assert (dollars(found.before.buying_power), found.after.buying_power) == (100_000, 0)
    more = order(flat, (0, 1_001))
    assert not more.admitted
    assert more.reason == (
        "not enough margin: Regulation T excess 50,000.00 to -50.00; and leg 1 does more than reduce a position"
    )


def test_costs_are_paid() -> None:
    # One per mille of 100,000, and a dollar.
    found = order(account(50_101, [Held("XYZ", 0, 100.0)]), (0, 1_000))
    assert (dollars(found.costs), dollars(found.after.equity)) == (101, 50_000)
    assert found.admitted
    assert not order(account(50_100, [Held("XYZ", 0, 100.0)]), (0, 1_000)).admitted


def test_an_order_below_regulation_t_that_does_not_lower_it_is_admitted() -> None:
    # Restricted in the sense of Regulation T: equity 40,000 of 100,000. Half of what is sold buys as much again.
    block = account(-60_000, [Held("AAA", 1_000, 100.0), Held("BBB", 0, 50.0)], FREE)
    swap = order(block, (0, -100), (1, 200))
    assert (swap.rule, dollars(swap.after.reg_t_excess)) == ("MARGIN", -10_000)
    assert not order(block, (0, -100), (1, 201)).admitted


def test_maintenance_decides_where_there_is_no_regulation_t() -> None:
    # The seed: 25% of 40,000 of one stock, and 10% of it that is above 30% of gross value.
    flat = account(14_000, [Held("XYZ", 0, 100.0)], SEED)
    found = order(flat, (0, 400))
    assert (found.rule, found.after.excess, found.after.reg_t_excess) == ("MARGIN", 0, None)
    assert found.reason == "enough margin: excess 14,000.00 to 0.00"
    assert not order(flat, (0, 401)).admitted
    # Buying power: 14,000 / 25%, the add-on left aside.
    assert dollars(found.before.buying_power) == 56_000


def test_a_warned_account_is_not_close_only() -> None:
    block = account(50_000, [Held("XYZ", 0, 100.0)], FREE)
    assert order(block, (0, 100), flags=WARNING).rule == "MARGIN"
    assert not order(block, (0, 100), flags=WARNING | MARGIN_CALL).admitted


def test_an_account_in_deficit_without_a_call_may_still_close() -> None:
    # Equity 10,000 where 25,000 is required: the price fell this very instant.
    block = account(-90_000, [Held("XYZ", 1_000, 100.0)], FREE)
    assert order(block, (0, -100)).rule == "EXCESS"
    assert not order(block, (0, 100)).admitted


# Close-only.


@pytest.mark.parametrize("level", [MARGIN_CALL, RESTRICTION, LIQUIDATION])
def test_a_purchase_is_refused_in_a_call(level: int) -> None:
    block = account(-90_000, [Held("XYZ", 1_000, 100.0), Held("ABC", 0, 10.0)], FREE)
    found = order(block, (1, 100), flags=level)
    assert (found.admitted, found.rule) == (False, None)
    assert "excess -15,000.00 to -15,250.00, and leg 1 does more than reduce a position" in found.reason


def test_a_purchase_is_refused_in_a_restriction_with_excess_to_spare() -> None:
    block = account(-50_000, [Held("XYZ", 1_000, 100.0)], FREE)
    assert order(block, (0, 10)).rule is None  # Regulation T has nothing left
    found = order(block, (0, 10), flags=RESTRICTION)
    assert found.reason == (
        "close-only at RESTRICTION: excess 25,000.00 to 24,750.00, and leg 1 does more than reduce a position"
    )


def test_a_sale_frees_its_requirement() -> None:
    # 25% of 10,000 is freed; the sale costs 10 and a dollar.
    found = order(account(-90_000, [Held("XYZ", 1_000, 100.0)]), (0, -100), flags=MARGIN_CALL)
    assert (found.rule, dollars(found.after.excess)) == ("EXCESS", -15_000 + 2_500 - 11)


def test_a_hedge_that_lowers_the_requirement_is_admitted() -> None:
    # A put at 40 that is sold asks for 2 + 20% of 40, times 1,000; with the put at 35 for no more than 5 a share.
    block = account(5_000, [Held("XYZ", 0, 40.0), option("XYZ P 40", -1_000, 2.0), option("XYZ P 35", 0, 0.5)], FREE)
    found = order(block, (2, 1_000), flags=MARGIN_CALL)
    assert (found.rule, dollars(found.before.requirement), dollars(found.after.requirement)) == (
        "EXCESS",
        10_000,
        5_000,
    )
    assert dollars(found.after.excess) == -500


def test_legging_out_of_a_hedge_is_refused() -> None:
    spread = [Held("XYZ", 0, 40.0), option("XYZ P 40", -1_000, 2.0), option("XYZ P 35", 1_000, 0.5)]
    block = account(4_000, spread, FREE)
    found = order(block, (2, -1_000), flags=MARGIN_CALL)
    # The leg only reduces a position, but what it covered is then uncovered.
    assert not found.admitted
    assert found.reason == (
        "close-only at MARGIN_CALL: excess -1,000.00 to -5,500.00, and the requirement would rise: "
        "requirement 5,000.00 to 10,000.00"
    )


def test_a_combination_is_taken_whole() -> None:
    spread = [Held("XYZ", 0, 40.0), option("XYZ P 40", -1_000, 2.0), option("XYZ P 35", 1_000, 0.5)]
    block = account(4_000, spread)
    assert not order(block, (2, -1_000), flags=MARGIN_CALL).admitted
    assert order(block, (1, 1_000), (2, -1_000), flags=MARGIN_CALL).admitted


def test_a_reduction_is_admitted_although_it_costs() -> None:
    # Sold at 2.50 where it is valued at 4: 25% of 4,000 is freed and 1,500 lost. Excess falls, but nothing is left that
    # could lose more.
    block = account(-50, [Held("XYZ", 1_000, 4.0)], FREE)
    found = order(block, (0, -1_000, 2.5), flags=MARGIN_CALL)
    assert (found.rule, found.reason) == (
        "REDUCTION",
        "every leg only reduces a position and the requirement does not rise: requirement 1,000.00 to 0.00",
    )
    assert found.after.excess < found.before.excess
    # What frees more than it loses is admitted for that: 100% of what is not margin eligible.
    ineligible = account(-50, [Held("OTC", 1_000, 4.0, {"margin_eligible": False})])
    assert order(ineligible, (0, -1_000, 2.5), flags=MARGIN_CALL).rule == "EXCESS"


def test_more_than_the_position_is_no_reduction() -> None:
    block = account(-50, [Held("XYZ", 1_000, 4.0)], FREE)
    found = order(block, (0, -1_001, 2.5), flags=MARGIN_CALL)
    assert not found.admitted
    assert "leg 1 does more than reduce a position" in found.reason
    # Nor are two legs that are each no more than it.
    assert not order(block, (0, -600, 2.5), (0, -600, 2.5), flags=MARGIN_CALL).admitted
    assert order(block, (0, -600, 2.5), (0, -400, 2.5), flags=MARGIN_CALL).admitted


def test_what_binary_fractions_leave_is_no_position() -> None:
    found = order(account(0, [Held("XYZ", 0.3, 100.0)], FREE), (0, -0.1), (0, -0.2), flags=MARGIN_CALL)
    assert (found.admitted, found.after.requirement, found.after.initial_requirement) == (True, 0, 0)


# Portfolio margin, and what else an account may be.


def test_portfolio_margin_is_asked_by_class_group() -> None:
    # 15% of 100,000; with a put at the money at least the price of the put is what can be lost.
    held = [Held("XYZ", 1_000, 100.0), option("XYZ P 100", 0, 3.0)]
    block = account(-90_000, held, FREE, portfolio=True)
    assert dollars(order(block, (0, -1)).before.requirement) == 15_000
    found = order(block, (1, 1_000), flags=MARGIN_CALL)
    assert found.rule == "EXCESS"
    assert (found.after.initial_requirement, found.after.reg_t_excess) == (None, None)
    # Equity counts the option at market; no more than it and what the model gives can be lost.
    assert dollars(found.after.equity) == 10_000
    assert dollars(found.after.requirement) < 4_000
    assert found.after.buying_power == found.after.excess > 0 == found.before.buying_power


def test_buying_power_is_of_the_highest_rate_for_stock() -> None:
    flat = account(30_000, [Held("XYZ", 0, 100.0)], HOUSE)
    assert dollars(order(flat, (0, 1)).before.buying_power) == 60_000  # Regulation T
    asked = replace(flat, house=np.array([[0.75], [0.0]]))
    assert dollars(order(asked, (0, 1)).before.buying_power) == 40_000


def test_of_a_security_future_only_what_is_off_the_mark_is_paid() -> None:
    block = account(5_000, [Held("XYZ1C", 0, 50.0, {"type": "SECURITY_FUTURE"})], FREE)
    found = order(block, (0, 100, 51.0))
    assert (dollars(found.after.equity), dollars(found.after.requirement)) == (4_900, 1_000)


def test_what_has_no_price_is_left_out_and_said() -> None:
    block = account(50_000, [Held("XYZ", 100, 100.0), Held("OLD", 500, None)], FREE)
    found = order(block, (0, 100))
    assert found.unpriced == (1,)
    assert dollars(found.before.equity) == 60_000


def test_what_is_no_order_is_refused() -> None:
    block = account(0, [Held("XYZ", 100, 100.0)])
    with pytest.raises(ValueError, match="expected one account, and legs of other than zero units"):
        order(block, (0, 0))
    with pytest.raises(ValueError, match="expected one account"):
        admit(block, Trades(np.array([], np.int64), np.array([]), np.array([])))


# What holds of every order.


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[Held], AccountBlock, Trades]:
    """An account with little excess or none, and one to three legs in what it holds, some of which close."""
    held = draw(portfolios(least=1, most=8))
    rules: Rulebook = draw(st.sampled_from([FINRA, HOUSE, FREE]))
    gross = sum(abs(own.units) * (own.price or 0.0) for own in held)
    cash = round(gross * draw(st.floats(-0.9, 0.9)), 2)
    block = account(cash, held, rules, portfolio=draw(st.booleans()))
    places = draw(st.lists(st.integers(0, len(held) - 1), min_size=1, max_size=3, unique=True))
    units = []
    for place in places:
        closing = draw(st.sampled_from([-1.0, -1.0, -0.5, 0.5, -2.0]))
        lots = max(abs(held[place].units) // 100, 1.0)
        units.append(100.0 * max(round(lots * abs(closing)), 1) * np.sign(closing * (held[place].units or 1.0)))
    paid = np.round(block.price[places] * draw(st.sampled_from([0.98, 1.0, 1.0, 1.02])), 2)
    return held, block, Trades(np.array(places), np.array(units), np.maximum(paid, 0.01))


@settings(max_examples=60, deadline=None)
@given(orders(), st.sampled_from([MARGIN_CALL, RESTRICTION, LIQUIDATION]))
def test_close_only_never_lowers_excess_unless_it_only_reduces(
    drawn: tuple[list[Held], AccountBlock, Trades], level: int
) -> None:
    held, block, trades = drawn
    found = admit(block, trades, level)
    fell = found.after.excess < found.before.excess
    closes = all(
        0 < -units * np.sign(held[at].units) <= abs(held[at].units)
        for at, units in zip(trades.positions.tolist(), trades.units.tolist(), strict=True)
    )
    reduces = closes and found.after.requirement <= found.before.requirement
    assert found.admitted == (not fell or reduces)
    # What close-only admits is admitted without it.
    assert admit(block, trades).admitted >= found.admitted
    if found.after.excess >= 0 and not fell:
        assert admit(block, trades, WARNING).admitted


@settings(max_examples=25, deadline=None)
@given(orders())
def test_the_figures_are_those_of_margin_calc(drawn: tuple[list[Held], AccountBlock, Trades]) -> None:
    held, block, trades = drawn
    found = admit(block, trades)
    traded = dict(zip(trades.positions.tolist(), trades.units.tolist(), strict=True))
    after = [own._replace(units=own.units + traded.get(at, 0.0)) for at, own in enumerate(held)]
    cash = float(block.cash[0])
    left = cash - np.rint(trades.units * trades.price * TICKS_PER_DOLLAR).sum() - found.costs
    for figures, positions, own_cash in ((found.before, held, cash), (found.after, after, left)):
        result = calculate(document(block, positions, own_cash / TICKS_PER_DOLLAR))
        required = result["maintenance_requirement"] + result["concentration_addon"]
        if block.portfolio is not None and block.portfolio[0]:
            required = result["portfolio_margin"]["requirement"]
        assert dollars(figures.equity) == pytest.approx(result["equity"], abs=1e-6)
        assert dollars(figures.requirement) == pytest.approx(required, abs=1e-6)
        if figures.reg_t_excess is not None:
            assert dollars(figures.reg_t_excess) == pytest.approx(result["reg_t_excess"], abs=1e-6)
            assert dollars(figures.initial_requirement) == pytest.approx(result["initial_requirement"], abs=1e-6)


def document(block: AccountBlock, held: list[Held], cash: float) -> dict[str, Any]:
    """The account as `margin calc` takes it."""

    def described(own: Held) -> dict[str, Any]:
        told = {name: value for name, value in own.terms.items() if name != "expiry"}
        expiry = {"expiry": own.terms["expiry"].text()} if "expiry" in own.terms else {}
        return {"price": own.price, **told, **expiry}

    return {
        "rulebook": block.rules.name,
        "as_of": NOW.text(),
        "account": {
            "margin_type": "PORTFOLIO" if block.portfolio is not None and block.portfolio[0] else "STRATEGY",
            "cash": float(round(cash, 4)),
        },
        "instruments": {own.symbol: described(own) for own in held},
        "positions": [{"symbol": own.symbol, "quantity": own.units / own.terms.get("multiplier", 1.0)} for own in held],
    }
