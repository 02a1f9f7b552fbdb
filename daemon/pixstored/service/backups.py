"""The daily copy of the ledger, `NAME.bak`: made by the running daemon, in a thread that nobody waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from pixstored.errors import LedgerError
from pixstored.eventlog import EventLog
from pixstored.ledger.places import backup_file
from pixstored.ledger.sqlite_copy import copy_ledger

log = EventLog("pixstored.ledger")

_EVERY = 86400.0
"""Seconds between two copies."""

_AGAIN = 3600.0
"""Seconds until the next try where a copy could not be made: a full disk is not asked every second."""

_LOOK_EVERY = 60.0
"""Seconds between two looks at how old the copy is."""


class Backups:
    """Makes a copy when the last one is a day old. `clock` gives seconds since the epoch."""

    def __init__(self, ledger: Path, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._target = backup_file(ledger)
        self._clock = clock
        self._look_at = 0.0
        self._thread: threading.Thread | None = None

    def tick(self) -> None:
        """Called now and then; returns at once. A next look that is too far away was meant by another clock."""
        now = self._clock()
        if 0.0 < self._look_at - now <= _AGAIN or (self._thread and self._thread.is_alive()):
            return
        self._look_at = now + _LOOK_EVERY
        if self._is_due(now):
            self._thread = threading.Thread(target=self._copy, name="ledger-backup", daemon=True)
            self._thread.start()

    def wait(self, timeout: float) -> None:
        """Waits for the copy under way, if there is one."""
        if self._thread:
            self._thread.join(timeout)

    def _is_due(self, now: float) -> bool:
        try:
            made = self._target.stat().st_mtime
        except OSError:
            return True
        return not 0 <= now - made < _EVERY

    def _copy(self) -> None:
        started = time.monotonic()
        try:
            copy_ledger(self._ledger, self._target)
        except LedgerError as error:
            self._look_at = self._clock() + _AGAIN
            log.error("ledger not backed up", file=str(self._target), reason=str(error))
        else:
            seconds = round(time.monotonic() - started, 3)
            log.debug("ledger backed up", file=str(self._target), seconds=seconds)
