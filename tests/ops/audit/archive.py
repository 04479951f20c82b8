"""A small crash day that was replayed and archived into a folder: what the tests of what reads an archive begin with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from tempfile import mkdtemp

import msgspec

from ops.generate import write_day
from pipeline.custody import Custody
from pipeline.day import files_of, load_manifest
from pipeline.objects import encode_rows, rows_of
from pipeline.replay import replay
from pipeline.rules import load_rulebook
from pipeline.sources import read_file
from pipeline.store import Store, open_store
from runners.direct import ENGINE
from runners.engine import Run
from schemas.archive import (
    NOTHING,
    Fact,
    HourDigest,
    Part,
    Received,
    content_of,
    digest_json,
    digest_name,
    fact_name,
    hour_of,
    linked,
    object_name,
    sealed_digest,
)
from schemas.scalars import Time
from schemas.topics import OUTPUTS, SNAPSHOTS
from transforms.parse import decode_plain

RETENTION = {"default": {"value": 6, "source": "as long as this test takes"}}
LOG = "replay-2026-01-05"


def custody_of(folder: Path | str, records: int = 500) -> Custody:
    """A custody of a folder, with small objects."""
    return Custody.model_validate({"store": str(folder), "records": records, "retention": RETENTION})


@cache
def crash_day() -> tuple[Path, Path]:
    """The day and its outputs, made once a process."""
    root = Path(mkdtemp(prefix="margin-audit-"))
    write_day(root / "day", scenario="crash", accounts=60, symbols=20, seed=7, interval_ms=60_000)
    replay(root / "day", root / "out", ENGINE.options(Run()))
    return root / "day", root / "out"


def archive_day(day: str, out: str, custody: Custody) -> HourDigest:
    """Archive a day; the last digest."""
    manifest, store = load_manifest(day), open_store(custody.store)
    facts = tuple(_facts(store, manifest.rulebooks))
    files = [(topic, path, 0) for topic, path in files_of(day)]
    files += [(topic.name, f"{out}/{topic.name}.jsonl", 0) for topic in OUTPUTS]
    files.append((SNAPSHOTS.name, f"{out}/{SNAPSHOTS.name}.jsonl", 1))
    parts: dict[int, list[Part]] = {}
    for topic, path, partition in files:
        records = linked(NOTHING, LOG, topic, partition, _stamped(topic, path, manifest.begin))
        for hour, part in _objects(store, topic, partition, records, custody.records):
            parts.setdefault(hour, []).append(part)
    last = HourDigest(log=LOG, hour=Time(0), parts=(), facts=(), previous=NOTHING)
    for hour in range(min(parts), max(parts) + 1, 3_600_000_000):
        own = tuple(sorted(parts.get(hour, ()), key=lambda part: part.name))
        last = sealed_digest(
            HourDigest(log=LOG, hour=Time(hour), parts=own, facts=facts, previous=last.digest)
        )
        store.put(digest_name(LOG, hour), digest_json(last))
    return last


def _objects(
    store: Store, topic: str, partition: int, records: Iterable[Received], most: int
) -> Iterator[tuple[int, Part]]:
    begin, previous = 0, NOTHING
    for hour, of_hour in groupby(records, key=lambda own: int(hour_of(own.received_at))):
        found = list(of_hour)
        for place in range(0, len(found), most):
            own = found[place : place + most]
            name, end = object_name(LOG, topic, partition, hour, begin), own[-1].offset + 1
            content = encode_rows(rows_of(LOG, topic, partition, own, decode_plain))
            store.put(name, content)
            yield hour, Part(
                name=name,
                topic=topic,
                partition=partition,
                begin=begin,
                end=end,
                records=len(own),
                previous=previous,
                link=own[-1].link,
                content=content_of(content),
            )
            begin, previous = end, own[-1].link


class _Head(msgspec.Struct):
    arrived_at: str | None = None
    as_of: str | None = None


def _stamped(topic: str, path: str, latest: int) -> Iterator[tuple[int, int, bytes]]:
    for raw in read_file((topic, path)):
        for offset, value in zip(raw.offsets, raw.values, strict=True):
            try:
                head = msgspec.json.decode(value, type=_Head)
                latest = max(latest, int(Time.parse(head.arrived_at or head.as_of or 0)))
            except (msgspec.DecodeError, ValueError):
                pass
            yield offset, latest, value


def _facts(store: Store, rulebooks: list[str]) -> Iterator[Fact]:
    for name in rulebooks:
        texts = [str((resources.files("conf.rules") / f"{name}.yaml").read_text())]
        label = load_rulebook(name).label
        text = json.dumps({"what": "rulebook", "label": label, "texts": texts}).encode()
        store.put(fact_name(content_of(text)), text)
        yield Fact(name=fact_name(content_of(text)), what=label, content=content_of(text))
