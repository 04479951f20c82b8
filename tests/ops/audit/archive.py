"""A small crash day, replayed and archived into a folder: what the tests of what reads an archive begin with."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from ops.generate import write_day
from pipeline.archive import archive_day
from pipeline.custody import Custody
from pipeline.replay import replay
from runners.direct import ENGINE
from runners.engine import Run

RETENTION = {"default": {"value": 6, "source": "as long as this test takes"}}
LOG = "replay-2026-01-05"


def custody_of(store: Path | str) -> Custody:
    """A custody of a folder, with small objects."""
    return Custody.model_validate({"store": str(store), "records": 500, "retention": RETENTION})


@cache
def crash_archive() -> tuple[Path, str]:
    """The folder of an archived crash day, and its last digest; made once a process, not to be changed."""
    root = Path(mkdtemp(prefix="margin-audit-"))
    write_day(root / "day", scenario="crash", accounts=60, symbols=20, seed=7, interval_ms=60_000)
    replay(root / "day", root / "out", ENGINE.options(Run()))
    last = archive_day(str(root / "day"), str(root / "out"), custody_of(root / "archive"), ENGINE.options(Run()))
    return root / "archive", last.digest


def copy_of(folder: Path, to: Path) -> Path:
    """A copy of an archive that may be changed."""
    shutil.copytree(folder, to)
    for path in to.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return to
