"""Worked examples of margin as rows of tests/risk/examples/margin: a short notation read into documents.

`underlying`: `XYZ 52.25 class=broad_index leverage=2`, separated by `;`. `holdings`: `100 XYZ`, or
`-1 XYZ C 55 3m @ 4.5`: short one call at 55 that expires in three months and is worth 4.5 a share. `expected`:
`figure=dollars`, with the names of `calculate` or of FIGURES. `rulebook`: a book of conf/rules, or one of
tests/risk/examples/rulebooks. `tolerance`: dollars or a percentage, where a page rounds or a model is fitted; half a
cent otherwise.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ops.portfolio import calculate

EXAMPLES = Path(__file__).parent / "examples"
AS_OF = dt.datetime(2026, 6, 15, 20, tzinfo=dt.UTC)

#: Figures of a row that `calculate` gives under a longer name, or only the parts of.
FIGURES: dict[str, Callable[[dict[str, Any]], float]] = {
    "portfolio_margin": lambda result: result["portfolio_margin"]["requirement"],
    "minimum_charge": lambda result: result["portfolio_margin"]["minimum_charge"],
    "requirement": lambda result: result["maintenance_requirement"] + result["concentration_addon"],
    "reg_t_requirement": lambda result: result["equity"] - result["reg_t_excess"],
}


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
        return amounts(self.row["expected"])

    @property
    def tolerance(self) -> dict[str, Any]:
        """As pytest.approx takes it."""
        text = self.row.get("tolerance") or "0.005"
        return {"rel": float(text[:-1]) / 100} if text.endswith("%") else {"rel": 0.0, "abs": float(text)}

    @cached_property
    def document(self) -> dict[str, Any]:
        instruments: dict[str, dict[str, Any]] = {}
        series: dict[str, dict[str, Any]] = {}
        positions, rates = [], {}
        market: dict[str, float] = {}
        for text in _parts(self.row["underlying"]):
            symbol, price, *words = text.split()
            found = dict(word.split("=") for word in words)
            if "house" in found:
                rates[symbol] = float(found.pop("house"))
            if "rate" in found:
                market["risk_free_rate"] = float(found.pop("rate"))
            fields = {_FIELDS[name][0]: _FIELDS[name][1](value) for name, value in found.items()}
            own = () if fields.get("type") == "SECURITY_FUTURE" else _OF_OPTIONS
            series[symbol] = {name: fields.pop(name) for name in own if name in fields}
            instruments[symbol] = {"price": float(price)} | fields
        for text in _parts(self.row["holdings"]):
            quantity, symbol, *words = text.split()
            if words:
                option = _option(symbol, words) | series[symbol]
                symbol = " ".join((symbol, words[0] + words[1], words[2]))
                instruments[symbol] = option
            positions.append({"symbol": symbol, "quantity": quantity})
        return {
            "rulebook": _book(self.row.get("rulebook") or "finra-4210"),
            "as_of": AS_OF.isoformat(),
            "account": {"margin_type": self.row["regime"], "cash": self.row["cash"] or "0"},
            "instruments": instruments,
            "positions": positions,
            "house": {"rates": rates},
            "market": market,
        }

    @cached_property
    def result(self) -> dict[str, Any]:
        return calculate(self.document)

    def found(self, expected: dict[str, float]) -> dict[str, Any]:
        """Figures as calculated, those that are expected."""
        return {name: self._figure(name) for name in expected}

    def _figure(self, name: str) -> Any:
        if name in FIGURES:
            return FIGURES[name](self.result)
        if name.startswith("rate_"):
            return self._rate(name.removeprefix("rate_"))
        figure = self.result
        for part in name.split("."):
            figure = figure[part]
        return figure

    def _rate(self, symbol: str) -> float:
        """What a symbol held once requires, add-ons included, over its value."""
        required = sum(line["requirement"] for line in self.result["lines"] if line["symbols"] == [symbol])
        (held,) = (abs(float(own["quantity"])) for own in self.document["positions"] if own["symbol"] == symbol)
        return required / (held * self.document["instruments"][symbol]["price"])


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
    "group": ("class_group", str),
    "product_group": ("product_group", str),
    "adv": ("average_daily_volume", float),
    "outstanding": ("shares_outstanding", float),
    "sector": ("sector", str),
}
#: Fields that a word of `underlying` says of its options.
_OF_OPTIONS = ("multiplier", "exercise", "implied_volatility")


def amounts(text: str) -> dict[str, float]:
    """`figure=dollars`, separated by `;`."""
    pairs = (part.split("=") for part in _parts(text))
    return {name.strip(): float(value) for name, value in pairs}


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _book(name: str) -> str:
    own = EXAMPLES / "rulebooks" / f"{name}.yaml"
    return str(own) if own.exists() else name


def _option(underlying: str, words: list[str]) -> dict[str, Any]:
    """The option that is written as `C 55 3m @ 4.5`."""
    right, strike, term, *price = words
    return {
        "type": "OPTION",
        "underlying": underlying,
        "right": {"C": "CALL", "P": "PUT"}[right],
        "strike": float(strike),
        "expiry": _expiry(term).isoformat(),
        "price": float(price[1]) if price else None,
    }


def _expiry(term: str) -> dt.datetime:
    count, unit = int(term[:-1]), term[-1]
    if unit == "d":
        return AS_OF + dt.timedelta(days=count)
    month = AS_OF.month - 1 + count
    return AS_OF.replace(year=AS_OF.year + month // 12, month=month % 12 + 1)


def load(pattern: str = "margin/*.csv") -> list[Example]:
    """Every row of the tables of a pattern, by table."""
    found: list[Example] = []
    for path in sorted(EXAMPLES.glob(pattern)):
        with path.open() as file:
            found.extend(Example(path.stem, row) for row in csv.DictReader(file))
    return found
