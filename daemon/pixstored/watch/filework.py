"""The file I/O of a thread: a dead server or disk can hold it for ever, and somebody has to see that."""

from __future__ import annotations

import time
from types import TracebackType

STUCK_AFTER = 15.0
"""Seconds for one step of file I/O: a disk that has to spin up first takes ten."""


class Retired(Exception):
    """This thread was given up while file I/O held it: another one does its work by now."""


class FileWork:
    """Where (the path of a watched folder, or of a file) a thread is at work, and since when. Asked from other
    threads."""

    def __init__(self) -> None:
        self._at: tuple[str, float] | None = None
        self._retired = False

    def inside(self, place: str) -> _Inside:
        """While this thread does file I/O there. Raises `Retired` if it came back too late.

        What is returned may be entered again and again.
        """
        return _Inside(self, place)

    def step(self) -> None:
        """One step of the file I/O is done. Raises `Retired` if it took too long."""
        at = self._at
        if self._retired:
            raise Retired
        if at:
            self._at = at[0], time.monotonic()

    def stuck_in(self, now: float) -> str | None:
        """The place that holds this thread for too long; None if none does."""
        at = self._at
        return at[0] if at and now - at[1] > STUCK_AFTER else None

    @property
    def is_retired(self) -> bool:
        """This thread was given up."""
        return self._retired

    def retire(self) -> None:
        """Gives the thread up: it ends as soon as it gets free."""
        self._retired = True


class _Inside:
    # Not made by contextlib: an uploader enters it several times a file, and this takes a third of the time (measured).

    __slots__ = ("_before", "_place", "_work")

    def __init__(self, work: FileWork, place: str) -> None:
        self._work = work
        self._place = place
        self._before: tuple[str, float] | None = None

    def __enter__(self) -> None:
        work = self._work
        self._before, work._at = work._at, (self._place, time.monotonic())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        work, before = self._work, self._before
        work._at = before and (before[0], time.monotonic())
        if work._retired:
            raise Retired
