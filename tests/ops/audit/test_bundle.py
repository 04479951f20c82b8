"""Bundles for an examiner: signed, the same each time, and whatever is changed in one is named."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from typer.testing import CliRunner

from ops.audit import bundle
from ops.audit.check import check
from ops.cli import app
from ops.generate import BUST_ACCOUNT
from ops.terminal import console
from schemas.archive import content_of
from tests.ops.audit.archive import LOG, crash_archive

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bundle.SIGNING_KEY, PEM)
    monkeypatch.setattr(console, "width", 250)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "public.pem"
    path.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def run(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["audit", *map(str, words)])
    return found.exit_code, found.output


def exported(path: Path) -> Path:
    status, text = run("export", path, "--account", BUST_ACCOUNT, "--store", crash_archive()[0])
    assert status == 0, text
    assert bundle.fingerprint(KEY.public_key()) in text
    return path


def changed(path: Path, change: Callable[[Files], None], key: Ed25519PrivateKey | None = None) -> Path:
    """A bundle with something changed; key: that it is signed with anew."""
    with zipfile.ZipFile(path) as own:
        files = {name: own.read(name) for name in own.namelist()}
    change(files)
    if key is not None:
        manifest = json.loads(files[bundle.MANIFEST])
        manifest["files"] = {n: content_of(c) for n, c in files.items() if n not in (bundle.MANIFEST, bundle.SIGNATURE)}
        files[bundle.MANIFEST] = json.dumps(manifest).encode()
        files[bundle.SIGNATURE] = base64.b64encode(key.sign(files[bundle.MANIFEST]))
    with zipfile.ZipFile(path, "w") as other:
        for name, content in files.items():
            other.writestr(name, content)
    return path


def places(path: Path) -> set[str]:
    return {own.where for own in check(path, KEY.public_key()).wrong}


def test_a_bundle_has_what_an_account_was_told_and_proves_it(tmp_path: Path, public: Path) -> None:
    path = exported(tmp_path / "own.zip")
    status, text = run("check", path, "--public-key", public)
    assert status == 0, text
    assert "As it was signed" in text
    with zipfile.ZipFile(path) as own:
        lines = own.read(bundle.RECORDS).splitlines()
        records = [msgspec.json.decode(line) for line in lines]
        manifest = json.loads(own.read(bundle.MANIFEST))
        assert "margin audit check BUNDLE" in own.read(bundle.README).decode()
        assert len(bundle.read_table(own.read(bundle.TABLE))) == len(records) == manifest["records"] > 50
    assert {record["key"] for record in records} == {BUST_ACCOUNT}
    assert {"fills.v1", "audit.v1", "margin.calls.v1"} <= {record["topic"] for record in records}
    assert manifest["last_digests"] == {LOG: crash_archive()[1]}


def test_the_same_bundle_is_the_same_bytes(tmp_path: Path) -> None:
    assert exported(tmp_path / "one.zip").read_bytes() == exported(tmp_path / "two.zip").read_bytes()


def _record(files: Files) -> None:
    files[bundle.RECORDS] = files[bundle.RECORDS].replace(b'"quantity":', b'"quantity":1', 1)


def _extra(files: Files) -> None:
    files["more.txt"] = b"more"


def _gone(files: Files) -> None:
    del files[bundle.PROOFS]


def _rulebook(files: Files) -> None:
    name = next(name for name in files if name.startswith("facts/") and b"seed@" in files[name][:40])
    files[name] = files[name].replace(b"0.25", b"0.10")


@pytest.mark.parametrize(
    ("change", "where"),
    [(_record, bundle.RECORDS), (_extra, "more.txt"), (_gone, bundle.PROOFS), (_rulebook, "facts/")],
)
def test_a_changed_file_is_named(change: Callable[[Files], None], where: str, tmp_path: Path) -> None:
    found = places(changed(exported(tmp_path / "own.zip"), change))
    assert any(own.startswith(where) for own in found)


def test_another_key_is_not_the_firms(tmp_path: Path) -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"1")
    path = changed(exported(tmp_path / "own.zip"), lambda files: None, other)
    assert places(path) == {bundle.MANIFEST}


def test_who_has_the_key_cannot_change_a_record_alone(tmp_path: Path) -> None:
    """Its link is that of other content, and the object that it is said to be in has a digest."""

    def forge(files: Files) -> None:
        rows = bundle.read_table(files[bundle.TABLE])
        place = next(place for place, row in enumerate(rows) if row.topic == "fills.v1")
        value = rows[place].value.replace(b'"quantity":', b'"quantity":1', 1)
        rows[place] = msgspec.structs.replace(rows[place], value=value)
        files[bundle.TABLE] = bundle.table_of(rows)
        files[bundle.RECORDS] = files[bundle.RECORDS].replace(b'"quantity":', b'"quantity":1', 1)

    found = places(changed(exported(tmp_path / "own.zip"), forge, KEY))
    assert any(own.startswith(f"{LOG}/fills.v1/") for own in found)


def test_a_key_that_is_not_there_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, told in (("", "found nothing"), ("nonsense", "expected a private key in PEM")):
        monkeypatch.setenv(bundle.SIGNING_KEY, value)
        status, text = run("export", tmp_path / "x.zip", "--account", "A", "--store", crash_archive()[0])
        assert (status, told in text, "openssl genpkey" in text) == (1, True, True), text


def test_what_is_no_bundle_is_told(tmp_path: Path, public: Path) -> None:
    status, text = run("check", public, "--public-key", public)
    assert (status, "expected a bundle" in text) == (1, True)
