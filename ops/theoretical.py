"""Theoretical values as published, OCC's or a clearing firm's, in place of the model's at the valuation points.

A CSV file, plain or .gz, with a header: `symbol`; ten numbers, `-5` to `-1` and `1` to `5` or `point1` to `point10`,
from the lowest valuation point to the highest; and, if need be, `kind`: `value`, dollars that a unit of the underlying
is worth, or `pnl`, dollars that a unit held long gains. docs/rules/portfolio-margin.md says how OCC's file maps to it.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ops.document import Portfolio, PortfolioError
from risk.amounts import Floats
from risk.rulebook import Rulebook
from schemas.errors import UserError

#: Names of the ten columns, either of them; as FIX numbers price movement points, below zero are down.
POINTS = (
    ("-5", "-4", "-3", "-2", "-1", "1", "2", "3", "4", "5"),
    tuple(f"point{number}" for number in range(1, 11)),
)


class TheoreticalError(UserError, ValueError):
    """A file of theoretical values that cannot be used: file, line, column, what was expected and what was found."""


def load_values(path: Path, prices: Mapping[str, float | None]) -> dict[str, list[float]]:
    """What a unit of each symbol is worth at the valuation points, dollars, from the lowest point to the highest.

    Args:
      path: plain, or .gz.
      prices: of the symbols that are wanted, dollars, or None where there is none; to these a gain is added. A file
        has every series there is: lines of other symbols are passed over.

    Raises:
      TheoreticalError: a file that cannot be read, is not of this form, or has none of the symbols.
    """
    found: dict[str, list[float]] = {}
    first: dict[str, int] = {}
    try:
        for line, row in _rows(path):
            symbol = row["symbol"]
            if symbol not in prices:
                continue
            if symbol in found:
                raise _wrong(path, line, "symbol", "each symbol once", f"{symbol} again, as on line {first[symbol]}")
            found[symbol], first[symbol] = _values(path, line, row, prices[symbol]), line
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise TheoreticalError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not found:
        wanted = ", ".join(list(prices)[:5]) or "none"
        raise TheoreticalError(f"{path}: expected at least one symbol of the document ({wanted}), found none")
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each line's number and its text by column."""
    # A spreadsheet begins a file with a mark of its encoding.
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        head = [name.strip() for name in next(lines, [])]
        if not any(sorted(head) in (sorted(("symbol", *ten)), sorted(("symbol", *ten, "kind"))) for ten in POINTS):
            what = "a header of symbol, the points -5 to -1 and 1 to 5 (or point1 to point10), and kind or not"
            raise TheoreticalError(f"{path}:1: expected {what}, found {','.join(head) or 'nothing'}")
        for row in lines:
            if not any(row):
                continue
            if len(row) != len(head):
                raise TheoreticalError(f"{path}:{lines.line_num}: expected {len(head)} columns, found {len(row)}")
            yield lines.line_num, {name: text.strip() for name, text in zip(head, row, strict=True)}


def _values(path: Path, line: int, row: dict[str, str], price: float | None) -> list[float]:
    kind = row.get("kind", "value")
    if kind not in ("value", "pnl"):
        raise _wrong(path, line, "kind", "value or pnl", repr(kind))
    if kind == "pnl" and price is None:
        raise _wrong(path, line, "kind", f"value, for {row['symbol']} has no price to add a gain to", "pnl")
    values = []
    for name in POINTS[0] if "-5" in row else POINTS[1]:
        try:
            number = float(row[name])
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise _wrong(path, line, name, "a number of dollars a unit", repr(row[name]))
        if kind == "value" and number < 0:
            raise _wrong(path, line, name, "a value not below zero (a gain or loss is of kind pnl)", row[name])
        values.append(number if kind == "value" or price is None else price + number)
    return values


def _wrong(path: Path, line: int, column: str, expected: str, found: str) -> TheoreticalError:
    return TheoreticalError(f"{path}:{line}: column {column}: expected {expected}, found {found}")


def published_values(portfolio: Portfolio, rules: Rulebook) -> Floats | None:
    """(points, symbols) those of a document, by row of its instruments; NaN where the model says them.

    Raises:
      PortfolioError: values of what is not described, as many as the rulebook has no points, or of a rulebook without.
    """
    told = portfolio.theoretical_values
    if not told:
        return None
    if rules.portfolio is None:
        raise PortfolioError(
            f"theoretical_values: rulebook {rules.name} has no valuation points of class groups; leave them out"
        )
    count = len(rules.tims_moves)
    places = {symbol: place for place, symbol in enumerate(portfolio.instruments)}
    out = np.full((count, len(places)), np.nan)
    for symbol, values in told.items():
        where = f"theoretical_values.{symbol}"
        portfolio.instrument(symbol, where)
        if len(values) != count:
            raise PortfolioError(
                f"{where}: expected {count} numbers, one for each valuation point, found {len(values)}"
            )
        out[:, places[symbol]] = values
    return out


def forget_supposed(portfolio: Portfolio, symbol: str) -> None:
    """Leave out the values of a symbol whose price or volatility is another than they are of, and what derives from
    it."""
    for own in list(portfolio.theoretical_values):
        if symbol in (own, portfolio.instruments[own].underlying):
            del portfolio.theoretical_values[own]


def unused_values(told: list[str], left: Mapping[str, object], used: list[str]) -> dict[str, str]:
    """Why values of symbols that are held are not used, as reasons.

    Args:
      told: symbols with values. left: those after what is supposed. used: those valued by them.
    """
    supposed = "not used: what_if supposes another price or volatility than they are of"
    apart = "not used: it is not revalued at valuation points, or has no price"
    return {
        f"theoretical_values.{symbol}": apart if symbol in left else supposed for symbol in told if symbol not in used
    }
