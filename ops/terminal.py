"""What the commands of `margin` say to a terminal, and how they say that something is wrong."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import typer
from confluent_kafka import KafkaException
from rich.console import Console
from rich.markup import escape

from schemas.errors import UserError
from schemas.scalars import encode_json

console, errors = Console(), Console(stderr=True)


@contextmanager
def explained(*others: type[Exception]) -> Iterator[None]:
    """Errors that a user can do something about, and others given, are said in one line, with status 1."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logging.getLogger().setLevel(logging.ERROR)
    known: tuple[type[Exception], ...] = (UserError, KafkaException, OSError, *others)
    try:
        yield
    except known as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error


def print_json(found: Any) -> None:
    """Plain data or records as JSON: money as decimal strings and times as RFC 3339, as in the records."""
    print(msgspec.json.format(msgspec.json.encode(found, enc_hook=encode_json), indent=2).decode())
