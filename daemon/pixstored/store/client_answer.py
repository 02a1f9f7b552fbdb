"""Reads an answer from a wire: the plain ones by one pattern, all others by the HTTP libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from http.client import HTTPException
from http.client import HTTPResponse as LibraryResponse
from typing import Any, cast

from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import HTTPError

from pixstored.store.connection import Cut, Wire, WireError
from pixstored.store.verdict import Answer

LARGEST_ANSWER = 64 * 1024
"""Bytes; the store's answers have a few hundred."""

UNREADABLE = (WireError, HTTPError, HTTPException, OSError, ValueError)
"""What the libraries, and the wire below them, make of an answer that is none."""

_PLAIN = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: [^\r\n]*)?(\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*\r\n){0,50})\r\n")
"""A head whose body is as long as its Content-Length says, if none of `_ODD` is there (RFC 9112, 6.3). One of more
lines is left to the libraries, which take a hundred at most."""
_ODD = re.compile(rb"\r\n(?:transfer-encoding|content-encoding|connection):")
"""Headers that say more of body and connection than a plain answer does."""
_LENGTH = b"\r\ncontent-length:"
_NO_CONTENT = frozenset({204, 304})


class PlainHeaders(Mapping[str, str]):
    """The headers of a plain answer, by their names in small letters. Only what a failure says is ever looked up."""

    def __init__(self, lines: bytes) -> None:
        self._lines = lines

    @cached_property
    def _fields(self) -> dict[str, str]:
        lines = (line.partition(":") for line in self._lines.decode("latin-1").split("\r\n") if line)
        fields: dict[str, str] = {}
        for name, _, value in lines:
            fields.setdefault(name.lower(), value.strip(" \t"))  # the first of several, as from the libraries
        return fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def answer_on(wire: Wire, released: bool) -> Answer:
    """The answer that has begun to come; `released` as `Answer` has it.

    The store's answers come in one piece, and are plain: for those the libraries' parsers, made for whole mails,
    took 0.1 ms each (measured). Raises one of `UNREADABLE`.
    """
    answer = plain_answer(wire.heard, released)
    if answer is None:
        return answer_of(response_on(wire), released)
    wire.forget_heard()
    return answer


def plain_answer(heard: bytes, released: bool) -> Answer | None:
    """The answer these bytes are, if they are just one, whole and plain."""
    head = _PLAIN.match(heard)
    if head is None:
        return None
    status, lines, body = int(head[1]), head[2].lower(), heard[head.end() :]
    _, _, after = lines.partition(_LENGTH)
    length, _, rest = after.partition(b"\r\n")
    if length.strip() != b"%d" % len(body) or _LENGTH in b"\r\n" + rest or len(body) > LARGEST_ANSWER:
        return None
    if status in _NO_CONTENT or _ODD.search(lines):
        return None
    return Answer(status, PlainHeaders(head[2]), body, released)


def answer_of(raw: Any, released: bool) -> Answer:
    """The answer that urllib3 has begun to read. Its body is empty if it breaks off, comes too slowly, or is too long
    to be the store's: the status line is known, and says what it says. Only a cut gets out. What is not read to its
    end takes the connection with it."""
    body = b""
    try:
        body = raw.read(LARGEST_ANSWER + 1, decode_content=True)
    except Cut:
        raise
    except UNREADABLE:
        body = b""
    finally:
        raw.close()
    return Answer(raw.status, raw.headers, body if len(body) <= LARGEST_ANSWER else b"", released)


def response_on(wire: Wire) -> HTTPResponse:
    """The answer that has begun to come, its head read by the libraries: for the first request on a connection as for
    each further one, so that all are understood alike. Raises one of `UNREADABLE`."""
    response = LibraryResponse(cast(Any, wire), method="POST")
    try:
        response.begin()
        if response.will_close:
            wire.close()
        return HTTPResponse(
            body=response,
            headers=HTTPHeaderDict(response.getheaders()),
            status=response.status,
            version=response.version,
            reason=response.reason,
            preload_content=False,
            original_response=response,
            request_method="POST",
        )
    except BaseException:
        response.close()
        raise
