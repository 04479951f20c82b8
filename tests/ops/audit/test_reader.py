"""Readers: every question is answered as the rows in plain Python answer it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.audit.question import Question, QuestionError, asked_of
from ops.audit.reader import FolderReader, Reader, answer, open_reader
from ops.generate import BUST_ACCOUNT
from pipeline.custody import Custody
from pipeline.objects import decode_rows
from pipeline.store import FolderStore, StoreError
from schemas.archive import Row
from schemas.scalars import Time
from tests import stores
from tests.ops.audit.archive import LOG, copied_to, crash_archive
from tests.stores import Endpoints

NOON, LATER = Time.parse("2026-01-05T17:00:00Z"), Time.parse("2026-01-05T20:10:00Z")

QUESTIONS = {
    "an account": Question(keys=(BUST_ACCOUNT,)),
    "an account of a stretch": Question(keys=(BUST_ACCOUNT,), begin=NOON, end=LATER),
    "an account as known": Question(keys=(BUST_ACCOUNT,), received_before=NOON),
    "an account as heard": Question(keys=(BUST_ACCOUNT,), received_from=NOON, received_before=LATER),
    "topics of accounts": Question(topics=("fills.v1", "audit.v1"), keys=(BUST_ACCOUNT, "ACC00001")),
    "kinds": Question(kinds=("BUST", "OPENED")),
    "a symbol": Question(topics=("prices.v1", "betas.v1"), keys=("SPY",), end=NOON),
    "a symbol of a stretch": Question(topics=("prices.v1",), keys=("SPY",), begin=NOON, end=LATER),
    "a topic of a stretch": Question(topics=("alerts.v1", "prices.v1"), begin=NOON, end=LATER),
    "all of an account, or a symbol": Question(keys=(BUST_ACCOUNT, "SPY"), end=NOON),
    "a log": Question(log=LOG, topics=("margin.calls.v1",)),
    "another log": Question(log="other"),
    "nobody's": Question(keys=("O'Brien",)),
    "inputs that came twice": Question(topics=("fills.v1",)),
}


@pytest.fixture(scope="module")
def folder() -> Path:
    return crash_archive()[0]


@pytest.fixture(scope="module")
def bucket(services: Endpoints, folder: Path) -> Custody:
    """The same archive in S3 and DynamoDB."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in services.environment.items():
            patch.setenv(name, value)
        custody = stores.custody_of()
        copied_to(custody, folder)
    return custody


@pytest.fixture(params=["folder", "bucket"])
def reader(request: pytest.FixtureRequest, folder: Path) -> Reader:
    if request.param == "folder":
        return open_reader(stores.custody_of(folder))
    request.getfixturevalue("aws")
    return open_reader(request.getfixturevalue("bucket"))


@pytest.fixture(scope="module")
def everything(folder: Path) -> list[Row]:
    store = FolderStore(folder)
    return [
        row
        for name in store.names("records/")
        for row in decode_rows(store.get(name) or b"", name.split("/")[1].partition("=")[2])
    ]


@pytest.mark.parametrize("asked", QUESTIONS.values(), ids=QUESTIONS)
def test_a_question_is_answered_as_the_rows_themselves_do(
    asked: Question, reader: Reader, everything: list[Row]
) -> None:
    expected = answer(everything, asked)
    assert list(reader.rows(asked)) == expected
    assert bool(expected) == (asked not in (QUESTIONS["another log"], QUESTIONS["nobody's"]))


def test_what_came_twice_is_told_once_as_it_first_came(reader: Reader, everything: list[Row]) -> None:
    asked = QUESTIONS["inputs that came twice"]
    assert len(list(reader.rows(asked))) < sum(row.topic == "fills.v1" for row in everything)


def test_an_event_is_found_by_its_id(reader: Reader) -> None:
    for row in reader.rows(Question(topics=("margin.calls.v1",), kinds=("CANCELLED",))):
        (opened,) = reader.rows(Question(event_ids=(row.supersedes or "",)))
        assert opened.kind == "OPENED"
    beta = next(reader.rows(Question(topics=("betas.v1",))))
    assert list(reader.rows(Question(event_ids=(beta.event_id,)))) == [beta]


def test_a_folder_without_an_archive_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected an archive"):
        FolderReader(tmp_path)


def test_types_are_topics_or_kinds() -> None:
    assert asked_of(["margin.calls.v1", "opened"]) == {
        "topics": ("margin.calls.v1",),
        "kinds": ("OPENED",),
        "keys": (),
    }
    assert asked_of([], symbols=["SPY"])["topics"] == ("instruments.v1", "betas.v1", "prices.v1")
    assert "prices.v1" not in asked_of([], accounts=["A"])["topics"]
    with pytest.raises(QuestionError, match=r"expected a topic .* found FILS\.V1"):
        asked_of(["fils.v1"])
