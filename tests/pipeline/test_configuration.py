"""Configuration on its way to the workers."""

from __future__ import annotations

import subprocess
import sys

import pytest

SEND = """
import pickle, sys
import pipeline.{first}, pipeline.job, pipeline.custody
kept = pipeline.custody.load_custody("folder"), pipeline.job.load_live_job("live")
sys.stdout.buffer.write(pickle.dumps(kept))
"""
READ = """
import pickle, sys
import pipeline.{first}
custody, job = pickle.load(sys.stdin.buffer)
print(custody.seconds, job.name)
"""


@pytest.mark.parametrize(("here", "there"), [("job", "custody"), ("custody", "job")])
def test_a_worker_reads_what_it_is_sent_whatever_was_imported_first(here: str, there: str) -> None:
    """An archive on Flink began again forever, where its submitter had imported jobs before custodies."""
    sent = _ran(SEND.format(first=here), b"")
    assert _ran(READ.format(first=there), sent) == b"3600 margin\n"


def _ran(program: str, given: bytes) -> bytes:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], input=given, capture_output=True, check=True
    ).stdout
