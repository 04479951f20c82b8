"""A proxy in front of S3 or DynamoDB that loses, breaks and refuses what passes through it, as it is told."""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ops.stack.service import HOST
from runners.port import free_port


@dataclass(frozen=True)
class Fault:
    """What happens to a request.

    Fields:
      reached: whether the service gets it, and does what it says, before it goes wrong.
      answer: instead of the service's own: status and body. None: no whole answer, but
      ending: the connection is reset, stays silent, or ends in the middle of the service's answer; or the service is
        asked for part of a batch of DynamoDB only, and the answer says so.
    """

    name: str
    reached: bool = False
    answer: tuple[int, bytes] | None = None
    ending: str = "reset"


def _s3(name: str, status: int, code: str) -> Fault:
    return Fault(name, answer=(status, f"<Error><Code>{code}</Code><Message>told to</Message></Error>".encode()))


def _dynamodb(name: str, code: str, **more: Any) -> Fault:
    told = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "told to", **more}
    return Fault(name, answer=(400, json.dumps(told).encode()))


RESET = Fault("reset before it is read")
SILENT = Fault("no answer", ending="silent")
LOST = Fault("done, the answer lost", reached=True)
LATE = Fault("done, no answer", reached=True, ending="silent")
HALF = Fault("done, half an answer", reached=True, ending="half")
UNAVAILABLE = Fault("503 without a word", answer=(503, b""))
CONNECTION = (RESET, SILENT, LOST, LATE, HALF, UNAVAILABLE)

SLOW_DOWN = _s3("503 SlowDown", 503, "SlowDown")
INTERNAL = _s3("500 InternalError", 500, "InternalError")
RACED = _s3("409 of a race", 409, "ConditionalRequestConflict")
TIMED_OUT = _s3("400 RequestTimeout", 400, "RequestTimeout")
OF_S3 = (*CONNECTION, SLOW_DOWN, INTERNAL, RACED, TIMED_OUT)

THROTTLED = _dynamodb("throughput exceeded", "ProvisionedThroughputExceededException")
THROTTLED_ALL = _dynamodb("throttled", "ThrottlingException")
BROKEN = Fault("500 InternalServerError", answer=(500, b'{"__type": "InternalServerError"}'))
PARTLY = Fault("half of the items throttled", reached=True, ending="partly")
OF_DYNAMODB = (*CONNECTION, THROTTLED, THROTTLED_ALL, BROKEN, PARTLY)

#: What happens to the request of a number, from 0 on; None: nothing.
Plan = Callable[[int], Fault | None]


def first(*faults: Fault) -> Plan:
    """One after another, and nothing from then on."""
    return lambda number: faults[number] if number < len(faults) else None


def storm(faults: tuple[Fault, ...], seed: int, share: float = 0.3) -> Plan:
    """Any of them, to a share of all requests."""
    chance = random.Random(seed)
    return lambda _: chance.choice(faults) if chance.random() < share else None


class FaultProxy:
    """Forwards what comes to its port to another of this machine, unless its plan says otherwise.

    Fields:
      plan: may be replaced at any time by `follow`, which counts from 0 again. count: requests since then.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream, self.port = upstream, free_port()
        self.count, self.plan = 0, first()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """Of the endpoint."""
        return f"http://{HOST}:{self.port}"

    def follow(self, plan: Plan) -> None:
        """Do this from the next request on."""
        with self._lock:
            self.count, self.plan = 0, plan

    def up(self) -> None:
        """Listen."""
        self.closing.clear()
        self._server = _Server((HOST, self.port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and end those that there are."""
        assert self._server is not None
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def next(self) -> Fault | None:
        """What happens to the request that has come."""
        with self._lock:
            self.count += 1
            return self.plan(self.count - 1)


@contextmanager
def proxy(upstream: int) -> Iterator[FaultProxy]:
    """A proxy that is up, until the block ends."""
    found = FaultProxy(upstream)
    found.up()
    try:
        yield found
    finally:
        found.down()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that give up waiting are what this is for."""


def _handler(owner: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if owner.closing.is_set():
                self._reset()
                return
            fault = owner.next()
            if fault is None:
                self._send(*self._forward(body))
                return
            if fault.ending == "partly":
                self._send(*_partly(body, self._forward))
                return
            found = self._forward(body) if fault.reached else None
            if fault.answer is not None:
                status, text = fault.answer
                self._send(status, {"Content-Type": "application/xml"}, text)
            elif fault.ending == "half" and found is not None:
                status, headers, text = found
                self._send(status, headers, text[: len(text) // 2], size=max(len(text), 1))
                self._reset()
            else:
                if fault.ending == "silent":
                    owner.closing.wait(60)
                self._reset()

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

        def _forward(self, body: bytes) -> Answer:
            upstream = http.client.HTTPConnection(HOST, owner.upstream, timeout=120)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
            try:
                upstream.request(self.command, self.path, body, headers)
                answer = upstream.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            finally:
                upstream.close()

        def _send(self, status: int, headers: dict[str, str], text: bytes, size: int | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in _OWN:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(text) if size is None else size))
            self.end_headers()
            self.wfile.write(text)

        def _reset(self) -> None:
            # Closing with a linger of nought sends a reset in place of an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


Answer = tuple[int, dict[str, str], bytes]


def _partly(body: bytes, forward: Callable[[bytes], Answer]) -> Answer:
    """A batch of which every second item is throttled, the only one too; of anything else, what the service says."""
    asked = json.loads(body)
    if "Statements" in asked:
        statements, done = asked["Statements"], iter(())
        if len(statements) > 1:
            _, _, text = forward(json.dumps(asked | {"Statements": statements[1::2]}).encode())
            done = iter(json.loads(text)["Responses"])
        busy = {"Error": {"Code": "ThrottlingError", "Message": "told to"}}
        told = {"Responses": [next(done) if place % 2 else busy for place in range(len(statements))]}
    elif "RequestItems" in asked:
        ((table, own),) = asked["RequestItems"].items()
        told = {"Responses": {table: []}, "UnprocessedKeys": {table: own | {"Keys": own["Keys"][::2]}}}
        if kept := own["Keys"][1::2]:
            _, _, text = forward(json.dumps({"RequestItems": {table: own | {"Keys": kept}}}).encode())
            told |= {"Responses": json.loads(text)["Responses"]}
    else:
        return forward(body)
    return 200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(told).encode()


#: Headers of a connection and not of what passes through it.
_OWN = {"connection", "content-length", "expect", "keep-alive", "transfer-encoding"}
