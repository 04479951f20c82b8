"""Figures: the published records of an account, from the columns of its block."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from risk.amounts import Ints
from risk.block import AccountBlock
from risk.ladder import LEVELS, Decision, level_of
from risk.market import STATE_NAMES
from schemas import outputs
from schemas.inputs import PricedPosition
from schemas.scalars import QUANTITY_SCALE, RATIO_SCALE, Money, Quantity, Ratio, Time, encode_json
from transforms.lines import Lines, form_of, key_of, lines_of, money_texts, number_texts, plain_texts, ratio_texts
from transforms.state import ShardState


def money(ticks: float) -> str:
    """Ticks as a decimal string."""
    return str(encode_json(Money(ticks)))


def ratio(value: Any) -> Ratio:
    """A finite fraction in millionths."""
    return Ratio(round(float(value) * RATIO_SCALE))


def cushion(value: float) -> Ratio | None:
    """A cushion in millionths; None where the requirement is zero."""
    return None if math.isinf(value) else ratio(value)


def priced(state: ShardState, account: int, instant: int, *, flat: bool = False) -> tuple[PricedPosition, ...]:
    """An account's positions by symbol, each at the price it is valued at; a price of zero says there is none.

    flat: with those that came to zero, which a correction may revive.
    """
    market, held = state.market, state.book.held(np.array([account]), state.market)
    found = [
        PricedPosition(
            symbol=market.symbols[row],
            quantity=Quantity(quantity),
            price=0.0 if math.isnan(price) else price,
            state=STATE_NAMES[state_code],
        )
        for row, quantity, price, state_code in zip(
            held.symbols.tolist(),
            held.quantity.tolist(),
            held.price.tolist(),
            market.states(held.symbols, instant).tolist(),
            strict=True,
        )
        if flat or quantity
    ]
    return tuple(sorted(found, key=lambda p: p.symbol))


def head_of(state: ShardState, block: AccountBlock, account: int) -> dict[str, Any]:
    """What every event of an account at the block's instant begins with."""
    return {
        "account_id": state.book.ids[account],
        "as_of": Time(block.instant),
        "rulebook": block.rules.label,
    }


def figures_of(
    state: ShardState, block: AccountBlock, decision: Decision, shown: Ints, why: list[str]
) -> Iterator[Lines]:
    """Margin, stress, portfolio margin and state of the accounts at the places `shown` of the block.

    Args:
      shown: (n,) places. why: (n,) what each is published for.
    """
    rules, instant, n = block.rules, block.instant, len(shown)
    rows = block.accounts[shown]
    accounts = [state.book.ids[row] for row in rows.tolist()]
    keys = [key_of(instant, account) for account in accounts]
    m = {name: column[..., shown] for name, column in block.measures.items()}
    equity, requirement, worst = m["equity"], m["requirement"], m["worst_loss"]
    head = [plain_texts(accounts), *([text] * n for text in plain_texts([Time(instant).text(), rules.label]))]

    def write(topic: str, form: str, columns: Iterable[Sequence[str]]) -> Lines:
        return topic, lines_of(form, keys, [*head, *columns])

    totals = ("long_market_value", "short_market_value", "equity", "maintenance", "addon", "requirement", "excess")
    amounts = money_texts(np.stack([block.cash[shown], *(m[name] for name in totals)]))
    finite = np.isfinite(decision.cushion[shown])
    cushions, stale, defaulted = ratio_texts(
        np.stack([np.where(finite, decision.cushion[shown], 0.0), m["stale_share"], m["defaulted_share"]])
    )
    cushions = [text if known else "null" for text, known in zip(cushions, finite.tolist(), strict=True)]
    excluded = plain_texts(m["excluded"].astype(np.int64).tolist())
    calc = [plain_texts(why), *amounts, cushions, stale, defaulted, excluded]
    yield write("margin.calc.v1", form_of(outputs.MarginCalc), calc)

    pnl, again = m["stress_pnl"], m["stress_requirement"]
    after = equity + pnl
    moves = [[text] * n for (text,) in ratio_texts(np.array(rules.spy_moves)[:, None])]
    measured = (money_texts(amount) for amount in (pnl, after, after - requirement, again, after - again))
    scenarios = [column for scenario in zip(moves, *measured, strict=True) for column in scenario]
    stress = [*money_texts(m["exposure"][None]), defaulted, *scenarios]
    yield write("stress.beta_spy.v1", form_of(outputs.StressBetaSpy, scenarios=len(pnl)), stress)

    pnl = m["tims_pnl"]
    moves = [[text] * n for (text,) in ratio_texts(np.array(rules.tims_moves)[:, None])]
    points = [column for point in zip(moves, money_texts(pnl), strict=True) for column in point]
    worst_move = [moves[point][0] for point in pnl.argmin(axis=0).tolist()]
    tims = [*points, worst_move, *money_texts(np.stack([worst, -worst, equity + worst]))]
    yield write("stress.tims.v1", form_of(outputs.StressTims, points=len(pnl)), tims)

    ladder = state.ladder
    levels = plain_texts(LEVELS[level_of(flags)] for flags in ladder.flags[rows].tolist())
    clocks = [_time_texts(clock[rows]) for clock in (ladder.since, ladder.deficient_since)]
    opened = ([on.event_id for _, on in sorted(ladder.opened.get(row, {}).items())] for row in rows.tolist())
    stand = [
        levels,
        *clocks,
        amounts[3],
        amounts[6],
        amounts[7],
        plain_texts(opened),
        position_texts(state, rows, instant),
    ]
    yield write("accounts.state.v1", form_of(outputs.AccountState), stand)


def _time_texts(clock: Ints) -> list[str]:
    return plain_texts(None if at < 0 else Time(at).text() for at in clock.tolist())


def position_texts(state: ShardState, rows: Ints, instant: int) -> list[str]:
    """(n,) the JSON of the positions of the accounts at the rows, as priced gives them."""
    market, held = state.market, state.book.held(rows, state.market)
    kept = held.quantity != 0
    symbols, quantity, price = held.symbols[kept], held.quantity[kept], held.price[kept]
    found, which = np.unique(symbols, return_inverse=True)
    names = [market.symbols[row] for row in found.tolist()]
    by_name = np.argsort(np.argsort(names))
    order = np.lexsort((by_name[which], held.owners[kept]))
    columns = (
        np.array(plain_texts(names), object)[which][order].tolist(),
        number_texts(_units(quantity[order])),
        number_texts(np.nan_to_num(price[order]).tolist()),
        np.array(plain_texts(STATE_NAMES), object)[market.states(symbols[order], instant)].tolist(),
    )
    form = form_of(PricedPosition)
    texts = [form % values for values in zip(*columns, strict=True)]
    ends = np.searchsorted(held.owners[kept], np.arange(len(rows) + 1)).tolist()
    return [f"[{','.join(texts[low:high])}]" for low, high in itertools.pairwise(ends)]


def _units(millionths: Ints) -> list[float]:
    return [m // QUANTITY_SCALE if m % QUANTITY_SCALE == 0 else m / QUANTITY_SCALE for m in millionths.tolist()]
