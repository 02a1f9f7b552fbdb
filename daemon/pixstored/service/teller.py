"""The thread that writes the log: whoever logs never waits for whoever reads it."""

from __future__ import annotations

import io
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from pixstored.eventlog import EventLog

log = EventLog("pixstored.daemon")

_MOST_WAITING = 4096
"""Lines (about 1 KB each) that are kept while nobody reads: a pipe that is full, a terminal on hold, a journal that was
stopped. Then they are lost; warnings and what is worse have as much room again for themselves."""

_GATHERS = 0.01
"""Seconds after some lines in which more are gathered: to wake the thread for each of many costs as much as the line
itself (measured)."""

_LAST_WORDS = 1.0
"""Seconds in which the last lines must have been written when all ends."""


class Teller(logging.Handler):
    """Writes lines to a descriptor, in order, from a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._records: deque[logging.LogRecord] = deque()
        self._lost = 0
        self._closed = False
        self._sleeps = False
        self._something = threading.Event()
        self._thread = threading.Thread(target=self._tell_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one line. Waits for nothing."""
        most = _MOST_WAITING if record.levelno < logging.WARNING else 2 * _MOST_WAITING
        if len(self._records) >= most:
            self._lost += 1
            return
        self._records.append(record)
        if self._sleeps:  # after the line is there: either the thread finds it, or we find that it sleeps
            self._something.set()

    def close(self) -> None:
        """Ends the thread once all is written, or after a second."""
        self._closed = True
        self._something.set()
        self._thread.join(_LAST_WORDS)
        super().close()

    # --- the thread

    def _tell_all(self) -> None:
        while True:
            self._something.clear()
            self._sleeps = True
            if not self._records and not self._closed:
                self._something.wait()
            self._sleeps = False
            if not self._records:
                return
            self._tell()
            self._tell_of_lost()
            time.sleep(_GATHERS)

    def _tell(self) -> None:
        lines = io.StringIO()
        handler = logging.StreamHandler(lines)  # it bears with what cannot be shown, which is a fault of ours
        handler.setFormatter(self.formatter)
        for _ in range(len(self._records)):
            handler.emit(self._records.popleft())
        self._write(lines.getvalue().encode("utf-8", "backslashreplace"))

    def _tell_of_lost(self) -> None:
        self.acquire()
        lost, self._lost = self._lost, 0
        self.release()
        if lost:
            log.warning("log lines lost: nobody took them", lines=lost)

    def _write(self, data: bytes) -> None:
        """As `sys.stderr` would, but without its buffer, which a thread that is held here would keep locked."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # somebody who shares it has made it so
                select.select([], [self._descriptor], [])
            except OSError:
                return  # whoever read it is gone


@contextmanager
def telling(descriptor: int) -> Iterator[None]:
    """Meanwhile, what is logged goes there by a `Teller`."""
    root = logging.getLogger()
    teller = Teller(descriptor)
    root.addHandler(teller)
    try:
        yield
    finally:
        root.removeHandler(teller)
        teller.close()
