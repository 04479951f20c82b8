"""The textbook Beam design: python -m bench.textbook_beam DAY [EVENTS].

Fills are keyed by account into a stateful DoFn that keeps the account's positions in state; every tick is fanned out to
each holder as an element of its own, and each element values its account. The holders of a symbol come from the fills
read so far. Prices and betas travel with the elements, and the account keeps the newest: Beam's state is per key.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from bench.meter import report
from bench.plain_numpy import Event, read
from pipeline.rules import load_rulebook
from runners.direct import ENGINE
from runners.engine import Run

Element = tuple[str, tuple[str, float, float, float, float]]


def fan_out(events: list[Event]) -> Iterator[Element]:
    """(account, (symbol, quantity, price, beta, cash)): a fill or deposit for its account, a tick for each holder."""
    holders: dict[str, set[str]] = {}
    price: dict[str, float] = {}
    beta: dict[str, float] = {}
    for e in events:
        if e.amount:
            yield e.account_id, ("", 0.0, 0.0, 0.0, float(e.amount))
        elif e.account_id:
            holders.setdefault(e.symbol, set()).add(e.account_id)
            mark = price.get(e.symbol, e.price)
            yield e.account_id, (e.symbol, e.quantity, mark, beta.get(e.symbol, 1.0), -e.quantity * e.price)
        elif e.beta is None:
            price[e.symbol] = e.price
            for account in sorted(holders.get(e.symbol, ())):
                yield account, (e.symbol, 0.0, e.price, beta.get(e.symbol, 1.0), 0.0)
        else:
            beta[e.symbol] = e.beta


class ValueAccount(beam.DoFn):
    """One element, one valuation: the arithmetic of risk/ in plain Python, rounded to 1e-4 dollar before sums."""

    BOOK = ReadModifyWriteStateSpec("book", FastPrimitivesCoder())

    def setup(self) -> None:
        self.rules = load_rulebook("seed")

    def process(self, element: Element, book: Any = beam.DoFn.StateParam(BOOK)) -> Iterator[tuple[str, list[float]]]:
        account, (symbol, quantity, price, beta, cash) = element
        held, balance = book.read() or ({}, 0.0)
        if symbol:
            held[symbol] = (held[symbol][0] + quantity if symbol in held else quantity, price, beta)
        balance += round(cash * 1e4)
        book.write((held, balance))
        yield account, value(self.rules, held, balance)


def value(rules: Any, held: dict[str, tuple[float, float, float]], cash: float) -> list[float]:
    """Every measure of compute_margin, run_stress and run_tims for one account, ticks."""
    positions = [(q * p, b) for q, p, b in held.values()]
    values = [round(v * 1e4) for v, _ in positions]
    net, gross = sum(values), sum(map(abs, values))
    requirement = _requirement(rules, values)
    exposure = sum(round(v * b * 1e4) for v, b in positions)
    out = [net, gross, cash + net, requirement, cash + net - requirement, exposure]
    for move in rules.spy_moves:
        moved = [round(v * max(move * b, -1.0) * 1e4) for v, b in positions]
        out += [sum(moved), _requirement(rules, [v + m for v, m in zip(values, moved, strict=True)])]
    grid = [sum(round(move * v * 1e4) for v, _ in positions) for move in rules.tims_moves]
    return [*out, *grid, min(0.0, *grid)]


def _requirement(rules: Any, values: list[int]) -> int:
    line = math.ceil(sum(map(abs, values)) * rules.concentration_threshold)
    total = 0
    for v in values:
        size = abs(v)
        total += round(size * (rules.short_rate if v < 0 else rules.long_rate))
        if size > line:
            total += round(size * rules.concentration_rate)
    return total


def main() -> None:
    """Read, fan out (not timed: the design would do it in another stateful stage), run, print."""
    limit = int(sys.argv[2]) if len(sys.argv) > 2 else 6_000
    events = read(Path(sys.argv[1]))
    deposits = sum(1 for e in events if e.amount)
    events = events[: deposits + limit]
    elements = list(fan_out(events))
    start = time.process_time()
    with beam.Pipeline(options=ENGINE.options(Run())) as pipeline:
        _ = (
            pipeline
            | "Elements" >> beam.Create(elements).with_output_types(tuple[str, Any])
            | "Value" >> beam.ParDo(ValueAccount())
            | "Count" >> beam.combiners.Count.Globally()
        )
    spent = time.process_time() - start
    report(start_s=round(start, 3), events=limit, rows=len(elements), us_per_row=round(spent / len(elements) * 1e6, 1))


if __name__ == "__main__":
    main()
