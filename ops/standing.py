"""Where an account stands, and its market: the records that a check of an order needs, from a replay or a live job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

from ops.capture import Log, Offsets
from ops.folder import read
from pipeline.day import load_manifest
from pipeline.job import LiveJob, load_job
from pipeline.registry import unframed
from pipeline.sources import read_records
from schemas.codec import from_json
from schemas.inputs import Instrument, Price
from schemas.outputs import AccountState
from schemas.topics import ACCOUNTS_STATE, INSTRUMENTS, PRICES, Topic
from transforms.parse import Raw, parse

Record = AccountState | Instrument | Price


def of_replay(out: Path, day: Path, account_id: str, symbols: Collection[str]) -> list[Record]:
    """The newest state of an account that a replay published, the instruments, and the prices that it rested on.

    Args:
      out, day: folders of the replay's outputs, and of the day that was replayed.
      symbols: what prices are needed of besides what the account holds.

    Raises:
      OutcomeError, DayError: a folder is not what it should be.
    """
    state = _newest(read(out, ACCOUNTS_STATE, account=account_id), account_id)
    if state is None:
        return []
    bounds = load_job("replay").bounds(load_manifest(day))

    def told(topic: str) -> Iterator[Any]:
        # An instant sees what arrived before it.
        return (record for record in read_records(day, bounds, topic) if record.arrived_at < state.as_of)

    return [state, *_needed(state, told, symbols)]


def of_job(job: LiveJob, account_id: str, symbols: Collection[str]) -> list[Record]:
    """The newest state of an account that a live job published, the instruments, and the newest prices.

    Args:
      symbols: what prices are needed of besides what the account holds.

    Raises:
      CaptureError, KafkaException, RegistryError: a topic is not there, or something does not answer.
    """
    state: AccountState | None = published(job, ACCOUNTS_STATE, account_id)
    if state is None:
        return []
    decode = job.formats.decoder()

    def told(topic: str) -> Iterator[Any]:
        raws = (
            Raw(topic, m.partition() or 0, [m.offset() or 0], [m.value()], [m.timestamp()[1] * 1000])
            for m in Log(job.kafka, (topic,)).records()
        )
        return (record for raw in raws for record in parse(raw, job.bounds(None), decode)[0].records)

    return [state, *_needed(state, told, symbols)]


def partition_of(key: str, partitions: int) -> int:
    """Where librdkafka's own partitioner, which the sink leaves in force, sends a key."""
    return crc32(key.encode()) % partitions


def published(job: LiveJob, topic: Topic, account_id: str) -> Any:
    """The newest record of an account on an output topic, from the partition of its key; from the others where it is
    not there, for their number may have grown since; None where it is on none.

    Raises:
      CaptureError, KafkaException, RegistryError: the topic is not there, or something does not answer.
    """
    log = Log(job.kafka, (topic.name,))
    ends = log.ends()
    own = topic.name, partition_of(account_id, len(ends))
    for some in ({own: ends[own]}, {place: end for place, end in ends.items() if place != own}):
        if (found := _newest(_own(log, job, topic, account_id, some), account_id)) is not None:
            return found
    return None


def _own(log: Log, job: LiveJob, topic: Topic, account_id: str, ends: Offsets) -> Iterator[Any]:
    key, decode = account_id.encode(), job.formats.decoder()
    for message in log.records(end=ends):
        if message.key() == key:
            yield from_json(topic.record, unframed(decode, topic.name, bytes(message.value() or b"")))


def _newest(records: Iterable[Any], account_id: str) -> Any:
    own = (record for record in records if record.account_id == account_id)
    return max(own, key=lambda record: record.as_of, default=None)


def _needed(state: AccountState, told: Callable[[str], Iterator[Any]], symbols: Collection[str]) -> Iterator[Record]:
    """Every instrument, since one may say what another is, and the prices of what is held, ordered or underlies it."""
    instruments: list[Instrument] = sorted(told(INSTRUMENTS.name), key=lambda own: own.arrived_at or 0)
    yield from instruments
    wanted = {position.symbol for position in state.positions} | set(symbols)
    wanted |= {own.underlying for own in instruments if own.symbol in wanted and own.underlying is not None}
    yield from (price for price in told(PRICES.name) if price.symbol in wanted)
