"""`margin calc FILE`: a portfolio document from YAML or JSON, its figures as tables."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from ops.document import PortfolioError, parse, supposed
from ops.portfolio import calculate
from ops.theoretical import load_values

_SUMMARY = (
    ("Long market value", "long_market_value"),
    ("Short market value", "short_market_value"),
    ("Equity", "equity"),
    ("Maintenance requirement", "maintenance_requirement"),
    ("Concentration add-on", "concentration_addon"),
    ("Excess", "excess"),
    ("Deficiency", "deficiency"),
    ("Initial requirement", "initial_requirement"),
    ("Reg T excess", "reg_t_excess"),
)


def load_document(path: Path) -> dict[str, Any]:
    """The document of a .json file, or of a YAML file by any other name. Raises PortfolioError."""
    try:
        text = path.read_text()
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise PortfolioError(f"{path}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise PortfolioError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise PortfolioError(f"{path}: expected a mapping, found {type(document).__name__}")
    return document


def calculate_file(path: Path, theoretical: Path | None = None, what_if: Sequence[str] = ()) -> dict[str, Any]:
    """The figures of a document file, see ops.portfolio.calculate.

    theoretical: a file of theoretical values of its symbols; those that the document has itself come first.
    what_if: what is supposed besides what the document supposes, see ops.document.supposed.

    Raises:
      PortfolioError: a document that cannot be calculated.
      TheoreticalError: a file of theoretical values that cannot be used.
    """
    document = load_document(path)
    try:
        if what_if:
            document = document | {"what_if": [*document.get("what_if", []), *map(supposed, what_if)]}
        if theoretical is not None:
            portfolio = parse(document)
            values = load_values(theoretical, {name: own.price for name, own in portfolio.instruments.items()})
            document = document | {"theoretical_values": values | portfolio.theoretical_values}
        with _own_output():
            return calculate(document)
    except PortfolioError as error:
        raise PortfolioError(f"{path}: {error}") from error


@contextmanager
def _own_output() -> Iterator[None]:
    """Keep the solver off standard output, which is for the figures.

    HiGHS prints a line of its own when the search of a large book meets trouble, whatever it is told.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def to_json(result: dict[str, Any]) -> str:
    """The figures as indented JSON."""
    return json.dumps(result, indent=2, allow_nan=False)


def render(result: dict[str, Any], console: Console) -> None:
    """Print the figures as tables: summary, what the requirement is made of, stress, portfolio margin, notes."""
    console.print(_summary(result))
    if result["lines"]:
        console.print(_lines(result["lines"]))
    if result["pairings"]:
        console.print(_pairings(result["pairings"]))
    console.print(_stress(result["stress"]))
    for group in result["portfolio_margin"]["class_groups"]:
        console.print(_grid(group))
    if published := result["portfolio_margin"]["published_values"]:
        console.print(f"{', '.join(published)}: valued as published at the valuation points", markup=False)
    for name, text in (("excluded", "no price: valued at nothing"), ("defaulted", "no beta: the default is used")):
        if result[name]:
            console.print(f"{', '.join(result[name])}: {text}", style="yellow", markup=False)
    for name, why in result["reasons"].items():
        console.print(f"{name}: {why}", style="dim", markup=False)


def render_changes(changes: list[tuple[str, dict[str, Any]]], console: Console) -> None:
    """Print the figures then, what time, prices, trades, corrections and rules each did to them, and what they are."""
    names = ("equity", "maintenance_requirement", "concentration_addon", "excess")
    table = Table(title="Why the figures changed", title_justify="left")
    table.add_column("Cause")
    for name in names:
        table.add_column(name.replace("_", " ").capitalize(), justify="right")
    table.add_row(changes[0][0], *(_money(changes[0][1][name]) for name in names))
    for (_, before), (cause, after) in pairwise(changes):
        table.add_row(cause, *(_money(after[name] - before[name]) for name in names))
    table.add_section()
    table.add_row("now", *(_money(changes[-1][1][name]) for name in names))
    console.print(table)


def _summary(result: dict[str, Any]) -> Table:
    table = Table(
        title=f"Margin by {result['rulebook']} as of {result['as_of']}", show_header=False, title_justify="left"
    )
    table.add_column(style="bold")
    table.add_column(justify="right")
    for label, name in _SUMMARY:
        if result[name] is not None:
            table.add_row(label, _money(result[name]))
    table.add_row("Portfolio margin requirement", _money(result["portfolio_margin"]["requirement"]))
    if (trigger := result["trigger"]) is not None:
        table.add_row("Maintenance trigger, value", _money(trigger["value"]))
        if trigger["price"] is not None:
            table.add_row("Maintenance trigger, price", _money(trigger["price"]))
    return table


def _lines(lines: list[dict[str, Any]]) -> Table:
    table = Table(title="Requirement by position", title_justify="left")
    for heading in ("Symbol", "Rule", "Source"):
        table.add_column(heading)
    for heading in ("Quantity", "Requirement"):
        table.add_column(heading, justify="right")
    for line in lines:
        table.add_row(
            "\n".join(line["symbols"]),
            line["rule"],
            line["description"],
            _quantities(line["quantity"]),
            _money(line["requirement"]),
        )
    return table


def _pairings(pairings: list[dict[str, Any]]) -> Table:
    table = Table(title="Offsets taken", title_justify="left")
    for heading in ("Strategy", "Symbols"):
        table.add_column(heading)
    for heading in ("Quantity", "Requirement", "Equity"):
        table.add_column(heading, justify="right")
    for pairing in pairings:
        amounts = (_money(pairing[name]) for name in ("requirement", "equity"))
        table.add_row(pairing["strategy"], "\n".join(pairing["symbols"]), _quantities(pairing["quantity"]), *amounts)
    return table


def _quantities(quantity: float | list[float]) -> str:
    listed = quantity if isinstance(quantity, list) else [quantity]
    return "\n".join(f"{own:,.6f}".rstrip("0").rstrip(".") for own in listed)


def _stress(stress: dict[str, Any]) -> Table:
    exposure = _money(stress["beta_weighted_exposure"])
    table = Table(title=f"Beta-weighted SPY ladder, exposure {exposure}", title_justify="left")
    names = ("pnl", "equity", "excess_fixed", "requirement_restressed", "excess_restressed")
    for heading in ("SPY", "P&L", "Equity", "Excess, fixed", "Requirement, restressed", "Excess, restressed"):
        table.add_column(heading, justify="right")
    for scenario in stress["scenarios"]:
        table.add_row(_move(scenario["move"]), *(_money(scenario[name]) for name in names))
    return table


def _grid(group: dict[str, Any]) -> Table:
    table = Table(title=f"Portfolio margin, class group {group['class_group']}", title_justify="left")
    table.add_column("Valuation point", justify="right")
    table.add_column("P&L", justify="right")
    for point, pnl in zip(group["points"], group["pnl"], strict=True):
        table.add_row(_move(point), _money(pnl))
    table.add_section()
    table.add_row("Worst loss", _money(group["worst_loss"]))
    return table


def _money(dollars: float) -> str:
    text = f"{abs(dollars):,.4f}"
    text = text[:-2] if text.endswith("00") else text
    return f"[red]-{text}[/red]" if dollars < 0 else text


def _move(fraction: float) -> str:
    return f"{fraction:+.1%}" if fraction else "0.0%"
