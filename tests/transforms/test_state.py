"""What a shard writes of its state: only what an instant changed."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.inputs import Cash, Fill, Input, OpenCall, Price, Standing
from schemas.scalars import Money, Quantity, Time
from tests import days
from tests.days import at
from transforms.cells import VERSION, decode_cell, encode_cell
from transforms.state import ShardState, Standings

#: 10,000 accounts in the eight shards of one slot.
ACCOUNTS, SYMBOLS, HELD = 1_250, 1_000, 20


def quotes(seconds: float, rng: np.random.Generator, *, near: float = 0.0) -> list[Input]:
    """Every symbol at a price of its own, moved by about so much."""
    base = np.exp(np.random.Generator(np.random.PCG64(1)).normal(4.3, 0.8, SYMBOLS))
    prices = (base * (1 + near * rng.normal(0, 1, SYMBOLS))).round(2).tolist()
    return [
        Price(symbol=f"SYM{n:04d}", price=p, as_of=at(seconds), arrived_at=at(seconds), source="XNYS", sequence=n)
        for n, p in enumerate(prices)
    ]


def holdings(rng: np.random.Generator) -> list[Input]:
    """A deposit and some fills of each account."""
    records: list[Input] = []
    for account in range(ACCOUNTS):
        own = f"ACC{account:06d}"
        amount = Money(int(rng.integers(1, 10**6)) * 10**4)
        records.append(Cash(cash_id="D", account_id=own, amount=amount, kind="DEPOSIT", arrived_at=at(3)))
        for n, symbol in enumerate(rng.choice(SYMBOLS, HELD, replace=False).tolist()):
            lot = Quantity(int(rng.integers(1, 200)) * 10**7)
            records.append(
                Fill(
                    fill_id=f"F{account}-{n}",
                    account_id=own,
                    symbol=f"SYM{symbol:04d}",
                    quantity=lot,
                    price=float(rng.integers(1, 300)),
                    arrived_at=at(4),
                )
            )
    return records


def written(state: ShardState) -> dict[str, int]:
    """Bytes of each cell that changed."""
    return {name: len(payload) for name, payload in state.drain()}


def test_a_price_only_instant_writes_under_100_kb_a_shard() -> None:
    rng, fold = np.random.Generator(np.random.PCG64(7)), days.fold_of(publish_all=True)
    state = fold.start()
    list(fold.advance(state, [days.by_topic([*quotes(2, rng), *holdings(rng)])], at(60)))
    assert set(written(state)) == set(fold.cells) - {"instruments", "intraday"}
    # Every price moves, and with it every account's figures; prices near those before cause few events.
    list(fold.advance(state, [days.by_topic(quotes(90, rng, near=0.001))], at(120)))
    once = written(state)
    assert once.keys() <= {"clock", "quotes", "ladder", "chains", "firm"}
    assert sum(once.values()) < 100_000, once


def test_a_quiet_instant_writes_nothing_but_its_clock() -> None:
    fold = days.fold_of()
    state = fold.start()
    list(fold.advance(state, [days.by_topic(quotes(2, np.random.Generator(np.random.PCG64(7))))], at(60)))
    written(state)
    list(fold.advance(state, [], fold.next_deadline(state)))
    assert set(written(state)) == {"clock"}


def test_a_cell_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match=f"expected version {VERSION}, found {VERSION - 1}"):
        decode_cell(bytes([VERSION - 1]) + encode_cell({})[1:])


def test_a_standing_may_be_of_any_row_and_survives_its_cell() -> None:
    standings, again = Standings(), Standings()
    call = OpenCall(
        call_id="c",
        event_id="e",
        type="HOUSE",
        state="EXPIRED",
        opened_at=Time(1),
        due_at=Time(2),
        initial=Money(5),
    )
    for row in (66, 0, 500, 67):
        standings.put(row, Standing(calls=(call,), restricted_until=Time(row + 10)))
    standings.put(0, None)
    again.load(decode_cell(encode_cell(standings.to_cell())))
    for own in (standings, again):
        marks = own.marks(np.array([0, 66, 67, 68, 500, 10**6]), 77)
        assert marks.overdue.tolist() == [False, True, True, False, True, False]
        assert marks.restricted.tolist() == [False, False, False, False, True, False]
        assert own.ends(76)[1].tolist() == [77, 510]
