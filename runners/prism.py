"""Prism: Beam's portable local runner, built from its Go module into build/bin; it streams, and takes TestStream."""

from __future__ import annotations

import shutil
from pathlib import Path

from runners.artifact import BUILD, EngineMissingError, built, run
from runners.engine import Capability, Engine, Run

#: v2.70.0 does not verify against the Go checksum database; v2.71.0 does and works with Python 2.70.0 (runtime.md).
MODULE = "github.com/apache/beam/sdks/v2/go/cmd/prism@v2.71.0"
BINARY = BUILD / "bin" / "prism"


def locate() -> Path:
    """The Prism binary, built on first use (2 to 3 minutes). Raises EngineMissingError without Go."""
    return built(BINARY, _build)


def _build() -> None:
    go = shutil.which("go")
    if go is None:
        raise EngineMissingError(f"Prism is built with Go: install Go 1.24 or newer, or put the binary at {BINARY}")
    run(go, "install", MODULE, what="Prism with Go", GOBIN=str(BINARY.parent))


#: Prism splits any bundle that makes no progress for two 100 ms ticks, also of a stage with state: what it takes off
#: runs beside the rest, with the key's state as it was before either, and one of the two is lost (docs/engines.md).
WHOLE_BUNDLES = "--experiments=prism_disable_sdf_split"


def _flags(run: Run) -> list[str]:
    flags = ["--runner=PrismRunner", f"--prism_location={locate()}", "--environment_type=LOOPBACK", WHOLE_BUNDLES]
    return [*flags, *(["--streaming"] if run.live else [])]


ENGINE = Engine(
    "prism",
    "the streaming path on a laptop, without Java",
    has={
        Capability.REPLAY: "workers in this process",
        Capability.LIVE: "over the native Kafka source; p50 a fifth of a second, and about 10,000 records a second",
    },
    lacks={
        Capability.RECOVERY: "Prism saves no checkpoint: what dies with it is read again; flink recovers",
        Capability.CLUSTER: "Prism is one process; flink and spark have clusters",
        Capability.PACKAGE: "there is nothing to submit it to; package for flink or spark",
    },
    flags=_flags,
)
