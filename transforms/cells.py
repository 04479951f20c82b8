"""State cells on the wire: plain data and NumPy arrays as MessagePack, compressed, with the version of their layout."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import zstandard

VERSION = 11
_ARRAY = 1


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        parts = (value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes())
        return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode(parts))
    if isinstance(value, int):
        return int(value)
    raise NotImplementedError(type(value))


def _decode(code: int, data: memoryview) -> Any:
    if code != _ARRAY:
        raise ValueError(f"extension: expected {_ARRAY}, found {code}")
    dtype, shape, content = msgspec.msgpack.decode(data)
    return np.frombuffer(content, np.dtype(dtype)).reshape(shape).copy()


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode)
_DECODER = msgspec.msgpack.Decoder(ext_hook=_decode)


def encode_cell(content: Any) -> bytes:
    """Plain data and arrays as bytes, the version first."""
    return bytes([VERSION]) + zstandard.compress(_ENCODER.encode(content), 1)


def decode_cell(payload: bytes) -> Any:
    """The inverse of encode_cell. Raises ValueError for a layout of another version."""
    if payload[0] != VERSION:
        raise ValueError(f"state cell: expected version {VERSION}, found {payload[0]}; cold start from a snapshot")
    return _DECODER.decode(zstandard.decompress(memoryview(payload)[1:]))
