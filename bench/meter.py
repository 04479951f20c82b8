"""What a process used: one line of JSON that bench.run reads back."""

from __future__ import annotations

import json
import resource
import time


def report(**figures: float | int | str) -> None:
    """Print CPU seconds of this process so far, its peak memory, and the figures given."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_s": round(time.process_time(), 3), "peak_mb": round(peak), **figures}))
