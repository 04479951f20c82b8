"""What the archive takes and costs: records written, bytes kept, one account's day found among 10 million records.

usage: python -m bench.archive [--records N] [--asked N]

A crash day says how large records are and how many have an entry in the index; it is archived into a folder, and what
is there is put into moto's S3 and DynamoDB Local. What is asked are N account-days of a folder of 20 days of margin
figures, made once in build/bench; all of them are in a bucket, too, with the entries of who is asked for.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import msgspec
import numpy as np
from rich.progress import track

from bench.prices import INFREQUENT, MILLION, STANDARD, cost_of_question, costs
from ops.audit.question import Question
from ops.audit.reader import Reader, open_reader
from ops.generate import write_day
from ops.stack.bucket import create_bucket
from pipeline.archive import archive_day
from pipeline.index import DynamoIndex, Entry, entries_of
from pipeline.objects import decode_rows, encode_rows, rows_of
from pipeline.replay import replay
from pipeline.store import FolderStore, Store, open_store
from runners.artifact import BUILD
from runners.engine import Run
from runners.engines import ENGINES
from schemas.archive import NOTHING, Received, Row, linked, object_name, topic_in
from schemas.codec import from_json
from schemas.ids import sealed
from schemas.outputs import MarginCalc
from schemas.scalars import Money, Time
from schemas.topics import MARGIN_CALC
from tests.stores import custody_of, endpoints
from transforms.parse import decode_plain

FOLDER, RESULTS = BUILD / "bench", Path(__file__).with_name("results")
ACCOUNTS, DAYS, HOURS, RECORDS = 10_000, 20, 7, 10_000
FIRST = dt.datetime(2026, 1, 5, 14, tzinfo=dt.UTC)
LAG = 300_000
#: Entries that are written.
ENTRIES = 20_000
YEARS = 6


@dataclass(frozen=True)
class Crash:
    """The archive of a crash day: records of an object's name, how long it took, and what was received."""

    store: Store
    objects: dict[str, list[Row]]
    seconds: float

    @property
    def rows(self) -> list[Row]:
        return [row for rows in self.objects.values() for row in rows]


def crash_day(folder: Path) -> Crash:
    """Generate, replay and archive a day."""
    write_day(folder / "day", scenario="crash", accounts=500, symbols=100, seed=7)
    options = ENGINES["direct"].options(Run())
    replay(folder / "day", folder / "out", options)
    custody = custody_of(folder / "archive", records=RECORDS)
    begun = time.perf_counter()
    archive_day(str(folder / "day"), str(folder / "out"), custody, options)
    seconds = time.perf_counter() - begun
    store = open_store(custody)
    objects = {name: decode_rows(store.get(name) or b"", topic_in(name) or "") for name in store.names("records/")}
    return Crash(store, objects, seconds)


def rate_of(work: Callable[[], object], count: int) -> tuple[float, float]:
    """Records a second, and of a processor of this process."""
    begun, spent = time.perf_counter(), time.process_time()
    work()
    return count / (time.perf_counter() - begun), count / (time.process_time() - spent)


def encode_again(crash: Crash) -> None:
    """From bytes as received to Parquet."""
    for rows in crash.objects.values():
        first = rows[0]
        records = ((row.offset, row.received_at, row.value) for row in rows)
        received = linked(NOTHING, first.log, first.topic, first.partition, records)
        encode_rows(rows_of(first.log, first.topic, first.partition, received, decode_plain))


def put_all(store: Store, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        store.put(name, content)


def size_of(entry: Entry, index: DynamoIndex) -> int:
    """Bytes of an item as DynamoDB counts them: names and values."""
    return sum(len(name) + len(next(iter(value.values()))) for name, value in index._item(entry).items())


def figures_of(day: int, hour: int, count: int, template: MarginCalc) -> Iterator[tuple[int, int, bytes]]:
    """Margin figures of an hour, of accounts in any order: offset, when received, bytes."""
    rng = np.random.Generator(np.random.PCG64([day, hour]))
    begin = int(Time.parse(FIRST + dt.timedelta(days=day, hours=hour)))
    owners = rng.integers(0, ACCOUNTS, count).tolist()
    amounts = rng.integers(-(10**10), 10**10, (count, 6)).tolist()
    step = 3_600_000_000 // (count + 1)
    for place, (owner, amount) in enumerate(zip(owners, amounts, strict=True)):
        received = begin + (place + 1) * step
        names = ("cash", "long_market_value", "equity", "maintenance_requirement", "requirement", "excess")
        own = msgspec.structs.replace(
            template,
            event_id="",
            account_id=f"A{owner:05d}",
            as_of=Time(received - LAG),
            **{name: Money(value) for name, value in zip(names, amount, strict=True)},
        )
        yield hour * count + place, received, sealed(own)


def make_day(day: int, *, folder: Path, count: int, template: MarginCalc) -> None:
    """A day's objects, in the folder."""
    store, before = FolderStore(folder), NOTHING
    for hour in range(HOURS):
        begin = int(Time.parse(FIRST + dt.timedelta(days=day, hours=hour)))
        records = linked(before, f"bench-{day:02d}", MARGIN_CALC.name, 0, figures_of(day, hour, count, template))
        for first in range(0, count, RECORDS):
            own: list[Received] = [next(records) for _ in range(min(RECORDS, count - first))]
            rows = rows_of(f"bench-{day:02d}", MARGIN_CALC.name, 0, own, decode_plain)
            name = object_name(f"bench-{day:02d}", MARGIN_CALC.name, 0, begin, own[0].offset)
            store.put(name, encode_rows(rows))
            before = own[-1].link


def many_days(records: int, template: MarginCalc) -> Path:
    """A folder of so many records over DAYS days, made once."""
    folder, part = FOLDER / f"archive-{records}", FOLDER / f"archive-{records}.part"
    if not folder.exists():
        shutil.rmtree(part, ignore_errors=True)
        count = records // DAYS // HOURS
        with Pool(os.cpu_count()) as pool:
            make = partial(make_day, folder=part, count=count, template=template)
            for day in pool.imap_unordered(make, range(DAYS)):
                print(f"{time.strftime('%H:%M:%S')} made a day", day or "", flush=True)
        part.rename(folder)
    return folder


def questions(count: int, days: int, seed: int) -> list[Question]:
    """Account-days, any of them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    found = []
    for day, owner in zip(
        rng.integers(0, days, count).tolist(), rng.integers(0, ACCOUNTS, count).tolist(), strict=True
    ):
        begin = FIRST.replace(hour=0) + dt.timedelta(days=day)
        bounds = {"begin": int(Time.parse(begin)), "end": int(Time.parse(begin + dt.timedelta(days=1)))}
        found.append(Question(topics=(MARGIN_CALC.name,), keys=(f"A{owner:05d}",), **bounds))
    return found


def ask(reader: Reader, asked: list[Question]) -> tuple[list[float], list[list[Row]]]:
    """Milliseconds of each answer, and the answers."""
    taken, answers = [], []
    for question in asked:
        begun = time.perf_counter()
        answers.append(list(reader.rows(question)))
        taken.append((time.perf_counter() - begun) * 1e3)
    return taken, answers


def quantiles(taken: list[float]) -> str:
    median, slow, longest = np.percentile(taken, [50, 99, 100])
    return f"{median:,.0f}; {slow:,.0f}; {longest:,.0f}"


def written(crash: Crash, folder: Path) -> tuple[list[tuple[str, str]], float, float]:
    """Rates of writing the crash day; bytes of a record in an object and of an entry."""
    count = len(crash.rows)
    contents = {name: crash.store.get(name) or b"" for name in crash.objects}
    stored = sum(map(len, contents.values())) / count
    custody = custody_of(lock="COMPLIANCE", encryption="AES256", records=RECORDS)
    create_bucket(custody)
    index = DynamoIndex(custody)
    entries = [entry for name, rows in crash.objects.items() for entry in entries_of(rows, name)]
    sample = entries[:ENTRIES]
    index.put(sample[:1])
    encoded = rate_of(lambda: encode_again(crash), count)
    into_folder = rate_of(lambda: put_all(FolderStore(folder / "again"), contents), count)
    into_bucket = rate_of(lambda: put_all(open_store(custody), contents), count)
    indexed = rate_of(lambda: index.put(sample), len(sample))
    again = rate_of(lambda: index.put(sample), len(sample))
    value = sum(len(row.value) for row in crash.rows) / count
    entry = float(np.mean([size_of(entry, index) for entry in sample]))
    share = len(entries) / count
    rows = [
        (f"a crash day archived into a folder by the graph on the direct runner, {count:,} records: records/s",
         f"{count / crash.seconds:,.0f}"),
        ("of it: chain, what finds a record, Parquet: records/s; of a processor", _two(encoded)),
        (f"{len(contents):,} objects into a folder, synced: records/s; of a processor", _two(into_folder)),
        ("the same into moto's S3 over HTTP, locked and encrypted: records/s; of a processor", _two(into_bucket)),
        (f"{len(sample):,} entries into DynamoDB Local: entries/s; of a processor", _two(indexed)),
        ("the same again, which changes nothing: entries/s; of a processor", _two(again)),
        ("a record as received; in its object: bytes", f"{value:,.0f}; {stored:,.0f}"),
        ("an entry of the index, in the table and in each of two indexes: bytes", f"{entry:,.0f}"),
        ("records that have an entry", f"{share:.1%}"),
    ]  # fmt: skip
    return rows, stored, entry


def _two(rates: tuple[float, float]) -> str:
    return "; ".join(f"{rate:,.0f}" for rate in rates)


def asked_of_folder(folder: Path, records: int, count: int) -> list[tuple[str, str]]:
    """How long an account-day takes, DuckDB over all objects."""
    reader = open_reader(custody_of(folder))
    ask(reader, questions(3, DAYS, 1))
    taken, answers = ask(reader, questions(count, DAYS, 2))
    found = float(np.mean([len(answer) for answer in answers]))
    return [
        (f"{count} account-days of {found:.0f} records, of {records:,} in a folder (DuckDB): p50; p99; longest, ms",
         quantiles(taken))
    ]  # fmt: skip


def asked_of_bucket(folder: Path, records: int, count: int) -> tuple[list[tuple[str, str]], int, int]:
    """The same of a bucket with its index; records and objects of an answer."""
    custody = custody_of(records=RECORDS)
    create_bucket(custody)
    store, kept, index = open_store(custody), FolderStore(folder), DynamoIndex(custody)
    asked = questions(count, DAYS, 3)
    owners = {question.keys[0] for question in asked}
    names = list(kept.names(f"records/topic={MARGIN_CALC.name}/"))
    for name in track(names, "into the bucket"):
        content = kept.get(name) or b""
        store.put(name, content)
        index.put(entry for entry in entries_of(decode_rows(content, MARGIN_CALC.name), name) if entry.key in owners)
    taken, answers = ask(open_reader(custody), asked)
    _, same = ask(open_reader(custody_of(folder)), asked[:20])
    assert answers[:20] == same, "the two answer alike"
    objects = [len({entry.object for entry in index.of_key(q.keys[0], q.begin, q.end)}) for q in asked[:20]]
    found = round(float(np.mean([len(answer) for answer in answers])))
    where = f"of {records:,} in S3 (moto), {len(names):,} objects, by the index (DynamoDB Local)"
    title = f"{count} account-days of {found} records, {where}"
    return [(f"{title}: p50; p99; longest, ms", quantiles(taken))], found, round(float(np.mean(objects)))


def paid(
    stored: float, entry: float, share: float, per_object: float, found: int, objects: int
) -> list[tuple[str, str]]:
    """Rows of dollars; see bench.prices."""
    rows = []
    for name, prices in (("infrequent access, as made", INFREQUENT), ("standard", STANDARD)):
        own = costs(stored=stored, per_object=per_object, entry=entry, indexed=share, prices=prices)
        rows += [
            (f"table class {name}: a million records written, S3 PUT; DynamoDB writes, $",
             f"{own.objects:.4f}; {own.entries:.2f}"),
            ("kept for a month, S3; DynamoDB, $", f"{own.objects_month:.4f}; {own.entries_month:.3f}"),
            (f"written and kept for {YEARS} years, $", f"{own.years(YEARS):.2f}"),
            ("a million account-days asked for, $",
             f"{cost_of_question(entries=found, entry=entry, objects=objects, prices=prices) * MILLION:,.2f}"),
        ]  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000, help="of the folder that is asked")
    parser.add_argument("--asked", type=int, default=200, help="account-days")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, endpoints(Path(made) / "services") as found:
        folder = Path(made)
        os.environ.update(found.environment)
        crash = crash_day(folder)
        rows, stored, entry = written(crash, folder)
        template = next(row.value for row in crash.rows if row.topic == MARGIN_CALC.name)
        big = many_days(args.records, from_json(MarginCalc, template))
        rows += asked_of_folder(big, args.records, args.asked)
        of_bucket, records, objects = asked_of_bucket(big, args.records, args.asked)
        share = sum(1 for name, own in crash.objects.items() for _ in entries_of(own, name)) / len(crash.rows)
        per_object = len(crash.rows) / len(crash.objects)
        rows += of_bucket + paid(stored, entry, share, per_object, records, objects)
    lines = ["| what | measured |", "|---|---:|", *(f"| {what} | {value} |" for what, value in rows), ""]
    lines.append(f"Load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} processors; prices of bench/prices.py.")
    table = "\n".join(lines) + "\n"
    print(table)
    (RESULTS / f"{dt.datetime.now(dt.UTC).date()}-archive.md").write_text(table)


if __name__ == "__main__":
    main()
