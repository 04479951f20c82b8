"""One day's closing snapshot opens the next: levels, clocks, open consequences and the audit chain go on."""

from __future__ import annotations

import datetime as dt
from itertools import chain
from pathlib import Path

import msgspec

from ops.generate import write_day
from pipeline.day import files_of, load_manifest
from pipeline.replay import monitor_of
from pipeline.sources import read_file
from schemas.inputs import Input, Price
from schemas.scalars import Time
from tests import days
from tests.days import records_of
from transforms.parse import parse

DAY = 86_400_000_000


def inputs_of(day: Path) -> dict[str, list[Input]]:
    monitor = monitor_of(load_manifest(day), rules=["seed"], shards=1)
    records: dict[str, list[Input]] = {}
    for topic, path in files_of(day):
        for raw in read_file((topic, str(path))):
            records.setdefault(topic, []).extend(parse(raw, monitor.bounds)[0].records)
    return records


def test_an_open_call_goes_on_without_being_called_again(tmp_path: Path) -> None:
    write_day(tmp_path, scenario="crash", accounts=30, symbols=8, seed=7, interval_ms=60_000)
    manifest = load_manifest(tmp_path)
    first = monitor_of(manifest, rules=["seed"], shards=1).fold
    records = inputs_of(tmp_path)
    outputs = records_of(first.advance(first.start(), [days.by_topic(chain(*records.values()))], manifest.horizon))
    snapshots = {r.account_id: r for topic, r in outputs if topic == "snapshots.v1"}
    quiet = snapshots["ACC-QUIET"]
    assert quiet.levels == ("WARNING", "MARGIN_CALL", "LIQUIDATION")

    later = manifest.model_copy(
        update={
            "business_date": dt.date(2026, 1, 6),
            "opens_at": manifest.opens_at + dt.timedelta(days=1),
            "closes_at": manifest.closes_at + dt.timedelta(days=1),
        }
    )
    second = monitor_of(later, rules=["seed"], shards=1).fold
    newest = {p.symbol: p for p in records["prices.v1"] if isinstance(p, Price)}
    opening = Time(later.begin)
    prices: list[Input] = [
        msgspec.structs.replace(p, as_of=opening, arrived_at=opening, sequence=0, status="LIVE")
        for p in newest.values()
    ]
    again: list[Input] = [msgspec.structs.replace(s, arrived_at=opening) for s in snapshots.values()]
    arrivals = {"snapshots.v1": again, "prices.v1": prices}
    out = records_of(second.advance(second.start(), [days.by_topic(chain(*arrivals.values()))], later.horizon))
    of_quiet = [(topic, r) for topic, r in out if getattr(r, "account_id", "") == "ACC-QUIET"]
    assert not [r for topic, r in of_quiet if topic in ("margin.calls.v1", "liquidations.v1")]
    closing = next(r for topic, r in of_quiet if topic == "snapshots.v1")
    assert (closing.levels, closing.opened, closing.positions) == (quiet.levels, quiet.opened, quiet.positions)
    assert closing.audit_head == quiet.audit_head
    assert closing.deficient_since == quiet.deficient_since
    assert closing.cash == quiet.cash
    assert closing.as_of - quiet.as_of == DAY
