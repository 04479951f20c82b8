"""Checking a bundle without its archive: the signature, every file, every link, and the digests."""

from __future__ import annotations

import base64
import binascii
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ops.audit.bundle import MANIFEST, PROOFS, RECORDS, SIGNATURE, TABLE, BundleError, Proof, line_of, read_table
from ops.audit.chains import own_id
from ops.audit.digests import Chains, check_chains, check_facts, read_chains
from ops.audit.findings import Findings
from schemas.archive import Part, Row, content_of, link_of


class BundleStore:
    """The files of a bundle by name, like a store that takes nothing."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        try:
            with zipfile.ZipFile(path) as bundle:
                self.files = {name: bundle.read(name) for name in bundle.namelist()}
        except (zipfile.BadZipFile, OSError) as error:
            raise BundleError(f"{path}: expected a bundle of margin audit export: {error}") from error

    def put(self, name: str, content: bytes) -> bool:
        """Not of a bundle."""
        raise BundleError(f"{self.address}: a bundle is not written to, found {name}")

    def get(self, name: str) -> bytes | None:
        """A file's content; None where there is none."""
        return self.files.get(name)

    def names(self, prefix: str = "") -> Iterator[str]:
        """The names of files, sorted."""
        yield from sorted(name for name in self.files if name.startswith(prefix))


def check(path: Path, key: Ed25519PublicKey) -> Findings:
    """What is wrong with a bundle, if anything is. Raises BundleError where it is none."""
    store, findings = (
        BundleStore(path),
        Findings(whole="As it was signed; its records, links and digests fit together."),
    )
    _check_files(store, key, findings)
    rows = _rows(store, findings)
    chains = read_chains(store, None, findings) if rows else {}
    check_chains(chains, findings, lambda _: True)
    check_facts(store, chains, findings)
    _check_rows(store, rows, chains, findings)
    return findings


def _check_files(store: BundleStore, key: Ed25519PublicKey, findings: Findings) -> None:
    """The signature, and every file by its hash."""
    manifest, signature = store.get(MANIFEST), store.get(SIGNATURE)
    if manifest is None or signature is None:
        raise BundleError(f"{store.address}: expected {MANIFEST} and {SIGNATURE}, found none; this is no bundle")
    findings.counts["signatures"] += 1
    try:
        key.verify(base64.b64decode(signature), manifest)
    except (InvalidSignature, binascii.Error):
        findings.add(MANIFEST, "what the key has signed", "something else: changed, or signed with another key")
    try:
        hashes = dict[str, str](json.loads(manifest)["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{store.address}: {MANIFEST} cannot be read: {error!r}") from error
    for name in sorted(hashes.keys() | store.files.keys() - {MANIFEST, SIGNATURE}):
        findings.counts["files"] += 1
        content = store.get(name)
        found = "none" if content is None else content_of(content)
        if found != (expected := hashes.get(name, "no such file")):
            findings.add(name, expected, found)


def _rows(store: BundleStore, findings: Findings) -> list[Row]:
    """The records, which are told twice and must be the same."""
    try:
        rows = read_table(store.get(TABLE) or b"")
    except (pa.ArrowException, OSError, ValueError) as error:
        findings.add(TABLE, "a table of records", str(error))
        return []
    lines = (store.get(RECORDS) or b"").splitlines()
    if len(lines) != len(rows):
        findings.add(RECORDS, f"{len(rows)} records, as in {TABLE}", str(len(lines)))
    for row, line in zip(rows, lines, strict=False):
        if not _tells(line, row):
            findings.add(f"{RECORDS}: {row.place}", f"what {TABLE} says", line.decode(errors="replace")[:200])
    return rows


def _tells(line: bytes, row: Row) -> bool:
    """Whether a line is of a row: all that is said of the record, and the record itself where it is JSON."""
    try:
        told, own = msgspec.json.decode(line), msgspec.json.decode(line_of(row))
    except msgspec.DecodeError:
        return False
    try:
        same = told.get("record") is None or told["record"] == msgspec.json.decode(row.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # A record in Avro is decoded in the line; its bytes are in the table.
        same = True
    return same and all(told.get(name) == value for name, value in own.items())


def _check_rows(store: BundleStore, rows: list[Row], chains: Chains, findings: Findings) -> None:
    """That each record's link follows from its content, and its object is named by the digest that is said to."""
    try:
        proofs = {own.place: own for own in msgspec.json.Decoder(Proof).decode_lines(store.get(PROOFS) or b"")}
    except msgspec.DecodeError as error:
        findings.add(PROOFS, "a proof a line", str(error))
        return
    named = {(digest.digest, part.name): part for chain in chains.values() for digest in chain for part in digest.parts}
    unsealed = 0
    for row in rows:
        findings.counts["records"] += 1
        event_id = own_id(row.value)
        if event_id is not None and event_id != row.event_id:
            findings.add(row.place, f"event {event_id}, of its content", row.event_id)
        proof = proofs.get(row.place)
        if proof is None:
            findings.add(row.place, f"a proof in {PROOFS}", "none")
        elif proof.digest is None:
            unsealed += 1
        else:
            _check_proof(row, proof, named.get((proof.digest, proof.object)), findings)
    if unsealed:
        findings.notes.append(f"{unsealed:,} records were not sealed yet when this was exported; nothing proves them.")


def _check_proof(row: Row, proof: Proof, part: Part | None, findings: Findings) -> None:
    link = link_of(proof.before, row.log, row.topic, row.partition, row.offset, row.received_at, row.value)
    if link != row.link:
        findings.add(row.place, f"link {link}, of its content", row.link)
    if part is None or part.content != proof.content:
        findings.add(
            row.place, f"digest {proof.digest}, which names {proof.object} as {proof.content}", "none that does"
        )
    elif (part.topic, part.partition) != (row.topic, row.partition) or not part.begin <= row.offset < part.end:
        findings.add(row.place, f"a record of {part.name}", "one of another object")
