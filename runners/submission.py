"""Submission: what handing a job to a cloud has in common."""

from __future__ import annotations

import json
from typing import Any

from schemas.errors import UserError


class SubmissionError(UserError, ValueError):
    """A job that a cloud would refuse, or has refused; the text says which field, and what to do."""


def expect(field: str, expected: object, found: object, remedy: str) -> None:
    """Refuse what is not as a job file says. Raises SubmissionError."""
    if found != expected:
        raise SubmissionError(f"{field}: expected {expected}, found {found}; {remedy}")


def rendered(content: Any) -> str:
    """A request as the JSON that a dry run prints."""
    return json.dumps(content, indent=2)
