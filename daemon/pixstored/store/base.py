"""What stands at the store's door: send this upload, return a receipt, or raise one of our errors.

`tests/integration/store_suite.py` tells by it what every server of the API must do.
"""

from __future__ import annotations

from typing import Protocol

from pixstored.model import Receipt


class Upload(Protocol):
    """One file on its way, as the publisher hands it to the store."""

    size: int
    """Bytes of the file; exactly as many come out of `read`. At least 1."""
    filename: str
    """The name for the request; may hold anything a file name may (surrogates too)."""
    comment: str | None

    def read(self, limit: int) -> memoryview:
        """The next bytes of the file, at least one and at most `limit`; valid until the next call.

        Raises `Changed`, `Gone`, `Unreadable` or `Stopped`: the request is then dropped unfinished.
        """

    def before_release(self) -> None:
        """Called once, when all bytes are read and all but the last are out; what it raises drops the request.

        Returns when it is durably noted that the store may have it from now on.
        """

    def take_back(self) -> None:
        """Called after `before_release` if the last bytes were not released to the socket after all."""

    def progress(self, sent: int) -> None:
        """Told how many bytes of the file have gone to the socket so far."""


class Store(Protocol):
    """A place that keeps media and gives links. One object a worker: not for several threads at once,
    but for `drop` and `cut`, which any thread may call."""

    def send(self, upload: Upload) -> Receipt:
        """Sends one file. Returns its receipt; raises `NotSent` (or a kind of it), `Refused`, `Uncertain`,
        or whatever the upload raised."""

    def drop(self) -> None:
        """Ends a request whose last bytes have not been released, at once: `Stopped`, nothing was stored.

        One that has released them goes on waiting for its answer. Later requests are not touched.
        """

    def cut(self) -> None:
        """Ends a request that is under way, at once: `Stopped` before its last bytes were released,
        `Uncertain` after. Later requests are not touched."""

    def close(self) -> None:
        """Closes idle connections."""
