"""One file on its way to the store: read once, hashed as it is read, checked before its last bytes go."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from pixstored.errors import Changed, Duplicate, Stopped, Unreadable
from pixstored.ledger.base import Ledger
from pixstored.model import Claim, Standing
from pixstored.publish.hashing import BLOCK, Hashing
from pixstored.watch.opening import being_written, stat_of


class Media:
    """An open, claimed file as the store's `Upload`. Not for several threads, but for what `sent` tells.

    `note` is `Ledger.sending`, or what a worker does around it. `disk` is entered while the file is touched, and
    `has_read` called after each block: what follows may wait for the store.
    """

    def __init__(
        self,
        descriptor: int,
        claim: Claim,
        ledger: Ledger,
        *,
        note: Callable[[Claim, bytes, str | None, float], Standing],
        filename: str,
        hashing: Hashing,
        disk: AbstractContextManager[None],
        has_read: Callable[[], None],
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
        self._hashing = hashing
        self._disk = disk
        self._has_read = has_read
        self._stopping = stopping
        self._offset = 0

    def rewind(self) -> None:
        """Back to the first byte, for another request."""
        if self._offset:
            self._hashing.digest()
        self._offset = 0
        self.sent = 0

    def read(self, limit: int) -> memoryview:
        """See `store.base.Upload.read`."""
        if self._stopping():
            raise Stopped("the daemon stops: the request was dropped before its last bytes")
        room = self._hashing.room()
        view = room[: min(limit, len(room), self.size - self._offset)]
        try:
            with self._disk:
                count = os.preadv(self._fd, [view], self._offset)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error
        if count == 0:
            raise Changed("the file became shorter while it was read")
        self._offset += count
        self._hashing.add(count)
        self._has_read()
        return view[:count]

    def digest(self) -> bytes:
        """The SHA-256 of the whole file, read here from its first to its last byte."""
        self.rewind()
        while self._offset < self.size:
            self.read(BLOCK)
        self.check_unchanged()
        digest = self._hashing.digest()
        self._offset = 0
        return digest

    def before_release(self) -> None:
        """See `store.base.Upload.before_release`: the file is still the one that settled, and the ledger knows."""
        self.check_unchanged()
        self.sha256 = self._hashing.digest()
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
        with self._disk:
            now, is_written = stat_of(self._fd), being_written(self._fd)
        if not self._claim.stamp.is_of(now):
            raise Changed("the file changed since it had settled")
        if is_written:
            raise Changed("a program has the file open for writing")
