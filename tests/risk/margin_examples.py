"""Worked examples of margin as rows of tests/risk/examples/margin: a short notation read into documents.

`underlying`: `XYZ 52.25 class=broad_index leverage=2`, separated by `;`. `holdings`: `100 XYZ`, or
`-1 XYZ C 55 3m @ 4.5`: short one call at 55 that expires in three months and is worth 4.5 a share. `expected`:
`figure=dollars`.
"""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ops.portfolio import calculate

FOLDER = Path(__file__).parent / "examples/margin"
AS_OF = dt.datetime(2026, 6, 15, 20, tzinfo=dt.UTC)

#: What a figure of a row is called in what `calculate` gives.
_NAMES = {"portfolio_margin": "portfolio_margin.requirement", "minimum_charge": "portfolio_margin.minimum_charge"}


@dataclass(frozen=True)
class Example:
    """A row: where it was published, what is held, and what follows."""

    table: str
    row: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.table}/{self.row['id']}"

    @property
    def expected(self) -> dict[str, float]:
        pairs = (pair.split("=") for pair in self.row["expected"].split(";") if pair.strip())
        return {name.strip(): float(value) for name, value in pairs}

    @cached_property
    def document(self) -> dict[str, Any]:
        instruments: dict[str, dict[str, Any]] = {}
        positions, house = [], {}
        market: dict[str, float] = {}
        for text in filter(None, map(str.strip, self.row["underlying"].split(";"))):
            symbol, price, *words = text.split()
            found = dict(word.split("=") for word in words)
            house |= {name: float(found.pop(name)) for name in ("long_rate", "short_rate") if name in found}
            if "rate" in found:
                market["risk_free_rate"] = float(found.pop("rate"))
            instruments[symbol] = {"price": float(price)} | {
                _FIELDS[name][0]: _FIELDS[name][1](value) for name, value in found.items()
            }
        for text in filter(None, map(str.strip, self.row["holdings"].split(";"))):
            quantity, symbol, *option = text.split()
            if option:
                symbol = _option(instruments, symbol, option)
            positions.append({"symbol": symbol, "quantity": quantity})
        for found in instruments.values():
            if found.get("type") != "OPTION":
                for name in ("exercise", "implied_volatility", "multiplier"):
                    found.pop(name, None)
        return {
            "rulebook": self.row.get("rulebook") or "finra-4210",
            "as_of": AS_OF.isoformat(),
            "account": {"margin_type": self.row["regime"], "cash": self.row["cash"] or "0"},
            "instruments": instruments,
            "positions": positions,
            "house": house,
            "market": market,
        }

    def found(self) -> dict[str, Any]:
        """The expected figures as calculated."""
        result = calculate(self.document)
        return {name: _at(result, _NAMES.get(name, name)) for name in self.expected}


#: A word of `underlying`: the field of the document, and what its value is.
_FIELDS: dict[str, tuple[str, Any]] = {
    "class": ("class", str),
    "type": ("type", str),
    "leverage": ("leverage", float),
    "multiplier": ("multiplier", float),
    "exercise": ("exercise", str),
    "eligible": ("margin_eligible", lambda word: word == "yes"),
    "yield": ("dividend_yield", float),
    "vol": ("implied_volatility", float),
    "underlying": ("underlying", str),
    "conversion": ("conversion_ratio", float),
    "adv": ("average_daily_volume", float),
    "outstanding": ("shares_outstanding", float),
    "sector": ("sector", str),
}


def _option(instruments: dict[str, dict[str, Any]], underlying: str, words: list[str]) -> str:
    """Describe an option written as `C 55 3m @ 4.5`; its symbol."""
    right, strike, term, *price = words
    symbol = f"{underlying} {right}{strike} {term}"
    own = instruments[underlying]
    instruments[symbol] = {
        "type": "OPTION",
        "underlying": underlying,
        "right": {"C": "CALL", "P": "PUT"}[right],
        "strike": float(strike),
        "expiry": _expiry(term).isoformat(),
        "price": float(price[1]) if price else None,
        **{name: own[name] for name in ("multiplier", "exercise", "implied_volatility") if name in own},
    }
    return symbol


def _expiry(term: str) -> dt.datetime:
    count, unit = int(term[:-1]), term[-1]
    if unit == "d":
        return AS_OF + dt.timedelta(days=count)
    month = AS_OF.month - 1 + count
    return AS_OF.replace(year=AS_OF.year + month // 12, month=month % 12 + 1)


def _at(result: Any, path: str) -> Any:
    for part in path.split("."):
        result = result[int(part)] if part.isdigit() else result[part]
    return result


def load() -> list[Example]:
    """Every row of every table."""
    found = []
    for path in sorted(FOLDER.glob("*.csv")):
        with path.open() as file:
            found.extend(Example(path.stem, row) for row in csv.DictReader(file))
    return found
