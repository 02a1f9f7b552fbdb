"""The one thread that writes: commits all that waits in one transaction, each step done or undone by itself."""

from __future__ import annotations

import math
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from pixstored.errors import LedgerError
from pixstored.ledger.sqlite_file import error_name, trouble

T = TypeVar("T")

RIDES_AT_MOST = 0.05
"""Seconds after which a step that rides is written, though nothing else is: what a kill can leave unrecorded."""

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

_AFTER_YOU = 0.0005
"""Seconds that those get who waited for a commit, to go on, before what rode with it is told: they are about to send
something, and whoever is told would keep them from the interpreter (measured: 0.5 ms a file)."""

_TOLD_WITHIN = 0.02
"""Seconds after which what rode is told though one commit follows the other."""

_COMPANY = 4
"""Steps that somebody waits for, from which on a transaction begins although others would follow."""

_WAITS_FOR_OTHERS = 0.002
"""Seconds that a step waits for those that follow in a moment. Each commit costs half a millisecond of the processor:
1,500 small files took 3 to 9 % less time, as the uploaders of a near store are busy with their files in any case; those
of a distant one wait no longer than before (measured, medians of six runs by turns)."""

_SLOW_DISK = 0.003
"""Seconds a commit takes from which on it pays to wait for company. With an fsync of 10 ms, four uploaders sent 139
files/s where each transaction began with the first step that came, and 165 so (measured, on a busy machine)."""

_GATHERS = 0.5
"""The share of a slow commit's time that is waited at most before the next one, while more and more comes."""

_GAP = 0.15
"""The share of a slow commit's time without anything new after which nobody else is waited for."""


class _Step(Generic[T]):
    """Something to write: somebody waits for it, or it rides along.

    A lock that is taken until the step has ended is all there is to wait for: a `Future` costs as much as two
    statements (measured).
    """

    __slots__ = ("_ended", "_failure", "_then", "_value", "_work", "is_lasting")

    _value: T

    def __init__(
        self,
        work: Callable[[sqlite3.Connection], T],
        then: Callable[[LedgerError | None], None] | None = None,
        *,
        is_lasting: bool = True,
    ) -> None:
        self._work = work
        self.is_lasting = is_lasting
        self._then = then
        self._failure: Exception | None = None
        self._ended = threading.Lock()
        self._ended.acquire()

    def run(self, connection: sqlite3.Connection) -> None:
        """Does the work, for the first time or again after all of it was undone. Raises what it raises."""
        self._value = self._work(connection)

    def succeed(self) -> None:
        """What it has written is durable."""
        self._ended.release()

    def fail(self, failure: Exception) -> None:
        """Nothing of it was recorded."""
        self._failure = failure
        self._ended.release()

    @property
    def rides(self) -> bool:
        """Nobody waits for it, but somebody is to be told."""
        return self._then is not None

    def follow(self) -> None:
        """Tells who did not wait. To them a fault of the program, too, is that nothing was recorded."""
        if self._then is None:
            return
        failure = self._failure
        if failure is not None and not isinstance(failure, LedgerError):
            failure = LedgerError(f"not recorded, by a fault of the program: {failure!r}")
        self._then(failure)

    def wait(self, seconds: float) -> bool:
        """True if it has ended within this time."""
        return self._ended.acquire(timeout=seconds)

    def result(self) -> T:
        """What the work returned, once it has ended. Raises what it failed with."""
        if self._failure is not None:
            raise self._failure
        return self._value


class Writer:
    """The thread and its connection. `run`, `ride` and `flush` may be called by any thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._identity = _identity(path)
        self._lock = threading.Lock()
        self._steps: deque[_Step[Any]] = deque()
        self._untold: deque[_Step[Any]] = deque()
        """What rode and is durable, and nobody has been told of. Of the thread alone."""
        self._tell_by = math.inf
        """When that must be told."""
        self._waited_for = 0
        """How many of the steps somebody waits for."""
        self._due = math.inf
        """When what waits must be written (monotonic seconds)."""
        self._sleeps_until = 0.0
        """When the thread looks by itself; in the past while it works."""
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._commit_takes = 0.0
        self._syncs = True
        self._closed = False
        self._busy_since: float | None = None
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._loop, name="ledger-writer", daemon=True)
        self._thread.start()

    def run(
        self, work: Callable[[sqlite3.Connection], T], *, is_lasting: bool = True, others_follow: bool = False
    ) -> T:
        """Does this inside a transaction, and returns what it returns once that is durable.

        What is not `is_lasting` need not wait for the disk: if the power fails before something else has been made
        durable, it may be forgotten. If `others_follow` in a moment, it waits for them a little. The work may be done
        more than once, all before undone: it must change nothing but the ledger. Raises `LedgerError` if it is not
        recorded, and whatever else the work raised itself.
        """
        step = _Step(work, is_lasting=is_lasting)
        self._put(step, time.monotonic() + _WAITS_FOR_OTHERS if others_follow else time.monotonic())
        while not step.wait(_LOOK_FOR_LIFE):
            if not self._thread.is_alive():
                raise LedgerError(f"the ledger {self._path} cannot be written: its thread has ended")
        return step.result()

    def ride(self, work: Callable[[sqlite3.Connection], object], then: Callable[[LedgerError | None], None]) -> None:
        """The same in the next transaction, at the latest after `RIDES_AT_MOST`; returns at once.

        `then` is called from the writer's thread, with None once it is durable, or why it is not: it must be
        quick, and not wait for the ledger or for somebody who does. What rides is written before what is given to
        `run` later. Raises `LedgerError` if the ledger is closed.
        """
        self._put(_Step(work, then), time.monotonic() + RIDES_AT_MOST)

    def flush(self) -> None:
        """What rides is written now; returns at once."""
        with self._lock:
            if self._steps:
                self._hurry(time.monotonic())

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
            self._closed = True
            self._hurry(time.monotonic())
        self._thread.join()

    def _put(self, step: _Step[Any], due: float) -> None:
        with self._lock:
            if self._closed:
                raise LedgerError(f"the ledger {self._path} is closed")
            self._steps.append(step)
            if not step.rides:
                self._waited_for += 1
            self._hurry(due if self._waited_for < _COMPANY else 0.0)

    def _hurry(self, due: float) -> None:
        """What waits is to be written by then: wakes the thread if it would sleep longer."""
        self._due = min(self._due, due)
        if self._due < self._sleeps_until:
            self._sleeps_until = self._due
            self._bell.put(None)

    # --- in the thread

    def _loop(self) -> None:
        while group := self._next_group():
            self._busy_since = time.monotonic()
            self._commit(group)
            self._busy_since = None
        self._tell()
        self._tidy_up()

    def _next_group(self) -> list[_Step[Any]]:
        """All that waits once something of it is due; nothing at the end.

        After some work the thread looks by itself for what rides, so that nobody has to wake it for that; only then
        it sleeps until it is woken.
        """
        sleep = RIDES_AT_MOST
        while True:
            with self._lock:
                if self._due <= time.monotonic():
                    break
                if self._closed:
                    return []
                nap = _AFTER_YOU if self._untold else sleep
                until = self._sleeps_until = min(time.monotonic() + nap, self._due)
            self._doze(until)
            if not self._untold:
                sleep = math.inf
            elif self._due > time.monotonic():
                self._tell()
        if self._commit_takes >= _SLOW_DISK and self._waits_for_the_disk():
            self._gather()
        with self._lock:
            group = [*self._steps]
            self._steps.clear()
            self._due = math.inf
            self._waited_for = 0
            self._sleeps_until = 0.0
        return group

    def _waits_for_the_disk(self) -> bool:
        with self._lock:
            return any(step.is_lasting for step in self._steps)

    def _gather(self) -> None:
        """Waits for others that are about to have something written: they would have to wait for the next commit."""
        deadline = time.monotonic() + self._commit_takes * _GATHERS
        count = -1
        while count < len(self._steps) and time.monotonic() < deadline:
            count = len(self._steps)
            time.sleep(self._commit_takes * _GAP)

    def _doze(self, until: float) -> None:
        with suppress(queue.Empty):
            self._bell.get(timeout=None if math.isinf(until) else max(until - time.monotonic(), 0.0))

    def _commit(self, group: list[_Step[Any]]) -> None:
        if self._is_in_place():
            failures = self._write(group)
        else:
            self._trouble = _MISPLACED
            moved = (
                f"the ledger {self._path} was moved away or replaced while it was open: put it back,"
                " or, if it is lost, stop pixstored and say `pixstored ledger restore`"
            )
            failures = {step: LedgerError(moved) for step in group}
        for step, failure in failures.items():  # first: who goes on after a success knows of these then
            step.fail(failure)
            step.follow()
        succeeded = [step for step in group if step not in failures]
        for step in succeeded:
            step.succeed()
        self._tell_soon([step for step in succeeded if step.rides])

    def _tell_soon(self, steps: Sequence[_Step[Any]]) -> None:
        """When nobody has anything to write, or soon in any case."""
        now = time.monotonic()
        if steps and not self._untold:
            self._tell_by = now + _TOLD_WITHIN
        self._untold += steps
        if self._untold and now >= self._tell_by:
            self._tell()

    def _tell(self) -> None:
        while self._untold:
            self._untold.popleft().follow()

    def _write(self, group: list[_Step[Any]]) -> dict[_Step[Any], Exception]:
        """Writes them in one transaction; those that were not written, each with its failure.

        If one fails, all is undone, and the others are done again without it. It happens rarely: a savepoint for
        each step would cost two statements more, always.
        """
        failures: dict[_Step[Any], Exception] = {}
        while todo := [step for step in group if step not in failures]:
            faulty: _Step[Any] | None = None
            is_lasting = any(step.is_lasting for step in todo)
            began = time.monotonic()
            try:
                self._sync(is_lasting)
                self._connection.execute("BEGIN IMMEDIATE")
                for faulty in todo:
                    faulty.run(self._connection)
                faulty, began = None, time.monotonic()
                self._connection.execute("COMMIT")
            except Exception as failure:
                self._roll_back()
                if faulty is None and not isinstance(failure, sqlite3.Error):
                    raise
                for step in [faulty] if faulty else todo:
                    failures[step] = self._explained(failure)
            else:
                if is_lasting:
                    self._commit_takes = time.monotonic() - began
                break
        self._note_trouble(failures)
        return failures

    def _sync(self, is_lasting: bool) -> None:
        """Lets the next commit wait for the disk, or not. One that waits makes all that came before it durable too."""
        if is_lasting != self._syncs:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if is_lasting else 'NORMAL'}")
            self._syncs = is_lasting

    def _explained(self, failure: Exception) -> Exception:
        if not isinstance(failure, sqlite3.Error):
            return failure
        explained = LedgerError(f"the ledger {self._path} cannot be written: {trouble(failure)}")
        explained.__cause__ = failure
        return explained

    def _note_trouble(self, failures: Mapping[_Step[Any], Exception]) -> None:
        causes = (failure.__cause__ for failure in failures.values())
        name = next((error_name(cause) for cause in causes if isinstance(cause, sqlite3.Error)), None)
        if name == _FULL:
            self._make_room()
        if name or self._trouble != _FULL or self._has_room():
            self._trouble = name

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
