"""Readers of the archive: DuckDB over a folder's Parquet files, or the index of a bucket (ops.audit.indexed)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from ops.audit.question import COLUMNS, Question, duckdb_view, select
from pipeline.custody import Custody
from pipeline.store import StoreError, open_store
from schemas.archive import Row
from schemas.scalars import Time

_TIMES = ("received_at", "at")
#: Rows that are in memory at a time, unless they must be sorted.
BATCH = 10_000


class Reader(Protocol):
    """Answers questions to an archive."""

    def rows(self, question: Question) -> Iterator[Row]:
        """The rows that a question asks for, by (at, received_at, place); of those of a record that came twice, which
        have one event_id, the one that was received first.

        Raises:
          StoreError: the archive cannot be read.
        """


class FolderReader:
    """DuckDB over the Parquet files of a folder; folders of topics and dates that are not asked for are not opened."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not any(self.folder.glob("records/*/*/*/*.parquet")):
            raise StoreError(
                f"{folder}: expected an archive, records/topic=..; found none. Archive something into it first: "
                f"margin archive"
            )

    def rows(self, question: Question) -> Iterator[Row]:
        """As Reader.rows says."""
        with duckdb.connect() as session:
            session.execute("SET TimeZone = 'UTC'")
            session.execute(duckdb_view(str(self.folder)))
            try:
                batches: Any = session.execute(select(question)).to_arrow_reader(BATCH)
                for batch in batches:
                    yield from rows_in(batch)
            except (duckdb.Error, pa.ArrowInvalid) as error:
                raise StoreError(
                    f"{self.folder}: {error}. Which file is wrong, and how, says: margin audit verify"
                ) from error


def rows_in(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch with all of a row's columns."""
    lists = []
    for name in COLUMNS:
        column: Any = batch.column(name)
        lists.append(map(Time, column.cast(pa.int64()).to_pylist()) if name in _TIMES else column.to_pylist())
    for values in zip(*lists, strict=True):
        yield Row(**dict(zip(COLUMNS, values, strict=True)))


def answer(rows: Iterable[Row], question: Question) -> list[Row]:
    """What a question asks for among rows in any order, as Reader.rows says."""
    firsts: dict[str, Row] = {}
    for row in sorted(filter(question.asks_for, rows), key=lambda row: (row.received_at, row.place)):
        firsts.setdefault(row.event_id, row)
    return sorted(firsts.values(), key=lambda row: (row.at, row.received_at, row.place))


def open_reader(custody: Custody) -> Reader:
    """What answers questions to an archive. Raises StoreError where there is none."""
    if "://" not in custody.store:
        return FolderReader(custody.store)
    if custody.index is None:
        raise StoreError(f"{custody.store}: expected an index in the custody, since only a folder is read without one")
    # A folder needs no boto3, which takes a second to import.
    from ops.audit.indexed import IndexedReader
    from pipeline.index import DynamoIndex

    return IndexedReader(open_store(custody), DynamoIndex(custody))
