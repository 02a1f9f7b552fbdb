"""The scan is the truth: compares a folder with the ledger and names what differs."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field

from pixstored.errors import LedgerError, WatchError
from pixstored.eventlog import EventLog
from pixstored.ledger.base import Ledger
from pixstored.model import FileState, Known, Lane, Skip
from pixstored.publish.compare import Comparison, Differing, compare, missing_below
from pixstored.publish.intake import Intake
from pixstored.publish.watched import Watched
from pixstored.slotted import dataclass
from pixstored.watch.filework import FileWork, Retired
from pixstored.watch.scan import Listing, path_below, walk

log = EventLog("pixstored.scan")

_NANOSECONDS = 1e9
_EVENT_GRACE = 2.0
"""Seconds an event may take to reach us before a scan that finds its file first says it was missed."""
_EVENT_LOOK = 0.005
"""Seconds between two looks whether all events have come."""


@dataclass(slots=True)
class Outcome:
    """What a scan found."""

    folder: str
    directories: int = 0
    files: int = 0
    baseline: int = 0
    new: int = 0
    took: float = 0.0
    """Seconds."""
    waited: float = 0.0
    """Seconds of them for events that were on their way."""
    errors: dict[str, str] = field(default_factory=dict)
    """Folders that could not be read to their end, and why."""
    whole: bool = False
    """It went through to the end: the folder was there all the time."""


@dataclass(frozen=True, slots=True)
class Request:
    """Scan this folder of a watch (both by their paths)."""

    watch: str
    folder: str
    lane: Lane = Lane.BACKLOG
    announced: bool = False
    """An event told of the folder, so what is in it is new."""
    urgent: bool = False
    """Not to wait for the scan of a whole watch that is under way."""
    expects_events: bool = False
    """The folder has been watched all along: what is found here, an event should have told."""
    newcomers: bool = False
    """A scan like this has just been through all of it: what nothing is known of came after."""
    finished: Callable[[Outcome], None] | None = None
    """Told when it is done; never, if the scanner dies or is given up, or another request stands for this one."""
    since: float = field(default_factory=time.time, compare=False)
    """When it was made (seconds since the epoch): what came later is as fresh as its event will say."""


class Requests:
    """What is to be scanned, by whoever scans. A folder that waits to be scanned stands for all that is below it."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[str, bool], Request] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False

    def add(self, request: Request) -> None:
        with self._changed:
            if self._closed or (request.urgent and self._is_covered(request)):
                return
            self._waiting[request.folder, request.urgent] = request
            self._changed.notify()

    def take(self, *, urgent: bool = False) -> Request | None:
        """The next one, the urgent ones first: with `urgent` at once, or none; else when there is one, or the end."""
        with self._changed:
            while True:
                if self._closed:
                    return None
                key = next((key for key in self._waiting if key[1]), None)
                if key is None and not urgent:
                    key = next(iter(self._waiting), None)
                if key is not None:
                    return self._waiting.pop(key)
                if urgent:
                    return None
                self._changed.wait()

    def forget(self, watch: str) -> None:
        """Nothing waits to be scanned in this watch (its path) any more."""
        with self._changed:
            for key in [key for key, waiting in self._waiting.items() if waiting.watch == watch]:
                del self._waiting[key]

    def close(self) -> None:
        """There is nothing to be taken any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def announces(self, watch: str, folder: str) -> bool:
        """True if a scan of this folder, or of one above it in its watch, waits because an event told of it."""
        with self._changed:
            return any(waiting.announced for waiting in self._covering(watch, folder))

    def _is_covered(self, request: Request) -> bool:
        return any(waiting.announced == request.announced for waiting in self._covering(request.watch, request.folder))

    def _covering(self, watch: str, folder: str) -> Iterator[Request]:
        while True:
            if waiting := self._waiting.get((folder, True)):
                yield waiting
            if folder in (watch, os.path.dirname(folder)):
                return
            folder = os.path.dirname(folder)


class Reconciler(threading.Thread):
    """One thread that scans what it is asked to, one folder after the other.

    `find` tells the watch of a path; `is_behind` whether there are events in it that nobody has been told of yet.
    """

    def __init__(
        self,
        ledger: Ledger,
        intake: Intake,
        find: Callable[[str], Watched | None],
        requests: Requests,
        is_behind: Callable[[str], bool],
        stopping: threading.Event,
    ) -> None:
        super().__init__(name="scanner", daemon=True)
        self._ledger = ledger
        self._intake = intake
        self._find = find
        self._requests = requests
        self._is_behind = is_behind
        self._stopping = stopping
        self.serving: list[Request] = []
        """What is being scanned; the last one is, and holds up those before it."""
        self.work = FileWork()

    def hand_to(self, intake: Intake) -> None:
        """Another intake takes what is found from now on."""
        self._intake = intake

    def run(self) -> None:
        try:
            while request := self._requests.take():
                self._serve(request)
        except Retired:
            log.info("a scanner that was stuck has ended")

    def _serve(self, request: Request) -> None:
        outcome = Outcome(request.folder)
        began = time.monotonic()
        self.serving.append(request)
        self._scan(request, outcome)
        self.serving.pop()
        outcome.took = time.monotonic() - began
        if request.finished:
            request.finished(outcome)

    def _scan(self, request: Request, outcome: Outcome) -> None:
        """Compares one folder and all below it with the ledger."""
        watched = self._find(request.watch)
        if watched is None or not watched.present:
            return
        visited: set[str] = set()
        try:
            for folder, listing in self._walk(watched, request.folder):
                visited.add(folder)
                outcome.directories += listing.is_first
                if listing.error:
                    outcome.errors[folder] = listing.error
                self._compare(request, watched, folder, listing, outcome)
                if not request.urgent:
                    self._serve_urgent()
                if self._is_over(watched):
                    return
            outcome.whole = self._find_missing(watched, request.folder, visited)
        except WatchError as error:
            outcome.errors[watched.path] = str(error)
        except LedgerError as error:
            outcome.errors[watched.path] = str(error)
            log.error("scan broken off", path=request.folder, reason=str(error))

    def _is_over(self, watched: Watched) -> bool:
        """True if nobody wants to know any more, or the folder is another one by now."""
        return self._stopping.is_set() or self._find(watched.path) is not watched

    def _serve_urgent(self) -> None:
        """What has just come does not wait until a whole archive has been looked through."""
        while request := self._requests.take(urgent=True):
            self._serve(request)

    def _walk(self, watched: Watched, folder: str) -> Iterator[tuple[str, Listing]]:
        """The folders from the one asked for on down, by their paths as configured, without files that are at rest."""
        listings = walk(
            watched.root,
            watched.config.recursive,
            watched.rules,
            self._between_steps,
            below=watched.relative(folder),
            at_rest=lambda below, span: self._ledger.at_rest_in(path_below(watched.path, below), span),
        )
        while True:
            with self.work.inside(watched.path):
                listing = next(listings, None)
            if listing is None:
                return
            yield path_below(watched.path, listing.folder), listing

    def _between_steps(self) -> bool:
        self.work.step()
        return self._stopping.is_set()

    def _compare(self, request: Request, watched: Watched, folder: str, listing: Listing, outcome: Outcome) -> None:
        outcome.files += len(listing.files) + listing.at_rest
        if not listing.files and not listing.others and not listing.is_short:
            return
        announced = request.announced or request.newcomers
        with self.work.inside(watched.path):
            found = compare(self._ledger, watched, folder, listing, announced=announced)
            missing = found.missing if found.missing and watched.is_itself() else ()
        if missing:  # before there is anything to wait for: it may be back by then
            self._ledger.apply(missing)
        private = self._private(request, watched, folder, found, outcome)
        if private:
            self._ledger.apply(private)
        outcome.baseline += len(private)
        outcome.new += len(found.differing)
        for differing in found.differing:
            self._hand_on(request, watched, differing)
        for path in found.others:
            self._offer(request, watched, path, request.lane)

    def _private(
        self, request: Request, watched: Watched, folder: str, found: Comparison, outcome: Outcome
    ) -> Sequence[Skip]:
        """What was there before, but for what events tell of: of a folder that was just moved here, say, whose files
        are as old as any. A scan may have found it before its event has reached us."""
        if not found.baseline:
            return ()
        while self._is_behind(watched.path) and outcome.waited < _EVENT_GRACE and not self._stopping.wait(_EVENT_LOOK):
            outcome.waited += _EVENT_LOOK
        if self._requests.announces(request.watch, folder):
            return ()
        announced = self._intake.announced(skip.path for skip in found.baseline)
        return [skip for skip in found.baseline if skip.path not in announced]

    def _hand_on(self, request: Request, watched: Watched, found: Differing) -> None:
        announced = request.announced or (request.newcomers and found.known is None and _is_within(watched, found))
        expected = request.expects_events and _is_news(found) and not self._is_behind(watched.path)
        lane = Lane.FRESH if found.stamp.ctime_ns / _NANOSECONDS > request.since else request.lane
        self._offer(request, watched, found.path, lane, announced=announced, expected=expected)

    def _offer(
        self,
        request: Request,
        watched: Watched,
        path: str,
        lane: Lane,
        *,
        announced: bool = False,
        expected: bool = False,
    ) -> None:
        """Names a file once there is room for it; what is more urgent does not wait for that."""
        while not self._intake.offer_found(path, watched.path, lane, announced=announced, expected=expected):
            if not request.urgent:
                self._serve_urgent()

    def _find_missing(self, watched: Watched, top: str, visited: set[str]) -> bool:
        """Known files that are gone with their folders; False if the watched folder has gone itself."""
        below = missing_below(self._ledger, top, visited)
        while True:
            with self.work.inside(watched.path):
                missing = next(below, None)
                if missing is None or (missing and not watched.is_itself()):
                    return missing is None
            if missing:
                self._ledger.apply(missing)


def _is_news(found: Differing) -> bool:
    """True if it came or changed, and long enough ago that an event should have told of it."""
    known = found.known
    if known and (known.parked or (found.stamp.unchanged(known.stamp) and not _was_gone(known))):
        return False
    return time.time() - found.stamp.ctime_ns / _NANOSECONDS > _EVENT_GRACE


def _was_gone(known: Known) -> bool:
    return known.missing or known.state is FileState.GONE


def _is_within(watched: Watched, found: Differing) -> bool:
    """False for what lies on something that was mounted inside."""
    return watched.identity is None or found.stamp.device == watched.identity[0]
