"""Where the archive is kept: a folder, or a bucket of S3 under a prefix. What is there is never changed.

A name is written once. To write it again with the same content is no error, since a writer that was killed begins again
where it was; to write it with other content is: somebody changed what is kept, or two writers disagree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pipeline.custody import Custody
from schemas.errors import UserError


class StoreError(UserError, RuntimeError):
    """A store that cannot be used; the text says why."""


class ConflictError(StoreError):
    """Something of that name is there with other content."""


class Store(Protocol):
    """Content by name; names have "/" between folders."""

    address: str

    def put(self, name: str, content: bytes) -> bool:
        """Keep the content; whether it was not there yet.

        Raises:
          ConflictError: other content is there. StoreError: the store does not take it.
        """

    def get(self, name: str) -> bytes | None:
        """The content; None where there is none. Raises StoreError."""

    def names(self, prefix: str = "") -> Iterator[str]:
        """Every name that begins with the prefix, sorted. Raises StoreError."""


class FolderStore:
    """A folder of this machine, or one that is mounted."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.address = str(folder)

    def put(self, name: str, content: bytes) -> bool:
        """Keep the content, whole or not at all: it is linked to its name once it is on the disk."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            if path.read_bytes() != content:
                raise ConflictError(f"{path}: expected what is written now, found other content") from None
            return False
        finally:
            part.unlink()
        path.chmod(0o444)
        return True

    def get(self, name: str) -> bytes | None:
        """The content; None where there is none."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, prefix: str = "") -> Iterator[str]:
        """Every name that begins with the prefix, sorted."""
        top = self.folder / prefix.rpartition("/")[0]
        found = (path.relative_to(self.folder).as_posix() for path in top.rglob("*") if path.is_file())
        yield from sorted(name for name in found if name.startswith(prefix) and not Path(name).name.startswith("."))


def open_store(custody: Custody) -> Store:
    """The store of a custody: a folder, or s3://BUCKET/PREFIX. Raises StoreError for any other address."""
    if "://" not in custody.store:
        return FolderStore(custody.store)
    if custody.store.startswith("s3://"):
        # A folder needs no boto3, which takes a second to import.
        from pipeline.bucket import S3Store

        return S3Store(custody)
    raise StoreError(f"store: expected a folder or s3://BUCKET/PREFIX, found {custody.store}")
