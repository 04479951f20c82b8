"""The unbounded path on engines that really stream: TestStream on Prism, and a worker in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.trigger import AccumulationMode, AfterWatermark
from apache_beam.transforms.window import GlobalWindows, TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from ops.generate import write_day
from pipeline.day import files_of, load_manifest
from pipeline.replay import monitor_of, replay
from pipeline.sinks import WriteDay
from pipeline.sources import read_file
from runners.direct import ENGINE
from runners.engine import Run
from schemas.codec import to_json
from schemas.inputs import Cash, Fill, Input, Price
from schemas.scalars import Money, Quantity
from schemas.topics import BY_RECORD
from tests import days
from tests.days import at
from tests.engines import options_of
from transforms.parse import Raw, parse


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("day")
    write_day(folder, scenario="crash", accounts=12, symbols=5, seed=3, interval_ms=300_000)
    return folder


@pytest.fixture(scope="module")
def bounded(day: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bounded")
    replay(day, out, ENGINE.options(Run()), shards=2)
    return out


def assert_same(left: Path, right: Path) -> None:
    for path in sorted(left.glob("*.jsonl")):
        if not path.name.startswith("deadletter"):
            assert path.read_bytes() == (right / path.name).read_bytes(), path.name


def stream_of(day: Path, *, jumps: int) -> TestStream:
    """The day as a stream whose watermark jumps over many instants: one raw element a record, in `jumps` batches."""
    manifest = load_manifest(day)
    monitor = monitor_of(manifest, rules=["seed"], shards=2)
    stamped: list[tuple[int, Raw]] = []
    for topic, path in files_of(day):
        for raw in read_file((topic, str(path))):
            for value in raw.values:
                good, _ = parse(Raw(topic, 0, [0], [value]), monitor.bounds)
                for record in good.records:
                    stamped.append((int(record.arrived_at or 0), Raw(topic, 0, [0], [value])))
    stamped.sort(key=lambda pair: pair[0])
    stream = TestStream().advance_watermark_to(Timestamp(micros=manifest.begin))
    size = len(stamped) // jumps + 1
    for first in range(0, len(stamped), size):
        batch = stamped[first : first + size]
        # Reversed: within what the watermark has not passed, the order of arrival must not matter.
        stream.add_elements([TimestampedValue(raw, Timestamp(micros=at)) for at, raw in reversed(batch)])
        stream.advance_watermark_to(Timestamp(micros=batch[-1][0]))
    return stream.advance_watermark_to_infinity()


def test_stream_with_jumping_watermark_gives_the_bounded_outputs(day: Path, bounded: Path, tmp_path: Path) -> None:
    """Watermark jumps over many instants, and records at the same millisecond as a boundary, change nothing."""
    options = options_of("prism", Run(live=True))
    monitor = monitor_of(load_manifest(day), rules=["seed"], shards=2)
    with beam.Pipeline(options=options) as pipeline:
        outputs = pipeline | "Stream" >> stream_of(day, jumps=7) | "MonitorMargin" >> monitor
        # A file needs an end: the only firing is when the watermark reaches the end of time.
        whole = beam.WindowInto(
            GlobalWindows(), trigger=AfterWatermark(), accumulation_mode=AccumulationMode.DISCARDING
        )
        parts = tuple(part | f"Whole{n}" >> whole for n, part in enumerate(outputs))
        _ = parts | "WriteDay" >> WriteDay(str(tmp_path))
    assert_same(bounded, tmp_path)


def test_separate_worker_process_gives_the_bounded_outputs(
    day: Path, bounded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unbounded path on a PortableRunner whose worker is another process: everything crosses as bytes."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    address, pool = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    try:
        flags = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL"]
        options = PipelineOptions([*flags, f"--environment_config={address}"])
        replay(day, tmp_path, options, shards=2, bounded=False)
    finally:
        pool.stop(0)
    assert_same(bounded, tmp_path)


def test_a_record_behind_the_watermark_is_applied_at_the_next_instant(tmp_path: Path) -> None:
    """A truly late fill: the stream gives what the fold gives when it is told of the fill ten minutes on."""
    monitor = monitor_of(days.MANIFEST, rules=["seed"], shards=1)
    early: list[Input] = [
        Cash(cash_id="D", account_id="A0", amount=Money(10**7), kind="DEPOSIT", arrived_at=at(30)),
        Price(symbol="S0", price=100.0, as_of=at(30), arrived_at=at(30)),
    ]
    late = Fill(fill_id="F", account_id="A0", symbol="S0", quantity=Quantity(10**6), price=99.0, arrived_at=at(90))

    def raw(record: Input) -> TimestampedValue:
        value = Raw(BY_RECORD[type(record)].name, 0, [0], [to_json(record)])
        return TimestampedValue(value, Timestamp(micros=int(record.arrived_at or 0)))

    stream = TestStream().advance_watermark_to(Timestamp(micros=days.OPENS)).add_elements(map(raw, early))
    stream = stream.advance_watermark_to(Timestamp(micros=at(600))).add_elements([raw(late)])
    with beam.Pipeline(options=options_of("prism", Run(live=True))) as pipeline:
        whole = beam.WindowInto(
            GlobalWindows(), trigger=AfterWatermark(), accumulation_mode=AccumulationMode.DISCARDING
        )
        outputs = pipeline | "Stream" >> stream.advance_watermark_to_infinity() | "MonitorMargin" >> monitor
        parts = tuple(part | f"Whole{n}" >> whole for n, part in enumerate(outputs))
        _ = parts | "WriteDay" >> WriteDay(str(tmp_path))

    fold = monitor.fold
    state = fold.start()
    lines = list(fold.advance(state, [days.by_topic(early)], at(600)))
    lines += fold.advance(state, [days.by_topic([late])], days.CLOSES)
    expected = days.with_firm(lines)
    assert [record.as_of for topic, record in expected if topic == "audit.v1"] == [at(660)]  # type: ignore[attr-defined]
    written = {(path.stem, line) for path in tmp_path.glob("*.jsonl") for line in path.read_bytes().splitlines()}
    assert written == set(days.lines(expected))
