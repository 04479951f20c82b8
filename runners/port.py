"""Ports for servers that are about to start."""

from __future__ import annotations

import random
import socket

#: Below those that a system gives to connections (Linux from 32768, others from 49152), so that none of these takes the
#: port between the choice and the start of the server.
_PORTS = range(15_000, 32_000)
_GIVEN: set[int] = set()


def free_port(*taken: int) -> int:
    """A port that nothing listens on: another at each call, and none of those on which something will."""
    chance = random.SystemRandom()
    while True:
        port = chance.choice(_PORTS)
        if port not in _GIVEN and port not in taken and _is_free(port):
            _GIVEN.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
