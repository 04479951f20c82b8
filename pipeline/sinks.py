"""Where outputs go: a folder like a day, one sorted file a topic, so that diff -r compares two runs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import apache_beam as beam
import zstandard
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from schemas.topics import WRITTEN
from transforms.lines import Lines, text_of


@dataclass(eq=False)
class WriteDay(beam.PTransform):
    """PCollections of (topic, lines) in; a file a topic, sorted. Raises OSError before it starts."""

    folder: str

    def expand(self, outputs: tuple[beam.PCollection, ...]) -> beam.PCollection:
        """Pack the lines before they leave their stage, gather each topic's, sort and write them."""
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        for topic in WRITTEN:
            (folder / f"{topic.name}.jsonl").write_bytes(b"")
        packed = [part | f"Pack{n}" >> beam.ParDo(_Pack()) for n, part in enumerate(outputs)]
        runs = packed | "Outputs" >> beam.Flatten()
        return runs | "ByTopic" >> beam.GroupByKey() | "Write" >> beam.Map(write_topic, self.folder)


class _Pack(beam.DoFn):
    """Sorted runs of a topic's lines, compressed behind the sorting key of the first: a day fits in memory packed."""

    FLUSH = 1 << 20

    def start_bundle(self) -> None:
        self.lines: dict[str, list[bytes]] = {}
        self.size: dict[str, int] = {}

    def process(self, element: Lines) -> Iterator[tuple[str, bytes]]:
        topic, lines = element
        self.lines.setdefault(topic, []).extend(lines)
        self.size[topic] = self.size.get(topic, 0) + sum(map(len, lines))
        if self.size[topic] >= self.FLUSH:
            yield topic, self._run(topic)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for topic in list(self.lines):
            run = topic, self._run(topic)
            yield WindowedValue(run, GlobalWindow().max_timestamp(), (GlobalWindow(),))

    def _run(self, topic: str) -> bytes:
        lines = sorted(self.lines.pop(topic))
        del self.size[topic]
        return lines[0].partition(b"\0")[0] + b"\0" + zstandard.compress(b"\n".join([*lines, b""]), 1)


def in_order(runs: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of sorted runs with their line feeds, sorted and each once; of the runs only those that overlap are
    unpacked."""
    previous: bytes | None = None
    waiting: list[bytes] = []
    for run, following in pairwise([*sorted(runs), b""]):
        packed = memoryview(run)[run.index(b"\0") + 1 :]
        waiting.extend(zstandard.decompress(packed).splitlines(keepends=True))
        waiting.sort()
        # What sorts before the next run's first key is complete.
        ready = bisect_left(waiting, following[: following.index(b"\0")]) if following else len(waiting)
        for line in waiting[:ready]:
            # Delivery is at least once: a repeated line is the same record.
            if line != previous:
                yield line
            previous = line
        del waiting[:ready]


def write_topic(group: tuple[str, Iterable[bytes]], folder: str) -> str:
    """Write a topic's file in place of what was there; the path."""
    topic, runs = group
    path = Path(folder) / f"{topic}.jsonl"
    part = path.with_suffix(".part")
    with part.open("wb") as out:
        out.writelines(text_of(line) for line in in_order(runs))
    part.replace(path)
    return str(path)
