"""One file on its way to the store: read once, hashed as it is read, checked before its last bytes go."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

from pixstored.errors import Changed, Duplicate, Stopped, Unreadable
from pixstored.ledger.base import Ledger
from pixstored.model import Claim, Stamp, Standing
from pixstored.watch.opening import being_written

BLOCK = 256 * 1024
"""Bytes read at a time: large enough that calls do not count, small enough to stay in the cache (measured)."""


class Media:
    """An open, claimed file as the store's `Upload`. Not for several threads, but for what `sent` tells.

    `note` is `Ledger.sending`, or what a worker does around it.
    """

    def __init__(
        self,
        descriptor: int,
        claim: Claim,
        ledger: Ledger,
        *,
        note: Callable[[Claim, bytes, str | None, float], Standing],
        filename: str,
        buffer: bytearray,
        stopping: Callable[[], bool],
    ) -> None:
        self.size = claim.stamp.size
        self.filename = filename
        self.comment: str | None = None
        self.sent = 0
        self.since = time.time()
        self.sha256: bytes | None = claim.sha256
        self._fd = descriptor
        self._claim = claim
        self._ledger = ledger
        self._note = note
        self._buffer = memoryview(buffer)
        self._stopping = stopping
        self._offset = 0
        self._hash = hashlib.sha256()

    def rewind(self) -> None:
        """Back to the first byte, for another request."""
        self._offset = 0
        self.sent = 0
        self._hash = hashlib.sha256()

    def read(self, limit: int) -> memoryview:
        """See `store.base.Upload.read`."""
        if self._stopping():
            raise Stopped("the daemon stops: the request was dropped before its last bytes")
        view = self._buffer[: min(limit, len(self._buffer), self.size - self._offset)]
        try:
            count = os.preadv(self._fd, [view], self._offset)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error
        if count == 0:
            raise Changed("the file became shorter while it was read")
        self._offset += count
        block = view[:count]
        self._hash.update(block)
        return block

    def digest(self) -> bytes:
        """The SHA-256 of the whole file, read here from its first to its last byte."""
        self.rewind()
        while self._offset < self.size:
            self.read(BLOCK)
        self.check_unchanged()
        digest = self._hash.digest()
        self.rewind()
        return digest

    def before_release(self) -> None:
        """See `store.base.Upload.before_release`: the file is still the one that settled, and the ledger knows."""
        self.check_unchanged()
        self.sha256 = self._hash.digest()
        standing = self._note(self._claim, self.sha256, self.comment, time.time())
        if standing is not Standing.CLEAR:
            raise Duplicate(standing)

    def take_back(self) -> None:
        """See `store.base.Upload.take_back`."""
        self._ledger.take_back(self._claim)

    def progress(self, sent: int) -> None:
        """See `store.base.Upload.progress`."""
        self.sent = sent

    def check_unchanged(self) -> None:
        """Raises `Changed` unless the file is what it was when it settled, and nobody is writing to it."""
        try:
            now = Stamp.of(os.fstat(self._fd))
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error
        if not now.unchanged(self._claim.stamp):
            raise Changed("the file changed since it had settled")
        if being_written(self._fd):
            raise Changed("a program has the file open for writing")
