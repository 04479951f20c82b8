"""Questions to the archive, and the SQL that answers them: the same text for DuckDB and for Athena."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ops.formats import NEW_YORK
from pipeline.objects import UNREADABLE
from schemas.archive import Row
from schemas.errors import UserError
from schemas.scalars import Time
from schemas.topics import BY_NAME

#: Where a record was received, as text that sorts like it (schemas.archive.Row.place).
PLACE = (
    "log || '/' || topic || '/' || lpad(CAST(\"partition\" AS varchar), 5, '0')"
    " || '/' || lpad(CAST(\"offset\" AS varchar), 20, '0')"
)
COLUMNS = tuple(Row.__struct_fields__)


class QuestionError(UserError, ValueError):
    """A question that nothing can answer; the text says what can be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of the archive; an empty field asks for all.

    Fields:
      topics, kinds, event_ids, log: of the row. keys: accounts or symbols.
      begin, end: of when it was so: begin <= at < end, microseconds.
      received_from, received_before: of when it was known, received_from <= received_at < received_before.
    """

    topics: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    event_ids: tuple[str, ...] = ()
    begin: int | None = None
    end: int | None = None
    received_before: int | None = None
    received_from: int | None = None
    kinds: tuple[str, ...] = ()
    log: str | None = None

    def asks_for(self, row: Row) -> bool:
        """Whether a row is an answer, but for that of a record that came twice the first one is."""
        return (
            all(
                not asked or getattr(row, name) in asked
                for name, asked in (
                    ("topic", self.topics),
                    ("key", self.keys),
                    ("event_id", self.event_ids),
                    ("kind", self.kinds),
                )
            )
            and self.log in (None, row.log)
            and (self.begin is None or row.at >= self.begin)
            and (self.end is None or row.at < self.end)
            and (self.received_from is None or row.received_at >= self.received_from)
            and (self.received_before is None or row.received_at < self.received_before)
        )


def asked_of(
    types: Sequence[str], accounts: Sequence[str] = (), symbols: Sequence[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Names of topics, and of kinds in any case, and whose records, as the fields of a question.

    Of accounts alone, or of symbols, no other topics are asked for than theirs.

    Raises:
      QuestionError: there is no such topic or kind.
    """
    topics = tuple(name for name in types if name in BY_NAME)
    kinds = tuple(name.upper() for name in types if name not in BY_NAME)
    if unknown := set(kinds) - known_kinds():
        raise QuestionError(
            f"type: expected a topic ({', '.join(sorted(BY_NAME))}) or a kind ({', '.join(sorted(known_kinds()))}), "
            f"found {', '.join(sorted(unknown))}"
        )
    if not topics and bool(accounts) != bool(symbols):
        topics = tuple(name for name, topic in BY_NAME.items() if topic.market == bool(symbols))
    return {"topics": topics, "kinds": kinds, "keys": (*accounts, *symbols)}


def time_of(text: str, *, end: bool = False) -> Time:
    """A time such as 2026-01-05T15:00:00Z; of a date its beginning in New York, or its end. Raises ValueError."""
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        return Time.parse(text)
    return day_of(date)[end]


def day_of(date: dt.date) -> tuple[Time, Time]:
    """When a date begins, and ends, in New York."""
    midnights = (dt.datetime.combine(date + dt.timedelta(days=days), dt.time(), NEW_YORK) for days in (0, 1))
    begin, end = map(Time.parse, midnights)
    return begin, end


@cache
def known_kinds() -> frozenset[str]:
    """The kinds that rows of any topic have (pipeline.objects)."""
    found = {UNREADABLE, "REFUSED"}
    for topic in BY_NAME.values():
        for name, hint in get_type_hints(topic.record).items():
            if name in ("kind", "status", "level", "action", "type", "margin_type") and get_origin(hint) is Literal:
                found.update(get_args(hint))
    return frozenset(found)


def select(question: Question) -> str:
    """The question in SQL: its rows by (at, received_at, place), of a record that came twice the first that came.

    Times are in UTC, as in a session of Athena. The conditions on date are those on received_at again, for partitions.
    """
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    where = "\n      AND ".join(_conditions(question)) or "true"
    return f"""SELECT {columns}
FROM (
    SELECT *, row_number() OVER (PARTITION BY event_id ORDER BY received_at, place) AS copy
    FROM (
      SELECT *, {PLACE} AS place
      FROM records
      WHERE {where}
    ) AS found
) AS numbered
WHERE copy = 1
ORDER BY "at", received_at, place"""


def _conditions(question: Question) -> Iterator[str]:
    for name, asked in (
        ("topic", question.topics),
        ("key", question.keys),
        ("event_id", question.event_ids),
        ("kind", question.kinds),
        ("log", () if question.log is None else (question.log,)),
    ):
        if asked:
            yield f'"{name}" IN ({", ".join(map(_text, asked))})'
    for name, sign, time in (
        ("at", ">=", question.begin),
        ("at", "<", question.end),
        ("received_at", ">=", question.received_from),
        ("received_at", "<", question.received_before),
    ):
        if time is not None:
            text = Time(time).text().removesuffix("Z").replace("T", " ")
            yield f"\"{name}\" {sign} TIMESTAMP '{text}'"
            if name == "received_at":
                yield f"\"date\" {sign.strip('=') + '='} DATE '{text[:10]}'"


def _text(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"


#: The table of Athena: partitions follow from names, so that none need be added.
_ATHENA = """CREATE EXTERNAL TABLE records (
  log string, `partition` int, `offset` bigint, received_at timestamp, at timestamp, key string, kind string,
  event_id string, causation_id string, correlation_id string, supersedes string, value binary, link string
)
PARTITIONED BY (topic string, `date` date, hour string)
STORED AS PARQUET
LOCATION '{address}/records/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.topic.type' = 'enum', 'projection.topic.values' = '{topics}',
  'projection.date.type' = 'date', 'projection.date.format' = 'yyyy-MM-dd', 'projection.date.range' = '2020-01-01,NOW',
  'projection.hour.type' = 'integer', 'projection.hour.range' = '0,23', 'projection.hour.digits' = '2',
  'storage.location.template' = '{address}/records/topic=${{topic}}/date=${{date}}/hour=${{hour}}/'
)"""

#: The same of DuckDB.
_DUCKDB = """CREATE VIEW records AS
SELECT * FROM read_parquet({files}, hive_partitioning = true,
  hive_types = {{'topic': VARCHAR, 'date': DATE, 'hour': VARCHAR}})"""


def athena_table(address: str) -> str:
    """What makes the archive at s3://BUCKET/PREFIX a table of Athena."""
    return _ATHENA.format(address=address.rstrip("/"), topics=",".join(sorted(BY_NAME)))


def duckdb_view(folder: str) -> str:
    """What makes the archive in a folder a view of DuckDB; the session's time zone is to be UTC."""
    return _DUCKDB.format(files=_text(f"{folder.rstrip('/')}/records/*/*/*/*.parquet"))
