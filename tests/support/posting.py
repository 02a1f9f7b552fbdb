"""Uploads by hand, through the standard library's client: what other programs than ours send."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

BOUNDARY = "----a-boundary-of-the-tests"
PATIENCE = 20.0
"""Seconds after which a test that hangs is given up."""


@dataclass(frozen=True)
class Got:
    """An answer. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def field(name: str, text: str) -> bytes:
    """A plain field of a form."""
    return _part(f'name="{name}"', text.encode())


def file(data: bytes, filename: str = "a.jpg") -> bytes:
    """The file of a form; the name is sent as it is."""
    return _part(f'name="file"; filename="{filename}"', data)


def _part(parameters: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {parameters}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def connect(url: str) -> http.client.HTTPConnection:
    """A connection to the server of this URL, to be closed by the caller."""
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)


def ask(
    url: str,
    method: str = "GET",
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    over: http.client.HTTPConnection | None = None,
) -> Got:
    """One request, on a connection of its own or `over` an open one."""
    parts = urlsplit(url)
    connection = over or connect(url)
    try:
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, target, body, dict(headers or {}))
        answer = connection.getresponse()
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        if over is None:
            connection.close()


def post(
    url: str,
    parts: Sequence[bytes],
    headers: Mapping[str, str] | None = None,
    over: http.client.HTTPConnection | None = None,
) -> Got:
    """Posts a form made of these parts."""
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return ask(url, "POST", body=form(*parts), headers={**kind, **(headers or {})}, over=over)
