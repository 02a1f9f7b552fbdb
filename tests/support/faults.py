"""What can go wrong at a store, as values to hand to a `FaultyStore`. Sizes are bytes, times seconds."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Reply:
    """An answer, word for word. With `body` None it is the ordinary success; Content-Length is added."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    cut: int | None = None
    """Only this much of the body is sent, then the connection is closed."""
    drip: float | None = None
    """Pause after each byte of the body."""
    close: bool = False
    """Close the connection afterwards, without having said so."""


SUCCESS = Reply()


def says(status: object, http: int = 200, headers: tuple[tuple[str, str], ...] = (), **fields: object) -> Reply:
    """A JSON answer with this `status` in it: `says(200, link=…, id=…)`, `says(401, error="no")`."""
    body = json.dumps({"status": status, **fields}).encode()
    return Reply(http, (("Content-Type", "application/json"), *headers), body)


def page(http: int, text: str = "<html><body>an intermediary speaks</body></html>") -> Reply:
    """What a gateway answers: HTML."""
    return Reply(http, (("Content-Type", "text/html"),), text.encode())


def raw(body: bytes, http: int = 200, content_type: str = "application/json") -> Reply:
    """Any bytes as an answer: broken JSON, an empty body, megabytes."""
    return Reply(http, (("Content-Type", content_type),), body)


def redirect(location: str, http: int = 302) -> Reply:
    return Reply(http, (("Location", location),), b"")


def rate_limited(retry_after: str | None = None) -> Reply:
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    return says(429, 429, headers, error="too many requests")


@dataclass(frozen=True)
class Drop:
    """The connection is lost when `at` bytes of the body have come; a negative `at` counts from the body's end."""

    at: int = 0
    reset: bool = True


@dataclass(frozen=True)
class DropAnswer:
    """The whole body comes, and instead of an answer the connection is lost."""

    stored: bool
    reset: bool = False


@dataclass(frozen=True)
class Answer:
    """The whole body comes, and this is the answer, the media stored or not."""

    reply: Reply
    stored: bool = False


class Afterwards(Enum):
    """What becomes of the rest of a body that was answered early."""

    CLOSE = "the answer says the connection closes, the rest is read and thrown away until the client closes"
    DRAIN = "the rest is read, and the connection kept, as if nothing had been"
    RESET = "the connection is reset right after the answer"
    DEAF = "nothing more is read, the connection stays until the client closes"


@dataclass(frozen=True)
class Early:
    """The answer comes when `at` bytes of the body have come. Nothing is stored."""

    reply: Reply
    at: int = 0
    afterwards: Afterwards = Afterwards.CLOSE


@dataclass(frozen=True)
class Hang:
    """Nothing moves from byte `at` of the body on (None: when it is complete) until `release` is set; then `then`.

    With `stored` the media of a complete body is stored before the wait.
    """

    release: threading.Event
    at: int | None = None
    stored: bool = True
    then: Fault | None = None


@dataclass(frozen=True)
class Slow:
    """The body is read `block` bytes at a time, with a pause after each; then `then`."""

    block: int
    pause: float
    then: Fault | None = None


Fault = Drop | DropAnswer | Answer | Early | Hang | Slow
