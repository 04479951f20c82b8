"""A scenario: a story of some days told by records, and what the firm does about it, as one readable file.

story: what happens, and what is to be seen
rulebook: finra-4210, or a file beside the scenario
begins: the first business date
ends: when to stop looking
records: each a time `at` and one of account, instrument, beta, price, fill, cash, override with its fields
expected: one line an event, as `margin scenario` prints them
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import yaml

from pipeline.day import Manifest
from pipeline.replay import monitor_of
from schemas.codec import from_json
from schemas.errors import UserError
from schemas.inputs import Account, Beta, Cash, Fill, Input, Instrument, LiquidationOrder, Override, Price
from schemas.outputs import Alert, Liquidation, MarginCall, Restriction
from schemas.scalars import Time
from schemas.topics import BY_NAME
from transforms.lines import text_of
from transforms.records import Records

KINDS: dict[str, type[Input]] = {
    "account": Account,
    "instrument": Instrument,
    "beta": Beta,
    "price": Price,
    "fill": Fill,
    "cash": Cash,
    "override": Override,
}
#: Fields that are the time of a record unless it says otherwise.
_TIMES = {"price": "as_of", "fill": "executed_at", "beta": "effective_at"}
_SHOWN = ("alerts.v1", "margin.calls.v1", "restrictions.v1", "liquidations.v1")


class ScenarioError(UserError, ValueError):
    """A scenario that cannot be used; the text names the file, the field, what was expected and found."""


class Scenario(pydantic.BaseModel, extra="forbid"):
    """A scenario file."""

    story: str
    rulebook: str
    begins: date
    ends: datetime
    records: list[dict[str, Any]]
    expected: list[str]
    folder: Path = Path()

    @classmethod
    def read(cls, path: Path) -> Scenario:
        """Read a file. Raises ScenarioError."""
        try:
            found = cls.model_validate(yaml.safe_load(path.read_text()))
        except OSError as error:
            raise ScenarioError(f"{path}: {error.strerror}") from error
        except (pydantic.ValidationError, yaml.YAMLError) as error:
            raise ScenarioError(f"{path}: {error}") from error
        return found.model_copy(update={"folder": path.parent})

    def inputs(self) -> list[Input]:
        """The records. Raises ScenarioError naming the one that is wrong."""
        return [self._input(number, told) for number, told in enumerate(self.records)]

    def _input(self, number: int, told: dict[str, Any]) -> Input:
        kinds = told.keys() - {"at"}
        if "at" not in told or len(kinds) != 1 or not kinds <= KINDS.keys():
            listed = ", ".join(KINDS)
            raise ScenarioError(
                f"records.{number}: expected `at` and one of {listed}, found {', '.join(map(str, told))}"
            )
        (kind,) = kinds
        at = Time.parse(told["at"]).text()
        fields = {_TIMES[kind]: at} if kind in _TIMES else {}
        fields |= {name: _plain(value) for name, value in (told[kind] or {}).items()}
        try:
            return from_json(KINDS[kind], msgspec.json.encode(fields | {"arrived_at": at}))  # type: ignore[no-any-return]
        except ValueError as error:
            raise ScenarioError(f"records.{number}.{kind}: {error}") from error

    def lines(self) -> list[str]:
        """What follows, a line an event."""
        beside = self.folder / f"{self.rulebook}.yaml"
        rulebook = str(beside) if beside.is_file() else self.rulebook
        midnight = datetime.combine(self.begins, datetime.min.time(), self.ends.tzinfo)
        manifest = Manifest(
            business_date=self.begins,
            interval_ms=60_000,
            opens_at=midnight,
            closes_at=midnight.replace(hour=23),
            rulebooks=[rulebook],
        )
        fold = replace(monitor_of(manifest, shards=1).fold, horizon=None)
        outputs = fold.advance(fold.start(), [Records.of(self.inputs())], int(Time.parse(self.ends)))
        found = [(topic, line) for topic, lines in outputs for line in lines if topic in _SHOWN]
        records = [from_json(BY_NAME[topic].record, text_of(line)) for topic, line in found]
        return [line for record in records for line in _told(record)]


def _told(record: Any) -> Iterator[str]:
    head = f"{record.as_of.text()} {record.account_id}"
    match record:
        case MarginCall():
            by = f" by {record.by}" if record.by else ""
            due = f" due {record.due_at.text()}" if record.due_at else ""
            yield f"{head} call {record.type} {record.status}{by}: {_dollars(record.amount)}{due}"
        case Restriction():
            yield f"{head} close-only {record.status}"
        case Liquidation():
            orders = ", ".join(map(_ordered, record.orders))
            missing = f"{_dollars(record.deficiency)} missing"
            yield " ".join(filter(None, (f"{head} liquidation {record.status}: {missing}", orders, record.reason)))
        case Alert():
            yield f"{head} {record.kind}: {record.message}"


def _ordered(order: LiquidationOrder) -> str:
    filled = f" ({order.filled / 1e6:+g} filled)" if order.filled else ""
    return f"{order.quantity / 1e6:+g} {order.symbol} @ {order.price:g}{filled}"


def _dollars(amount: int) -> str:
    return f"${amount / 10_000:,.2f}"


def _plain(value: Any) -> Any:
    return Time.parse(value).text() if isinstance(value, datetime) else value
