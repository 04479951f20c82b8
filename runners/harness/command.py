"""Where the boot commands are: beside the Python that runs this, or where MARGIN_HARNESS says (a cluster's nodes)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def environment_flags() -> list[str]:
    """Beam's options for Python workers in processes of their own."""
    return ["--environment_type=PROCESS", f"--environment_config={json.dumps({'command': boot('python')})}"]


def boot(language: str) -> str:
    """The command that starts a worker of a language, python or java."""
    folder = os.environ.get("MARGIN_HARNESS", str(Path(sys.executable).parent))
    return str(Path(folder) / f"margin-boot-{language}")
