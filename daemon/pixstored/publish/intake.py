"""From named paths to ledger rows: everything after a path is one way, whoever named it.

Events, scans and workers only name paths. The intake waits until each is quiet, decides what it means, and
records it; the row in the ledger is the queue.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pixstored.errors import Changed, Gone, LedgerError, Unreadable
from pixstored.eventlog import EventLog
from pixstored.ledger.base import Ledger, LedgerReader
from pixstored.model import (
    BASELINE,
    Change,
    FileState,
    Known,
    Lane,
    Missing,
    Move,
    Remember,
    Skip,
    Stamp,
    extension_of,
)
from pixstored.publish.decide import HAS_A_LINK, Seen, decide
from pixstored.publish.watched import Watched, watch_above
from pixstored.watch.filework import FileWork, Retired
from pixstored.watch.opening import NotRegular, being_written, open_beneath
from pixstored.watch.settle import Settled, SettleTable, Vanished, Waiting

log = EventLog("pixstored.intake")

_BATCH = 500
"""Files looked at before the ledger is told: one commit for many, and never long without one."""

_LEDGER_PAUSE = 5.0
"""Seconds to wait before the ledger is tried again."""

_STALLED_AFTER = 60.0
"""Seconds after which a thread that does not move counts as stuck: longer than any slow ledger's commit."""

_JUST_NAMED = "it has just been named"


@dataclass(frozen=True, slots=True)
class Named:
    """Somebody named a path of a watch."""

    path: str
    watch: str
    lane: Lane
    announced: bool
    expected: bool


class Intake(threading.Thread):
    """The one thread that decides what files mean. The other methods may be called from any thread.

    `missed` is told of the watch of each file that is news though no event brought it, if one should have.
    """

    def __init__(
        self, ledger: Ledger, find_watch: Callable[[str], Watched | None], missed: Callable[[str], None]
    ) -> None:
        super().__init__(name="intake", daemon=True)
        self._ledger = ledger
        self._find_watch = find_watch
        self._missed = missed
        self._named: deque[Named] = deque()
        self._table = SettleTable()
        self._wake = threading.Condition()
        self._stopped = False
        self._at_rest = False
        """It waits: for something to do, or for a disk, which may be a share that is gone."""
        self._beat = time.monotonic()
        self.work = FileWork()

    # --- naming paths

    def offer(self, path: str, watch: str, lane: Lane, *, announced: bool = False, expected: bool = False) -> None:
        """Look at this path of the watch `watch` (its path) as soon as it is quiet.

        `announced`: an event told of it, so it is new; `expected`: an event should have.
        """
        with self._wake:
            self._named.append(Named(path, watch, lane, announced, expected))
            self._wake.notify()

    def forget_under(self, folder: str) -> None:
        """What lies in this folder or below it is waited for no more: it is in no watch now."""
        below = folder.rstrip("/") + "/"
        with self._wake:
            self._named = deque(named for named in self._named if not named.path.startswith(below))
            self._table.forget_under(folder)

    def stop(self) -> None:
        """Ends the thread; what was settling is found again by the next scan."""
        with self._wake:
            self._stopped = True
            self._wake.notify()

    # --- what is told

    def turns(self, now: float) -> bool:
        """False if the thread has ended or is stuck: for a minute it has neither moved nor waited for a disk or for
        something to do. Takes no lock: whoever is stuck may hold it."""
        return self.is_alive() and (self._at_rest or now - self._beat < _STALLED_AFTER)

    def settling(self) -> int:
        """How many files are waiting to be quiet."""
        with self._wake:
            return len(self._table) + len(self._named)

    def oldest(self) -> float | None:
        """When the longest-waiting settling file changed last, in seconds since the epoch."""
        with self._wake:
            return self._table.oldest()

    def is_settling(self, path: str) -> bool:
        """True if this path is waiting to be quiet."""
        return self.waiting(path) is not None

    def waiting(self, path: str) -> Waiting | None:
        """Why this path is not quiet yet; None if it does not wait."""
        with self._wake:
            found = self._table.get(path)
            if found:
                return found
            named = next((named for named in self._named if named.path == path), None)
            return Waiting(path, named.watch, named.lane, None, _JUST_NAMED) if named else None

    # --- the thread

    def run(self) -> None:
        try:
            while self._wait():
                self._record(self._look_at(self._due()))
                self._beat = time.monotonic()
        except Retired:
            log.info("an intake that was stuck has ended")

    def _wait(self) -> bool:
        """Waits for something to do; False: stop."""
        with self._wake:
            while not self._stopped and not self._named:
                now = time.monotonic()
                next_due = self._table.next_due()
                if next_due is not None and next_due <= now:
                    break
                with self._resting():
                    self._wake.wait(None if next_due is None else next_due - now)
            return not self._stopped

    @contextmanager
    def _resting(self) -> Iterator[None]:
        self._at_rest = True
        try:
            yield
        finally:
            self._beat = time.monotonic()
            self._at_rest = False

    def _due(self) -> list[str]:
        with self._wake:
            now = time.monotonic()
            while self._named:
                named = self._named.popleft()
                watched = self._find_watch(named.watch)
                if watched and watched.rules.takes(watched.relative(named.path)):
                    settle = watched.config.settle
                    self._table.hint(
                        named.path,
                        settle=settle,
                        lane=named.lane,
                        watch=named.watch,
                        now=now,
                        two_looks=watched.polled,
                        announced=named.announced,
                        expected=named.expected,
                    )
            return self._table.due(now, _BATCH)

    def _look_at(self, paths: list[str]) -> list[Change]:
        changes: list[Change] = []
        for path in paths:
            try:
                changes.extend(self._look(path))
            except LedgerError as error:
                self._later(path, error)
        return changes

    def _look(self, path: str) -> list[Change]:
        """One look at a settling file, and what follows from it."""
        entry = self._table.get(path)
        watched = self._find_watch(entry.watch) if entry else None
        if entry is None or watched is None or not watched.present:
            with self._wake:
                self._table.forget(path)
            return []
        with self.work.inside(watched.path):
            return self._look_in(watched, path)

    def _look_in(self, watched: Watched, path: str) -> list[Change]:
        """The same, for a folder that is there as far as anybody knows."""
        try:
            with self._resting():
                stamp, busy = _glance(watched, path)
        except Unreadable as error:
            log.debug("not looked at", path=path, reason=str(error))
            with self._wake:
                self._table.forget(path)
            return []
        except NotRegular as error:
            with self._wake:
                self._table.forget(path)
            return self._not_regular(watched, path, str(error))
        with self._wake:
            if self._table.get(path) is None:  # its watch was removed meanwhile
                return []
            verdict = self._table.look(path, stamp, busy, time.monotonic(), time.time())
        if isinstance(verdict, Settled):
            return self._settled(watched, verdict)
        if isinstance(verdict, Vanished):
            known = self._ledger.look(path)
            return [Missing(path)] if known and not known.missing else []
        return []

    def _settled(self, watched: Watched, settled: Settled) -> list[Change]:
        seen = Seen(
            settled.path,
            settled.stamp,
            settled.lane,
            watched.config.name,
            settled.changed_at,
            announced=settled.announced,
        )
        with self._resting():  # it looks whether other files are still there
            changes = meaning_of(self._ledger, watched, seen)
        if settled.missed and any(isinstance(change, Remember | Move) for change in changes):
            self._missed(watched.path)
        return changes

    def _not_regular(self, watched: Watched, path: str, why: str) -> list[Change]:
        with self._resting():
            stamp = _stamp_of(path)
        if stamp is None:
            return []
        known = self._ledger.look(path)
        if known and known.state is FileState.SKIPPED and known.stamp.unchanged(stamp):
            return []
        return [Skip(path, stamp, watched.config.name, why)]

    def _record(self, changes: list[Change]) -> None:
        if not changes:
            return
        try:
            self._ledger.apply(changes)
        except LedgerError as error:
            for change in changes:
                if not isinstance(change, Move):
                    self._later(change.path, error)
            return
        for change in changes:
            if isinstance(change, Skip) and change.reason != BASELINE:
                log.info("skipped", path=change.path, reason=change.reason)

    def _later(self, path: str, error: LedgerError) -> None:
        """The ledger cannot be used: keep the path, and try again in a while."""
        log.debug("not recorded", path=path, reason=str(error))
        watched = watch_above(self._find_watch, path)
        if watched is None:
            return
        with self._wake:
            now = time.monotonic()
            self._table.hint(path, settle=_LEDGER_PAUSE, lane=Lane.FRESH, watch=watched.path, now=now)


def meaning_of(ledger: LedgerReader, watched: Watched, seen: Seen) -> list[Change]:
    """What is to be recorded of a settled file, in order; nothing if the ledger has it right. Changes nothing."""
    rule = watched.rule_for(seen.path, seen.stamp.size)
    known = ledger.look(seen.path)
    if known is None or known.state is FileState.GONE or known.stamp.inode != seen.stamp.inode:
        moved = moved_here(ledger, seen.path, seen.stamp)
        if moved:
            return _move(seen, moved)
    change = decide(seen, known, rule)
    return [change] if change else []


def moved_here(ledger: LedgerReader, path: str, stamp: Stamp) -> Known | None:
    """The known file that this one was before it got a new name or place; None if it was none."""
    for known in ledger.renamed_from(stamp):
        if known.path != path and not _is_there(known):
            return known
    return None


def is_unfinished(path: str) -> bool:
    """True if the file beside it says that it is still being downloaded (aria2 keeps a NAME.aria2 until the end)."""
    return os.path.lexists(f"{path}.aria2")


def _glance(watched: Watched, path: str) -> tuple[Stamp | None, bool | None]:
    """What the file looks like (None: not there), and whether somebody writes to it (None: cannot be asked).

    Raises `Unreadable` if nobody can tell: a scan finds the file again when its folder is well.
    """
    try:
        descriptor = open_beneath(watched.root, watched.relative(path))
    except Gone:
        if not watched.is_itself():
            raise Unreadable("its folder is away") from None
        return None, None
    except Unreadable:
        return _stamp_of(path), None
    except Changed:  # a lease: some program is about to write
        return _stamp_of(path), True
    try:
        return Stamp.of(os.fstat(descriptor)), is_unfinished(path) or being_written(descriptor)
    finally:
        os.close(descriptor)


def _stamp_of(path: str) -> Stamp | None:
    """None if it is not there. Raises `Unreadable` if nobody can tell."""
    try:
        return Stamp.of(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unreadable(f"it cannot be looked at: {error.strerror}") from error


def _is_there(known: Known) -> bool:
    try:
        stamp = _stamp_of(known.path)
    except Unreadable:
        return True
    return stamp is not None and stamp.same_file(known.stamp)


def _move(seen: Seen, known: Known) -> list[Change]:
    """The record of a renamed file; one that was not sent under its old name is sent under the new one.

    One that was sent is hashed again, which finds its link, unless only a folder above it was renamed: with its name
    the ctime changes, and with that goes all that could tell it from another content of its size and mtime.
    """
    changes: list[Change] = [Move(known.file_id, seen.path, seen.stamp, seen.watch)]
    is_unsent = known.state in (FileState.GONE, FileState.PENDING)
    is_other_kind = known.state is FileState.REJECTED and extension_of(known.path) != extension_of(seen.path)
    is_unsure = known.state in HAS_A_LINK and not seen.stamp.unchanged(known.stamp)
    if is_unsent or is_other_kind or is_unsure:
        changes.append(Remember(seen.path, seen.stamp, seen.lane, seen.watch, seen.changed_at))
    return changes
