"""Every benchmark, one after another, as one table of CPU seconds: python -m bench.run [--quick]."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench.workload import SIZES, write_day

ROUNDS = 5
ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "bench"


def run(module: str, *args: Any) -> dict[str, Any]:
    """A benchmark in a process of its own; the JSON on its last line of output."""
    command = [sys.executable, "-m", f"bench.{module}", *map(str, args)]
    print("$", *command[1:], file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(f"bench.{module} failed:\n{done.stderr[-2000:]}")
    print(" ", line := done.stdout.splitlines()[-1], file=sys.stderr, flush=True)
    return json.loads(line)  # type: ignore[no-any-return]


def spent(found: dict[str, Any]) -> float:
    """CPU seconds without imports and the start of an engine."""
    return float(found["cpu_s"] - found["start_s"])


def rows_of(size: str, quick: bool) -> list[tuple[str, str, str]]:
    """(what, measured, target) of every comparison."""
    days = {name: write_day(WORK / name, SIZES[name]) for name in {size, "small", "wide"}}
    events = {name: SIZES[name].events for name in days}
    # In turn, because the machine's speed drifts by more than what is compared: the ratio is the median of the rounds'.
    rounds = [
        (
            run("plain_numpy", days[size]),
            run("plain_numpy", days[size], "--decided"),
            run("monitor", days[size], WORK / f"out-{size}"),
        )
        for _ in range(1 if quick else ROUNDS)
    ]
    ratios, decided_ratios = (sorted(spent(one[side]) / spent(one[2]) for one in rounds) for side in (0, 1))
    plain, decided, monitor = (sorted(side, key=spent)[len(rounds) // 2] for side in zip(*rounds, strict=True))
    peak = max(monitor["peak_mb"] for *_, monitor in rounds)
    two = run("monitor", days[size], WORK / f"out-{size}-2", "--shards", 2)
    small = monitor if size == "small" else run("monitor", days["small"], WORK / "out-small")
    wide = run("monitor", days["wide"], WORK / "out-wide")
    textbook = run("textbook_beam", days["small"], 1_000 if quick else 6_000)
    spark = run("spark_job", days["small"], 4 if quick else 10)
    flat = run("scaling", *(["--quick"] if quick else []))

    row = spent(monitor) / monitor["rows"] * 1e6
    per_event = spent(small) / events["small"] * 1e6
    small_row = spent(small) / small["rows"] * 1e6
    textbook_row, spark_event = textbook["us_per_row"], spent(spark) / spark["events"] * 1e6
    widest, least = flat["accounts_100000"], flat["accounts_1000"]
    return [
        (f"graph, {size}: CPU s; µs a row", f"{spent(monitor):.1f} s; {row:.1f}", ""),
        (f"graph, {size}, 2 shards: CPU s", f"{spent(two):.1f} s", ""),
        (
            f"plain NumPy, {size}: CPU s; µs a row",
            f"{spent(plain):.1f} s; {spent(plain) / plain['rows'] * 1e6:.1f}",
            "",
        ),
        (
            f"graph's speed, of plain NumPy's: median of {len(rounds)} rounds; range",
            f"{median(ratios):.0%}; {ratios[0]:.0%}-{ratios[-1]:.0%}",
            "at least 60%",
        ),
        (
            f"plain NumPy, only what is decided on, {size}: CPU s; µs a row",
            f"{spent(decided):.1f} s; {spent(decided) / decided['rows'] * 1e6:.1f}",
            "",
        ),
        (
            "graph's speed, of that: median; range",
            f"{median(decided_ratios):.0%}; {decided_ratios[0]:.0%}-{decided_ratios[-1]:.0%}",
            "",
        ),
        ("graph, small: CPU µs an event; a row", f"{per_event:.0f}; {small_row:.1f}", ""),
        ("textbook Beam, small: CPU µs a row", f"{textbook_row:.1f}", ""),
        (f"textbook Beam / graph on {size}, a row", f"{textbook_row / row:.1f}x", "at least 10x"),
        (
            "textbook Beam / graph, an event (its rows not conflated)",
            f"{textbook_row * textbook['rows'] / textbook['events'] / per_event:.1f}x",
            "at least 10x",
        ),
        (f"Spark, small in {spark['parts']} batches: CPU µs an event", f"{spark_event:.0f}", ""),
        ("Spark / graph, an event", f"{spark_event / per_event:.1f}x", "at least 10x"),
        ("sweep, 1,000 accounts: CPU µs a row", f"{least:.2f}", ""),
        ("sweep, 10,000 accounts", f"{flat['accounts_10000']:.2f}", ""),
        ("sweep, 100,000 accounts", f"{widest:.2f}", ""),
        ("flatness, 100,000 / 1,000 accounts", f"{widest / least:.2f}", "at most 1.3"),
        ("flatness, tenfold the symbols, sweep", f"{flat['symbols_x10'] / flat['accounts_10000']:.2f}", "at most 1.3"),
        (
            "tenfold the symbols, graph: an event",
            f"{spent(wide) / events['wide'] * 1e6 / per_event:.2f}",
            "",
        ),
        (f"peak memory, graph, {size}", f"{peak} MB", "under 600 MB"),
        ("peak memory, Spark's JVM, small", f"{spark['peak_mb']:.0f} MB", ""),
    ]


def main() -> None:
    """Run all, print the table and keep it in bench/results."""
    quick = "--quick" in sys.argv
    size = "small" if quick else "medium"
    lines = [f"Workload {size}: {SIZES[size]}; CPU seconds without imports and engine start.", ""]
    lines += ["| what | measured | target |", "|---|---:|---|"]
    lines += [f"| {what} | {measured} | {target} |" for what, measured, target in rows_of(size, quick)]
    table = "\n".join(lines) + "\n"
    print(table)
    name = f"{dt.datetime.now(dt.UTC).date()}{'-quick' if quick else ''}.md"
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    (results / name).write_text(table)


if __name__ == "__main__":
    main()
