"""Figures: the published records of an account, from the columns of its block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from risk.amounts import Floats
from risk.block import AccountBlock, Accounts
from risk.book import REGIMES, Held
from risk.ladder import LEVELS, level_of
from risk.prices import STATE_NAMES
from schemas import outputs
from schemas.inputs import PricedPosition
from schemas.scalars import Money, Ratio, Time, encode_json
from transforms.lines import (
    Lines,
    Texts,
    arrays_of,
    few_texts,
    filled,
    form_of,
    key_of,
    money_texts,
    number_texts,
    plain_texts,
    quantity_texts,
    ratio_texts,
    sealed_lines,
    time_texts,
)
from transforms.state import ShardState


def money(ticks: float) -> str:
    """Ticks as a decimal string."""
    return str(encode_json(Money.within(ticks)))


def ratio(value: Any) -> Ratio:
    """A finite fraction in millionths."""
    return Ratio.within(float(value))


def cushion(value: float) -> Ratio | None:
    """A cushion in millionths; None where the requirement is zero."""
    return None if math.isinf(value) else ratio(value)


def head_of(state: ShardState, block: Accounts, account: int) -> dict[str, Any]:
    """What every event of an account at the block's instant begins with."""
    return {
        "account_id": state.book.ids[account],
        "as_of": Time(block.instant),
        "rulebook": block.rules.label,
    }


def figures_of(state: ShardState, block: AccountBlock, cushion: Floats, why: list[str]) -> Iterator[Lines]:
    """Margin, stress, portfolio margin and state of the accounts of a block with every measure.

    Args:
      cushion: (n,) of each. why: (n,) what each is published for.
    """
    rules, instant, rows = block.rules, block.instant, block.accounts
    n = len(rows)
    accounts = [state.book.ids[row] for row in rows.tolist()]
    keys = [key_of(instant, account) for account in accounts]
    m = block.measures
    equity, requirement, worst = m["equity"], m["requirement"], m["worst_loss"]
    head = [plain_texts(accounts), *plain_texts([Time(instant).text(), rules.label])]

    totals = ("long_market_value", "short_market_value", "equity", "maintenance", "addon", "requirement", "excess")
    pnl, again, grid = m["stress_pnl"], m["stress_requirement"], m["tims_pnl"]
    after, left = m["stress_equity"], m["stress_excess"]
    # As one array: for the few accounts of an ordinary instant, calls cost more than amounts.
    groups = [
        np.stack([block.cash, *(m[name] for name in totals)]),
        m["exposure"][None],
        *(pnl, after, equity - requirement + pnl, again, left),
        grid,
        np.stack([worst, -worst, equity + worst]),
    ]
    texts = iter(money_texts(np.concatenate(groups)))
    amounts, exposure, *measured, points, losses = (list(islice(texts, len(group))) for group in groups)

    finite = np.isfinite(cushion)
    shares = np.stack([np.where(finite, cushion, 0.0), m["stale_share"], m["defaulted_share"]])
    cushions, stale, defaulted = ratio_texts(shares)
    excluded = plain_texts(m["excluded"].astype(np.int64).tolist())
    calc = [plain_texts(why), *amounts, np.where(finite, cushions, b"null"), stale, defaulted, excluded]
    contents = filled(form_of(outputs.MarginCalc), n, [*head, *calc])
    yield "margin.calc.v1", sealed_lines(keys, contents)

    moves = ratio_texts(np.array(rules.spy_moves))
    scenarios = [text for scenario in zip(moves, *measured, strict=True) for text in scenario]
    contents = filled(form_of(outputs.StressBetaSpy, scenarios=len(pnl)), n, [*head, *exposure, defaulted, *scenarios])
    yield "stress.beta_spy.v1", sealed_lines(keys, contents)

    moves = ratio_texts(np.array(rules.tims_moves))
    tims = [text for point in zip(moves, points, strict=True) for text in point]
    tims += [moves[grid.argmin(axis=0)], *losses]
    contents = filled(form_of(outputs.StressTims, points=len(grid)), n, [*head, *tims])
    yield "stress.tims.v1", sealed_lines(keys, contents)

    ladder = state.ladder
    levels = plain_texts(LEVELS)[[level_of(flags) for flags in ladder.flags[rows].tolist()]]
    clocks = [time_texts(clock[rows]) for clock in (ladder.since, ladder.deficient_since)]
    opened = (open_events(state, row) for row in rows.tolist())
    held = state.book.held(rows, state.market)
    states = plain_texts(STATE_NAMES)[state.market.states(held.symbols, instant)]
    positions = position_texts(PricedPosition, state, held, n, [number_texts(np.nan_to_num(held.price)), states])
    stand = [levels, *clocks, amounts[3], amounts[6], amounts[7], plain_texts(opened), positions]
    # No house rate is kept as zero.
    asked = [plain_texts([rate or None for rate in side.tolist()]) for side in state.book.house[:, rows]]
    stand += [amounts[0], plain_texts([REGIMES[code] for code in state.book.regime[rows].tolist()]), *asked]
    contents = filled(form_of(outputs.AccountState), n, [*head, *stand])
    yield "accounts.state.v1", sealed_lines(keys, contents)


def open_events(state: ShardState, row: int) -> list[str]:
    """Ids of what is open on an account: consequences of the ladder by level, then calls; a clock has none."""
    events = [on.event_id for _, on in sorted(state.ladder.opened.get(row, {}).items())]
    events += [call.event_id for call in state.standing.of(row).calls]
    return list(dict.fromkeys(filter(None, events)))


def position_texts(record: type, state: ShardState, held: Held, accounts: int, rest: list[Texts]) -> list[bytes]:
    """(accounts,) the JSON arrays of what is held, each position a record of symbol, quantity and the rest."""
    names = few_texts([state.market.symbols[row] for row in held.symbols.tolist()])
    items = filled(form_of(record), len(names), [names, quantity_texts(held.quantity), *rest])
    return arrays_of(items, np.bincount(held.owners, minlength=accounts).tolist())
