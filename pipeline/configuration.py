"""Configuration: YAML from conf/, validated before anything starts, every number with its source."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import pydantic
import yaml

from schemas.errors import UserError

Kind = Literal["rules", "jobs", "archives"]
Value = TypeVar("Value")
Model = TypeVar("Model", bound=pydantic.BaseModel)


class ConfigurationError(UserError, ValueError):
    """A file that cannot be used; the text names it, the field, what was expected and what was found."""


class Parameter(pydantic.BaseModel, Generic[Value], extra="forbid"):
    """A number that a rule or a policy sets, and where it is written."""

    value: Value
    source: str = pydantic.Field(min_length=10)


#: A number above zero. Named once, and here: pydantic keeps the model of a type in the module that was the first to ask
#: for it, and a worker may import modules in another order than whoever pickles for it.
Positive = Parameter[pydantic.PositiveFloat]


def load(kind: Kind, name: str, model: type[Model]) -> tuple[Model, str]:
    """conf/KIND/NAME.yaml, or the file of a path that ends in .yaml, as a model, and its text.

    Raises:
      ConfigurationError: it is not there, not YAML, or not what the model asks for.
    """
    path = Path(name) if name.endswith(".yaml") else Path(str(resources.files(f"conf.{kind}") / f"{name}.yaml"))
    try:
        text = path.read_text()
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror})"
        raise ConfigurationError(f"{kind} {name}: {reason}; known: {known(kind)}") from error
    return parse(kind, name, model, text), text


def parse(kind: Kind, name: str, model: type[Model], text: str) -> Model:
    """YAML as a model. Raises ConfigurationError where it is none, or not what the model asks for."""
    try:
        return model.model_validate(_read(text))
    except (pydantic.ValidationError, yaml.YAMLError) as error:
        raise refused(kind, name, error) from error


@lru_cache(maxsize=64)
def _read(text: str) -> Any:
    return yaml.safe_load(text)


def refused(kind: Kind, name: str, why: Any) -> ConfigurationError:
    """The error of a file whose content will not do."""
    return ConfigurationError(f"{kind} {name}: {why}")


def known(kind: Kind) -> str:
    """The names of the files that ship."""
    return ", ".join(sorted(f.name[:-5] for f in resources.files(f"conf.{kind}").iterdir() if f.name.endswith(".yaml")))
