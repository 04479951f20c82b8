"""An order: its legs as they are written, and the answer to it, as a document and as tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from risk.admission import Answer
from risk.amounts import TICKS_PER_DOLLAR, Floats, Ints
from schemas.errors import UserError
from schemas.scalars import QUANTITY_SCALE, Quantity, Time, decode_scalar

#: quantity, symbol (which may have spaces), and a price.
_LEG = re.compile(r"([-+]?[\d.]+)\s+([^@]+?)(?:\s+@\s*([\d.]+))?")
_FIGURES = ("equity", "requirement", "excess", "initial_requirement", "reg_t_excess", "buying_power")


class OrderError(UserError, ValueError):
    """An order that cannot be checked; the text says why, and what to do next."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A leg of an order.

    Fields:
      quantity: millionths of a unit or contract, signed: what is sold is negative.
      price: dollars a unit of the underlying, that it trades at; None: what the symbol is valued at.
    """

    symbol: str
    quantity: int
    price: float | None = None


def leg_of(text: str) -> Leg:
    """A leg as it is written on a command line: `-1 XYZ-P95 @ 2.10`, or `-50 AAPL` at what it is valued at.

    Raises:
      OrderError: anything else.
    """
    found = _LEG.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError(f"found {text!r}")
        leg = Leg(found[2], int(decode_scalar(Quantity, found[1])), float(found[3]) if found[3] else None)
    except ValueError as error:
        raise OrderError(f"leg: expected '-1 XYZ-P95 @ 2.10' or '-50 AAPL', {error}") from error
    if leg.quantity == 0 or leg.price == 0:
        raise OrderError(f"leg: expected a quantity and a price other than zero, found {text!r}")
    return leg


#: Who says what a symbol is valued at: the topic that told it, or the order, where there is nothing else.
SOURCES = ("accounts.state.v1", "prices.v1", "order", "none")
STATE, QUOTE, ORDER, NONE = range(len(SOURCES))


class Mark(NamedTuple):
    """What a symbol is valued at, dollars a unit, when that was so, and who says it.

    state: of a price that came with the account (risk.prices); empty of another.
    """

    symbol: str
    price: float | None
    as_of: Time | None
    source: str
    state: str


@dataclass(frozen=True, slots=True)
class Marks:
    """Marks as columns, for few orders are asked what they were valued at: n symbols, dollars (NaN: none), microseconds
    (-1: no time), places of SOURCES, and states of prices."""

    symbols: list[str]
    price: Floats
    as_of: Ints
    source: NDArray[np.int8]
    states: list[str]

    def __iter__(self) -> Iterator[Mark]:
        """One by one."""
        columns = self.price.tolist(), self.as_of.tolist(), self.source.tolist()
        for symbol, price, as_of, source, state in zip(self.symbols, *columns, self.states, strict=True):
            worth, at = None if source == NONE else price, None if as_of < 0 else Time(as_of)
            yield Mark(symbol, worth, at, SOURCES[source], state if source == STATE else "")


@dataclass(frozen=True, slots=True)
class Checked:
    """An order that was checked, and what the answer rests on.

    Fields:
      as_of: of the account's state: positions, cash, level, and the instant that options are valued at.
      marks: of every position, the legs' among them, and then of what underlies them and is not held.
      touched: the symbols of the legs and of what underlies them.
    """

    account_id: str
    as_of: Time
    rulebook: str
    level: str
    legs: tuple[Leg, ...]
    answer: Answer
    marks: Marks
    touched: frozenset[str]

    @property
    def unpriced(self) -> list[str]:
        """Symbols that the figures leave out, for want of a price."""
        return [self.marks.symbols[place] for place in self.answer.unpriced]

    def document(self) -> dict[str, Any]:
        """The answer as plain data, in dollars; a figure that the rules do not know is null."""
        answer = self.answer
        return {
            "account_id": self.account_id,
            "admitted": answer.admitted,
            "rule": answer.rule,
            "reason": answer.reason,
            "as_of": self.as_of.text(),
            "rulebook": self.rulebook,
            "level": self.level,
            "legs": [
                {"symbol": leg.symbol, "quantity": leg.quantity / QUANTITY_SCALE, "price": leg.price}
                for leg in self.legs
            ],
            "costs": answer.costs / TICKS_PER_DOLLAR,
            "before": dict(self._figures("before")),
            "after": dict(self._figures("after")),
            "unpriced": self.unpriced,
            "prices": [
                {
                    "symbol": mark.symbol,
                    "price": mark.price,
                    "as_of": None if mark.as_of is None else mark.as_of.text(),
                    "source": mark.source,
                    "state": mark.state or None,
                }
                for mark in self.marks
            ],
        }

    def _figures(self, when: str) -> Iterator[tuple[str, float | None]]:
        figures = getattr(self.answer, when)
        for name in _FIGURES:
            ticks = getattr(figures, name)
            # Adding zero turns -0.0 into 0.0.
            yield name, None if ticks is None else ticks / TICKS_PER_DOLLAR + 0.0

    def render(self, console: Console) -> None:
        """Print the answer: whether and why, the figures before and after, and the prices that they rest on."""
        word, style = ("admitted", "green") if self.answer.admitted else ("refused", "red")
        console.print(f"[bold {style}]{word}[/]: {self.answer.reason}", soft_wrap=True, highlight=False)
        title = f"{self.account_id}, {self.level}, by {self.rulebook} as of {self.as_of.text()}"
        table = Table("", title=title, title_justify="left")
        for heading in ("Before", "After", "Change"):
            table.add_column(heading, justify="right")
        after = dict(self._figures("after"))
        for name, then in self._figures("before"):
            now = after[name]
            if then is not None and now is not None:
                label = name.replace("_", " ").capitalize().replace("Reg t", "Reg T")
                table.add_row(label, *(f"{amount:,.2f}" for amount in (then, now, now - then)))
        table.add_row("Costs", "", f"{self.answer.costs / TICKS_PER_DOLLAR:,.2f}", "")
        console.print(table)
        console.print(self._prices())
        if self.unpriced:
            said = "no price: left out of every figure"
            console.print(f"{', '.join(self.unpriced)}: {said}", style="yellow", markup=False)

    def _prices(self) -> Table:
        table = Table(title="Prices", title_justify="left")
        for heading in ("Symbol", "Leg", "Trades at", "Valued at", "As of", "From"):
            table.add_column(heading, overflow="fold", justify="right" if heading[-3:] in ("Leg", " at") else "left")
        marks = {mark.symbol: mark for mark in self.marks}
        for leg in self.legs:
            mark = marks.pop(leg.symbol)
            quantity = f"{leg.quantity / QUANTITY_SCALE:+,.6f}".rstrip("0").rstrip(".")
            table.add_row(leg.symbol, quantity, _dollars(leg.price or mark.price), *_told(mark))
        for mark in marks.values():
            # Of two hundred positions those that the order does not touch, and that are in order, say nothing.
            if mark.symbol in self.touched or mark.state not in ("LIVE", "CLOSE", ""):
                table.add_row(mark.symbol, "", "", *_told(mark))
        return table


def _told(mark: Mark) -> tuple[str, str, str]:
    as_of = "" if mark.as_of is None else mark.as_of.text()
    return _dollars(mark.price), as_of, f"{mark.source} {mark.state}".strip()


def _dollars(price: float | None) -> str:
    return "" if price is None else f"{price:,.4f}"
