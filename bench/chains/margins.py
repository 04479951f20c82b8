"""Accounts that hold a chain, or an expiry of it, and what they require."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.chains.puts import Priced
from ops.portfolio import calculate

KINDS = {
    "short": "short one of each contract that traded",
    "hedged": "the same, and long what underlies each call",
    "alternating": "short one and long one in turn, along the strikes of each expiry and right",
}


def account(priced: Priced, kind: str, margin_type: str, expiry: np.datetime64 | None = None) -> dict[str, Any]:
    """A document that holds the chain, or an expiry of it. What underlies the index is SPY at a tenth of it."""
    chain, told, source = priced.chain, priced.parity, priced.chain.source
    last = max(told.forward)
    years = float((last - np.datetime64(source.date)).astype(np.float64)) / 365
    own = {
        "type": "STOCK" if source.american else "INDEX",
        "class": source.instrument_class,
        "price": round(told.spot, 2),
        "dividend_yield": round(source.rate - np.log(told.forward[last] / told.spot) / years, 4),
    }
    instruments: dict[str, Any] = {source.name: own}
    which = chain.volume > 0 if expiry is None else (chain.volume > 0) & (chain.expiry == expiry)
    positions = []
    places = np.flatnonzero(which)
    for turn, at in enumerate(places[np.lexsort((chain.strike[places], chain.sign[places], chain.expiry[places]))]):
        right = "CALL" if chain.sign[at] > 0 else "PUT"
        symbol = f"{source.name} {chain.expiry[at]} {chain.strike[at]:g} {right}"
        instruments[symbol] = {
            "type": "OPTION",
            "underlying": source.name,
            "right": right,
            "strike": float(chain.strike[at]),
            "expiry": str(chain.expiry[at]),
            "price": float(chain.close[at]),
        }
        positions.append({"symbol": symbol, "quantity": 1 if kind == "alternating" and turn % 2 else -1})
    if kind == "hedged":
        calls, hedge = int((chain.sign[places] > 0).sum()), source.name if source.american else "SPY"
        if not source.american:
            price = round(told.spot / 10, 2)
            instruments[hedge] = {"type": "ETF", "class": source.instrument_class, "price": price}
        positions.append({"symbol": hedge, "quantity": calls * (100 if source.american else 1_000)})
    return {
        "rulebook": "finra-4210",
        "as_of": str(source.date),
        "account": {"margin_type": margin_type, "cash": 10_000_000},
        "market": {"risk_free_rate": source.rate},
        "instruments": instruments,
        "positions": positions,
    }


@dataclass(frozen=True, slots=True)
class Margined:
    """What accounts require together, in dollars; exact: whether the lines of each sum to its requirement."""

    contracts: int
    requirement: float
    minimum: float
    lines: int
    pairings: int
    seconds: float
    exact: bool


def margin(documents: Sequence[dict[str, Any]]) -> Margined:
    begun, found = time.perf_counter(), [calculate(document) for document in documents]
    seconds = time.perf_counter() - begun
    ticks = [round(one["maintenance_requirement"] * 10_000) for one in found]
    held = [[name for name in (p["symbol"] for p in one["positions"]) if " " in name] for one in documents]
    return Margined(
        contracts=sum(map(len, held)),
        requirement=sum(ticks) / 10_000,
        minimum=sum(one["portfolio_margin"]["minimum_charge"] for one in found),
        lines=sum(len(one["lines"]) for one in found),
        pairings=sum(len(one["pairings"] or []) for one in found),
        seconds=seconds,
        exact=ticks == [sum(round(line["requirement"] * 10_000) for line in one["lines"]) for one in found],
    )
