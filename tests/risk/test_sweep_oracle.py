"""The columnar sweep equals, to the bit, a plain loop over accounts and positions; beta and the ladder's invariants."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.rules import load_rulebook
from risk.beta import beta_of
from risk.block import AccountBlock
from risk.ladder import LIQUIDATION, MARGIN_CALL, RESTRICTION, REVIEW, SEVERE, WARNING, Decision, decide
from risk.margin import compute_margin, itemize_margin
from risk.rulebook import Rulebook
from risk.stress import run_severe, run_stress
from risk.tims import run_tims

SEED = load_rulebook("seed")
RULEBOOKS = (SEED, replace(SEED, short_rate=0.30, concentration_threshold=0.25), replace(SEED, long_rate=1 / 3))
SHARES = {"stale_share", "defaulted_share"}


@dataclass(frozen=True)
class Held:
    """A position: units, dollars a unit (None: no price), beta (None: the default)."""

    quantity: float
    price: float | None
    beta: float | None
    stale: bool


quantities = st.integers(-(10**10), 10**10).filter(bool).map(lambda millionths: millionths / 1e6)
# A few round prices, so that weights fall exactly on the threshold and amounts exactly on half a tick.
prices = st.none() | st.sampled_from([0.0002, 10.0002, 30.0, 25.0, 20.0]) | st.floats(1e-4, 1e5)
held = st.builds(Held, quantities, prices, st.none() | st.floats(-25, 25), st.booleans())
accounts = st.tuples(st.integers(-(10**11), 10**11), st.lists(held, max_size=6))
books = st.lists(accounts, min_size=1, max_size=7)


def block_of(book: list[tuple[int, list[Held]]], rules: Rulebook) -> AccountBlock:
    positions = [p for _, account in book for p in account]
    column = lambda values, dtype: np.array(list(values), dtype)  # noqa: E731
    return AccountBlock(
        instant=0,
        rules=rules,
        accounts=np.arange(len(book)),
        offsets=np.cumsum([0, *(len(account) for _, account in book)]),
        symbols=np.arange(len(positions)),
        quantity=column((p.quantity for p in positions), np.float64),
        price=column((p.price or 0.0 for p in positions), np.float64),
        beta=column((rules.default_beta if p.beta is None else p.beta for p in positions), np.float64),
        unreliable=column((p.stale or p.price is None for p in positions), np.bool_),
        unpriced=column((p.price is None for p in positions), np.bool_),
        defaulted=column((p.beta is None for p in positions), np.bool_),
        cash=column((cash for cash, _ in book), np.float64),
    )


def swept(book: list[tuple[int, list[Held]]], rules: Rulebook) -> dict[str, list]:
    block = block_of(book, rules)
    for measure in (compute_margin, itemize_margin, run_severe, run_stress, run_tims):
        measure(block)
    return {name: np.moveaxis(values, -1, 0).tolist() for name, values in block.measures.items()}


def requirement(values: list[int], rules: Rulebook) -> tuple[int, int]:
    gross = sum(abs(v) for v in values)
    maintenance = sum(round(abs(v) * (rules.short_rate if v < 0 else rules.long_rate)) for v in values)
    heavy = [abs(v) for v in values if abs(v) > round(gross * rules.concentration_threshold)]
    return maintenance, sum(round(v * rules.concentration_rate) for v in heavy)


def looped(cash: int, account: list[Held], rules: Rulebook) -> dict[str, object]:
    """One account in whole ticks, a position at a time; Python's round is half-even."""
    worth = [p.quantity * (p.price or 0.0) for p in account]
    betas = [rules.default_beta if p.beta is None else p.beta for p in account]
    values = [round(w * 10_000) for w in worth]
    long, short = sum(v for v in values if v > 0), -sum(v for v in values if v < 0)
    maintenance, addon = requirement(values, rules)
    equity = cash + long - short
    pnl, again = [], []
    for move in rules.spy_moves:
        moved = [round(w * max(move * b, -1.0) * 10_000) for w, b in zip(worth, betas, strict=True)]
        pnl.append(sum(moved))
        again.append(sum(requirement([v + m for v, m in zip(values, moved, strict=True)], rules)))
    grid = [sum(round(point * w * 10_000) for w in worth) for point in rules.tims_moves]
    stale = sum(abs(v) for v, p in zip(values, account, strict=True) if p.stale or p.price is None)
    guessed = sum(abs(v) for v, p in zip(values, account, strict=True) if p.beta is None)
    gross = long + short
    return {
        "long_market_value": long,
        "short_market_value": short,
        "gross": gross,
        "maintenance": maintenance,
        "addon": addon,
        "requirement": maintenance + addon,
        "equity": equity,
        "excess": equity - maintenance - addon,
        "stale_share": stale / gross if gross else 0.0,
        "defaulted_share": guessed / gross if gross else 0.0,
        "excluded": sum(p.price is None for p in account),
        "unpriced_shorts": sum(p.price is None and p.quantity < 0 for p in account),
        "exposure": sum(round(w * b * 10_000) for w, b in zip(worth, betas, strict=True)),
        "stress_pnl": pnl,
        "stress_requirement": again,
        "stress_equity": [equity + p for p in pnl],
        "stress_excess": [equity + p - r for p, r in zip(pnl, again, strict=True)],
        "severe_equity": equity + pnl[rules.spy_moves.index(rules.severe_move)],
        "tims_pnl": grid,
        "worst_loss": min(*grid, 0),
    }


@settings(max_examples=300)
@given(books, st.sampled_from(RULEBOOKS))
def test_the_sweep_equals_the_loop(book: list, rules: Rulebook) -> None:
    found = swept(book, rules)
    for at, (cash, account) in enumerate(book):
        assert {name: column[at] for name, column in found.items()} == looped(cash, account, rules)


@settings(max_examples=150)
@given(books, st.integers(0, 7), st.randoms(use_true_random=False))
def test_the_sweep_does_not_depend_on_the_block(book: list, cut: int, random: object) -> None:
    whole = swept(book, SEED)
    parts = [swept(part, SEED) for part in (book[:cut], book[cut:]) if part]
    assert whole == {name: [row for part in parts for row in part[name]] for name in whole}
    shuffled = [(cash, sorted(account, key=lambda _: random.random())) for cash, account in book]  # type: ignore[attr-defined]
    assert swept(shuffled, SEED) == whole


returns = st.floats(-0.2, 0.2).map(lambda r: round(r, 6))


@given(
    st.lists(st.tuples(returns, returns), min_size=2, max_size=80).filter(lambda s: np.ptp([m for _, m in s]) > 1e-3)
)
def test_beta_is_covariance_over_variance(sample: list) -> None:
    stock, market = np.array(sample).T
    expected = np.cov(stock, market, ddof=1)[0, 1] / np.var(market, ddof=1)
    assert beta_of(stock, market) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("sample", [([0.1], [0.1]), ([0.1, 0.2], [0.1]), ([0.1, 0.2], [0.0, 0.0])])
def test_beta_refuses(sample: tuple) -> None:
    with pytest.raises(ValueError, match="expected"):
        beta_of(*(np.array(s) for s in sample))


NOW = 10**15
LONG_AGO, JUST_NOW = NOW - SEED.persist * 10**6, NOW - 1


def decided(
    flags: int, since: int, equity: float, requirement: float, severe: float, stale: float = 0.0, unpriced: int = 0
) -> Decision:
    block = replace(block_of([(0, [])], SEED), instant=NOW)
    figures = {"equity": equity, "requirement": requirement, "severe_equity": severe, "stale_share": stale}
    block.measures = {n: np.array([v], np.float64) for n, v in (figures | {"unpriced_shorts": unpriced}).items()}
    return decide(block, np.array([flags], np.uint8), np.array([since], np.int64))


levels, clocks = st.integers(0, 15), st.sampled_from([-1, LONG_AGO, JUST_NOW])
amounts = st.integers(-(10**9), 10**9)
needs, shares, shorts = st.integers(0, 10**9), st.sampled_from([0.0, 0.25, 0.26, 1.0]), st.integers(0, 2)


@given(levels, clocks, st.integers(10**4, 10**9), st.floats(0, 1, exclude_max=True))
def test_between_entry_and_release_nothing_changes(flags: int, since: int, need: int, within: float) -> None:
    warning = need * (1 + SEED.warning_entry + within * (SEED.warning_release - SEED.warning_entry) * 0.999)
    call = need * (1 + within * SEED.call_release * 0.999)
    severe = np.floor(within * SEED.restriction_release * need * 0.99)
    kept = decided(flags, since, warning, need, severe).flags[0]
    assert kept & (WARNING | RESTRICTION) == flags & (WARNING | RESTRICTION)
    kept = decided(flags, since, call, need, severe).flags[0]
    assert kept & SEVERE == flags & SEVERE


@given(levels, clocks, amounts, needs, amounts, shares, shorts)
def test_deciding_again_changes_nothing(
    flags: int, since: int, equity: int, need: int, severe: int, stale: float, unpriced: int
) -> None:
    once = decided(flags, since, equity, need, severe, stale, unpriced)
    again = decided(int(once.flags[0]), int(once.deficient_since[0]), equity, need, severe, stale, unpriced)
    assert (again.flags[0], again.deficient_since[0]) == (once.flags[0], once.deficient_since[0])


@given(st.integers(0, 31), clocks, needs, st.floats(1.2, 5), shares)
def test_every_level_clears(flags: int, since: int, need: int, ratio: float, stale: float) -> None:
    cured = decided(flags, since, need * ratio, need, need, stale)
    assert (cured.flags[0], cured.deficient_since[0]) == (0, -1)


@given(levels, clocks, amounts, needs, amounts, shares)
def test_a_short_without_a_price_blocks_release(
    flags: int, since: int, equity: int, need: int, severe: int, stale: float
) -> None:
    assert decided(flags, since, equity, need, severe, stale, unpriced=1).flags[0] & flags == flags


@given(levels, clocks, amounts, needs, amounts, shorts)
def test_a_review_stands_for_what_may_not_be_entered(
    flags: int, since: int, equity: int, need: int, severe: int, unpriced: int
) -> None:
    sure = decided(flags, since, equity, need, severe, 0.25, unpriced)
    unsure = decided(flags, since, equity, need, severe, 0.26, unpriced)
    entered = int(sure.flags[0]) & SEVERE & ~flags
    assert unsure.flags[0] & SEVERE == sure.flags[0] & SEVERE & flags
    assert bool(unsure.flags[0] & REVIEW) == bool(entered)
    assert not sure.flags[0] & REVIEW
    assert unsure.deficient_since[0] == (since if equity < need else -1)


@pytest.mark.parametrize(
    ("since", "equity", "severe", "expected"),
    [
        (-1, 110, 50, 0),
        (-1, 109, 50, WARNING),
        (-1, 100, 50, WARNING),
        (-1, 99, 50, WARNING | MARGIN_CALL),
        (JUST_NOW, 99, 50, WARNING | MARGIN_CALL),
        (LONG_AGO, 99, 50, WARNING | MARGIN_CALL | LIQUIDATION),
        (LONG_AGO, 99, -1, WARNING | SEVERE),
        (-1, 110, -1, RESTRICTION),
    ],
)
def test_entry_lines(since: int, equity: int, severe: int, expected: int) -> None:
    assert decided(0, since, equity, 100, severe).flags[0] == expected
