"""The scan is the truth: compares a folder with the ledger and names what differs."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pixstored.errors import LedgerError, WatchError
from pixstored.eventlog import EventLog
from pixstored.ledger.base import Ledger
from pixstored.model import Lane
from pixstored.publish.compare import Differing, compare, missing_below
from pixstored.publish.intake import Intake
from pixstored.publish.watched import Watched
from pixstored.watch.scan import Listing, walk

log = EventLog("pixstored.scan")

_EVENT_GRACE = 2.0
"""Seconds an event may take to reach us before a scan that finds its file first says it was missed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scan of a whole watched folder found."""

    directories: int
    files: int
    baseline: int
    new: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """Scan this folder of a watch. `announced`: an event told of the folder, so what is in it is new."""

    watched: Watched
    folder: str
    announced: bool
    finished: Callable[[Outcome], None] | None = None
    begins: Callable[[], None] | None = None
    expects_events: bool = False
    """The folder has been watched all along: what is found here, an event should have told."""


class Reconciler(threading.Thread):
    """One thread that scans what it is asked to, one folder after the other."""

    def __init__(self, ledger: Ledger, intake: Intake, stopping: threading.Event) -> None:
        super().__init__(name="scanner", daemon=True)
        self._ledger = ledger
        self._intake = intake
        self._stopping = stopping
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()

    def ask(self, request: Request) -> None:
        """Queues a scan."""
        self._requests.put(request)

    def stop(self) -> None:
        """Ends the thread; a scan under way ends between two folders."""
        self._requests.put(None)

    def run(self) -> None:
        while request := self._requests.get():
            if self._stopping.is_set():
                return
            if request.begins:
                request.begins()
            outcome = self._scan(request)
            if request.finished and not self._stopping.is_set():
                request.finished(outcome)

    def _scan(self, request: Request) -> Outcome:
        """Compares one folder and all below it with the ledger."""
        sums = _Sums()
        visited: set[str] = set()
        try:
            for folder, listing in self._walk(request):
                visited.add(folder)
                sums.directories += 1
                if listing.error:
                    sums.error = f"{folder}: {listing.error}"
                    log.warning("folder not read", path=folder, reason=listing.error)
                self._compare(request, folder, listing, sums)
            if not self._stopping.is_set():
                self._find_missing(request.folder, visited)
        except WatchError as error:
            sums.error = str(error)
        except LedgerError as error:
            sums.error = str(error)
            log.error("scan broken off", path=request.folder, reason=str(error))
        return Outcome(sums.directories, sums.files, sums.baseline, sums.new, sums.error)

    def _walk(self, request: Request) -> Iterator[tuple[str, Listing]]:
        """The folders below the one asked for, by their paths as configured, without the files that are at rest."""
        watched = request.watched

        def path_of(folder: str) -> str:
            return os.path.join(watched.path, folder) if folder else watched.path

        for listing in walk(
            watched.root,
            watched.config.recursive,
            watched.rules,
            self._stopping.is_set,
            below=watched.relative(request.folder),
            at_rest=lambda folder: self._ledger.at_rest_in(path_of(folder)),
        ):
            yield path_of(listing.folder), listing

    def _compare(self, request: Request, folder: str, listing: Listing, sums: _Sums) -> None:
        sums.files += len(listing.files) + listing.at_rest
        if not listing.files and not listing.others and not listing.is_short:
            return
        found = compare(self._ledger, request.watched, folder, listing, announced=request.announced)
        sums.baseline += len(found.baseline)
        for differing in found.differing:
            self._hand_on(request, differing, sums)
        for path in found.others:
            self._intake.offer(path, request.watched.path, Lane.BACKLOG)
        if found.baseline or found.missing:
            self._ledger.apply([*found.baseline, *found.missing])

    def _hand_on(self, request: Request, found: Differing, sums: _Sums) -> None:
        sums.new += 1
        path, known = found.path, found.known
        quiet = time.time() - found.stamp.ctime_ns / 1e9 > _EVENT_GRACE
        expected = request.expects_events and quiet and not (known and known.parked)
        lane = Lane.FRESH if request.announced else Lane.BACKLOG
        self._intake.offer(path, request.watched.path, lane, announced=request.announced, expected=expected)

    def _find_missing(self, top: str, visited: set[str]) -> None:
        for missing in missing_below(self._ledger, top, visited):
            if missing:
                self._ledger.apply(missing)


class _Sums:
    """What one scan has counted so far."""

    def __init__(self) -> None:
        self.directories = 0
        self.files = 0
        self.baseline = 0
        self.new = 0
        self.error: str | None = None
