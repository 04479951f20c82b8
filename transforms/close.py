"""The close of a day: every account's snapshot, which opens the next one, and the corrections that found no fill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from risk.amounts import Ints
from risk.block import AccountBlock
from risk.ladder import LEVELS
from risk.ledger import Entry
from schemas.inputs import Fill, Snapshot, SnapshotFill, SnapshotPosition
from schemas.scalars import Money, Quantity, Time, encode_json
from transforms.figures import position_texts, time_texts
from transforms.lines import (
    PAGE,
    Lines,
    arrays_of,
    filled,
    form_of,
    key_of,
    line_of,
    money_texts,
    number_texts,
    plain_texts,
    quantity_texts,
)
from transforms.positions import refusal
from transforms.state import ShardState


def close_day(state: ShardState, block: AccountBlock) -> Iterator[Lines]:
    """The closing snapshot of every account, a page of them at a time, and the corrections whose fill never came."""
    fills: dict[str, list[tuple[str, Entry]]] = {}
    for account_id, fill_id, entry in state.ledger.entries():
        if entry.original:
            fills.setdefault(account_id, []).append((fill_id, entry))
        else:
            orphan = _orphan(account_id, fill_id, entry)
            reason = f"{orphan.kind} of fill {fill_id}: the fill never came before the day closed"
            yield "deadletter.v1", [line_of(refusal(orphan, reason))]
    paid: dict[str, list[str]] = {}
    for account_id, cash_id in state.ledger.paid():
        paid.setdefault(account_id, []).append(cash_id)
    for first in range(0, len(block.accounts), PAGE):
        rows = block.accounts[first : first + PAGE]
        ids = [state.book.ids[row] for row in rows.tolist()]
        fill_texts = _fill_texts([sorted(fills.pop(account_id, ())) for account_id in ids])
        cash_texts = [msgspec.json.encode(sorted(paid.pop(account_id, ()))) for account_id in ids]
        contents = _snapshots(state, rows, block.instant, fill_texts, cash_texts)
        yield "snapshots.v1", [key_of(block.instant, own) + text for own, text in zip(ids, contents, strict=True)]


def _snapshots(state: ShardState, rows: Ints, instant: int, fills: list[bytes], cash_ids: list[bytes]) -> list[bytes]:
    """(n,) the JSON of the snapshots of the accounts at the rows."""
    book, ladder = state.book, state.ladder
    held = book.held(rows, state.market)
    # A short without any price stands at zero, which is none.
    closes = np.where(held.price > 0, number_texts(np.nan_to_num(held.price)), b"null")
    accounts = rows.tolist()
    opened = ({LEVELS[k.bit_length()]: v for k, v in sorted(ladder.opened.get(row, {}).items())} for row in accounts)
    closing, nothing = plain_texts([Time(instant).text(), None])
    columns: dict[str, Any] = {
        "arrived_at": closing,
        "account_id": plain_texts(book.ids[row] for row in accounts),
        "as_of": closing,
        "positions": position_texts(SnapshotPosition, state, held, len(rows), [closes, nothing]),
        "cash": money_texts(np.array(book.cash, np.float64)[rows]),
        "sma": money_texts(np.zeros(())),
        "fills": fills,
        "cash_ids": cash_ids,
        "levels": plain_texts([LEVELS[n + 1] for n in range(4) if flags >> n & 1] for flags in ladder.flags[rows]),
        "deficient_since": time_texts(ladder.deficient_since[rows].tolist()),
        "opened": [msgspec.json.encode(on, enc_hook=encode_json) for on in opened],
        "audit_head": plain_texts(ladder.heads[row] for row in accounts),
        "cut": closing,
    }
    return filled(form_of(Snapshot), len(rows), [columns[field] for field in Snapshot.__struct_fields__])


def _fill_texts(accounts: list[list[tuple[str, Entry]]]) -> list[bytes]:
    """(accounts,) the JSON arrays of their fills: what a snapshot keeps of each, SnapshotFill."""
    ids = [fill_id for fills in accounts for fill_id, _ in fills]
    entries = [entry for fills in accounts for _, entry in fills]
    latest = [entry.latest for entry in entries]
    columns = {
        "fill_id": plain_texts(ids),
        "version": number_texts(np.array([entry.version for entry in entries])),
        "symbol": plain_texts(content[1] for content in latest),
        "quantity": quantity_texts(np.array([content[2] for content in latest], np.int64)),
        "price": number_texts(np.array([content[3] for content in latest])),
        "fees": money_texts(np.array([content[4] for content in latest])),
        "executed_at": time_texts(content[5] for content in latest),
        "arrived_at": time_texts(entry.applied_at for entry in entries),
        "effective": plain_texts(entry.effect() is not None for entry in entries),
    }
    items = filled(form_of(SnapshotFill), len(ids), [columns[field] for field in SnapshotFill.__struct_fields__])
    return arrays_of(items, map(len, accounts))


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
        kind=kind,
        ref_fill_id=fill_id,
        version=entry.version,
    )
