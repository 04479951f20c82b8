"""The guide to the audit trail: every command in it does what it says, in its order."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.audit import bundle
from ops.cli import app
from ops.terminal import console
from tests.ops.audit.test_bundle import KEY, PEM, Encoding, PublicFormat

GUIDE = (Path(__file__).parents[3] / "docs/audit.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", GUIDE, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("margin ")]


def plain(text: str) -> str:
    """Words alone, without the version of a rulebook."""
    return re.sub(r"@[0-9a-f]{12}", "@VERSION", " ".join(text.split()))


def test_every_command_of_the_guide_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(bundle.SIGNING_KEY, PEM)
    monkeypatch.setattr(console, "width", 250)
    public = tmp_path / "public.pem"
    public.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    known, told = {"PUBLIC_KEY": str(public)}, dict[str, str]()
    for words in commands():
        found = CliRunner().invoke(app, [known.get(word, word) for word in words])
        assert found.exit_code == 0, (words, found.output)
        told[" ".join(words)] = found.output
        if words[0] == "replay":
            known["DIGEST"] = re.findall(r"\b[0-9a-f]{64}\b", found.output)[-1]
            calls = map(json.loads, (tmp_path / "build/out/margin.calls.v1.jsonl").read_text().splitlines())
            known["EVENT_ID"] = next(call["event_id"] for call in calls if call["account_id"] == "ACC-BUST")

    (shown,) = [block for _, block in BLOCKS if block.startswith("decision on")]
    for line in shown.partition("Recomputed")[0].replace("...", "").splitlines():
        assert plain(line) in plain(told["audit decision EVENT_ID"])
    assert "are equal, byte by byte" in told["audit decision EVENT_ID"]
    first, then = (
        next(text for words, text in told.items() if "--account ACC-BUST" in words and ("known" in words) is known_then)
        for known_then in (False, True)
    )
    assert "cancelled" in first
    assert "cancelled" not in then
    assert "correction $351,964.59" in told["audit report-4220 --date 2026-01-05 --csv build/required.csv"]
    assert "Nothing was changed, removed, moved or repeated." in told["audit verify --digest DIGEST"]
