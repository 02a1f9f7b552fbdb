"""Which processors the threads run on: on one together, unless what is sent needs the interpreter little."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")
_HERE = Path("/proc/thread-self/stat")
_PROCESSOR = 36
"""Its place among the fields that follow the program's name in `stat` (proc(5))."""

SPREADS = 1024 * 1024
"""Bytes of a file from which on its hashing and sending, which need no interpreter, are worth a processor of their
own."""

LINGERS = 1.0
"""Seconds since the last such file until small ones bring the threads together again."""


class Processors:
    """Those this process may use, and whether its threads share one. For any thread.

    Only one thread at a time runs Python. On several processors they wake each other from one to the other at every
    system call: four uploaders of small files spent 42 % of their processor time on that, and on one processor together
    sent 1.5 times as many files in half the time. Files of 5 MB go 1.4 times as fast on two, but only if all threads
    may run there, as they wake each other all the same (measured, Linux 6.18, Python 3.11).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._allowed: Collection[int] = os.sched_getaffinity(0)
        self._together = False
        self._large_at = -math.inf
        self._lock = threading.Lock()

    def suit(self, size: int) -> None:
        """A file of this size (bytes) is to be sent: all threads, and those they will start, run where it suits."""
        if size >= SPREADS:
            self._large_at = self._clock()
        if self._together is self._are_to_be_together():
            return
        with self._lock:
            together = self._are_to_be_together()
            if self._together is not together:
                self._together = together
                with suppress(OSError, ValueError, IndexError):  # where that cannot be had, they stay where they are
                    _run_all_on({_here()} if together else self._allowed)

    def _are_to_be_together(self) -> bool:
        return self._clock() - self._large_at > LINGERS


def _here() -> int:
    return int(_HERE.read_text().rpartition(")")[2].split()[_PROCESSOR])


def _run_all_on(processors: Collection[int]) -> None:
    for task in os.listdir(_TASKS):
        with suppress(OSError):  # it has ended, or its processors are not ours to choose
            os.sched_setaffinity(int(task), processors)
