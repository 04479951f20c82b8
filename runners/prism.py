"""Prism: Beam's portable local runner, built from its Go module into build/bin; it streams, and takes TestStream."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

#: v2.70.0 does not verify against the Go checksum database; v2.71.0 does and works with Python 2.70.0 (runtime.md).
MODULE = "github.com/apache/beam/sdks/v2/go/cmd/prism@v2.71.0"
BINARY = Path(__file__).parents[1] / "build" / "bin" / "prism"


class EngineMissingError(RuntimeError):
    """The engine is not here; the text says what to install."""


def locate() -> Path:
    """The Prism binary, built on first use (2 to 3 minutes). Raises EngineMissingError without Go."""
    if BINARY.exists():
        return BINARY
    go = shutil.which("go")
    if go is None:
        raise EngineMissingError(
            "Prism is built with Go: install Go 1.24 or newer, or put the binary at build/bin/prism"
        )
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    built = subprocess.run([go, "install", MODULE], env=os.environ | {"GOBIN": str(BINARY.parent)}, check=False)
    if built.returncode or not BINARY.exists():
        raise EngineMissingError(f"go install {MODULE} failed with status {built.returncode}")
    return BINARY


def options(*, streaming: bool = False) -> PipelineOptions:
    """Prism with the workers in this process."""
    flags = ["--runner=PrismRunner", f"--prism_location={locate()}", "--environment_type=LOOPBACK"]
    return PipelineOptions([*flags, *(["--streaming"] if streaming else [])])
