"""The one thread that writes: commits all that waits in one transaction, each step in a savepoint of its own."""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from pixstored.errors import LedgerError
from pixstored.ledger.sqlite_file import error_name, trouble

T = TypeVar("T")

_STALLED_AFTER = 60.0
"""Seconds one transaction may take before the writer counts as stuck: longer than any slow disk's fsync."""

_LOOK_FOR_LIFE = 5.0
"""Seconds after which somebody who waits looks whether the thread still lives."""

_CLOSING_WAIT = 200
"""Milliseconds to wait, when closing, for somebody who is reading: tidying up can also be done next time."""


_FULL = "SQLITE_FULL"
"""SQLite's name of a full disk."""

_ROOM = 128 * 1024
"""Bytes that must be free before a disk that was full counts as well again: a few transactions."""

_MISPLACED = "MISPLACED"
"""The trouble of a ledger that is not where it was."""


class _Step(Generic[T]):
    """Something to write, for which a thread waits."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.future: Future[T] = Future()
        self._work = work
        self._value: T
        self._failure: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Does the work; if it fails, undoes it alone. Raises `sqlite3.Error` if the whole transaction is lost."""
        connection.execute("SAVEPOINT step")
        try:
            self._value = self._work(connection)
        except Exception as failure:
            self._failure = failure
            if not connection.in_transaction and isinstance(failure, sqlite3.Error):
                raise
            connection.execute("ROLLBACK TO step")
        connection.execute("RELEASE step")

    @property
    def error(self) -> sqlite3.Error | None:
        """What SQLite refused to do for it, if it was that."""
        return self._failure if isinstance(self._failure, sqlite3.Error) else None

    def resolve(self, path: Path) -> None:
        """The transaction is durable."""
        match self._failure:
            case None:
                self.future.set_result(self._value)
            case sqlite3.Error() as error:
                self.fail(path, error)
            case failure:
                self.future.set_exception(failure)

    def fail(self, path: Path, error: sqlite3.Error) -> None:
        """Nothing of it was recorded."""
        failure = LedgerError(f"the ledger {path} cannot be written: {trouble(error)}")
        failure.__cause__ = error
        self.future.set_exception(failure)


class Writer:
    """The thread and its connection. `run` may be called by any thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._identity = _identity(path)
        self._steps: queue.SimpleQueue[_Step[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._busy_since: float | None = None
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._loop, name="ledger-writer", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does this inside a transaction, and returns what it returns once that is durable.

        Raises `LedgerError` if it is not recorded, and whatever else the work raised itself.
        """
        step = _Step(work)
        with self._lock:
            if self._closed:
                raise LedgerError(f"the ledger {self._path} is closed")
            self._steps.put(step)
        while True:
            try:
                return step.future.result(_LOOK_FOR_LIFE)
            except TimeoutError:
                if step.future.done():
                    raise
                if not self._thread.is_alive():
                    raise LedgerError(f"the ledger {self._path} cannot be written: its thread has ended") from None

    def healthy(self) -> bool:
        """True while the thread lives and is not stuck in one transaction."""
        since = self._busy_since
        return self._thread.is_alive() and (since is None or time.monotonic() - since < _STALLED_AFTER)

    @property
    def trouble(self) -> str | None:
        """SQLite's name of what the last transaction failed with, such as `SQLITE_FULL`; None if it did not fail."""
        return self._trouble

    def close(self) -> None:
        """Writes what waits, leaves one plain file behind where nobody is reading, and ends the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._steps.put(None)
        self._thread.join()

    # --- in the thread

    def _loop(self) -> None:
        is_open = True
        while is_open:
            group, is_open = self._wait_for_steps()
            if group:
                self._busy_since = time.monotonic()
                self._commit(group)
                self._busy_since = None
        self._tidy_up()

    def _wait_for_steps(self) -> tuple[list[_Step[Any]], bool]:
        """All that waits, at least one; False with the last ones."""
        group = []
        step = self._steps.get()
        while step is not None:
            group.append(step)
            try:
                step = self._steps.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: list[_Step[Any]]) -> None:
        if not self._is_in_place():
            self._trouble = _MISPLACED
            for step in group:
                step.future.set_exception(
                    LedgerError(f"the ledger {self._path} was moved away or replaced while it was open: put it back")
                )
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for step in group:
                step.run(self._connection)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._trouble = error_name(error)
            self._roll_back()
            if self._trouble == _FULL:
                self._make_room()
            for step in group:
                step.fail(self._path, error)
        else:
            trouble = next((error_name(step.error) for step in group if step.error), None)
            if trouble or self._trouble != _FULL or self._has_room():
                self._trouble = trouble
            for step in group:
                step.resolve(self._path)

    def _is_in_place(self) -> bool:
        """False if what would be written is lost: somebody has moved the file, and SQLite does not look."""
        return _identity(self._path) == self._identity

    def _has_room(self) -> bool:
        """False while the disk is as good as full: one small write that went well does not mean the next one will."""
        try:
            disk = os.statvfs(self._path)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize >= _ROOM

    def _make_room(self) -> None:
        """The log may be what fills the disk: most of what it holds is a newer form of pages the ledger has."""
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # SQLite has rolled back by itself
            self._connection.execute("ROLLBACK")

    def _tidy_up(self) -> None:
        """Puts the log into the ledger's file, and leaves that one file, which others may read without writing."""
        with suppress(sqlite3.Error):
            self._connection.execute(f"PRAGMA busy_timeout = {_CLOSING_WAIT:d}")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        st = os.stat(path)
    except OSError:
        return None
    return st.st_dev, st.st_ino
