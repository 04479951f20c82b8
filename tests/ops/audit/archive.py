"""A small crash day, replayed and archived into a folder: what the tests of what reads an archive begin with."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from ops.generate import write_day
from ops.stack.bucket import create_bucket
from pipeline.archive import archive_day
from pipeline.custody import Custody
from pipeline.index import entries_of, open_index
from pipeline.objects import decode_rows
from pipeline.replay import replay
from pipeline.store import FolderStore, Store, open_store
from runners.direct import ENGINE
from runners.engine import Run
from schemas.archive import topic_in
from tests.stores import custody_of

LOG = "replay-2026-01-05"


@cache
def crash_archive() -> tuple[Path, str]:
    """The folder of an archived crash day, and its last digest; made once a process, not to be changed."""
    root = Path(mkdtemp(prefix="margin-audit-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    write_day(root / "day", scenario="crash", accounts=15, symbols=6, seed=7, interval_ms=60_000)
    replay(root / "day", root / "out", ENGINE.options(Run()))
    last = archive_day(
        str(root / "day"), str(root / "out"), custody_of(root / "archive", records=500), ENGINE.options(Run())
    )
    return root / "archive", last.digest


def copied_to(custody: Custody, folder: Path) -> Store:
    """An archive as in a folder in the bucket and the index of a custody."""
    create_bucket(custody)
    store, index = open_store(custody), open_index(custody)
    assert index is not None
    for name in FolderStore(folder).names():
        content = (folder / name).read_bytes()
        store.put(name, content)
        if (topic := topic_in(name)) is not None:
            index.put(entries_of(decode_rows(content, topic), name))
    return store


def copy_of(folder: Path, to: Path) -> Path:
    """A copy of an archive that may be changed."""
    shutil.copytree(folder, to)
    for path in to.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return to
