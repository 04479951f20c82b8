"""Rulebooks from conf/rules: YAML in, validated, a frozen Rulebook out; its version is the hash of its text.

A house book names the book that it layers on. Its parameters replace those of the same name; its version is the hash of
both texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_type_hints

import pydantic

from pipeline.configuration import Parameter, load, parse, refused
from risk.rulebook import Rulebook
from schemas.ids import digest
from schemas.scalars import Time

Parameters = dict[str, Parameter[Any]]
#: Parameters that may be negative.
_SIGNED = {"spy_moves", "tims_moves", "severe_move", "points", "risk_free_rate", "default_beta"}
#: The sections of a file whose parameters stand beside each other in a Rulebook of their own.
SECTIONS = ("stock", "options", "initial", "portfolio", "intraday", "calls", "liquidation", "house")


class RulebookFile(pydantic.BaseModel, extra="forbid"):
    """A rulebook file: `parameters` for every book, and a section for each set of rules that it has."""

    name: str
    effective_at: pydantic.AwareDatetime
    layers_on: str | None = None
    parameters: Parameters = {}
    stock: Parameters | None = None
    options: Parameters | None = None
    initial: Parameters | None = None
    portfolio: Parameters | None = None
    intraday: Parameters | None = None
    calls: Parameters | None = None
    liquidation: Parameters | None = None
    house: Parameters | None = None

    def sections(self) -> dict[str, Parameters]:
        """The parameters by section; those of every book under an empty name."""
        found = {name: getattr(self, name) for name in SECTIONS}
        return {"": self.parameters} | {name: section for name, section in found.items() if section is not None}

    def on(self, base: Mapping[str, Parameters]) -> dict[str, Parameters]:
        """The sections of this file over those of another."""
        own = self.sections()
        return {name: {**base.get(name, {}), **own.get(name, {})} for name in {**base, **own}}


Files = list[tuple[RulebookFile, str]]


def load_rulebook(name: str) -> Rulebook:
    """A rulebook by name (conf/rules/NAME.yaml) or by path. Raises ConfigurationError."""
    return _book(name, _files(name))


def texts_of(name: str) -> list[str]:
    """The text of a rulebook's file and of those that it layers on, the lowest first: all that its version is a hash
    of. Raises ConfigurationError."""
    return [text for _, text in _files(name)]


def rulebook_of(name: str, texts: Iterable[str]) -> Rulebook:
    """The rulebook of such texts, by themselves; name: for errors. Raises ConfigurationError."""
    return _book(name, [(parse("rules", name, RulebookFile, text), text) for text in texts])


def _book(name: str, files: Files) -> Rulebook:
    file, sections, text = _stacked(name, files)
    values = {where: {key: parameter.value for key, parameter in named.items()} for where, named in sections.items()}
    head: dict[str, Any] = {"name": file.name, "version": digest(text.encode())[:12]}
    try:
        head["effective_at"] = int(Time.parse(file.effective_at))
        for where, named in values.items():
            _check_names(where, named)
            for key, value in named.items():
                _check_numbers(key, value)
        return pydantic.TypeAdapter(Rulebook).validate_python(head | values.pop("") | values)
    except (ValueError, TypeError) as error:
        raise refused("rules", name, error) from error


def load_rulebooks(names: Iterable[str]) -> tuple[Rulebook, ...]:
    """Rulebooks by name or path, in the order in which they take effect. Raises ConfigurationError."""
    return tuple(sorted(map(load_rulebook, names), key=lambda book: book.effective_at))


def sources_of(name: str) -> dict[str, str]:
    """The citation of every parameter of a rulebook, those of a section as section.name. Raises ConfigurationError."""
    _, sections, _ = _stacked(name, _files(name))
    return {
        f"{where}.{key}" if where else key: parameter.source
        for where, named in sections.items()
        for key, parameter in named.items()
    }


def _check_names(where: str, named: Mapping[str, Any]) -> None:
    """Raise ValueError for a parameter that no rule asks for."""
    known = {name: kind for name, kind in get_type_hints(Rulebook).items() if name not in SECTIONS}
    if where:
        kind = get_type_hints(Rulebook)[where]
        known = get_type_hints(get_args(kind)[0] if get_args(kind) else kind)
    for name in named:
        if name not in known:
            raise ValueError(f"{where}{'.' * bool(where)}{name}: expected one of {', '.join(sorted(known))}")


def _check_numbers(name: str, value: Any) -> None:
    """Raise ValueError for what is no number, and for a negative one where the sign says nothing."""
    if isinstance(value, Mapping | list):
        for own in value.values() if isinstance(value, Mapping) else value:
            _check_numbers(name, own)
    elif isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{name}: expected a number, found {value}")
    elif isinstance(value, int | float) and value < 0 and name not in _SIGNED:
        raise ValueError(f"{name}: expected no negative number, found {value}")


def _files(name: str) -> Files:
    """A file and those that it layers on, the lowest first, each with its text."""
    found: Files = []
    names: list[str] = []
    at: str | None = name
    while at is not None:
        if at in names:
            raise refused("rules", names[-1], f"layers_on: expected no circle, found {' on '.join(names)} again")
        names.append(at)
        file, text = load("rules", at, RulebookFile)
        found.insert(0, (file, text))
        at = file.layers_on
    return found


def _stacked(name: str, files: Files) -> tuple[RulebookFile, dict[str, Parameters], str]:
    """The highest of the files, its sections over those of the others, and the texts of all."""
    (file, whole), *above = files
    sections = file.sections()
    for upper, text in above:
        if upper.effective_at < file.effective_at:
            at = f"expected at or after {file.effective_at} of {file.name}, which it layers on"
            raise refused("rules", name, f"effective_at: {at}, found {upper.effective_at}")
        file, sections, whole = upper, upper.on(sections), whole + text
    return file, sections, whole
