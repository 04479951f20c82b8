"""An account of a day on disk as of an instant, as the document of `margin calc`, and why its figures changed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ops.document import SHARED
from ops.portfolio import PortfolioError, calculate
from pipeline.day import DayError, Manifest, load_manifest
from pipeline.replay import monitor_of
from pipeline.rules import load_rulebook
from pipeline.sources import read_records
from risk.book import REGIMES
from risk.rulebook import rulebook_at
from schemas.inputs import Fill, Input
from schemas.scalars import Time
from transforms.records import Records
from transforms.state import ShardState


@dataclass(frozen=True)
class AccountDay:
    """The records of a day that concern one account: its own, and the market's.

    Fields:
      rulebooks: names or paths by the name that a rulebook gives itself.
    """

    manifest: Manifest
    account_id: str
    records: tuple[Input, ...]
    rulebooks: dict[str, str]

    @classmethod
    def read(cls, day: Path, account_id: str) -> AccountDay:
        """Read a day. Raises DayError where it cannot be read, or has nothing of the account."""
        manifest = load_manifest(day)
        bounds, found = monitor_of(manifest, shards=1).bounds, list[Input]()
        found.extend(r for r in read_records(day, bounds) if getattr(r, "account_id", account_id) == account_id)
        if not any(hasattr(record, "account_id") for record in found):
            raise DayError(f"{day}: expected records of account {account_id}, found none")
        return cls(manifest, account_id, tuple(found), {load_rulebook(name).name: name for name in manifest.rulebooks})

    @property
    def horizon(self) -> int:
        """The end of the day, microseconds."""
        return self.manifest.horizon

    def document(self, at: int, *, uncorrected_since: int | None = None) -> dict[str, Any]:
        """The account as of an instant, microseconds.

        uncorrected_since: leave out corrections and busts that arrived after this.
        """
        monitor = monitor_of(self.manifest, shards=1)
        fold, state, records = monitor.fold, monitor.fold.start(), list[Input]()
        for record in self.records:
            amends = isinstance(record, Fill) and record.kind != "NEW"
            if uncorrected_since is None or not amends or (record.arrived_at or 0) <= uncorrected_since:
                records.append(record)
        for _ in fold.advance(state, [Records.of(records)], at):
            pass
        rules = rulebook_at(monitor.rulebooks, at)
        return _document(state, self.account_id, self.rulebooks[rules.name], at)

    def changes(self, since: int, at: int) -> list[tuple[str, dict[str, Any]]]:
        """The figures at `since`, and after each cause in turn has had its effect until `at`: time, prices and
        volatilities, trades and cash, corrections, rules."""
        before, after = self.document(since), self.document(at)
        traded = self.document(at, uncorrected_since=since)
        every = {**before["instruments"], **traded["instruments"], **after["instruments"]}
        now = copy.deepcopy(before)
        found = [("then", calculate(now))]
        for cause, change in (
            ("time", {"as_of": after["as_of"]}),
            ("prices", {"instruments": every}),
            ("positions", {name: traded[name] for name in ("account", "positions")}),
            ("corrections", {name: after[name] for name in ("account", "positions")}),
            ("rules", {"rulebook": after["rulebook"]}),
        ):
            now = now | change
            found.append((cause, calculate(now)))
        return found


def _document(state: ShardState, account_id: str, rulebook: str, at: int) -> dict[str, Any]:
    account = state.book.rows.get(account_id)
    if account is None:
        raise PortfolioError(f"account {account_id}: expected records before {Time(at).text()}, found none")
    market, book = state.market, state.book
    held = book.held(np.array([account]), market)
    prices = dict(zip(held.symbols.tolist(), held.price.tolist(), strict=True))
    below = market.columns["underlying"][held.symbols]
    rows = np.union1d(held.symbols, below[below >= 0]).tolist()
    regime = REGIMES[book.regime[account]]
    return {
        "rulebook": rulebook,
        "as_of": Time(at).text(),
        "account": {
            "margin_type": "PORTFOLIO" if regime == "PORTFOLIO" else "STRATEGY",
            "cash": book.cash[account].item() / 1e4,
        },
        "instruments": {market.symbols[row]: _instrument(state, row, prices.get(row)) for row in rows},
        "positions": [
            {"symbol": market.symbols[row], "quantity": quantity / 1e6}
            for row, quantity in zip(held.symbols.tolist(), held.quantity.tolist(), strict=True)
        ],
    }


def _instrument(state: ShardState, row: int, price: float | None) -> dict[str, Any]:
    market = state.market
    known, columns = market.instruments.get(row), market.columns
    told = {name: getattr(known, name) for name in (*SHARED, "multiplier", "exercise")} if known else {}
    told |= {"class": told.pop("instrument_class"), "expiry": known.expiry and known.expiry.text()} if known else {}
    values = {
        "price": columns["price"][row].item() if price is None else price,
        "beta": columns["beta"][row].item(),
        "implied_volatility": columns["volatility"][row].item(),
    }
    given = {name: value for name, value in values.items() if not np.isnan(value)}
    return {name: value for name, value in told.items() if value is not None} | given
