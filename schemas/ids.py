"""Deterministic identity: the same content has the same id, on every engine and in every year."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TypeVar

import msgspec

from schemas.outputs import Event
from schemas.scalars import encode_json

_ENCODER = msgspec.json.Encoder(enc_hook=encode_json)
_EMPTY = b'{"event_id":"",'
T = TypeVar("T", bound=Event)


def digest(content: bytes) -> str:
    """blake2b-128 of the bytes, in hexadecimal."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def canonical(event: Event) -> bytes:
    """The event's JSON without its event_id: fields in schema order, no white space."""
    text = _ENCODER.encode(msgspec.structs.replace(event, event_id="") if event.event_id else event)
    return b"{" + text[len(_EMPTY) :]


def identified(event: T) -> T:
    """The event with its event_id filled in."""
    return msgspec.structs.replace(event, event_id=digest(canonical(event)))


def sealed(event: Event) -> bytes:
    """The event's JSON with its event_id, filled in if it has none yet; encoded once."""
    text = _ENCODER.encode(event)
    return text if event.event_id else seal(b"{" + text[len(_EMPTY) :])


def seal(content: bytes) -> bytes:
    """An event's JSON with its event_id put before the content that it is the id of (see canonical)."""
    return b'{"event_id":"' + digest(content).encode() + b'",' + content[1:]


@lru_cache(maxsize=1 << 16)
def shard_of(account_id: str, shards: int) -> int:
    """The account's shard; blake2b and not hash(), which differs from process to process."""
    return int.from_bytes(hashlib.blake2b(account_id.encode(), digest_size=8).digest()) % shards
