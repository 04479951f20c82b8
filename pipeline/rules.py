"""Rulebooks from conf/rules: YAML in, validated, a frozen Rulebook out; its version is the hash of its text."""

from __future__ import annotations

import datetime as dt
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic
import yaml

from risk.rulebook import Rulebook
from schemas.ids import digest
from schemas.scalars import Time


class Parameter(pydantic.BaseModel, extra="forbid"):
    """A number that a rule or a policy sets, and where it is written."""

    value: Any
    source: str = pydantic.Field(min_length=10)


class RulebookFile(pydantic.BaseModel, extra="forbid"):
    """A rulebook file."""

    name: str
    effective_at: dt.datetime
    parameters: dict[str, Parameter]


class RulebookError(ValueError):
    """A rulebook that cannot be used; the text names the file, the field, what was expected and what was found."""


def load_rulebook(name: str) -> Rulebook:
    """A rulebook by name (conf/rules/NAME.yaml) or by path. Raises RulebookError."""
    path = Path(name) if name.endswith(".yaml") else Path(str(resources.files("conf.rules") / f"{name}.yaml"))
    try:
        text = path.read_text()
    except OSError as error:
        raise RulebookError(f"rulebook {name}: {path} cannot be read ({error.strerror}); known: {known()}") from error
    try:
        book = RulebookFile.model_validate(yaml.safe_load(text))
        values = {key: parameter.value for key, parameter in book.parameters.items()}
        head = {
            "name": book.name,
            "version": digest(text.encode())[:12],
            "effective_at": int(Time.parse(book.effective_at)),
        }
        return pydantic.TypeAdapter(Rulebook).validate_python(head | values)
    except (pydantic.ValidationError, yaml.YAMLError, ValueError, TypeError) as error:
        raise RulebookError(f"rulebook {path}: {error}") from error


def known() -> str:
    """The names of the rulebooks that ship."""
    return ", ".join(sorted(f.name[:-5] for f in resources.files("conf.rules").iterdir() if f.name.endswith(".yaml")))
