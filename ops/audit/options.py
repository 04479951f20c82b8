"""Options that say where an archive is, and what is opened by them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ops.audit.reader import Reader
    from pipeline.custody import Custody
    from pipeline.index import Index
    from pipeline.store import Store
    from transforms.parse import Decode

CustodyName = Annotated[str, typer.Option("--custody", help="where the archive is: a name in conf/archives, or a file")]
Folder = Annotated[str | None, typer.Option("--store", help="a folder with the archive, instead of the custody's")]
JobName = Annotated[
    str | None, typer.Option("--job", help="the live job that wrote topics in Avro, for their registry")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@dataclass(frozen=True)
class Archive:
    """What a command asks, each part opened when it is asked for first.

    Fields:
      name, folder, job: the options --custody, --store and --job.

    Raises:
      ConfigurationError, StoreError: of the part that cannot be opened.
    """

    name: str
    folder: str | None = None
    job: str | None = None

    @cached_property
    def custody(self) -> Custody:
        """Where it is, and how it is kept."""
        from pipeline.custody import load_custody

        return load_custody(self.name, self.folder)

    @cached_property
    def store(self) -> Store:
        """Its objects."""
        from pipeline.store import open_store

        return open_store(self.custody)

    @cached_property
    def index(self) -> Index | None:
        """Its index; None where it has none."""
        from pipeline.index import open_index

        return open_index(self.custody)

    @cached_property
    def reader(self) -> Reader:
        """What answers questions."""
        from ops.audit.reader import open_reader

        return open_reader(self.custody)

    @cached_property
    def decode(self) -> Decode:
        """What its values are read with: JSON, unless a live job has other formats."""
        if self.job is None:
            from transforms.parse import decode_plain

            return decode_plain
        from pipeline.job import load_live_job

        return load_live_job(self.job).formats.decoder()
