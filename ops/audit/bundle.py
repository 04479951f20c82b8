"""A bundle for an examiner: an account's records with what they rest on, signed, to be checked without the archive."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ops.audit.query import Told, text_of
from ops.audit.question import Question
from ops.audit.reader import Reader, rows_in
from pipeline.objects import SCHEMA, decode_rows
from pipeline.store import Store, StoreError
from schemas.archive import HourDigest, Part, Row, content_of, digest_json, digest_name, digests_of, read_digest
from schemas.errors import UserError
from schemas.scalars import Time, encode_json
from transforms.parse import Decode

SIGNING_KEY = "MARGIN_SIGNING_KEY"
#: How to make one, for who has none.
MAKE_KEY = (
    "openssl genpkey -algorithm ed25519 -out signing.pem && openssl pkey -in signing.pem -pubout -out public.pem; "
    f'then export {SIGNING_KEY}="$(cat signing.pem)" and give public.pem to who checks bundles'
)
RECORDS, TABLE, PROOFS = "records.jsonl", "records.parquet", "proofs.jsonl"
MANIFEST, SIGNATURE, README = "manifest.json", "manifest.sig", "README.txt"
#: The columns of objects, and the topic, which theirs have in their names.
TABLE_SCHEMA = SCHEMA.insert(1, pa.field("topic", pa.string(), nullable=False))
_EARLIEST = (1980, 1, 1, 0, 0, 0)


class BundleError(UserError, ValueError):
    """A key that does not sign, or a file that is no bundle; the text says what to do."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What ties a record to the archive.

    Fields:
      place: log/topic/partition/offset. before: the link before it; its own link follows from that and its content.
      object: where it is kept; content: SHA-256 of that. digest: of the hour that names the object; None: not sealed.
    """

    place: str
    before: str
    object: str
    content: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class Exported:
    """How many records, digests and facts a bundle has; unsealed: records that no digest names yet."""

    records: int
    digests: int
    facts: int
    unsealed: int


def signing_key() -> Ed25519PrivateKey:
    """The private key of the environment. Raises BundleError where there is none."""
    text = os.environ.get(SIGNING_KEY)
    if not text:
        raise BundleError(f"{SIGNING_KEY}: expected an Ed25519 private key in PEM, found nothing. Make one: {MAKE_KEY}")
    try:
        key = load_pem_private_key(text.replace("\\n", "\n").encode(), None)
    except (ValueError, TypeError) as error:
        raise BundleError(f"{SIGNING_KEY}: expected a private key in PEM: {error}. Make one: {MAKE_KEY}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{SIGNING_KEY}: expected a key of Ed25519, found another kind. Make one: {MAKE_KEY}")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """The public key of a file in PEM. Raises BundleError, OSError."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{path}: expected a public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{path}: expected a key of Ed25519, found another kind")
    return key


def export(
    reader: Reader, store: Store, question: Question, out: Path, key: Ed25519PrivateKey, decode: Decode
) -> Exported:
    """Write what a question asks for, with its proofs, to a zip file: equal content is equal bytes.

    Raises:
      StoreError: the archive cannot be read. OSError: the file cannot be written.
    """
    rows = list(reader.rows(question))
    digests = _digests(store, sorted({row.log for row in rows}))
    proofs = list(_proofs(store, rows, digests))
    needed = list(_from_first(digests, {proof.digest for proof in proofs}))
    files: dict[str, bytes] = {
        RECORDS: _lines(Told(row, None, text_of(row, decode)).document() for row in rows),
        TABLE: table_of(rows),
        PROOFS: _lines(proofs),
        **{digest_name(own.log, own.hour): digest_json(own) for own in needed},
    }
    facts = {fact.name: store.get(fact.name) for own in needed for fact in own.facts}
    files |= {name: content for name, content in facts.items() if content is not None}
    asked = {name: getattr(question, name) for name in Question.__slots__ if getattr(question, name)}
    times = ("begin", "end", "received_before", "received_from")
    asked |= {name: Time(asked[name]).text() for name in times if name in asked}
    files[README] = _readme(asked, rows, needed).encode()
    manifest = {
        "asked": asked,
        "records": len(rows),
        "last_digests": {log: chain[-1].digest for log, chain in digests.items() if chain},
        "signed_with": fingerprint(key.public_key()),
        "files": {name: content_of(files[name]) for name in sorted(files)},
    }
    files[MANIFEST] = json.dumps(manifest, indent=1).encode() + b"\n"
    files[SIGNATURE] = base64.b64encode(key.sign(files[MANIFEST])) + b"\n"
    _write(out, files)
    return Exported(len(rows), len(needed), len(facts), sum(proof.digest is None for proof in proofs))


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of a public key, by which it is compared over the telephone."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def read_table(content: bytes) -> list[Row]:
    """The rows of a bundle's table. Raises pyarrow.ArrowInvalid."""
    table = pq.read_table(io.BytesIO(content), schema=TABLE_SCHEMA)
    return [row for batch in table.to_batches() for row in rows_in(batch)]


def line_of(row: Row) -> bytes:
    """A row as the line of the bundle that tells of it, but for its record, which a reader of Avro decodes."""
    told = Told(row, None, None).document()
    return _encoded({name: value for name, value in told.items() if name not in ("record", "base64")})


def _digests(store: Store, logs: Iterable[str]) -> dict[str, list[HourDigest]]:
    return {log: [read_digest(store.get(name) or b"") for name in store.names(digests_of(log))] for log in logs}


def _proofs(store: Store, rows: Sequence[Row], digests: dict[str, list[HourDigest]]) -> Iterator[Proof]:
    """A proof for each row, each object read once."""
    parts: dict[tuple[str, str, int], list[tuple[Part, HourDigest]]] = {}
    for log, chain in digests.items():
        for digest in chain:
            for part in digest.parts:
                parts.setdefault((log, part.topic, part.partition), []).append((part, digest))
    known: dict[str, dict[int, str]] = {}
    for row in rows:
        own = parts.get((row.log, row.topic, row.partition), ())
        found = next((named for named in own if named[0].begin <= row.offset < named[0].end), None)
        if found is None:
            yield Proof(place=row.place, before="", object="", content="", digest=None)
            continue
        part, digest = found
        if part.name not in known:
            known[part.name] = _before(store, part)
        before = known[part.name].get(row.offset, "")
        yield Proof(place=row.place, before=before, object=part.name, content=part.content, digest=digest.digest)


def _before(store: Store, part: Part) -> dict[int, str]:
    """By offset the link before each record of an object."""
    found, link = dict[int, str](), part.previous
    try:
        rows = decode_rows(store.get(part.name) or b"", part.topic)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"{store.address}/{part.name}: {error}. What was changed says: margin audit verify") from error
    for row in rows:
        found[row.offset], link = link, row.link
    return found


def _from_first(digests: dict[str, list[HourDigest]], wanted: set[str | None]) -> Iterator[HourDigest]:
    """Of each log the digests from the first that is wanted to the last, whose chain leads to what was published."""
    for chain in digests.values():
        begins = False
        for digest in chain:
            begins = begins or digest.digest in wanted
            if begins:
                yield digest


def _encoded(found: Any) -> bytes:
    return msgspec.json.encode(found, enc_hook=encode_json)


def _lines(found: Iterable[Any]) -> bytes:
    return b"".join(_encoded(own) + b"\n" for own in found)


def table_of(rows: Sequence[Row]) -> bytes:
    """Rows as the table of a bundle."""
    columns: dict[str, list[Any]] = {name: [] for name in TABLE_SCHEMA.names}
    for row in rows:
        for name, column in columns.items():
            value = getattr(row, name)
            column.append(int(value) if isinstance(value, Time) else value)
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pydict(columns, schema=TABLE_SCHEMA), out, compression="zstd")
    return out.getvalue()


def _write(path: Path, files: dict[str, bytes]) -> None:
    part = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in sorted(files):
            bundle.writestr(zipfile.ZipInfo(name, _EARLIEST), files[name], zipfile.ZIP_DEFLATED)
    part.replace(path)


def _readme(asked: dict[str, Any], rows: Sequence[Row], digests: Sequence[HourDigest]) -> str:
    own = "\n".join(
        f"  {name}: {', '.join(v) if isinstance(v, tuple) else v}" for name, v in asked.items() if name != "topics"
    )
    last = {digest.log: digest for digest in digests}
    chains = "\n".join(f"  {log}: {digest.digest}, of {digest.hour.text()}" for log, digest in last.items())
    return f"""What this is
============
Records of a margin archive, exported for an examination: {len(rows):,} of them. What was asked for:
{own}

Each record is as it was received or published, byte by byte: what came in (fills, cash, account terms, operators'
decisions) and what was decided and told (margin figures, calls, restrictions, liquidations, the audit chain).

What is in it
=============
{RECORDS}    a line a record, to be read: `at` is when what it says was so, `received_at` when it was known
{TABLE}  the same with the bytes of every record in the column `value`, for a database
{PROOFS}     a line a record: the link of the record before it, the object of the archive that it is in, the SHA-256
                 of that object, and the digest of the hour that names it
digests/         the digests of the hours, each of which names the objects of its hour and the digest before it
facts/           the texts of the rulebooks that were in force, and how the system ran
{MANIFEST}    the SHA-256 of every file; {SIGNATURE} is the firm's signature of it (Ed25519)

How it is checked
=================
  margin audit check BUNDLE --public-key FILE

FILE is the firm's public key, which you have from the firm by another way than this bundle. It says whether the
signature is the firm's, whether every file is as it was signed, whether every record's link follows from the link
before it and its content, and whether the digests are a chain that names the objects that the records are in.

The last digest of each log should equal the one that the firm published when the hour was over, which is kept apart
from the archive:
{chains or "  none; no record is sealed yet"}

That the objects themselves are as the digests say, and that no record between those in this bundle was removed, is
checked at the archive: margin audit verify.
"""
