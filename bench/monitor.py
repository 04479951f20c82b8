"""The graph over a day: python -m bench.monitor DAY OUT [--shards N] [--profile FILE]."""

from __future__ import annotations

import argparse
import cProfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bench.meter import report
from bench.workload import SIZES, write_day
from pipeline.replay import replay
from risk.block import Accounts
from runners.direct import ENGINE
from runners.engine import Run
from transforms.monitor import Monitor


def count_rows() -> Counter[str]:
    """Count the accounts and positions of every measured block of the runner in this process."""
    seen: Counter[str] = Counter()
    measured = Monitor.measured

    def counted(self: Monitor, state: Any, rows: np.ndarray, *rest: Any) -> Accounts:
        block = measured(self, state, rows, *rest)
        seen.update(blocks=1, rows=len(block.accounts))
        return block

    Monitor.measured = counted  # type: ignore[method-assign]
    return seen


def profile_bundles(profile: cProfile.Profile) -> None:
    """Profile what the runner's worker threads do with a bundle; cProfile alone sees the calling thread only."""
    from apache_beam.runners.worker.bundle_processor import BundleProcessor

    process = BundleProcessor.process_bundle

    def profiled(self: Any, *args: Any) -> Any:
        profile.enable()
        try:
            return process(self, *args)
        finally:
            profile.disable()

    BundleProcessor.process_bundle = profiled


def main() -> None:
    """Replay, then print what it cost; start_s is the CPU time of imports and of a tiny day that starts the engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("day", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--profile", type=Path)
    args = parser.parse_args()
    seen, profile = count_rows(), cProfile.Profile()
    if args.profile:
        profile_bundles(profile)
    replay(write_day(args.out.with_name("warm-up"), SIZES["tiny"]), args.out, ENGINE.options(Run()))
    seen.clear()
    start = time.process_time()
    replay(args.day, args.out, ENGINE.options(Run()), shards=args.shards)
    report(start_s=round(start, 3), shards=args.shards, **seen)
    if args.profile:
        profile.dump_stats(args.profile)


if __name__ == "__main__":
    main()
