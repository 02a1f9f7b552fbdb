"""Lets the uploaders do what needs the interpreter one after the other, not all at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress

PATIENCE = 0.05
"""Seconds that an uploader waits at most for the one inside: a disk may hold that one up."""

STAYS_OPEN = 1.0
"""Seconds for which nobody waits after somebody did in vain."""


class Turnstile:
    """One uploader at a time is inside. It only makes waiting shorter: whoever has waited long enough passes anyway.

    Where many answers of a distant store come at about the same time, all uploaders begin their next file together.
    The interpreter goes from one to the next at every system call, so all of them would be done together, at the end;
    would have to wait for the same commit; and their answers would come together again. One after the other, most are
    done sooner, and their answers come spread out: 64 uploaders at a store 100 ms away sent 12 % more files, 16 at one
    20 ms away 8 % more (measured, medians of five runs by turns).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._inside = threading.Lock()
        self._open_until = -math.inf

    def enter(self) -> bool:
        """Waits until nobody else is inside. True if `leave` must follow; False: go on nevertheless."""
        if self._inside.acquire(blocking=False):
            return True
        if self._clock() < self._open_until:
            return False
        if self._inside.acquire(timeout=PATIENCE):
            return True
        self._open_until = self._clock() + STAYS_OPEN
        return False

    def is_somebody_inside(self) -> bool:
        """Somebody is about to do what whoever asks has just done."""
        return self._inside.locked()

    def leave(self) -> None:
        """Lets the next one in."""
        self._inside.release()


class Passage:
    """One uploader's way through the turnstile: it may come in and go out again and again.

    It comes in by its own thread alone. Any thread may lead it out: a disk may hold an uploader inside for ever.
    """

    def __init__(self, turnstile: Turnstile) -> None:
        self._turnstile = turnstile
        self._entered: list[Turnstile] = []
        """The turnstile while it is inside: only one of two threads that lead it out at once can take it from here."""

    def come_in(self) -> None:
        """What follows needs the interpreter, and waits for nobody."""
        if not self._entered and self._turnstile.enter():
            self._entered.append(self._turnstile)

    def go_out(self) -> None:
        """What follows may wait: for the store, for the ledger, for work."""
        if self._entered:
            with suppress(IndexError):
                self._entered.pop().leave()
