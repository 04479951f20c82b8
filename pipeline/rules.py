"""Rulebooks from conf/rules: YAML in, validated, a frozen Rulebook out; its version is the hash of its text."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import pydantic

from pipeline.configuration import Parameter, load, refused
from risk.rulebook import Rulebook
from schemas.ids import digest
from schemas.scalars import Time


class RulebookFile(pydantic.BaseModel, extra="forbid"):
    """A rulebook file."""

    name: str
    effective_at: dt.datetime
    parameters: dict[str, Parameter[Any]]


def load_rulebook(name: str) -> Rulebook:
    """A rulebook by name (conf/rules/NAME.yaml) or by path. Raises ConfigurationError."""
    file, text = load("rules", name, RulebookFile)
    head: dict[str, Any] = {"name": file.name, "version": digest(text.encode())[:12]}
    values = {key: parameter.value for key, parameter in file.parameters.items()}
    try:
        head["effective_at"] = int(Time.parse(file.effective_at))
        return pydantic.TypeAdapter(Rulebook).validate_python(head | values)
    except (ValueError, TypeError) as error:
        raise refused("rules", name, error) from error


def load_rulebooks(names: Iterable[str]) -> tuple[Rulebook, ...]:
    """Rulebooks by name or path, in the order in which they take effect. Raises ConfigurationError."""
    return tuple(sorted(map(load_rulebook, names), key=lambda book: book.effective_at))


def sources_of(name: str) -> dict[str, str]:
    """The citation of every parameter of a rulebook. Raises ConfigurationError."""
    file, _ = load("rules", name, RulebookFile)
    return {key: parameter.source for key, parameter in file.parameters.items()}
