"""The market's prices as columns, against a plain reading of what holds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from risk.market import Market
from risk.prices import CLOSE as CLOSED
from risk.prices import HALTED, LIVE
from risk.sessions import Sessions
from risk.ticks import STATUSES, Ticks, joined_ticks
from transforms.cells import decode_cell, encode_cell

SESSIONS = Sessions(np.array([0]), np.array([10**15]))
CLOSE, HALT, INDICATIVE, QUOTE = range(len(STATUSES))

#: (symbol, (as_of, sequence, source, price, status)), with many ties.
Told = tuple[str, tuple[int, int, str, float, int]]
told = st.tuples(
    st.sampled_from("XYZ"),
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 1),
        st.sampled_from(["", "A", "B"]),
        st.sampled_from([9.0, 10.0, 11.0]),
        st.sampled_from([CLOSE, HALT, INDICATIVE, QUOTE, QUOTE]),
    ),
)


def ticks(prices: list[Told]) -> Ticks:
    contents = [content for _, content in prices]
    return Ticks.of(
        [symbol for symbol, _ in prices],
        [content[2] for content in contents],
        arrived_at=[0] * len(prices),
        as_of=[content[0] for content in contents],
        sequence=[content[1] for content in contents],
        price=[content[3] for content in contents],
        status=[content[4] for content in contents],
        volatility=[np.nan] * len(prices),
    )


def standing(prices: list[tuple[int, int, str, float, int]]) -> tuple[float, int]:
    """Price and state of a symbol of which these prices came, in any order."""

    def newest(*statuses: int) -> tuple:
        return max((price for price in prices if price[4] in statuses), default=())

    live, indicative, halted = newest(QUOTE, CLOSE), newest(INDICATIVE), newest(HALT)
    held = live
    if indicative and (not live or (live[4] == CLOSE and indicative > live)):
        held = indicative
    if halted and halted > held:
        return (held or halted)[3], HALTED
    return held[3], CLOSED if held[4] == CLOSE else LIVE


@given(st.lists(told, max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_what_holds_is_that_of_the_newest_of_each_kind(prices: list[Told], cuts: list[int]) -> None:
    """Whatever came together: the order is the list's, cut anywhere."""
    market, edges = Market(SESSIONS), [0, *sorted(cuts), len(prices)]
    for first, end in pairwise(edges):
        before = {name: held(market, name) for name in market.symbols}
        moved = market.tick(ticks(prices[first:end]), stale_after=60)
        changed = {name for name in market.symbols if held(market, name) != before.get(name)}
        assert changed <= {market.symbols[row] for row in moved.tolist()}
    for symbol in {symbol for symbol, _ in prices}:
        assert held(market, symbol) == standing([content for name, content in prices if name == symbol])


def told_of(market: Market, symbol: str) -> list[tuple]:
    """What the market tells of a symbol, by kind."""
    all_told = market.ticks(0)
    columns = (all_told.as_of, all_told.sequence, all_told.sources, all_told.price, all_told.status)
    return [content for name, *content in zip(all_told.symbols, *columns, strict=True) if name == symbol]


def held(market: Market, symbol: str) -> tuple[float, int]:
    row = market.rows[symbol]
    return float(market.columns["price"][row]), int(market.columns["status"][row])


@given(st.lists(told, max_size=12), st.integers(0, 12))
def test_conflating_and_joining_lose_nothing_that_is_kept(prices: list[Told], cut: int) -> None:
    whole, apart = Market(SESSIONS), Market(SESSIONS)
    whole.tick(ticks(prices), stale_after=60)
    apart.tick(joined_ticks([ticks(prices[:cut]).conflated(), ticks(prices[cut:])]).conflated(), stale_after=60)
    for symbol in whole.symbols:
        assert told_of(whole, symbol) == told_of(apart, symbol)
        assert held(whole, symbol) == held(apart, symbol)


@given(st.lists(told, min_size=1, max_size=40))
def test_a_market_survives_its_cells(prices: list[Told]) -> None:
    market, again = Market(SESSIONS), Market(SESSIONS)
    market.tick(ticks(prices[: len(prices) // 2]), stale_after=60)
    for cell in ("symbols", "quotes"):
        again.load(decode_cell(encode_cell(market.to_cell(cell))))
    for one in (market, again):
        one.tick(ticks(prices), stale_after=60)
    assert again.symbols == market.symbols
    for symbol in market.symbols:
        assert told_of(again, symbol) == told_of(market, symbol)
