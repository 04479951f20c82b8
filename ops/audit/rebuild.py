"""A day made again from what is stored of its inputs, and compared with what is stored of its outputs."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import fastavro
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console
from rich.text import Text

from ops.audit.question import Question
from ops.audit.reader import Reader
from ops.audit.recompute import RecomputeError, Recorded
from ops.capture import RECEIVED_SCHEMA
from ops.formats import text_table
from pipeline.registry import unframed
from pipeline.replay import replay_through
from pipeline.sources import RECEIVED
from schemas.archive import Row
from schemas.scalars import Time
from schemas.topics import DEADLETTER, INPUTS, OUTPUTS, SNAPSHOTS
from transforms.parse import Decode, decode_plain

DAY = 86_400_000_000


@dataclass(frozen=True)
class Compared:
    """Lines of a topic: how many are stored, how many were made again, and those that are in one alone."""

    topic: str
    stored: int
    made: int
    missing: tuple[bytes, ...]
    other: tuple[bytes, ...]

    @property
    def equal(self) -> bool:
        """Whether they are the same, byte by byte."""
        return not (self.missing or self.other)


def rebuild(
    reader: Reader,
    recorded: Recorded,
    folder: Path,
    options: PipelineOptions,
    *,
    date: dt.date | None = None,
    shards: int = 8,
    decode: Decode = decode_plain,
) -> list[Compared]:
    """Write the stored inputs as a day into folder/day, run them through the graph into folder/out, and compare.

    Of a live log the day is made from all that came before it, too, and compared up to the last instant that a record
    has come for. Dead letters are left out: which of two records that contradict each other is refused is the same, but
    not where it came from (design 6.1).

    Args:
      date: whose outputs are compared, UTC; all.

    Raises:
      RecomputeError: nothing is stored. StoreError: something cannot be read.
    """
    until = None if date is None else _midnight(date) + DAY
    files = write_inputs(reader, recorded, folder / "day", until, decode)
    if not files:
        raise RecomputeError(f"log {recorded.log}: expected records that came in, found none")
    monitor = replace(recorded.monitor, shards=shards)
    replay_through(monitor, files, folder / "out", options)
    live, interval = recorded.facts["run"]["live"], monitor.interval
    last = max(_last(folder / "out"), default=0) // interval * interval if live else None
    begin = None if date is None else _midnight(date)
    ends = [own for own in (until, last) if own is not None]
    told = Question(log=recorded.log, begin=begin, end=min(ends) if ends else None)
    return [
        _compared(reader, replace(told, topics=(topic.name,)), folder / "out" / f"{topic.name}.jsonl", decode, live)
        for topic in (*OUTPUTS, SNAPSHOTS)
        if topic is not DEADLETTER and not (live and topic is SNAPSHOTS)
    ]


def write_inputs(
    reader: Reader, recorded: Recorded, folder: Path, until: int | None = None, decode: Decode = decode_plain
) -> list[tuple[str, str]]:
    """(topic, path) of files with what came in before a time, microseconds, each as a day has it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for topic in INPUTS:
        found: Iterator[Row] = iter(
            sorted(
                (
                    row
                    for row in reader.rows(Question(topics=(topic.name,), received_before=until, log=recorded.log))
                    if topic is not SNAPSHOTS or row.partition == 0 or recorded.facts["run"]["live"]
                ),
                key=lambda row: row.place,
            )
        )
        first = next(found, None)
        if first is None:
            continue
        rows = chain([first], found)
        if recorded.raw(first).arrived_at is None:
            path = folder / f"{topic.name}.jsonl"
            path.write_bytes(b"".join(row.value + b"\n" for row in rows))
        else:
            path = folder / f"{topic.name}{RECEIVED}"
            with path.open("wb") as out:
                fastavro.writer(out, RECEIVED_SCHEMA, map(_received(decode), rows), codec="deflate")
        files.append((topic.name, str(path)))
    return files


def _received(decode: Decode) -> Any:
    return lambda row: {
        "partition": row.partition,
        "offset": row.offset,
        "arrived_at": int(row.received_at),
        "value": unframed(decode, row.topic, row.value),
    }


def _compared(reader: Reader, asked: Question, path: Path, decode: Decode, live: bool) -> Compared:
    (topic,) = asked.topics
    stored = {
        unframed(decode, topic, row.value)
        for row in reader.rows(asked)
        if topic != SNAPSHOTS.name or live or row.partition == 1
    }
    made = {line for line in path.read_bytes().splitlines() if _within(asked, line)}
    return Compared(topic, len(stored), len(made), tuple(sorted(stored - made)), tuple(sorted(made - stored)))


def _within(asked: Question, line: bytes) -> bool:
    at = _as_of(line)
    return (asked.begin is None or at >= asked.begin) and (asked.end is None or at < asked.end)


def _as_of(line: bytes) -> int:
    place = line.index(b'"as_of":"') + len(b'"as_of":"')
    return int(Time.parse(line[place : line.index(b'"', place)].decode()))


def _last(out: Path) -> Iterator[int]:
    """The last as_of of each file, whose lines are in its order."""
    lines: dict[Path, bytes] = defaultdict(bytes)
    for path in out.glob("*.jsonl"):
        if path.name != f"{DEADLETTER.name}.jsonl" and (text := path.read_bytes()):
            lines[path] = text.splitlines()[-1]
    return map(_as_of, lines.values())


def _midnight(date: dt.date) -> int:
    return int(Time.parse(dt.datetime.combine(date, dt.time(), dt.UTC)))


def render(found: list[Compared], console: Console) -> None:
    """Print a row a topic, and what is in one alone."""
    table = text_table(
        "", "topic", "stored", "made again", "only stored", "only made", right="stored|made again|only stored|only made"
    )
    for own in found:
        style = "" if own.equal else "bold red"
        counts = (own.stored, own.made, len(own.missing), len(own.other))
        table.add_row(Text(own.topic, style), *(f"{count:,}" for count in counts), style=style)
    console.print(table)
    for own in found:
        for who, lines in (("only stored", own.missing), ("only made again", own.other)):
            for line in lines[:3]:
                console.print(Text(f"{own.topic}, {who}: {line.decode(errors='replace')}", "red"))
    if all(own.equal for own in found):
        total = sum(own.stored for own in found)
        console.print(
            f"All {total:,} records that went out come out again, byte by byte.", style="green", highlight=False
        )
