"""Days with options and portfolio margin: the properties of design 6, and the graph against the document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ops.portfolio import calculate
from schemas.codec import to_json
from schemas.inputs import Account, Beta, Cash, Fill, Input, Instrument, Price
from schemas.scalars import Money, Quantity, Time
from tests import days
from tests.days import CLOSES, FINRA, at

#: A day takes a second, so that a failing one is told as it is.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
SETTINGS = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow], phases=PHASES, deadline=None)
MONTHS = {1: "2026-02-20T21:00:00Z", 3: "2026-04-17T20:00:00Z", 12: "2027-01-15T21:00:00Z"}

STOCKS = (
    Instrument(symbol="S0", arrived_at=at(1)),
    Instrument(symbol="S1", dividend_yield=0.03, arrived_at=at(1)),
    Instrument(symbol="S2", type="ETF", leverage=3.0, arrived_at=at(1)),
    Instrument(symbol="SPX", type="INDEX", instrument_class="broad_index", arrived_at=at(1)),
)


def option(underlying: str, right: str, strike: float, months: int) -> Instrument:
    return Instrument(
        symbol=f"{underlying} {right[0]}{strike:g} {months}m",
        type="OPTION",
        underlying=underlying,
        right=right,  # type: ignore[arg-type]
        strike=strike,
        expiry=Time.parse(MONTHS[months]),
        multiplier=100.0,
        exercise="EUROPEAN" if underlying == "SPX" else "AMERICAN",
        arrived_at=at(2),
    )


LISTED = tuple(
    option(stock.symbol, right, strike, months)
    for stock in STOCKS
    for right in ("CALL", "PUT")
    for strike in (90.0, 100.0, 110.0)
    for months in MONTHS
)
#: A few instants are enough: trees are slow to roll back one at a time.
SECONDS = st.sampled_from([20, 60, 65, 600, 1700])
ARRIVALS = st.builds(lambda seconds, milliseconds: at(seconds + milliseconds / 1000), SECONDS, st.integers(-1, 1))
BY_SYMBOL = {instrument.symbol: instrument for instrument in (*STOCKS, *LISTED)}


@st.composite
def option_days(draw: st.DrawFn) -> list[Input]:
    """2 to 4 accounts, some on portfolio margin, that trade the stocks and some of their options."""
    accounts = days.ACCOUNTS[: draw(st.integers(2, 4))]
    traded = draw(st.lists(st.sampled_from(LISTED), min_size=2, max_size=8, unique=True))
    account = st.sampled_from(accounts)
    records: list[Input] = [*STOCKS, *traded]
    records += [
        Account(account_id=own, margin_type=regime, arrived_at=at(3))
        for own, regime in zip(accounts, draw(st.permutations(("PORTFOLIO", "STRATEGY") * 2)), strict=False)
    ]
    records += [quote(stock.symbol, 100.0, 4) for stock in STOCKS]
    fill = st.builds(
        lambda n, symbol, **fields: Fill(fill_id=f"F{n}", symbol=symbol, **fields),
        st.integers(0, 40),
        st.sampled_from([own.symbol for own in (*STOCKS[:3], *traded, *traded)]),
        account_id=account,
        quantity=st.sampled_from([-200, -5, -2, -1, 1, 2, 5, 100]).map(lambda q: Quantity(q * 10**6)),
        price=st.sampled_from([2.5, 7.0, 99.0]),
        arrived_at=ARRIVALS,
    )
    price = st.builds(
        quote,
        st.sampled_from([own.symbol for own in traded]),
        st.sampled_from([1.5, 6.25, 12.0]),
        SECONDS,
        volatility=st.sampled_from([None, 0.25, 0.6]),
    )
    spot = st.builds(
        quote,
        st.sampled_from([own.symbol for own in STOCKS]),
        st.sampled_from([88.0, 97.5, 110.0]),
        SECONDS,
    )
    beta = st.builds(
        Beta,
        symbol=st.sampled_from([own.symbol for own in STOCKS]),
        beta=st.sampled_from([0.5, 1.7]),
        effective_at=st.just(at(0)),
        arrived_at=ARRIVALS,
    )
    cash = st.builds(
        lambda n, **fields: Cash(cash_id=f"C{n}", kind="DEPOSIT", **fields),
        st.integers(0, 5),
        account_id=account,
        amount=st.sampled_from([2_000, 20_000]).map(lambda amount: Money(amount * 10**4)),
        arrived_at=ARRIVALS,
    )
    for kind, most in ((fill, 14), (price, 10), (spot, 6), (beta, 3), (cash, 3)):
        records += draw(st.lists(kind, max_size=most))
    return records


def quote(symbol: str, price: float, seconds: float, *, volatility: float | None = None) -> Price:
    return Price(symbol=symbol, price=price, as_of=at(seconds), arrived_at=at(seconds), implied_volatility=volatility)


@SETTINGS
@given(option_days(), st.data())
def test_order_split_and_shards_change_nothing(day: list[Input], data: st.DataObject) -> None:
    expected = days.outputs(day, rules=FINRA)
    again = data.draw(st.permutations(day))
    assert days.outputs(again, data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3)), rules=FINRA) == expected


@SETTINGS
@given(option_days())
def test_state_survives_its_cells(day: list[Input]) -> None:
    assert days.lines(days.run_stepwise(day, 2, rules=FINRA)) == days.outputs(day, rules=FINRA)


@SETTINGS
@given(option_days())
def test_the_graph_says_what_the_document_of_an_account_does(day: list[Input]) -> None:
    found = days.run(day, shards=2, publish_all=True, rules=FINRA)
    closing: dict[str, dict[str, Any]] = {}
    for topic, record in found:
        if topic in _FIGURES and record.as_of == CLOSES:  # type: ignore[attr-defined]
            closing.setdefault(record.account_id, {})[topic] = record  # type: ignore[attr-defined]
    for account, figures in closing.items():
        calc, tims, ladder = (figures[topic] for topic in _FIGURES)
        result = calculate(document(day, account, calc))
        expected = [result[name] for name in ("equity", "maintenance_requirement", "excess", "long_market_value")]
        assert [calc.equity, calc.maintenance_requirement, calc.excess, calc.long_market_value] == ticks(expected)
        assert tims.requirement == ticks([result["portfolio_margin"]["requirement"]])[0]
        assert ladder.beta_weighted_exposure == ticks([result["stress"]["beta_weighted_exposure"]])[0]
        for scenario, other in zip(ladder.scenarios, result["stress"]["scenarios"], strict=True):
            assert [scenario.pnl, scenario.excess_restressed] == ticks([other["pnl"], other["excess_restressed"]])


_FIGURES = ("margin.calc.v1", "stress.tims.v1", "stress.beta_spy.v1")


def ticks(dollars: Sequence[float]) -> list[int]:
    return [round(amount * 10_000) for amount in dollars]


def document(day: list[Input], account: str, calc: Any) -> dict[str, Any]:
    """The account at the close as a document, put together from the records with dictionaries and loops."""
    records = sorted(day, key=lambda record: (record.arrived_at, to_json(record)))
    held: dict[str, float] = {}
    seen: set[str] = set()
    last: dict[str, tuple[int, str, float]] = {}
    prices: dict[str, Price] = {}
    betas: dict[str, float] = {}
    regime = "STRATEGY"
    for record in records:
        match record:
            case Price() if record.arrived_at < CLOSES:
                known = prices.get(record.symbol)
                newest = lambda p: (p.as_of, p.price, p.implied_volatility or 0.0)  # noqa: E731
                prices[record.symbol] = max(filter(None, (known, record)), key=newest)
            case Beta():
                betas[record.symbol] = max(record.beta, betas.get(record.symbol, -9.0))
            case Account(account_id=own) if own == account:
                regime = record.margin_type
            case Fill(account_id=own) if own == account and record.fill_id not in seen and record.arrived_at < CLOSES:
                seen.add(record.fill_id)
                held[record.symbol] = held.get(record.symbol, 0.0) + record.quantity / 1e6
                # Of the fills of an instant that with the highest id was the last.
                instant = int(record.arrived_at or 0) // (days.INTERVAL_MS * 1000)
                last[record.symbol] = max(
                    last.get(record.symbol, (0, "", 0.0)), (instant, record.fill_id, record.price)
                )
    fallback = {symbol: price for symbol, (_, _, price) in last.items()}
    instruments = {symbol: _described(instrument, prices, fallback, betas) for symbol, instrument in BY_SYMBOL.items()}
    return {
        "rulebook": "finra-4210",
        "as_of": CLOSES.text(),
        "account": {"margin_type": regime, "cash": calc.cash / 10_000},
        "instruments": instruments,
        "positions": [{"symbol": symbol, "quantity": quantity} for symbol, quantity in held.items()],
    }


def _described(
    own: Instrument, prices: dict[str, Price], fallback: dict[str, float], betas: dict[str, float]
) -> dict[str, Any]:
    quoted = prices.get(own.symbol)
    same = ("type", "underlying", "right", "strike", "multiplier", "exercise", "leverage", "dividend_yield")
    return {name: getattr(own, name) for name in same} | {
        "class": own.instrument_class,
        "expiry": own.expiry.text() if own.expiry else None,
        "price": quoted.price if quoted else fallback.get(own.symbol),
        "implied_volatility": quoted.implied_volatility if quoted else None,
        "beta": betas.get(own.symbol),
    }


def test_a_tick_of_the_underlying_touches_who_holds_only_its_option() -> None:
    put = option("S0", "PUT", 100.0, 3)
    sold = Fill(
        fill_id="F0", account_id="A0", symbol=put.symbol, quantity=Quantity(-(10**6)), price=4.0, arrived_at=at(30)
    )
    day: list[Input] = [
        STOCKS[0],
        put,
        quote("S0", 100.0, 10),
        quote(put.symbol, 4.0, 20),
        sold,
        quote("S0", 80.0, 300),
    ]
    figures = [r for topic, r in days.run(day, publish_all=True, rules=FINRA) if topic == "margin.calc.v1"]
    by_instant = {r.as_of: r for r in figures}  # type: ignore[attr-defined]
    # The premium is of a hundred shares; 4 + 20% of 100, then 4 + 20% of 80 and nothing out of the money.
    assert by_instant[at(60)].cash == 400 * 10**4  # type: ignore[attr-defined]
    requirements = [by_instant[at(seconds)].requirement // 10**4 for seconds in (60, 360)]  # type: ignore[attr-defined]
    assert requirements == [2_400, 2_000]


def test_an_option_without_the_price_of_its_underlying_is_left_out_and_said() -> None:
    call = option("S1", "CALL", 100.0, 1)
    sold = Fill(
        fill_id="F0", account_id="A0", symbol=call.symbol, quantity=Quantity(-(10**6)), price=4.0, arrived_at=at(30)
    )
    outputs = days.run([STOCKS[1], call, sold], publish_all=True, rules=FINRA)
    (last,) = [r for topic, r in outputs if topic == "margin.calc.v1" and r.as_of == CLOSES]  # type: ignore[attr-defined]
    assert last.excluded == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["CORRECT", "BUST"])
def test_a_correction_undoes_the_cash_of_a_contract(version: str) -> None:
    put = option("S0", "PUT", 100.0, 3)
    sold = Fill(
        fill_id="F0", account_id="A0", symbol=put.symbol, quantity=Quantity(-(10**6)), price=4.0, arrived_at=at(30)
    )
    amended = Fill(
        fill_id="F1",
        ref_fill_id="F0",
        kind=version,  # type: ignore[arg-type]
        version=2,
        account_id="A0",
        symbol=put.symbol,
        quantity=Quantity(-(10**6)),
        price=5.0,
        arrived_at=at(90),
    )
    outputs = days.run([STOCKS[0], put, quote("S0", 100.0, 10), sold, amended], publish_all=True, rules=FINRA)
    (last,) = [r for topic, r in outputs if topic == "snapshots.v1"]
    assert last.cash == (500 * 10**4 if version == "CORRECT" else 0)  # type: ignore[attr-defined]


def test_the_deficit_of_a_day_is_the_worst_of_its_path() -> None:
    """FINRA 4210(d)(2): 10,000 of cash; 500 at 100 bought at 10:01 and sold at 10:02, told in that order or late."""
    paid = Cash(cash_id="C0", account_id="A0", amount=Money(10_000 * 10**4), kind="DEPOSIT", arrived_at=at(10))
    bought = stock_fill("F0", 500, executed=60, arrived=90)
    sold = stock_fill("F1", -500, executed=120, arrived=130)
    spot = quote("S0", 100.0, 5)
    last = intraday_of([STOCKS[0], spot, paid, bought, sold])[-1]
    # 10,000 less 25% of 50,000.
    assert (last.opening_iml, last.deficit, last.iml) == (0, 2_500 * 10**4, 10_000 * 10**4)
    # Sold first, that is short, by the times of execution: what the purchase changed is still what it was.
    early = msgspec.structs.replace(sold, executed_at=at(30), arrived_at=at(300))
    assert intraday_of([STOCKS[0], spot, paid, bought, early])[-1].deficit == 0


def test_a_bust_restates_the_deficit_and_an_unknown_time_is_the_worst() -> None:
    paid = Cash(cash_id="C0", account_id="A0", amount=Money(10_000 * 10**4), kind="DEPOSIT", arrived_at=at(10))
    bought = stock_fill("F0", 500, executed=60, arrived=90)
    gone = Fill(
        fill_id="F0-2",
        ref_fill_id="F0",
        kind="BUST",
        version=2,
        account_id="A0",
        symbol="S0",
        quantity=Quantity(0),
        price=100.0,
        arrived_at=at(300),
    )
    day: list[Input] = [STOCKS[0], quote("S0", 100.0, 5), paid, bought]
    found = [r.deficit // 10**4 for r in intraday_of([*day, gone])]
    assert found == [0, 2_500, 0]
    more = [stock_fill("F1", -500, executed=None, arrived=150), stock_fill("F2", 100, executed=150, arrived=200)]
    # The sale may have been last.
    assert intraday_of([*day, *more])[-1].deficit == (2_500 + 2_500) * 10**4


def test_portfolio_margin_accounts_have_no_intraday_margin() -> None:
    own = Account(account_id="A0", margin_type="PORTFOLIO", arrived_at=at(1))
    assert not intraday_of([STOCKS[0], own, quote("S0", 100.0, 5), stock_fill("F0", 500, executed=60, arrived=90)])


def stock_fill(fill_id: str, shares: int, *, executed: float | None, arrived: float) -> Fill:
    return Fill(
        fill_id=fill_id,
        account_id="A0",
        symbol="S0",
        quantity=Quantity(shares * 10**6),
        price=100.0,
        executed_at=None if executed is None else at(executed),
        arrived_at=at(arrived),
    )


def intraday_of(day: list[Input]) -> list[Any]:
    return [record for topic, record in days.run(day, rules=FINRA) if topic == "margin.intraday.v1"]
