"""What is known of one watched folder at this moment, and what `status` says of it."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from pixstored.config.schema import Existing, Method, WatchConfig
from pixstored.model import Lane, WatchState
from pixstored.publish.reconcile import Outcome, Request
from pixstored.publish.watched import Watched
from pixstored.service.presence import Presence
from pixstored.service.status import FolderReport
from pixstored.watch.filters import Rules

_MISSES = 3
"""So many reconciliations with missed events, of the last so many, show that events do not tell of all."""
_MISSES_OF = 10
_POLL_REST = 3.0
"""A poll that takes long is followed by a rest of so many times as long: it shall not take up the machine."""
_READ_AGAIN = 10.0
"""Seconds until a folder that could not be read is tried again."""
_READ_AGAIN_AT_ONCE = 100
"""Folders, at most."""
_UNREACHED = "it could not be looked into"
_NOT_ANSWERING = "it does not answer: a server or disk that is gone? It is waited for"


class Folder:
    """One watched folder. Main, the keeper, the scanner and the intake tell it what they find."""

    def __init__(self, config: WatchConfig, before: Folder | None = None) -> None:
        """`before`: the same folder by the configuration before this one."""
        self.config = config
        self.path = str(config.path)
        self.root = str(config.root)
        self.rules = Rules.of(config)
        self.watched: Watched | None = None
        """What everybody else sees of it; None until it is adopted."""
        if before and before.watched:
            self.watched = replace(before.watched, config=config, rules=self.rules)
        self.presence: Presence | None = None
        """None while it is away."""
        self.mounts: frozenset[tuple[str, int]] = frozenset()
        """What is mounted inside."""
        self.is_observed = False
        self.lacks_resources = False
        """The kernel has no watches left for it."""
        self._lock = threading.Lock()
        self._held: threading.Thread | None = before._held if before else None
        """A thread that its file I/O does not let go."""
        self._away: str | None = None
        self._is_fault = False
        self._poll_reason: str | None = None
        self._distrusted: str | None = None
        self._unread: dict[str, str] = {}
        self._read_again_at = 0.0
        self._is_scanning = False
        self._keeps_private = False
        """It has been adopted just now, and what was there is to stay private: a scan tells which files those are."""
        self._scanned_whole = False
        self._wants_scan = False
        self._next_scan = math.inf
        self._directories = 0
        self._missed = 0
        self._number = 0
        self._with_misses: set[int] = set()
        self._counted: tuple[int, int] | None = None
        """How many directories the last scan found, and how many were observed when that was compared."""

    # --- asked

    def is_held(self) -> bool:
        """True while some thread is held by its file I/O: nobody else shall come near."""
        return self._held is not None and self._held.is_alive()

    def watched_or_not_yet(self) -> Watched:
        """What uploaders see of it: before it is adopted, nothing in it is to be touched."""
        return self.watched or Watched(self.config, self.rules, 0, present=False)

    def takes(self, path: str) -> bool:
        """True if the rules take a file of it by its name."""
        return self.rules.takes(self.watched_or_not_yet().relative(path))

    def is_to_be_polled(self) -> bool:
        """True if no events are to be asked for."""
        if self._distrusted or self.config.method is Method.POLL:
            return True
        presence = self.presence  # once: the main thread may take it away
        eventless = presence is not None and not presence.filesystem.gives_events
        return self.config.method is Method.AUTO and eventless

    def report(self, observed: Callable[[str], int]) -> FolderReport:
        """`observed` tells how many directories of a folder are observed."""
        with self._lock:
            state, error = self._state()
            polled = self.watched.polled if self.watched else self.config.method is Method.POLL
            method = Method.POLL if polled else Method.NATIVE
            count = 0
            if self.presence:
                count = observed(self.path) if self.is_observed else self._directories
            return FolderReport(self.config.name, self.path, state, method, count, self._missed, error)

    def _state(self) -> tuple[WatchState, str | None]:
        if self.is_held():
            return WatchState.ERROR, _NOT_ANSWERING
        if self.presence is None:
            return (WatchState.ERROR if self._is_fault else WatchState.OFFLINE), self._away
        if self._unread:
            return WatchState.ERROR, self._unread_in_words()
        polled = self.watched is not None and self.watched.polled
        error = self._poll_reason if polled else None
        if not self._scanned_whole or (not polled and (self._is_scanning or self._wants_scan)):
            return WatchState.SCANNING, error
        return (WatchState.POLLING if polled else WatchState.WATCHING), error

    def _unread_in_words(self) -> str:
        (folder, why), *others = self._unread.items()
        place = "" if folder == self.path else f"{folder}: "
        return f"{place}{why}" + (f" (and {len(others)} more folders)" if others else "")

    # --- told by the keeper

    def came(self, presence: Presence, adopted_at_ns: int, *, is_new: bool) -> bool:
        """It is there, and adopted, `is_new`: just now; nothing of what it was before counts any more. True if it was
        away."""
        with self._lock:
            was_away = self._away is not None
            self.presence, self._away, self._is_fault = presence, None, False
            self.is_observed = False
            before = self.watched
            watched = Watched(
                self.config,
                self.rules,
                adopted_at_ns,
                identity=presence.identity,
                keeps_inodes=presence.filesystem.keeps_inodes,
            )
            if is_new:
                watched = watched.adopted_now(adopted_at_ns)
            elif before and before.adopted_at_ns == adopted_at_ns:
                watched = replace(watched, clock_ns=before.clock_ns)
            self.watched = watched
            self._unread.clear()
            self._scanned_whole = False
            self._keeps_private = is_new and self.config.existing is Existing.IGNORE
        self.want_scan()
        return was_away

    def went(self, why: str, *, is_fault: bool) -> bool:
        """It is away. True if that is news."""
        with self._lock:
            is_news = self.presence is not None or self._away != why
            self.presence, self._away, self._is_fault = None, why, is_fault
            self.is_observed = False
            self._wants_scan, self._next_scan = False, math.inf
            self._unread.clear()
            if self.watched:
                self.watched = replace(self.watched, present=False)
            return is_news

    def held_by(self, thread: threading.Thread) -> None:
        """This thread was given up, because its file I/O in the folder does not let it go."""
        self._held = thread
        self.went(_NOT_ANSWERING, is_fault=True)

    def observed(self) -> None:
        """Its events are told from now on; a scan must tell what was before."""
        with self._lock:
            self.is_observed, self._poll_reason = True, None
            self._set_polled(False)
        self.want_scan()

    def polled(self, why: str | None, now: float) -> bool:
        """No events are told of it: scans stand in for them. `why` if that is not as configured. True if it is news."""
        with self._lock:
            is_news = self.is_observed or not (self.watched and self.watched.polled) or self._poll_reason != why
            self.is_observed, self._poll_reason = False, why
            self._set_polled(True)
            if not self._is_scanning:
                self._next_scan = min(self._next_scan, now + self.config.poll_every)
            return is_news

    def _set_polled(self, polled: bool) -> None:
        if self.watched and self.watched.polled is not polled:
            self.watched = replace(self.watched, polled=polled)

    def has_unobserved(self, observed: int) -> bool:
        """True if a scan has found more directories in it than are observed. Says so once for each such pair."""
        with self._lock:
            counted = self._directories, observed
            if self._is_scanning or self._wants_scan or self._unread or counted == self._counted:
                return False
            self._counted = counted
            return observed < self._directories

    def why_distrusted(self) -> str | None:
        """Why its events are not enough, in words; None if nothing speaks against them."""
        return self._distrusted

    # --- scans

    def want_scan(self) -> None:
        """It is to be scanned as soon as possible: events may not have told of what there is."""
        with self._lock:
            self._wants_scan = True

    def scan_is_due(self, now: float) -> bool:
        """True if a scan is to be asked for now."""
        return self.due_in(now) <= 0

    def due_in(self, now: float) -> float:
        """Seconds until a scan is due; without end if none is."""
        with self._lock:
            if self.presence is None or self._is_scanning:
                return math.inf
            return 0.0 if self._wants_scan else max(self._next_scan - now, 0.0)

    def whole_scan(self, finished: Callable[[Outcome], None]) -> Request:
        """The scan that is due now."""
        with self._lock:
            is_poll = self.watched is not None and self.watched.polled
            expects = self.is_observed and not self._wants_scan
            again = self._scanned_whole
            self._is_scanning, self._wants_scan = True, False
            if expects:
                self._number += 1
            return Request(
                self.path,
                self.path,
                lane=Lane.FRESH if is_poll and again else Lane.BACKLOG,
                expects_events=expects,
                newcomers=is_poll and again and not self._unread,
                finished=finished,
            )

    def scanned(self, outcome: Outcome, now: float, rescan_every: float) -> dict[str, str]:
        """A scan of all of it has ended. Returns what is news: folders that could not be read, and why."""
        with self._lock:
            news = {folder: why for folder, why in outcome.errors.items() if self._unread.get(folder) != why}
            self._is_scanning = False
            self._directories = outcome.directories
            self._unread = dict(outcome.errors)
            self._read_again_at = now + _READ_AGAIN
            if self._keeps_private and outcome.whole and self.watched and self.watched.polled:
                # It misses what is moved from where it is still to look to where it has looked, and no event tells of
                # that: what another one finds now was there, too, and what comes after is new.
                self._keeps_private = False
            else:
                self._scanned_whole |= outcome.whole or bool(outcome.errors)
            if not self._scanned_whole:
                self._wants_scan = True
            elif self.watched and self.watched.clock_ns is not None:
                self.watched = replace(self.watched, clock_ns=None)
            if self.watched and self.watched.polled:
                self._next_scan = now + max(self.config.poll_every, _POLL_REST * outcome.took)
            else:
                self._next_scan = now + rescan_every
            return news

    def scanned_below(self, outcome: Outcome) -> dict[str, str]:
        """A scan of a folder in it has ended. Returns what `scanned` does."""
        below = outcome.folder.rstrip("/") + "/"
        with self._lock:
            news = {folder: why for folder, why in outcome.errors.items() if self._unread.get(folder) != why}
            for folder in [f for f in self._unread if f == outcome.folder or f.startswith(below)]:
                del self._unread[folder]
            self._unread |= outcome.errors
            return news

    def scan_lost(self) -> None:
        """Whoever scanned it is gone."""
        with self._lock:
            self._is_scanning = False
        if self.presence:
            self.want_scan()

    def to_read_again(self, now: float) -> list[str]:
        """Folders that could not be read, if it is time to try again."""
        with self._lock:
            if not self._unread or now < self._read_again_at or self._is_scanning:
                return []
            self._read_again_at = now + _READ_AGAIN
            return list(self._unread)[:_READ_AGAIN_AT_ONCE]

    def unreached(self, folder: str) -> None:
        """Something in this folder could not be looked at: a scan of it finds out why, and when that is over."""
        with self._lock:
            if self.presence and not any(each in self._unread for each in _up_to(self.path, folder)):
                self._unread[folder] = _UNREACHED

    def rescans_by(self, latest: float) -> None:
        """The next reconciliation comes at that time (monotonic) at the latest."""
        with self._lock:
            if not self._is_scanning:
                self._next_scan = min(self._next_scan, latest)

    # --- events

    def missed_event(self) -> None:
        """A scan found a file that an event should have told of."""
        with self._lock:
            self._missed += 1
            recent = {number for number in self._with_misses if number > self._number - _MISSES_OF}
            self._with_misses = recent | {self._number}
            if len(self._with_misses) >= _MISSES and not self._distrusted:
                self._distrusted = (
                    f"its file system does not tell of all that happens in it ({self._missed} files were found by "
                    "scans alone), so it is polled"
                )


def _up_to(top: str, folder: str) -> Iterator[str]:
    """The folder itself and those above it, up to `top`."""
    yield folder
    while len(folder) > len(top):
        folder = os.path.dirname(folder)
        yield folder
