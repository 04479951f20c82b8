"""A small folder of outputs, written by hand: what the tests of what reads one begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas import topics
from schemas.codec import to_json
from schemas.ids import identified
from schemas.outputs import AccountState, Alert, Level, MarginCalc, MarginCall
from schemas.outputs import StressBetaSpy as Stress
from schemas.outputs import StressScenario as Scenario
from schemas.scalars import Money, Ratio, Time

NAMES = ("cash", "long_market_value", "short_market_value", "maintenance_requirement", "concentration_addon")
PARTS: dict[str, Any] = dict.fromkeys(NAMES, Money(0))
CALL_RULE = "4210(f)(6): equity < requirement & more"


def at(text: str) -> Time:
    return Time.parse(f"2026-01-05T{text}Z")


def money(whole: float) -> Money:
    return Money(round(whole * 10_000))


def head(account: str, time: str) -> dict[str, Any]:
    return {"account_id": account, "as_of": at(time), "rulebook": "test@0"}


def state(account: str, time: str, level: Level, equity: int, requirement: int, **more: Any) -> list[Any]:
    """The figures, the standing and the stress of an account; every SPY move of 8% takes or gives 500 dollars.

    more: of the standing.
    """
    figures: dict[str, Any] = {
        "equity": money(equity),
        "requirement": money(requirement),
        "excess": money(equity - requirement),
    }
    calc = MarginCalc(
        **head(account, time),
        published_for="MOVE",
        cushion=None,
        stale_share=Ratio(0),
        defaulted_share=Ratio(0),
        excluded=0,
        **PARTS,
        **figures,
    )
    told: dict[str, Any] = {"since": None, "deficient_since": None, "open_events": (), "positions": ()} | more
    standing = AccountState(**head(account, time), level=level, **told, **figures)
    scenarios = tuple(
        Scenario(
            move=Ratio(move * 10_000),
            pnl=money(pnl),
            equity=money(equity + pnl),
            excess_fixed=money(equity + pnl - requirement),
            requirement_restressed=money(requirement),
            excess_restressed=money(equity + pnl - requirement),
        )
        for move, pnl in ((-8, -500), (0, 0), (8, 500))
    )
    shares: dict[str, Any] = {"beta_weighted_exposure": Money(0), "defaulted_share": Ratio(0)}
    return [calc, standing, Stress(**head(account, time), scenarios=scenarios, **shares)]


def alert(account: str, time: str, before: Level, after: Level, equity: int = 900) -> Alert:
    figures: dict[str, Any] = {"equity": money(equity), "requirement": money(1000), "cushion": Ratio(50_000)}
    return Alert(
        **head(account, time), kind="LEVEL", level=after, previous_level=before, message=f"to <b>{after}</b>", **figures
    )


def consequence(kind: type, account: str, time: str, ends: Any = None, **fields: Any) -> Any:
    supersedes = None if ends is None else ends.event_id
    if kind is MarginCall:
        called = {"type": "HOUSE", "basis": "REALTIME", "called": money(100), "occurred_at": at(time)}
        fields = {**called, "due_at": at("21:00:00"), **fields}
    common: dict[str, Any] = {"cause_id": "cause", "rule": CALL_RULE, "equity": money(900), "requirement": money(1000)}
    return identified(kind(**head(account, time), **common | {"supersedes": supersedes} | fields))


def write(out: Path, records: list[Any]) -> Path:
    out.mkdir(exist_ok=True)
    for topic in topics.OUTPUTS:
        lines: list[Any] = [record for record in records if type(record) is topic.record]
        lines.sort(key=lambda record: (record.as_of, record.account_id))
        (out / f"{topic.name}.jsonl").write_bytes(b"".join(to_json(record) + b"\n" for record in lines))
    return out
