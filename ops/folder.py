"""An output folder: what a replay wrote, one file a topic, read in the order it was written in, by as_of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from schemas import topics
from schemas.codec import from_json
from schemas.errors import UserError
from schemas.scalars import Time
from schemas.topics import Topic


class OutcomeError(UserError, ValueError):
    """An output folder that cannot be read; the text says what to do."""


class Stamp(msgspec.Struct, frozen=True):
    """Of a record: whose it is, and of when."""

    account_id: str
    as_of: Time


def check_folder(out: Path) -> None:
    """Raises OutcomeError saying what to do where a folder has not the file of every topic."""
    for topic in topics.OUTPUTS:
        if not (out / f"{topic.name}.jsonl").is_file():
            raise OutcomeError(
                f"{out}: no {topic.name}.jsonl. Replay a day into it first: margin replay DAY --out {out}"
            )


def lines_of(out: Path, topic: Topic, view: type, account: str | None = None) -> Iterator[tuple[Any, bytes]]:
    """Each line with the part of its record that view names.

    account: lines of others are passed over, nearly all of them undecoded.

    Raises:
      OutcomeError: a line cannot be read, or is before the one above it.
    """
    path = out / f"{topic.name}.jsonl"
    told = b"" if account is None else b'"account_id":' + msgspec.json.encode(account)
    previous = None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if told not in line:
                continue
            try:
                record = from_json(view, line)
            except msgspec.DecodeError as error:
                raise OutcomeError(f"{path}, line {number}: {error}. Replay the day again: margin replay") from error
            at = getattr(record, "as_of", None)
            if previous is not None and at < previous:
                raise OutcomeError(f"{path}, line {number}: not in order of as_of, as margin replay writes it")
            previous = at
            if account is None or record.account_id == account:
                yield record, line


def read(out: Path, topic: Topic, view: type | None = None, account: str | None = None) -> Iterator[Any]:
    """The records of a topic, or the part of each that view names. Raises OutcomeError as lines_of does."""
    return (record for record, _ in lines_of(out, topic, view or topic.record, account))


def newest(out: Path, topic: Topic) -> dict[str, Any]:
    """The last record of each account. Raises OutcomeError as lines_of does."""
    # Of the others no more than the stamp is decoded.
    last = {stamp.account_id: line for stamp, line in lines_of(out, topic, Stamp)}
    return {account: from_json(topic.record, line) for account, line in last.items()}
