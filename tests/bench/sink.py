"""A store that takes everything and keeps nothing, as a process of its own: the other end of what is measured.

It must not be the bottleneck: the kernel drops the bodies before they are copied (tcp(7), MSG_TRUNC), and what it can
take is a row of its own. As a program it prints its port, and serves until its standard input ends; its argument is
how many seconds pass before each answer, as of a store far away.
"""

from __future__ import annotations

import json
import mmap
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import Any

_HEAD = 64 * 1024
"""Bytes read with a request's head at most."""
_BLOCK = 1 << 24
"""Bytes dropped at a time: memory that is never touched."""
_NAPS = 20
_NAP = 0.001
PATIENCE = 180.0
"""Seconds after which requests that should have come have not."""


@dataclass(frozen=True)
class Drained:
    """What a sink has taken: requests, bytes of their bodies, and when, in seconds of CLOCK_MONOTONIC.

    `latency`: seconds from a request's last byte to its answer, on average.
    """

    requests: int
    size: int
    first: float
    last: float
    latency: float

    @property
    def seconds(self) -> float:
        """From the head of the first request to the last answer."""
        return self.last - self.first


class Sink:
    """A sink's process, from the outside."""

    def __init__(self, delay: float = 0.0) -> None:
        self._delay = delay

    def __enter__(self) -> Sink:
        words = [sys.executable, __file__, str(self._delay)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.communicate()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/store"

    def drained(self) -> Drained:
        return Drained(**self._get("drained"))

    def arrivals(self) -> list[float]:
        """When the first bytes of each request came, in seconds of CLOCK_MONOTONIC; the smallest request first."""
        return [arrived for _, arrived in sorted(self._get("arrivals"))]

    def wait_for(self, requests: int) -> Drained:
        """Waits until so many requests are answered."""
        deadline = time.monotonic() + PATIENCE
        while (drained := self.drained()).requests < requests:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{drained.requests} requests of {requests} within {PATIENCE:.0f} s")
            time.sleep(0.1)  # rarely: whoever asks takes time from what is measured
        return drained

    def _get(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{what}") as answer:
            return json.load(answer)


class _Server:
    """The inside: a thread a connection, one tally."""

    def __init__(self, delay: float) -> None:
        self._sleep = max(delay - _oversleeping(), 0.0) if delay else 0.0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._lock = threading.Lock()
        self._size = 0
        self._answered = 0
        self._waited = 0.0
        self._last = 0.0
        self._arrivals: list[tuple[int, float]] = []

    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, mmap.mmap(-1, _BLOCK) as buffer:
            while self._one(connection, buffer):
                pass

    def _one(self, connection: socket.socket, buffer: mmap.mmap) -> bool:
        """One request and its answer; False if the client has closed."""
        block = connection.recv(_HEAD)
        arrived = time.monotonic()
        head, found, rest = block.partition(b"\r\n\r\n")
        while block and not found:
            block = connection.recv(_HEAD)
            head, found, rest = (head + block).partition(b"\r\n\r\n")
        if not block:
            return False
        if head.startswith(b"GET"):
            _answer(connection, self._arrivals if b"/arrivals" in head else self._tally())
            return True
        length = _length(head)
        left = length - len(rest)
        while left > 0:
            count = connection.recv_into(buffer, min(left, _BLOCK), socket.MSG_TRUNC)
            if not count:
                return False
            left -= count
        complete = time.monotonic()
        if self._sleep:
            time.sleep(self._sleep)
        number = self._count(arrived, complete, length)
        _answer(connection, {"status": 200, "id": f"{number}.jpg", "link": f"https://sink.invalid/{number}.jpg"})
        return True

    def _count(self, arrived: float, complete: float, length: int) -> int:
        with self._lock:
            self._last = time.monotonic()
            self._waited += self._last - complete
            self._answered += 1
            self._size += length
            self._arrivals.append((length, arrived))
            return self._answered

    def _tally(self) -> dict[str, float]:
        with self._lock:
            first = min((arrived for _, arrived in self._arrivals), default=0.0)
            latency = self._waited / max(self._answered, 1)
            tally = {"requests": self._answered, "size": self._size, "first": first, "last": self._last}
            return tally | {"latency": latency}


def _oversleeping() -> float:
    """By how many seconds a sleep is longer here than it is to be (measured: 0.15 ms)."""
    lengths = []
    for _ in range(_NAPS):
        began = time.monotonic()
        time.sleep(_NAP)
        lengths.append(time.monotonic() - began)
    return median(lengths) - _NAP


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("a request without a length")


def _answer(connection: socket.socket, document: object) -> None:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


if __name__ == "__main__":
    server = _Server(float(sys.argv[1]))
    print(server.port(), flush=True)
    threading.Thread(target=server.serve, daemon=True).start()
    sys.stdin.read()
