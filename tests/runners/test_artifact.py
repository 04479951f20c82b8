"""Artifacts are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners import artifact
from runners.artifact import EngineMissingError, from_pypi


def test_an_install_that_was_interrupted_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a Flink was taken for one ever after."""
    ends = [False, True]

    def install(*command: str | Path, what: str) -> None:
        folder = Path(command[command.index("--target") + 1])
        folder.mkdir()
        (folder / "half").touch()
        if not ends.pop(0):
            raise EngineMissingError(what)
        (folder / "whole").touch()

    monkeypatch.setattr(artifact, "BUILD", tmp_path)
    monkeypatch.setattr(artifact, "run", install)
    with pytest.raises(EngineMissingError):
        from_pypi("engine", "engine==1", what="an engine")
    home = from_pypi("engine", "engine==1", what="an engine")
    assert (home / "whole").exists()
    assert from_pypi("engine", "engine==1", what="an engine") == home
    assert not ends
