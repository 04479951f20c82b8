"""Liquidations of a crash day beside naive ones, of the same accounts at the same instants, to the same line.

usage: python -m bench.liquidation

Every account whose liquidation becomes due, as it then stands: of a day of stock under the seed's rules, and of one
with options and portfolio margin under FINRA 4210. The naive rules close positions one by one, hedges or not, the last
one sized by the rules themselves, or the same part of each. None has a limit by volume here, nor has the proposal.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ops.generate import write_day
from pipeline.day import load_manifest
from pipeline.replay import monitor_of
from pipeline.rules import load_rulebook
from pipeline.sources import read_records
from risk import lines
from risk.amounts import TICKS_PER_DOLLAR, Floats, Ints
from risk.block import AccountBlock
from risk.hedge_groups import MILLION, HedgeGroups
from risk.liquidation import Proposal, propose
from risk.margin import compute_margin
from risk.rulebook import LiquidationRules
from risk.sizing import Sizing
from risk.whatif import WhatIf
from schemas.inputs import Input, Price
from transforms.lines import text_of
from transforms.records import Records

WORK = Path(__file__).resolve().parents[1] / "build" / "bench"
SEED, FINRA = load_rulebook("seed"), load_rulebook("finra-4210").liquidation
assert FINRA is not None
RULES: LiquidationRules = replace(FINRA, volume_share=float("inf"))
#: Of the part of every position that is closed pro rata.
STEPS = 500
#: Accounts on which the two ways to size are compared.
DRAWN = 500


@dataclass(frozen=True)
class Due:
    """An account at the instant at which its liquidation became due: its block, the symbols by row, and what each
    position has gained since the first price of the day, as a share."""

    block: AccountBlock
    names: list[str]
    gained: Floats


def due(day: Path) -> Iterator[Due]:
    """The accounts of a day whose liquidation becomes due, each as often as it does."""
    manifest = load_manifest(day)
    monitor = monitor_of(manifest, shards=1)
    fold, records = monitor.fold, list[Input]()
    state, first = fold.start(), dict[str, float]()
    for record in read_records(day, monitor.bounds):
        records.append(record)
        if isinstance(record, Price):
            first.setdefault(record.symbol, record.price)
    for topic, found in fold.advance(state, [Records.of(records)], manifest.horizon):
        for told in map(json.loads, map(text_of, found)) if topic == "liquidations.v1" else ():
            if told["status"] == "DUE":
                row, rules = state.book.rows[told["account_id"]], fold.rulebooks[-1]
                block = state.book.block(np.array([row]), state.market.quotes(rules, state.now), rules, state.now)
                names = list(state.market.symbols)
                opened = np.array([first.get(names[at], np.nan) for at in block.symbols.tolist()])
                yield Due(block, names, np.nan_to_num(np.sign(block.quantity) * (block.price / opened - 1.0)))


def each_alone(block: AccountBlock) -> HedgeGroups:
    """Every position of a block by itself, whatever it hedges."""
    held = np.where(block.unpriced, 0.0, np.rint(np.abs(block.quantity) * MILLION))
    step = np.full(len(held), MILLION * RULES.lot)
    if block.terms is not None:
        step = np.where(block.terms.right[block.symbols] != 0, block.terms.multiplier[block.symbols] * MILLION, step)
    every = np.arange(len(held))
    rule = np.full(len(held), lines.LONG)
    return HedgeGroups(rule, np.ceil(held / step), np.append(every, len(held)), every, every, step, held)


def one_by_one(order: Callable[[Due], Ints]) -> Callable[[Due, WhatIf], Floats | None]:
    """Positions closed in an order, the last one by as many lots as cure; None where nothing does."""

    def closed(case: Due, account: WhatIf) -> Floats | None:
        lots, full = np.zeros(len(case.gained)), account.groups.lots
        for at in order(case).tolist():
            sizes = np.arange(full[at] + 1)
            first, end = 0, len(sizes) - 1
            if account.beyond(np.where(np.arange(len(lots)) == at, full[at], lots)[None])[0] >= 0:
                while first < end:
                    middle = (first + end) // 2
                    cured = account.beyond(np.where(np.arange(len(lots)) == at, sizes[middle], lots)[None])[0] >= 0
                    first, end = (first, middle) if cured else (middle + 1, end)
                lots[at] = sizes[end]
                return lots
            lots[at] = full[at]
        return None

    return closed


def pro_rata(case: Due, account: WhatIf) -> Floats | None:
    """The least part of every position that cures, rounded up to lots."""
    lots = np.ceil(np.arange(STEPS + 1)[:, None] / STEPS * account.groups.lots)
    cured = np.flatnonzero(account.beyond(lots) >= 0)
    return lots[cured[0]] if len(cured) else None


def exercise(case: Due, account: WhatIf) -> Floats | None:
    """The seed's exercise: losers first until proceeds are 1.1 times the deficiency. It mostly does not cure."""
    equity, requirement = (figure[0] for figure in account.figures(np.zeros((1, len(case.gained)))))
    missing, lots = 1.1 * (requirement - equity), np.zeros(len(case.gained))
    for at in np.argsort(case.gained, kind="stable").tolist():
        each = case.block.price[at] * account.groups.step[at] / MILLION * TICKS_PER_DOLLAR
        lots[at] = min(np.ceil(max(missing, 0.0) / max(each, 1.0)), account.groups.lots[at])
        missing -= lots[at] * each
    return lots if account.beyond(lots[None])[0] >= 0 else None


NAIVE: dict[str, Callable[[Due, WhatIf], Floats | None]] = {
    "losers first": one_by_one(lambda case: np.argsort(case.gained, kind="stable")),
    "largest first": one_by_one(lambda case: np.argsort(-np.abs(case.block.values), kind="stable")),
    "pro rata": pro_rata,
    "the seed's exercise: proceeds of 1.1 x deficiency": exercise,
}


def traded(proposal: Proposal) -> tuple[float, float, int]:
    """Dollars of market value, dollars of cost, orders."""
    value, cost = (
        sum(getattr(order, name) for order in proposal.orders) / TICKS_PER_DOLLAR for name in ("value", "cost")
    )
    return value, cost, len(proposal.orders)


def compared(title: str, day: Path) -> tuple[list[tuple[str, ...]], str]:
    """Rows of the table for a day, and what else is to be said of it."""
    found: dict[str, list[tuple[float, float, int] | None]] = defaultdict(list)
    spent, exact, cases = [], 0, list(due(day))
    for case in cases:
        begun = time.process_time()
        proposal = propose(case.block, names=case.names, rules=RULES)
        spent.append(time.process_time() - begun)
        exact += proposal.exact
        found["the proposal"].append(traded(proposal) if proposal.cured else None)
        account = WhatIf(case.block, each_alone(case.block), RULES)
        for name, rule in NAIVE.items():
            lots = rule(case, account)
            amounts = account.traded(np.zeros(len(case.gained)) if lots is None else lots)
            value, cost = (part(amounts).sum() / TICKS_PER_DOLLAR for part in (account.values, account.costs))
            found[name].append(None if lots is None else (value, cost, np.count_nonzero(amounts)))
    # By the exercise hardly any is cured: it is not compared.
    rules = ["the proposal", *list(NAIVE)[:-1]]
    both = [at for at in range(len(cases)) if all(found[name][at] is not None for name in rules)]
    rows, least = [], 0.0
    for name in found:
        cured = sum(own is not None for own in found[name])
        sums = np.array([found[name][at] for at in both], np.float64).sum(axis=0) if name in rules and both else None
        told = ("", "", "", "") if sums is None else ()
        if sums is not None:
            least = least or sums[0]
            told = (f"{sums[0]:,.0f}", f"{sums[0] / least:.2f}x", f"{sums[1]:,.0f}", f"{sums[2]:,.0f}")
        rows.append((title, name, f"{cured} of {len(cases)}", *told))
    milliseconds = np.array(spent) * 1e3
    print(title, flush=True)
    note = (
        f"{title}: {len(cases)} due, {len(both)} cured by all rules but the last; {exact} proved best; "
        f"CPU ms a proposal: median {np.median(milliseconds):.0f}, most {milliseconds.max():.0f}."
    )
    return rows, note


def beside_best() -> str:
    """How much more is traded in rounds than by the best there is, of accounts that have few enough books for both."""
    rng, ratios = np.random.Generator(np.random.PCG64(7)), list[float]()
    while len(ratios) < DRAWN:
        block = drawn(rng)
        account = WhatIf(block, each_alone(block), RULES)
        sizing = Sizing(account, np.zeros(len(block.symbols), np.bool_))
        best = sizing.best()
        if best is not None and best.any():
            traded = account.traded(np.stack([best, sizing.in_rounds()]))
            one, other = (account.values(traded) + account.costs(traded)).sum(axis=1)
            ratios.append(other / one)
    found = np.sort(ratios)
    parts = ", ".join(f"{part:.0%}: {np.quantile(found, part):.3f}" for part in (0.5, 0.9, 0.95, 0.99))
    same = (found < 1.0 + 1e-12).mean()
    return (
        f"In rounds beside the best, {DRAWN} accounts of 3 positions of at most 26 lots: as good in {same:.0%}; "
        f"traded of the best's, by part of the accounts: {parts}, most {found[-1]:.3f}."
    )


def drawn(rng: np.random.Generator) -> AccountBlock:
    """An account of three positions of stock under the seed's rules, of at most 26 lots, below its line."""
    price, no = np.exp(rng.normal(4.0, 0.8, 3)).round(2), np.zeros(3, np.bool_)
    quantity = rng.integers(1, 27, 3) * np.where(rng.random(3) < 0.3, -1.0, 1.0)
    block = AccountBlock(
        instant=0,
        rules=SEED,
        accounts=np.arange(1),
        cash=np.zeros(1),
        offsets=np.array([0, 3]),
        symbols=np.arange(3),
        quantity=quantity,
        price=price,
        beta=np.ones(3),
        unreliable=no,
        unpriced=no,
        defaulted=no,
    )
    compute_margin(block)
    equity, requirement = block.measures["equity"], block.measures["requirement"]
    return replace(block, cash=np.rint(requirement * rng.uniform(0.3, 1.0) - equity))


def written(*, options: bool) -> Path:
    """The crash day of `margin generate`, with options or without."""
    folder = WORK / f"crash{'-options' * options}"
    if not (folder / "manifest.json").exists():
        write_day(folder, scenario="crash", accounts=1000, symbols=200, seed=7, options=options)
    return folder


def main() -> None:
    """Compare, print the table and keep it."""
    head = ("day", "rule", "cured", "market value traded, $", "of the proposal's", "cost, $", "orders")
    rows, notes = [head, tuple("---" if at < 2 else "---:" for at in range(len(head)))], list[str]()
    for title, options in (("stock, seed", False), ("options, FINRA 4210", True)):
        more, note = compared(title, written(options=options))
        rows, notes = [*rows, *more], [*notes, note]
    table = "\n".join(
        [*(f"| {' | '.join(row)} |" for row in rows), "", *(f"- {note}" for note in [*notes, beside_best()])]
    )
    print(table)
    name = f"{dt.datetime.now(dt.UTC).date()}-liquidation.md"
    (Path(__file__).with_name("results") / name).write_text(table + "\n")


if __name__ == "__main__":
    main()
