"""As much HTTP/1.1 as the built-in store needs: request heads, bodies of a known length, answers, keep-alive.

The standard library's handler reads heads through its e-mail parser and logs to stderr; a store that shares one
interpreter with the uploader wants neither.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import BinaryIO

from pixstored.slotted import dataclass

_BLOCK = 64 * 1024
"""Bytes received at a time: below the allocator's mmap threshold, so that each block reuses the last one's memory."""
_MAX_HEAD = 32 * 1024
"""Bytes of a request's head: a browser's cookies for `localhost` fit in."""
_IDLE_TIMEOUT = 60.0
"""Seconds a connection may wait for its next request."""
_STALL_TIMEOUT = 120.0
"""Seconds without a byte of a body or an answer moving, before the peer counts as dead."""
_DRAIN_LIMIT = 256 * 1024
"""Bytes of an unwanted body that are read to keep the connection; with more to come, it is closed instead."""
_LINGER = 5.0
"""Seconds a refused sender is listened to, so that it reads the answer before it feels the closed connection."""

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*")
_LENGTH = re.compile(r"[0-9]{1,18}")


class PeerGone(Exception):
    """The other side went away, or we are stopping, in the middle of a request."""


class Refusal(Exception):
    """An answer that says no: a status, one sentence, and more fields of the JSON answer where it has them."""

    def __init__(self, status: HTTPStatus, message: str, *, allow: str = "", **fields: object) -> None:
        super().__init__(message)
        self.status = status
        self.allow = allow
        self.fields = {"status": int(status), "error": message, **fields}


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request. Names of headers are in lower case; `length` is that of the body, in bytes."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    length: int
    last: bool
    """The peer wants the connection closed after the answer."""


class Connection:
    """One peer: requests come in one after the other, and each gets one answer.

    For one thread, but for `interrupt` and `cut`, which any thread may call.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""
        self._unread = 0
        self._continue_due = False
        self._interrupted = False
        self._headless = False
        self._lost = False
        """A head could not be read: where the next request would begin is not known."""
        self.open = True
        """False once no further request can be read."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def next_request(self) -> Request | None:
        """Waits for the next request; None if none comes. Raises `Refusal` for one that cannot be read."""
        self._sock.settimeout(_IDLE_TIMEOUT)
        self._unread = 0
        self._headless = False
        try:
            head = self._next_head()
            if head is None:
                return None
            request = _parse_head(head)
        except Refusal:
            self.open = False
            self._lost = True
            raise
        self._sock.settimeout(_STALL_TIMEOUT)
        self.open = not request.last
        self._unread = request.length
        self._headless = request.method == "HEAD"
        self._continue_due = request.headers.get("expect", "").lower() == "100-continue"
        return request

    def _next_head(self) -> bytes | None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0 and len(self._buffer) <= _MAX_HEAD:
            block = self._sock.recv(_BLOCK)
            if not block:
                return None
            self._buffer += block
        if not 0 <= end <= _MAX_HEAD:
            raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too long")
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        return head

    def body(self) -> Iterator[bytes]:
        """The body of the request, in blocks, all of it. Raises `PeerGone` if it is cut short."""
        if self._continue_due:
            self._continue_due = False
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while self._unread:
            yield self._next_block()

    def _next_block(self) -> bytes:
        if self._interrupted:
            raise PeerGone
        if self._buffer:
            block, self._buffer = self._buffer[: self._unread], self._buffer[self._unread :]
        else:
            block = self._sock.recv(min(_BLOCK, self._unread))
        if not block:
            raise PeerGone
        self._unread -= len(block)
        return block

    def answer_json(self, status: int, fields: Mapping[str, object], headers: Mapping[str, str] | None = None) -> None:
        """Answers with a JSON object."""
        body = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
        self.answer(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, body)

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Answers with these bytes."""
        head = self._head(status, {**headers, "Content-Length": str(len(body))})
        self._sock.sendall(head if self._headless else head + body)

    def answer_file(self, status: int, headers: Mapping[str, str], file: BinaryIO, start: int, length: int) -> None:
        """Answers with `length` bytes of a file, from `start` on."""
        self._sock.sendall(self._head(status, {**headers, "Content-Length": str(length)}))
        if length and not self._headless and self._sock.sendfile(file, start, length) != length:
            raise PeerGone  # the file is shorter than announced: only a closed connection says so

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        self._finish_body()
        reason = HTTPStatus(status).phrase
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        if not self.open:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _finish_body(self) -> None:
        """Before an answer: reads what is left of the body, or settles for closing the connection."""
        if self._continue_due or self._unread > _DRAIN_LIMIT:
            self.open = False
            return
        while self._unread:
            self._next_block()

    def interrupt(self) -> None:
        """Ends the wait for a request or a body; an answer under way is still given."""
        self._interrupted = True
        self.open = False
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def cut(self) -> None:
        """Ends everything, at once."""
        self._interrupted = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection; a sender still in mid-body is given time to read its answer."""
        with suppress(OSError):
            if (self._unread or self._lost) and not self._interrupted:
                self._linger()
        self._sock.close()

    def _linger(self) -> None:
        # Closing with unread bytes makes the kernel send a reset, which throws away an answer not read yet.
        self._sock.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER
        while not self._interrupted and (left := deadline - time.monotonic()) > 0:
            self._sock.settimeout(left)
            if not self._sock.recv(_BLOCK):
                return


def _parse_head(head: bytes) -> Request:
    first, *lines = head.lstrip(b"\r\n").split(b"\r\n")
    matched = _REQUEST_LINE.fullmatch(first)
    if not matched:
        raise Refusal(HTTPStatus.BAD_REQUEST, "this is not an HTTP/1.1 request")
    method, target, minor = (part.decode("ascii") for part in matched.groups())
    headers = _parse_headers(lines)
    if "transfer-encoding" in headers:
        raise Refusal(HTTPStatus.LENGTH_REQUIRED, "send the body with a Content-Length, not in chunks")
    length = headers.get("content-length", "0")
    if not _LENGTH.fullmatch(length):
        raise Refusal(HTTPStatus.BAD_REQUEST, "the Content-Length is not a number")
    last = minor == "0" or "close" in headers.get("connection", "").lower()
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, int(length), last)


def _parse_headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        matched = _HEADER.fullmatch(line)
        if not matched:
            raise Refusal(HTTPStatus.BAD_REQUEST, "a header of the request cannot be read")
        name, value = matched[1].decode("ascii").lower(), matched[2].decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
