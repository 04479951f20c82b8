"""The close of a day: every account's snapshot, which opens the next one, and the corrections that found no fill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from risk.amounts import Floats, Ints
from risk.block import Accounts
from risk.book import REGIMES
from risk.ladder import KEPT, OPENINGS
from risk.ledger import AccountLedger, Entry
from schemas.inputs import Beta, Fill, Input, Snapshot, SnapshotFill, SnapshotPosition
from schemas.scalars import Money, Quantity, Time, encode_json
from transforms.figures import position_texts
from transforms.lines import (
    PAGE,
    Lines,
    Texts,
    arrays_of,
    few_texts,
    filled,
    form_of,
    key_of,
    line_of,
    money_texts,
    number_texts,
    plain_texts,
    quantity_texts,
    time_texts,
)
from transforms.positions import refusal
from transforms.records import prices_of
from transforms.state import ShardState


def close_day(state: ShardState, block: Accounts) -> Iterator[Lines]:
    """The closing snapshot of every account, a page of them at a time, and the corrections whose fill never came."""
    ledger = state.ledger
    for account_id, own in ledger.accounts():
        for fill_id, entry in own.fills.items():
            if not entry.original:
                orphan = _orphan(account_id, fill_id, entry)
                reason = f"{orphan.kind} of fill {fill_id}: the fill never came before the day closed"
                yield "deadletter.v1", [line_of(refusal(orphan, reason))]
    for first in range(0, len(block.accounts), PAGE):
        rows = block.accounts[first : first + PAGE]
        ids = [state.book.ids[row] for row in rows.tolist()]
        contents = _snapshots(state, rows, block.instant, [ledger.of(account_id) for account_id in ids])
        yield "snapshots.v1", [key_of(block.instant, own) + text for own, text in zip(ids, contents, strict=True)]


def _snapshots(state: ShardState, rows: Ints, instant: int, ledgers: list[AccountLedger]) -> list[bytes]:
    """(n,) the JSON of the snapshots of the accounts at the rows."""
    book, ladder = state.book, state.ladder
    # A fill's price is left to the fill: the snapshot has it, and a later one, or its bust, changes the price.
    held = book.held(rows, state.market, fills=False)
    # NaN, where there is no price, is not above zero either.
    closes = np.where(held.price > 0, number_texts(np.nan_to_num(held.price)), b"null")
    accounts = rows.tolist()
    opened = ({OPENINGS[k]: v for k, v in sorted(ladder.opened.get(row, {}).items())} for row in accounts)
    closing, nothing = plain_texts([Time(instant).text(), None])
    columns: dict[str, Any] = {
        "arrived_at": closing,
        "account_id": plain_texts(book.ids[row] for row in accounts),
        "as_of": closing,
        "positions": position_texts(SnapshotPosition, state, held, len(rows), [closes, nothing]),
        "cash": money_texts(book.cash[rows].astype(np.float64)),
        "fills": _fill_texts(ledgers),
        "cash_ids": [msgspec.json.encode(sorted(own.cash)) for own in ledgers],
        "levels": plain_texts([name for name, flag in KEPT.items() if flags & flag] for flags in ladder.flags[rows]),
        "since": time_texts(ladder.since[rows]),
        "deficient_since": time_texts(ladder.deficient_since[rows]),
        "opened": [msgspec.json.encode(on, enc_hook=encode_json) for on in opened],
        "audit_head": plain_texts(ladder.heads[row] for row in accounts),
        "cut": closing,
        "margin_type": few_texts([REGIMES[own] for own in book.regime[rows].tolist()]),
        "intraday": [msgspec.json.encode(state.paths.get(row), enc_hook=encode_json) for row in accounts],
        "sma": money_texts(np.array([state.standing.of(row).sma for row in accounts], np.float64)),
        "liquidate_last": plain_texts(list(book.liquidate_last.get(row, ())) for row in accounts),
        "standing": [msgspec.json.encode(state.standing.get(row), enc_hook=encode_json) for row in accounts],
        "episode": time_texts(np.array([ladder.episodes.get(row, -1) for row in accounts])),
        **dict(zip(("house_long_rate", "house_short_rate"), map(_rate_texts, book.house[:, rows]), strict=True)),
    }
    return filled(form_of(Snapshot), len(rows), [columns[field] for field in Snapshot.__struct_fields__])


def _rate_texts(rates: Floats) -> Texts:
    """The JSON of rates; none where there is none."""
    return np.where(rates > 0, number_texts(rates), b"null")


def _fill_texts(ledgers: list[AccountLedger]) -> list[bytes]:
    """(accounts,) the JSON arrays of what a snapshot keeps of each fill, SnapshotFill, by fill id."""
    owned = [sorted((fill_id, e) for fill_id, e in own.fills.items() if e.original) for own in ledgers]
    ids = [fill_id for fills in owned for fill_id, _ in fills]
    entries = [entry for fills in owned for _, entry in fills]
    latest = [entry.latest for entry in entries]
    columns = {
        "fill_id": plain_texts(ids),
        "version": number_texts(np.array([entry.version for entry in entries])),
        "kind": few_texts([fill.kind for fill in latest]),
        "own_id": few_texts([None if f.fill_id == own else f.fill_id for own, f in zip(ids, latest, strict=True)]),
        "symbol": few_texts([fill.symbol for fill in latest]),
        "quantity": quantity_texts(np.array([fill.quantity for fill in latest], np.int64)),
        "price": number_texts(np.array([fill.price for fill in latest])),
        "fees": money_texts(np.array([fill.fees for fill in latest], np.float64)),
        "executed_at": time_texts(np.array([fill.executed_at for fill in latest], np.int64)),
        "arrived_at": time_texts(np.array([entry.applied_at for entry in entries], np.int64)),
        "multiplier": number_texts(np.array([entry.size for entry in entries])),
    }
    items = filled(form_of(SnapshotFill), len(ids), [columns[field] for field in SnapshotFill.__struct_fields__])
    return arrays_of(items, map(len, owned))


def standing(state: ShardState, instant: int) -> Iterator[Input]:
    """What closing snapshots leave out of a state, as records that give it to another: quotes, betas, instruments, and
    corrections that wait for their fill. They arrive at the instant, after the snapshots (schemas.topics, ranks)."""
    arrived, market = Time(instant), state.market
    yield from prices_of(market.ticks(instant))
    for instrument in market.instruments.values():
        yield msgspec.structs.replace(instrument, arrived_at=arrived)
    taken = [(*own, symbol) for own, symbol in zip(market.beta_from, market.symbols, strict=True) if own]
    for effective_at, beta, symbol in [*taken, *market.scheduled]:
        yield Beta(symbol=symbol, beta=beta, effective_at=Time(effective_at), arrived_at=arrived)
    for account_id, own in state.ledger.accounts():
        for fill_id, entry in own.fills.items():
            if not entry.original:
                yield msgspec.structs.replace(_orphan(account_id, fill_id, entry), arrived_at=arrived)


def _orphan(account_id: str, fill_id: str, entry: Entry) -> Fill:
    kind, symbol, quantity, price, fees, executed_at, own_id = entry.latest
    return Fill(
        fill_id=own_id,
        account_id=account_id,
        symbol=symbol,
        quantity=Quantity(quantity),
        price=price,
        fees=Money(fees),
        executed_at=None if executed_at < 0 else Time(executed_at),
        kind=kind,  # type: ignore[arg-type]
        ref_fill_id=fill_id,
        version=entry.version,
    )
