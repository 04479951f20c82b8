"""A snapshot of a live run: its state as records and the offsets behind it, from which another graph starts cold.

A state is a function of the log. So it is made by going through the log here, from the last snapshot or the beginning,
and the job, which may be the very thing that is broken, is neither asked nor slowed.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import TopicPartition

from ops.capture import CaptureError, Offsets, capture_day, manifest_of
from pipeline.day import Manifest, files_of, load_manifest, write_manifest
from pipeline.job import LiveJob
from pipeline.replay import monitor_of
from pipeline.sources import read_file
from schemas.codec import to_json
from schemas.topics import BY_RECORD, INPUTS, SNAPSHOTS
from transforms.close import standing
from transforms.lines import text_of
from transforms.ordered import advance_through
from transforms.parse import parse

OFFSETS = "offsets.json"

#: Seconds that this machine's clock may be ahead of the broker's: the cut is so far behind.
SKEW = 1.0


@dataclass(frozen=True)
class Snapshot:
    """A folder: a day whose records arrived at the cut, and the next offset of every partition at it."""

    folder: Path

    @property
    def offsets(self) -> Offsets:
        """The next offset by topic and partition. Raises CaptureError."""
        path = self.folder / OFFSETS
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CaptureError(f"{path}: {error}; `margin snapshot` writes it") from error
        return {(topic, int(p)): offset for topic, parts in found.items() for p, offset in parts.items()}

    @property
    def cut(self) -> int:
        """The instant that it is of, microseconds. Raises DayError."""
        return load_manifest(self.folder).begin

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """(topic, path) of its records. Raises DayError."""
        return tuple(files_of(self.folder))


def take_snapshot(job: LiveJob, folder: Path, base: Snapshot | None = None) -> Snapshot:
    """Write the state as of the last instant that every record has come for.

    Args:
      base: an earlier snapshot to go on from; without one the topics are read from their beginning.

    Raises:
      CaptureError: the job's clock is not the log's, so that its state cannot be made again; or nothing is there.
      KafkaException: the brokers do not answer.
    """
    if job.clock != "log_append":
        raise CaptureError(f"clock: expected log_append, found {job.clock}; only what the log says can be made again")
    step = job.interval_ms * 1000
    cut = round((time.time() - SKEW) * 1e6) // step * step
    time.sleep(SKEW)
    end = offsets_at(job, cut)
    with tempfile.TemporaryDirectory() as work:
        try:
            begin = capture_day(job, Path(work), base.offsets if base else None, end).begin
        except CaptureError:
            # Since the last snapshot only time may have passed.
            if base is None:
                raise
        files = [*(base.files if base else ()), *files_of(work)]
        records = list(_state(manifest_of(job, base.cut if base else begin, cut - 1), files))
    folder.mkdir(parents=True, exist_ok=True)
    by_topic: dict[str, list[bytes]] = {}
    for topic, line in records:
        by_topic.setdefault(topic, []).append(line)
    for topic, lines in by_topic.items():
        (folder / f"{topic}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    write_manifest(folder, manifest_of(job, cut, cut))
    nested: dict[str, dict[str, int]] = {}
    for (topic, partition), offset in end.items():
        nested.setdefault(topic, {})[str(partition)] = offset
    (folder / OFFSETS).write_text(json.dumps(nested, indent=1) + "\n")
    return Snapshot(folder)


def _state(manifest: Manifest, files: list[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    """(topic, JSON) of the records that give the state at the end of a day."""
    monitor = monitor_of(manifest, shards=1)
    fold, state = monitor.fold, monitor.fold.start()
    payloads = []
    for file in files:
        for raw in read_file(file):
            good, _ = parse(raw, monitor.bounds)
            if good.records:
                payloads.append(good.encoded())
    for topic, lines in advance_through(fold, 0, state, payloads):
        if topic == SNAPSHOTS.name:
            yield from ((topic, text_of(line)) for line in lines)
    for record in standing(state, manifest.horizon):
        yield BY_RECORD[type(record)].name, to_json(record)


def offsets_at(job: LiveJob, instant: int) -> Offsets:
    """The next offset of every partition of the inputs at an instant, microseconds. Raises KafkaException."""
    consumer = job.kafka.reader("snapshot")
    try:
        topics = consumer.list_topics(timeout=30).topics
        places = [TopicPartition(t.name, p, instant // 1000) for t in INPUTS for p in topics[t.name].partitions]
        found = consumer.offsets_for_times(places, timeout=30)
        # Where no record is as late, everything is before it.
        return {
            (p.topic, p.partition): p.offset if p.offset >= 0 else consumer.get_watermark_offsets(p, timeout=30)[1]
            for p in found
        }
    finally:
        consumer.close()


def begin_at(job: LiveJob, snapshot: Snapshot) -> None:
    """Let the job's group begin at the snapshot's offsets. Raises CaptureError, KafkaException."""
    job.kafka.begin_at(snapshot.offsets)
