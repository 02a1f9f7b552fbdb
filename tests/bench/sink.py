"""A store that takes everything and keeps nothing, as a process of its own: the other end of what is measured.

As a program it prints its port, and serves until its standard input ends.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from types import TracebackType

_BLOCK = 1 << 20
"""Bytes drained at a time: large enough that the sink is never the bottleneck."""


@dataclass(frozen=True)
class Drained:
    """What a sink has taken: requests, bytes of their bodies, and when, in seconds of CLOCK_MONOTONIC."""

    requests: int
    size: int
    first: float
    last: float

    @property
    def seconds(self) -> float:
        """From the head of the first request to the last answer."""
        return self.last - self.first


class Sink:
    """A sink's process, from the outside."""

    def __enter__(self) -> Sink:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        self._port = int(self._process.stdout.readline())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.communicate()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/store"

    def drained(self) -> Drained:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/drained") as answer:
            return Drained(**json.load(answer))

    def wait_for(self, requests: int) -> Drained:
        """Waits until so many requests are answered."""
        while (drained := self.drained()).requests < requests:
            time.sleep(0.1)  # rarely: whoever asks takes time from what is measured
        return drained


class _Server:
    """The inside: a thread a connection, one tally."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._lock = threading.Lock()
        self._requests = 0
        self._size = 0
        self._first = 0.0
        self._last = 0.0

    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        buffer = memoryview(bytearray(_BLOCK))
        with connection:
            while self._one(connection, buffer):
                pass

    def _one(self, connection: socket.socket, buffer: memoryview) -> bool:
        """One request and its answer; False if the client has closed."""
        have = connection.recv_into(buffer)
        began = time.monotonic()
        while have and b"\r\n\r\n" not in bytes(buffer[:have]):
            have += connection.recv_into(buffer[have:])
        if not have:
            return False
        head, _, _ = bytes(buffer[:have]).partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            _answer(connection, self._tally())
            return True
        length = _length(head)
        left = length - (have - len(head) - 4)
        while left > 0:
            count = connection.recv_into(buffer, min(left, _BLOCK))
            if not count:
                return False
            left -= count
        number = self._count(began, length)
        _answer(connection, {"status": 200, "id": f"{number}.jpg", "link": f"https://sink.invalid/{number}.jpg"})
        return True

    def _count(self, began: float, length: int) -> int:
        with self._lock:
            self._first = min(self._first or began, began)
            self._last = time.monotonic()
            self._requests += 1
            self._size += length
            return self._requests

    def _tally(self) -> dict[str, float]:
        with self._lock:
            return {"requests": self._requests, "size": self._size, "first": self._first, "last": self._last}


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("a request without a length")


def _answer(connection: socket.socket, fields: object) -> None:
    body = json.dumps(fields).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


if __name__ == "__main__":
    server = _Server()
    print(server.port(), flush=True)
    threading.Thread(target=server.serve, daemon=True).start()
    sys.stdin.read()
