"""Who may write to an archive's store and changes what is kept: with a plain editor, or with all that is public."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import boto3
import msgspec

from pipeline.custody import Custody
from pipeline.objects import decode_rows, encode_rows, rows_of
from pipeline.store import FolderStore, open_store
from schemas.archive import (
    NOTHING,
    Head,
    HourDigest,
    Part,
    Row,
    content_of,
    digest_json,
    digest_name,
    linked,
    read_digest,
    sealed_digest,
)
from transforms.parse import decode_plain

Edit = Callable[[list[Row]], list[Row]]


class Vault(Protocol):
    """A store as who may write to it sees it."""

    def get(self, name: str) -> bytes: ...
    def put(self, name: str, content: bytes) -> None: ...
    def remove(self, name: str) -> None: ...
    def names(self, prefix: str) -> Iterable[str]: ...


class FolderVault:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = FolderStore(folder).names

    def get(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def put(self, name: str, content: bytes) -> None:
        self.remove(name)
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


class BucketVault:
    """A bucket without a lock."""

    def __init__(self, custody: Custody) -> None:
        self.bucket, _, self.prefix = custody.store.removeprefix("s3://").partition("/")
        self.s3 = boto3.client("s3")
        self.names = open_store(custody).names

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{name}"}

    def get(self, name: str) -> bytes:
        return self.s3.get_object(**self._at(name))["Body"].read()

    def put(self, name: str, content: bytes) -> None:
        self.s3.put_object(**self._at(name), Body=content)

    def remove(self, name: str) -> None:
        self.s3.delete_object(**self._at(name))


class Forger:
    """Changes an archive of one log."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault

    @property
    def digests(self) -> list[HourDigest]:
        return [read_digest(self.vault.get(name)) for name in self.vault.names("digests/")]

    def parts(self, topic: str) -> list[Part]:
        return sorted(
            (part for digest in self.digests for part in digest.parts if part.topic == topic),
            key=lambda part: (part.partition, part.begin),
        )

    def rows(self, part: Part) -> list[Row]:
        return decode_rows(self.vault.get(part.name), part.topic)

    def edit(self, part: Part, edit: Edit) -> None:
        """With an editor: whatever else the rows say is left as it is."""
        self.vault.put(part.name, encode_rows(edit(self.rows(part))))

    def forge(self, part: Part, edit: Edit) -> None:
        """With links, offsets as they are, and all that rows are found by, made anew within the object."""
        rows = edit(self.rows(part))
        self.vault.put(part.name, encode_rows(_anew(rows, part.previous)))

    def forge_on(self, part: Part, edit: Edit) -> None:
        """With all objects of the partition from there on, and all digests, made anew."""
        changed: dict[str, Part] = {}
        link = part.previous
        for own in self.parts(part.topic):
            if own.partition != part.partition or own.begin < part.begin:
                continue
            rows = _anew(edit(self.rows(own)) if own.name == part.name else self.rows(own), link)
            content = encode_rows(rows)
            self.vault.put(own.name, content)
            changed[own.name] = msgspec.structs.replace(
                own, previous=link, link=rows[-1].link, records=len(rows), content=content_of(content)
            )
            link = rows[-1].link
        self.seal([self._named(digest, changed) for digest in self.digests])

    def seal(self, digests: list[HourDigest]) -> None:
        """Write a chain of digests."""
        heads: dict[tuple[str, int], Head] = {}
        previous = NOTHING
        for digest in digests:
            for part in digest.parts:
                head = Head(topic=part.topic, partition=part.partition, end=part.end, link=part.link)
                heads[part.topic, part.partition] = head
            own = tuple(head for _, head in sorted(heads.items()))
            digest = sealed_digest(msgspec.structs.replace(digest, previous=previous, heads=own))
            self.vault.put(digest_name(digest.log, digest.hour), digest_json(digest))
            previous = digest.digest

    def _named(self, digest: HourDigest, changed: dict[str, Part]) -> HourDigest:
        parts = tuple(changed.get(part.name, part) for part in digest.parts)
        return msgspec.structs.replace(digest, parts=parts)


def _anew(rows: list[Row], before: str) -> list[Row]:
    first = rows[0]
    records = ((row.offset, int(row.received_at), row.value) for row in rows)
    received = linked(before, first.log, first.topic, first.partition, records)
    return list(rows_of(first.log, first.topic, first.partition, received, decode_plain))
