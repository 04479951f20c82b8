"""Two real chains: what puts are worth from their calls, why some are missed, and what whole chains require."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.chains.causes import CAUSES, misses
from bench.chains.chain import APPLE, INDEX, LEAST_CLOSE, read
from bench.chains.legs import Legs, legs
from bench.chains.margins import KINDS, account, margin
from bench.chains.puts import CENTS, Priced, price_puts
from bench.chains.smile import smooth_puts
from bench.chains.tables import VOLUMES, every_miss

MISSING = [str(source.file) for source in (APPLE, INDEX) if not source.file.is_file()]
PAGE = Path(__file__).parents[2] / "docs" / "rules" / "chains.md"
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the real option chains are absent: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def apple() -> Priced:
    return price_puts(read(APPLE))


@pytest.fixture(scope="module")
def index() -> Priced:
    """Its closes are middles of quotes, and few of its pairs traded: all are used."""
    chain = read(INDEX)
    return price_puts(chain, chain.close >= LEAST_CLOSE)


@pytest.fixture(scope="module")
def apple_legs(apple: Priced) -> Legs:
    return legs(apple)


def sizes(priced: Priced) -> np.ndarray:
    return np.abs(priced.error)


def test_the_pairs_are_those_that_traded(apple: Priced, index: Priced) -> None:
    assert len(apple.pairs) == 367
    assert len(price_puts(index.chain).pairs) == 1
    assert len(index.pairs) == 5


def test_parity_finds_the_spot_and_not_the_first_row(apple: Priced, index: Priced) -> None:
    """The stock closed at 628.65, and SPY, a little less than a tenth of the index, at 203.56: daily.csv.gz."""
    assert apple.parity.spot == pytest.approx(628.65, abs=0.5)
    assert index.parity.spot == pytest.approx(2_035.60, rel=0.0025)


def test_the_stock_was_where_its_options_say(apple_legs: Legs) -> None:
    """Its low and high of that day were 622.50 and 634.83: daily.csv.gz."""
    assert apple_legs.day == pytest.approx((622.50, 634.83), abs=0.5)


def test_dividends_are_what_separates_forwards(apple: Priced) -> None:
    """One of $3.29 falls before August's expiry, two before January's."""
    chain, told = apple.chain, apple.parity
    worth = {
        str(day): told.spot - forward * np.exp(-APPLE.rate * (day - np.datetime64(APPLE.date)).astype(float) / 365)
        for day, forward in told.forward.items()
    }
    assert worth["2014-07-19"] == pytest.approx(0.0, abs=0.01)
    assert worth["2014-08-16"] == pytest.approx(3.29, abs=0.5)
    assert worth["2015-01-17"] == pytest.approx(6.58, abs=0.8)
    assert len(worth) == len(np.unique(chain.expiry[apple.pairs[:, 0]]))


def test_the_more_a_pair_traded_the_less_its_put_is_missed(apple: Priced) -> None:
    """A wrong model would not know how often a contract traded; a late trade does."""
    least = np.minimum(*apple.chain.volume[apple.pairs].T)
    middle = [np.nanmedian(sizes(apple)[(least >= low) & (least < high)]) for low, high in VOLUMES]
    assert middle[0] > 1.0
    assert middle[1:] == sorted(middle[1:], reverse=True)
    assert middle[-1] < 0.10


def test_pairs_of_one_moment_are_within_the_tolerance(apple: Priced, apple_legs: Legs) -> None:
    """1,000 contracts a side, or C - P within its bounds where no dividend widens them."""
    (cents, share), error = apple.beyond, sizes(apple)
    least = np.minimum(*apple.chain.volume[apple.pairs].T)
    most = least >= 1_000
    assert most.sum() == 14
    assert (cents & share)[most].mean() <= 0.15
    before = apple.chain.expiry[apple.pairs[:, 0]] < np.datetime64(APPLE.dividends[0][0])
    within = before & (np.abs(apple_legs.broken) <= CENTS) & ~np.isnan(error)
    assert within.sum() >= 35
    assert np.median(error[within]) <= 0.10
    assert error[within].max() <= 0.30


def test_quotes_of_one_moment_are_missed_by_cents(index: Priced) -> None:
    """Of an index at 2,035: the middle of a quote of a call at 520 is not known better."""
    assert np.median(sizes(index)) <= 0.20
    assert sizes(index).max() <= 0.40


def test_smooth_volatilities_of_calls_give_the_puts(apple: Priced) -> None:
    """With the noise of single trades gone from both sides, near the money."""
    at, by_call, by_put = smooth_puts(apple)
    error = np.abs(by_call - apple.chain.close[at])
    traded = apple.chain.volume[at] >= 1_000
    assert np.median(error[traded]) <= 0.05
    near = np.abs(np.log(apple.chain.strike[at] / apple.parity.over(apple.chain, at))) < 0.05
    assert np.median(np.abs(by_put - by_call)[near]) <= 0.20


def test_every_miss_has_a_cause_in_the_data(apple: Priced, index: Priced) -> None:
    causes = [cause for priced in (apple, index) for _, _, cause in misses(priced)]
    assert {cause.name for cause in causes} <= set(CAUSES) - {"unknown"}
    beyond_both = [cause for _, beyond, cause in misses(apple) if beyond == "both"]
    without_a_model = [cause for cause in beyond_both if {"p", "n"} & set(cause.shown)]
    assert 220 <= len(beyond_both) <= 240
    assert len(without_a_model) >= 0.8 * len(beyond_both)


def test_the_page_has_every_miss(apple: Priced, index: Priced) -> None:
    """But for a few that a change of the model by a cent moves across the line."""
    text, missing = PAGE.read_text(), []
    for priced in (apple, index):
        rows = [line.split(" | ")[:4] for line in every_miss(priced).splitlines()[2:]]
        missing += [row for row in rows if " | ".join(row) not in text]
    assert len(missing) <= 4, missing


def cases(apple: Priced, index: Priced) -> Iterator[tuple[str, Priced, str | None]]:
    """The chain of the index, but for what a search of pairings takes long over; two expiries of the other."""
    for kind in KINDS:
        yield kind, index, "2016-02-19" if kind == "alternating" else None
        for day in ("2014-07-03", "2014-07-11"):
            yield kind, apple, day


@pytest.mark.parametrize("regime", ["STRATEGY", "PORTFOLIO"])
def test_a_chain_is_margined_line_by_line(apple: Priced, index: Priced, regime: str) -> None:
    for kind, priced, day in cases(apple, index):
        expiry = None if day is None else np.datetime64(day)
        found = margin([account(priced, kind, regime, expiry)])
        assert found.exact, (kind, day)
        assert found.requirement > 0
        if regime == "PORTFOLIO":
            assert found.requirement >= found.minimum > 0
        elif kind != "alternating":
            assert found.pairings > 0


def test_portfolio_margin_of_the_index_is_below_that_of_strategies(index: Priced) -> None:
    """53 contracts: at least $37.50 a contract held short."""
    found = [margin([account(index, "short", regime)]) for regime in ("PORTFOLIO", "STRATEGY")]
    assert [one.contracts for one in found] == [53, 53]
    assert found[0].minimum == 53 * 37.5
    assert found[0].minimum < found[0].requirement < found[1].requirement


def test_every_contract_of_the_stock_is_margined(apple: Priced) -> None:
    """1,244 in one account on portfolio margin; strategies pair an expiry at a time."""
    whole = margin([account(apple, "short", "PORTFOLIO")])
    days = np.unique(apple.chain.expiry[apple.chain.volume > 0])
    parts = margin([account(apple, "short", "STRATEGY", day) for day in days])
    assert whole.exact
    assert parts.exact
    assert whole.contracts == parts.contracts == 1_244
    assert whole.minimum == 1_244 * 37.5
    assert whole.minimum < whole.requirement < parts.requirement
