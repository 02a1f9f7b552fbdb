"""The file I/O of a thread: a dead server or disk can hold it for ever, and somebody has to see that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STUCK_AFTER = 15.0
"""Seconds for one step of file I/O: a disk that has to spin up first takes ten."""


class Retired(Exception):
    """This thread was given up while file I/O held it: another one does its work by now."""


class FileWork:
    """In which watched folder (by its path) a thread is at work, and since when. Asked from other threads."""

    def __init__(self) -> None:
        self._at: tuple[str, float] | None = None
        self._retired = False

    @contextmanager
    def inside(self, folder: str) -> Iterator[None]:
        """While this thread does file I/O in the folder. Raises `Retired` if it came back too late."""
        before, self._at = self._at, (folder, time.monotonic())
        try:
            yield
        finally:
            self._at = before and (before[0], time.monotonic())
        if self._retired:
            raise Retired

    def step(self) -> None:
        """One step of the file I/O is done. Raises `Retired` if it took too long."""
        at = self._at
        if self._retired:
            raise Retired
        if at:
            self._at = at[0], time.monotonic()

    def stuck_in(self, now: float) -> str | None:
        """The folder that holds this thread for too long; None if none does."""
        at = self._at
        return at[0] if at and now - at[1] > STUCK_AFTER else None

    def retire(self) -> None:
        """Gives the thread up: it ends as soon as it gets free."""
        self._retired = True
