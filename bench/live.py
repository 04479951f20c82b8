"""Latency and throughput of a live run, broker, load and job on this machine: `make bench-live`.

The latency of an alert is the broker's time of it less the broker's time of the earliest record of its instant's
interval that touches the account: its own fill or cash, or a price of a symbol that it holds. What caused the alert
came then or later, so it is never told shorter than it was.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import requests
from confluent_kafka import OFFSET_END, TopicPartition
from rich.console import Console
from rich.table import Table

from ops.capture import Head, Log
from ops.generate import write_day
from ops.stack.broker import create_topics
from ops.stack.service import Service
from ops.stack.stack import Stack
from runners.artifact import BUILD
from schemas.codec import from_json
from schemas.outputs import Alert
from schemas.topics import ALERTS, CASH, FILLS, MARGIN_CALC, PRICES
from tests import live

ACCOUNTS, SYMBOLS, METRICS = 10_000, 1_000, 9249
RUNS = ("log_append", "arrival", "throughput", "backlog")
RESULTS = Path(__file__).with_name("results")


class Input(msgspec.Struct):
    symbol: str = ""
    account_id: str = ""


@dataclass
class Figures:
    """What one run measured: seconds, bytes, counts."""

    name: str
    rate: float
    latencies: list[float] = field(default_factory=list)
    lags: list[tuple[float, float]] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    cpu: float = 0.0
    written: float = 0.0
    checkpoint: tuple[float, float] = (0.0, 0.0)

    def row(self) -> list[str]:
        at = np.percentile(self.latencies, [50, 99, 100]) if self.latencies else [float("nan")] * 3
        first, last = self.trend()
        return [
            self.name,
            f"{self.rate:,.0f}",
            f"{len(self.latencies):,}",
            *(f"{value:.2f}" for value in at),
            f"{first:.2f} to {last:.2f}",
            f"{self.memory[0] / 1e6:,.0f} to {self.memory[-1] / 1e6:,.0f}" if self.memory else "",
            f"{self.cpu:.2f}",
            f"{self.written / 1e3:,.0f}",
            f"{self.checkpoint[0] / 1e6:.1f}, {self.checkpoint[1]:.2f}",
        ]

    def trend(self) -> tuple[float, float]:
        """How far figures are behind their instant, seconds: medians of the first and the last quarter."""
        lags = [lag for _, lag in self.lags]
        quarter = max(1, len(lags) // 4)
        return (float(np.median(lags[:quarter])), float(np.median(lags[-quarter:]))) if lags else (0.0, 0.0)


HEADERS = (
    "run",
    "rate/s",
    "alerts",
    "p50 s",
    "p99 s",
    "max s",
    "behind, s",
    "workers MB",
    "cores",
    "state kB/s",
    "checkpoint MB, s",
)


class Follower:
    """Reads alerts and a sample of figures as they come."""

    def __init__(self, stack: Stack) -> None:
        self.consumer = stack.job.kafka.reader("bench")
        names = (ALERTS.name, MARGIN_CALC.name)
        topics = self.consumer.list_topics(timeout=30).topics
        self.consumer.assign([TopicPartition(name, p, OFFSET_END) for name in names for p in topics[name].partitions])
        self.alerts: list[tuple[int, str, int]] = []
        self.lags: list[tuple[float, float]] = []

    def poll(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for message in self.consumer.consume(2000, left):
                if message.error() is not None:
                    continue
                appended = message.timestamp()[1]
                if message.topic() == ALERTS.name:
                    alert = from_json(Alert, bytes(message.value() or b""))
                    self.alerts.append((appended * 1000, alert.account_id, int(alert.as_of)))
                elif (message.offset() or 0) % 50 == 0:
                    as_of = msgspec.json.decode(message.value() or b"", type=Head).instant / 1e6
                    self.lags.append((appended / 1e3, appended / 1e3 - as_of))


def latencies(stack: Stack, alerts: list[tuple[int, str, int]], interval: int) -> list[float]:
    """Seconds from the earliest touching record of its interval to each alert; see the module."""
    by_symbol: dict[str, list[int]] = defaultdict(list)
    by_account: dict[str, list[int]] = defaultdict(list)
    held: dict[str, set[str]] = defaultdict(set)
    for message in Log(stack.job.kafka, (PRICES.name, FILLS.name, CASH.name)).records():
        record, stamp = msgspec.json.decode(message.value() or b"", type=Input), message.timestamp()[1] * 1000
        if message.topic() == PRICES.name:
            by_symbol[record.symbol].append(stamp)
            continue
        by_account[record.account_id].append(stamp)
        if record.symbol:
            held[record.account_id].add(record.symbol)
    found = []
    for appended, account, as_of in alerts:
        causes = []
        for stamps in (by_account[account], *(by_symbol[symbol] for symbol in held[account])):
            place = bisect_left(stamps, as_of - interval)
            if place < len(stamps) and stamps[place] < as_of:
                causes.append(stamps[place])
        # Without one, time alone was the cause: its instant.
        found.append((appended - min(causes, default=as_of)) / 1e6)
    return found


def processes(stack: Stack) -> list[psutil.Process]:
    """Of the job: the task manager and its workers."""
    manager = stack.flink.taskmanager.process()
    assert manager is not None
    return [manager, *manager.children(recursive=True)]


def state_bytes(stack: Stack) -> float:
    """Bytes of state cells written so far, from Flink's reporter."""
    for port in range(METRICS, METRICS + 10):
        try:
            text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        except requests.RequestException:
            continue
        values = re.findall(r"margin_state_bytes\{[^}]*\} ([\d.eE+]+)", text)
        if values:
            return sum(map(float, values))
    return 0.0


def measure(name: str, day: Path, rate: float, seconds: float, console: Console, **changes: Any) -> Figures:
    """One run: a stack, the opening as warm-up, then `seconds` at the rate."""
    figures = Figures(name, rate)
    with tempfile.TemporaryDirectory() as folder, live.stack(Path(folder), metrics_port=METRICS, **changes) as stack:
        markers = live.Markers(stack.job)
        load = _load(stack, day, rate)
        try:
            markers.settle(600)
            time.sleep(10)
            console.print(f"{time.strftime('%H:%M:%S')} {name}: opened, measuring for {seconds:g} s", highlight=False)
            follower = Follower(stack)
            follower.poll(1)
            follower.alerts.clear()
            workers, begun, wrote = live.workers(stack, "margin-boot-python"), time.monotonic(), state_bytes(stack)
            before = sum(sum(p.cpu_times()[:2]) for p in processes(stack))
            while time.monotonic() - begun < seconds:
                follower.poll(5)
                figures.memory.append(sum(worker.memory_info().rss for worker in workers))
            elapsed = time.monotonic() - begun
            figures.cpu = (sum(sum(p.cpu_times()[:2]) for p in processes(stack)) - before) / elapsed
            figures.written = (state_bytes(stack) - wrote) / elapsed
            done = stack.session.checkpoints(stack.job.name)["summary"]
            figures.checkpoint = done["state_size"]["max"], done["end_to_end_duration"]["p99"] / 1e3
            figures.lags = follower.lags
        finally:
            load.stop()
        figures.latencies = latencies(stack, follower.alerts, stack.job.interval_ms * 1000)
    console.print(table([figures]))
    return figures


def _load(stack: Stack, day: Path, rate: float) -> Service:
    """The load of a stack, behind its opening; it ends with the stack."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.load", stack.file, str(day), str(rate)]
    load = Service(stack.folder, "load", command).start()
    while "opened" not in load.log.read_text():
        assert load.process(), load.log.read_text()
        time.sleep(1)
    return load


def backlog(day: Path, rate: float, seconds: float, console: Console) -> tuple[float, float]:
    """Seconds of records that wait before a job runs, and how long it then takes to come to their end.

    What waits is made once, in that time, and kept beside the day: a changed job catches up with the same records.
    """
    folder, kept = day.with_name("backlog"), day.with_name(f"backlog-{rate:g}-{seconds:g}")
    shutil.rmtree(folder, ignore_errors=True)
    if not kept.exists():
        _make_backlog(folder, day, rate, seconds, console)
        folder.rename(kept)
    shutil.copytree(kept, folder)
    stack = Stack(str(next(folder.glob("job*.yaml"))), folder)
    try:
        stack.start_services()
        with live.Markers(stack.job) as markers:
            stack.submit()
            console.print(f"{time.strftime('%H:%M:%S')} backlog: the job runs", highlight=False)
            begun = time.monotonic()
            markers.settle(1800)
            return seconds, time.monotonic() - begun
    finally:
        stack.stop()


def _make_backlog(folder: Path, day: Path, rate: float, seconds: float, console: Console) -> None:
    """A stopped broker that has the opening and so many seconds of records, which no job has read."""
    stack = Stack(str(live.job_file(folder)), folder)
    try:
        stack.broker.start()
        create_topics(stack.job.kafka)
        stack.pulse.start()
        _load(stack, day, rate)
        console.print(f"{time.strftime('%H:%M:%S')} backlog: no job for {seconds:g} s", highlight=False)
        time.sleep(seconds)
    finally:
        stack.stop()


def table(figures: list[Figures]) -> Table:
    found = Table(*HEADERS)
    for one in figures:
        found.add_row(*one.row())
    return found


def markdown(figures: list[Figures], caught_up: tuple[float, float] | None) -> str:
    """The table as bench/results has it."""
    rows = [HEADERS, ["---"] * len(HEADERS), *(one.row() for one in figures)]
    lines = [f"# Live, {time.strftime('%Y-%m-%d')}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    if caught_up is not None:
        lines.append("{:g} s of backlog at 3,000/s caught up in {:.1f} s, submission not counted.".format(*caught_up))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of the run at 3,000/s whose memory must be flat")
    parser.add_argument("--short", type=float, default=120, help="of each other run")
    parser.add_argument(
        "--backlog", type=float, default=300, help="of records that wait, waited for once; an hour is 3600"
    )
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=RUNS)
    args = parser.parse_args()
    console, day = Console(width=170), BUILD / "bench" / "live-day"
    if not day.exists():
        write_day(day, scenario="calm", accounts=ACCOUNTS, symbols=SYMBOLS, seed=7, interval_ms=250)
    found = []
    if "log_append" in args.runs:
        found.append(measure("log_append", day, 3000, args.seconds, console))
    if "arrival" in args.runs:
        found.append(measure("arrival", day, 3000, args.short, console, clock="arrival"))
    if "throughput" in args.runs:
        found.append(measure("throughput", day, 10_000, args.short, console))
    caught_up = backlog(day, 3000, args.backlog, console) if "backlog" in args.runs else None
    console.print(table(found))
    text = markdown(found, caught_up)
    if caught_up:
        console.print(text.splitlines()[-1], highlight=False)
    # Some of the runs do not replace the results of all.
    part = "" if set(args.runs) == set(RUNS) else f"-{'-'.join(args.runs)}"
    (RESULTS / f"{time.strftime('%Y-%m-%d')}-live{part}.md").write_text(text)


if __name__ == "__main__":
    main()
