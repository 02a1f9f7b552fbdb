"""Whether a thread still goes: it moved a moment ago, or it rests, which may take as long as it likes."""

from __future__ import annotations

import time
from types import TracebackType

_STALLED_AFTER = 60.0
"""Seconds after which a thread that does not move counts as stuck: longer than any slow ledger's commit."""


class Pulse:
    """Told by the thread itself, asked by others. As a context it is the rest: a wait for something to do, or for a
    disk, which may be a share that is gone."""

    def __init__(self) -> None:
        self._rests = False
        self._at = time.monotonic()

    def beat(self) -> None:
        """The thread moves."""
        self._at = time.monotonic()

    def goes(self, now: float) -> bool:
        """False if it has neither moved nor rested for a minute. Takes no lock: whoever is stuck may hold it."""
        return self._rests or now - self._at < _STALLED_AFTER

    # Not made by contextlib: there are several a file, and this takes a fifth of the time (measured).

    def __enter__(self) -> None:
        self._rests = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._at = time.monotonic()
        self._rests = False
