"""Verification: one record that is changed, removed, moved or repeated is named, in a folder, in S3, in DynamoDB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from typer.testing import CliRunner

from ops.audit.digests import published_on, read_published
from ops.audit.findings import Findings
from ops.audit.verify import Verification
from ops.cli import app
from pipeline.custody import Custody
from pipeline.index import entries_of, open_index
from pipeline.store import FolderStore, open_store
from schemas.archive import (
    HourDigest,
    Part,
    Row,
    content_of,
    digest_json,
    digest_name,
    fact_name,
    hour_in,
    hour_of,
    object_name,
)
from schemas.scalars import Time
from schemas.topics import DIGESTS
from tests import stores
from tests.broker import MockBroker
from tests.ops.audit.archive import LOG, copied_to, copy_of, crash_archive
from tests.ops.audit.forger import BucketVault, Edit, FolderVault, Forger
from tests.stores import Endpoints
from transforms.parse import decode_plain

PLACE = 5


def other(row: Row) -> Row:
    """A fill of one share more, or less."""
    value = row.value.replace(b'"quantity":', b'"quantity":1', 1)
    assert value != row.value
    return msgspec.structs.replace(row, value=value)


EDITS: dict[str, Edit] = {
    "changed": lambda rows: [*rows[:PLACE], other(rows[PLACE]), *rows[PLACE + 1 :]],
    "removed": lambda rows: [*rows[:PLACE], *rows[PLACE + 1 :]],
    "reordered": lambda rows: [*rows[:PLACE], rows[PLACE + 1], rows[PLACE], *rows[PLACE + 2 :]],
    "duplicated": lambda rows: [*rows[: PLACE + 1], *rows[PLACE:]],
}
edits = pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_of(crash_archive()[0], tmp_path / "archive")


@pytest.fixture
def forger(folder: Path) -> Forger:
    return Forger(FolderVault(folder))


@pytest.fixture(scope="module")
def bucket(services: Endpoints) -> Custody:
    """The archive in S3 and DynamoDB; who changes it puts it back."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in services.environment.items():
            patch.setenv(name, value)
        custody = stores.custody_of()
        copied_to(custody, crash_archive()[0])
    return custody


def verified(folder: Path, *published: str | HourDigest) -> Findings:
    return Verification(FolderStore(folder), decode_plain, published=published).run()


def verified_bucket(custody: Custody) -> Findings:
    return Verification(open_store(custody), decode_plain, open_index(custody)).run()


def places(found: Findings) -> set[str]:
    return {own.where for own in found.wrong}


def place(part: Part, offset: int) -> str:
    return f"{LOG}/{part.topic}/{part.partition:05d}/{offset:020d}"


def named(part: Part, edit: Edit) -> str:
    """Where an edit shows first: behind what was removed, otherwise at the record."""
    return place(part, part.begin + PLACE + (edit is EDITS["removed"]))


def test_an_archive_that_nobody_changed_is_whole(folder: Path) -> None:
    found = verified(folder, crash_archive()[1])
    assert not found.wrong
    assert (found.counts["digests"], found.counts["objects"], found.counts["published digests"]) == (8, 77, 1)
    assert found.counts["records"] > 3_000
    assert found.counts["account chains"] > 5
    assert found.last == {LOG: crash_archive()[1]}


@edits
def test_an_edited_record_is_named(edit: Edit, folder: Path, forger: Forger) -> None:
    part = forger.parts("fills.v1")[0]
    forger.edit(part, edit)
    found = verified(folder)
    assert {named(part, edit), part.name} <= places(found)
    assert len(found.wrong) < 8


@edits
def test_a_record_that_was_forged_with_its_links_is_found_in_its_object(
    edit: Edit, folder: Path, forger: Forger
) -> None:
    part = forger.parts("fills.v1")[0]
    forger.forge(part, edit)
    assert part.name in places(verified(folder))


@edits
def test_a_chain_that_was_forged_to_its_end_is_told_by_what_was_published(
    edit: Edit, folder: Path, forger: Forger
) -> None:
    published, honest = crash_archive()[1], forger.digests
    part = forger.parts("fills.v1")[0]
    forger.forge_on(part, edit)
    in_order = edit in (EDITS["changed"], EDITS["removed"])
    assert bool(verified(folder).wrong) != in_order
    assert f"digest {published}" in places(verified(folder, published))
    # Published in full, digests say which object it is.
    assert part.name in places(verified(folder, *honest))


def test_a_changed_column_is_named_though_its_value_is_not(folder: Path, forger: Forger) -> None:
    part = forger.parts("margin.calls.v1")[0]
    forger.forge_on(part, lambda rows: rows)
    assert not verified(folder).wrong
    rows = forger.rows(part)
    rows[0] = msgspec.structs.replace(rows[0], key="SOMEBODY")
    forger.edit(part, lambda _: rows)
    assert place(part, part.begin) in places(verified(folder))


def test_a_removed_decision_is_missed_by_its_account(folder: Path, forger: Forger) -> None:
    """Though all links and digests were made anew: the next link of its account names it."""
    parts = forger.parts("audit.v1")
    later = b"".join(row.value for part in parts for row in forger.rows(part))
    part, gone = next(
        (part, row)
        for part in parts
        for row in forger.rows(part)[:-1]
        if f'"previous":"{row.event_id}"'.encode() in later
    )
    forger.forge_on(part, lambda rows: [own for own in rows if own.offset != gone.offset])
    (finding,) = verified(folder).wrong
    assert finding.where.startswith(f"{LOG}/audit.v1/00000/")
    assert gone.event_id in finding.found


def test_the_last_decision_of_a_day_is_missed_by_the_closing_snapshot(folder: Path, forger: Forger) -> None:
    snapshots: Any = (decode_plain(r.topic, r.value) for p in forger.parts("snapshots.v1") for r in forger.rows(p))
    heads = {snapshot.audit_head for snapshot in snapshots}
    part, row = next((p, r) for p in forger.parts("audit.v1") for r in forger.rows(p) if r.event_id in heads)
    forger.forge_on(part, lambda rows: [own for own in rows if own.offset != row.offset])
    assert any(row.event_id in own.expected and "snapshots.v1" in own.where for own in verified(folder).wrong)


def test_an_event_whose_content_was_changed_has_another_id(folder: Path, forger: Forger) -> None:
    part = forger.parts("margin.calls.v1")[0]

    def lowered(rows: list[Row]) -> list[Row]:
        value = rows[0].value.replace(b'"amount":"', b'"amount":"1', 1)
        return [msgspec.structs.replace(rows[0], value=value), *rows[1:]]

    forger.forge_on(part, lowered)
    (finding,) = verified(folder).wrong
    assert finding.where == place(part, part.begin)


def test_a_cut_tail_is_told_by_what_was_published(folder: Path, forger: Forger) -> None:
    last = forger.digests[-1]
    for part in last.parts:
        forger.vault.remove(part.name)
    forger.vault.remove(digest_name(LOG, last.hour))
    assert not verified(folder).wrong
    assert places(verified(folder, last.digest)) == {f"digest {last.digest}"}
    assert digest_name(LOG, last.hour) in places(verified(folder, last))


def test_a_removed_hour_is_missed(folder: Path, forger: Forger) -> None:
    before, gone, after = forger.digests[2:5]
    forger.vault.remove(digest_name(LOG, gone.hour))
    found = verified(folder)
    assert digest_name(LOG, gone.hour) in places(found)
    # Its objects are named by nothing, and the hours beside it do not fit together.
    assert {part.name for part in gone.parts} <= places(found)
    for part in gone.parts:
        forger.vault.remove(part.name)
    forger.seal(forger.digests)
    assert digest_name(LOG, gone.hour) in places(verified(folder))
    assert before.digest != after.previous


def test_a_removed_object_is_missed(folder: Path, forger: Forger) -> None:
    part = forger.parts("fills.v1")[2]
    forger.vault.remove(part.name)
    (finding,) = verified(folder).wrong
    assert (finding.where, finding.found) == (part.name, "none")


def test_what_retention_keeps_no_longer_is_not_missed(folder: Path, forger: Forger) -> None:
    first, second = forger.digests[:2]
    for name in (*(part.name for part in first.parts), digest_name(LOG, first.hour)):
        forger.vault.remove(name)
    kept = forger.parts("fills.v1")[0]
    assert digest_name(LOG, first.hour) in places(verified(folder))

    def gone(name: str) -> bool:
        hour = hour_in(name)
        return hour is not None and hour < second.hour

    assert not Verification(FolderStore(folder), decode_plain, gone=gone).run().wrong
    forger.edit(kept, EDITS["changed"])
    assert named(kept, EDITS["changed"]) in {
        own.where for own in Verification(FolderStore(folder), decode_plain, gone=gone).run().wrong
    }


def test_a_moved_object_is_told_at_both_places(folder: Path, forger: Forger) -> None:
    part = forger.parts("fills.v1")[2]
    name = part.name.replace("topic=fills.v1", "topic=cash.v1")
    forger.vault.put(name, forger.vault.get(part.name))
    forger.vault.remove(part.name)
    assert places(verified(folder)) == {part.name, name}


def test_an_object_that_came_from_elsewhere_is_told_once_its_hour_is_sealed(folder: Path, forger: Forger) -> None:
    part = forger.parts("fills.v1")[0]
    planted = part.name.replace(f"{LOG}-", f"{LOG}-00007-", 1).replace("-00000-0", "-0", 1)
    later = planted.replace("date=2026-01-05", "date=2026-01-06")
    forger.vault.put(later, forger.vault.get(part.name))
    found = verified(folder)
    assert not found.wrong
    assert "1 objects are of hours that are not sealed yet" in "".join(found.notes)
    forger.vault.put(planted, forger.vault.get(part.name))
    # Of a later hour, but of offsets that the partition has already.
    again = part.name.replace("date=2026-01-05", "date=2026-01-06")
    forger.vault.put(again, forger.vault.get(part.name))
    assert places(verified(folder)) == {planted, again}


def test_what_is_no_object_is_told(folder: Path, forger: Forger) -> None:
    part = forger.parts("fills.v1")[0]
    forger.vault.put(part.name, b"nothing")
    forger.vault.put("records/anything.parquet", b"nothing")
    assert places(verified(folder)) == {part.name, "records/anything.parquet"}


def test_a_changed_digest_is_told(folder: Path, forger: Forger) -> None:
    second = forger.digests[1]
    forged = msgspec.structs.replace(second, parts=second.parts[1:])
    forger.vault.put(digest_name(LOG, second.hour), digest_json(forged))
    assert {digest_name(LOG, second.hour), second.parts[0].name} <= places(verified(folder))


@pytest.mark.parametrize("forged", [False, True], ids=["changed", "and named by all digests"])
def test_a_changed_rulebook_is_told(forged: bool, folder: Path, forger: Forger) -> None:
    (fact,) = {own for own in forger.digests[0].facts if "@" in own.what}
    content = forger.vault.get(fact.name).replace(b"0.25", b"0.10")
    if not forged:
        forger.vault.put(fact.name, content)
        where = fact.name
    else:
        where = fact_name(content_of(content))
        forger.vault.put(where, content)
        new = msgspec.structs.replace(fact, name=where, content=content_of(content))
        facts = [tuple(new if own == fact else own for own in digest.facts) for digest in forger.digests]
        forger.seal([msgspec.structs.replace(own, facts=told) for own, told in zip(forger.digests, facts, strict=True)])
    assert places(verified(folder)) == {f"{where} ({fact.what})"}


def test_a_rulebook_that_decisions_name_must_be_kept(folder: Path, forger: Forger) -> None:
    forger.seal([msgspec.structs.replace(digest, facts=()) for digest in forger.digests])
    (finding,) = verified(folder).wrong
    assert "seed@" in finding.expected


def test_digests_that_were_published_on_their_topic_are_read(folder: Path, forger: Forger) -> None:
    broker = MockBroker()
    for digest in forger.digests:
        broker.send(DIGESTS, digest_json(digest))
    published = list(published_on(broker.kafka))
    assert published == forger.digests
    part = forger.parts("fills.v1")[0]
    forger.forge_on(part, EDITS["changed"])
    assert part.name in places(verified(folder, *published))


@edits
def test_an_edited_record_in_s3_is_named(edit: Edit, bucket: Custody, aws: Endpoints) -> None:
    forger = Forger(BucketVault(bucket))
    part = forger.parts("fills.v1")[0]
    content = forger.vault.get(part.name)
    try:
        forger.edit(part, edit)
        found = verified_bucket(bucket)
    finally:
        forger.vault.put(part.name, content)
    assert {named(part, edit), part.name} <= places(found)


def test_a_chain_in_s3_that_was_forged_to_its_end_is_told_by_the_index(bucket: Custody, aws: Endpoints) -> None:
    vault = BucketVault(bucket)
    forger = Forger(vault)
    part = forger.parts("fills.v1")[0]
    kept = {
        name: vault.get(name) for name in [*vault.names("digests/"), *(own.name for own in forger.parts("fills.v1"))]
    }
    try:
        forger.forge_on(part, EDITS["changed"])
        found = verified_bucket(bucket)
    finally:
        for name, content in kept.items():
            vault.put(name, content)
    own = sorted(where for where in places(found) if where.startswith(place(part, 0)[:-20]))
    assert own[0] == named(part, EDITS["changed"])


ITEMS: dict[str, Callable[[dict, dict], tuple[list[dict], list[dict]]]] = {
    "changed": lambda one, two: ([{**one, "key": {"S": "SOMEBODY"}}], []),
    "removed": lambda one, two: ([], [one]),
    "reordered": lambda one, two: ([{**one, "row": two["row"]}, {**two, "row": one["row"]}], []),
    "duplicated": lambda one, two: ([{**one, "place": {"S": one["place"]["S"] + "0"}}], []),
}


@pytest.mark.parametrize("change", ITEMS.values(), ids=ITEMS)
def test_an_edited_entry_in_dynamodb_is_named(change: Any, bucket: Custody, aws: Endpoints) -> None:
    dynamodb, table = boto3.client("dynamodb"), bucket.index
    part = Forger(BucketVault(bucket)).parts("fills.v1")[0]
    rows = Forger(BucketVault(bucket)).rows(part)[PLACE : PLACE + 2]
    one, two = (
        dynamodb.get_item(TableName=table, Key={"event_id": {"S": row.event_id}, "place": {"S": row.place}})["Item"]
        for row in rows
    )
    written, gone = change(one, two)
    try:
        for item in written:
            dynamodb.put_item(TableName=table, Item=item)
        for item in gone:
            dynamodb.delete_item(TableName=table, Key={name: item[name] for name in ("event_id", "place")})
        found = verified_bucket(bucket)
    finally:
        for item in written:
            dynamodb.delete_item(TableName=table, Key={name: item[name] for name in ("event_id", "place")})
        for item in (one, two):
            dynamodb.put_item(TableName=table, Item=item)
    expected = {item["place"]["S"] for item in (*written, *gone)}
    assert places(found) == expected


def test_what_a_live_archive_writes_meanwhile_is_no_finding(bucket: Custody, aws: Endpoints) -> None:
    """Digests are read first and the index last: an entry of an object that came between them was a finding."""
    forger, index = Forger(BucketVault(bucket)), open_index(bucket)
    assert index is not None
    part = forger.parts("fills.v1")[-1]
    at = Time(forger.digests[-1].hour + 25 * 3_600_000_000)
    last = forger.rows(part)[-1]
    row = msgspec.structs.replace(last, offset=part.end, received_at=at, event_id="meanwhile")
    entries = list(entries_of([row], object_name(LOG, part.topic, part.partition, hour_of(at), part.end)))
    index.put(entries)
    try:
        assert not verified_bucket(bucket).wrong
    finally:
        for own in entries:
            key = {"event_id": {"S": own.event_id}, "place": {"S": own.place}}
            boto3.client("dynamodb").delete_item(TableName=bucket.index, Key=key)


def test_the_archive_in_s3_is_whole_again(bucket: Custody, aws: Endpoints) -> None:
    found = verified_bucket(bucket)
    assert not found.wrong
    assert found.counts["index entries"] > 1_000


def test_the_command_says_what_is_wrong_with_status_1(folder: Path, forger: Forger, tmp_path: Path) -> None:
    published = tmp_path / "published"
    published.write_bytes(b"".join(map(digest_json, forger.digests)))
    assert len(list(read_published(published))) == 8
    command = ["audit", "verify", "--store", str(folder), "--published", str(published)]
    found = CliRunner().invoke(app, command)
    assert (found.exit_code, "Nothing was changed" in found.stdout) == (0, True)
    part = forger.parts("fills.v1")[0]
    forger.edit(part, EDITS["changed"])
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 1
    assert named(part, EDITS["changed"]) in found.stdout


def test_nothing_is_no_whole_archive(tmp_path: Path) -> None:
    assert verified(tmp_path).wrong
