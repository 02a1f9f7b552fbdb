"""The thread that looks after the watched folders: are they there, do their events come, is a scan due?

It does what may wait for a dead disk or server, so that the main thread never does.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import IntEnum

from pixstored.errors import LedgerError, WatchError
from pixstored.eventlog import EventLog
from pixstored.ledger.base import Ledger
from pixstored.service.folder import Folder
from pixstored.service.presence import Absent, Presence, adopt, adopted, identity_of, look
from pixstored.watch.filework import FileWork, Retired
from pixstored.watch.mounts import inotify_limits, mounts_below
from pixstored.watch.observer import FolderObserver, Hint, LimitReached

log = EventLog("pixstored.watch")

ROUND = 2.0
"""Seconds between two rounds, if nothing asks for one before."""
_ROUND_EACH = 0.01
"""Seconds for each folder, if that is more: who watches a thousand of them waits ten, and pays as little."""
_SHORTEST = 0.1
_MILLISECONDS = 1000
_MOUNTS = "/proc/self/mountinfo"
_RENEW_FIRST = 5.0
"""Seconds that an observer is given at least, before the next one takes its place: on a tree that makes the kernel's
queue overflow at once, nothing else would be done any more."""
_RENEW_LONGEST = 300.0
"""Seconds to which that time doubles."""
_RENEWED_LONG_AGO = 600.0
"""Seconds after which an observer has proven itself."""
_NATIVE_AGAIN = 600.0
"""Seconds until it is tried again to watch what could not be watched for lack of a kernel resource."""


class Phase(IntEnum):
    """What a round has come to."""

    BEGUN = 0
    ADOPTED = 1
    """Every folder that is there has been adopted."""
    OVER = 2


class Keeper(threading.Thread):
    """Goes round the folders. `wake` may be called from any thread, `retire` if it is stuck.

    `scan` is told of a folder that is to be scanned, and of the place in it (its path, or one below); `on_other` of one
    before it is adopted as another one than it was: what was told of that says nothing of it.
    """

    def __init__(
        self,
        folders: Callable[[], Sequence[Folder]],
        ledger: Ledger,
        on_hint: Callable[[Hint], None],
        scan: Callable[[Folder, str], None],
        on_other: Callable[[Folder], None],
    ) -> None:
        super().__init__(name="keeper", daemon=True)
        self._folders = folders
        self._ledger = ledger
        self._on_hint = on_hint
        self._scan = scan
        self._on_other = on_other
        self._observer: FolderObserver | None = None
        self._renew_at = 0.0
        self._renewed_at = -_RENEWED_LONG_AGO
        self._pause = _RENEW_FIRST
        self._limits = inotify_limits()
        self._native_again_at = 0.0
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._is_at_observer = False
        self._ended = False
        self._closed = False
        self._rounds = threading.Condition()
        self._reached = dict.fromkeys(Phase, 0)
        self.work = FileWork()
        self._failed: LedgerError | None = None
        self.ledger_failure: LedgerError | None = None
        """What the ledger said when it could not note an adoption in the last round."""

    # --- from other threads

    def wake(self) -> None:
        """Go round at once."""
        with self._rounds:
            if not self._closed:
                os.eventfd_write(self._alarm, 1)

    def give_up(self) -> FolderObserver | None:
        """This thread is dead, or stuck: it ends when it gets free. Returns the observer for the next one, if any."""
        self.work.retire()
        self._ended = True
        if self._is_at_observer:
            return None
        observer, self._observer = self._observer, None
        return observer

    def take_over(self, observer: FolderObserver | None) -> None:
        """Before the start: the observer that another keeper had. Without one, all folders are observed anew."""
        self._observer = observer
        if observer is None:
            for folder in self._folders():
                folder.is_observed = False

    def finish(self) -> None:
        """Ends the thread, and all watching, as soon as it can."""
        self._ended = True
        self.wake()

    def rounds(self, phase: Phase) -> int:
        """How many rounds have come that far."""
        with self._rounds:
            return self._reached[phase]

    def wait_for(self, phase: Phase, rounds: int, seconds: float) -> bool:
        """Waits until so many rounds have come that far, but no longer than that; True if they have."""
        with self._rounds:
            return self._rounds.wait_for(lambda: self._reached[phase] >= rounds, seconds)

    def directories(self, path: str) -> int:
        """How many directories of this folder are observed."""
        observer = self._observer
        return observer.directories(path) if observer else 0

    def is_behind(self, path: str) -> bool:
        """True if there are events in this folder that nobody has been told of yet."""
        observer = self._observer
        return observer is not None and observer.is_behind(path)

    # --- the thread

    def run(self) -> None:
        try:
            self._go_round()
        except Retired:
            if self.work.is_retired:  # else all ends, in the midst of a great tree
                log.info("a keeper that was stuck has ended")
        finally:
            if self._observer:
                self._observer.stop()
            with self._rounds:
                self._closed = True
                os.close(self._alarm)

    def _go_round(self) -> None:
        with open(_MOUNTS, encoding="ascii", errors="surrogateescape") as mounts:
            poller = select.poll()
            poller.register(self._alarm, select.POLLIN)
            poller.register(mounts, select.POLLPRI)  # the kernel's way to say that mounts have changed (proc(5))
            mounted = True
            while not self._ended:
                self._round(mounts_changed=mounted)
                found = dict(poller.poll(self._pause_between_rounds() * _MILLISECONDS))
                mounted = mounts.fileno() in found
                if self._alarm in found:
                    os.eventfd_read(self._alarm)

    def _round(self, *, mounts_changed: bool) -> None:
        self._reach(Phase.BEGUN)
        self._failed = None
        folders = [folder for folder in self._folders() if not folder.is_held()]
        new = []
        for folder in folders:
            with self.work.inside(folder.path):
                presence = self._look_for(folder, mounts_changed=mounts_changed)
            if presence:
                new.append((folder, presence))
        self._adopt(new)
        self.ledger_failure = self._failed
        self._reach(Phase.ADOPTED)
        self._forget_others()
        self._look_at_observer()
        limits = inotify_limits()
        may_be_native = limits != self._limits or time.monotonic() >= self._native_again_at
        if may_be_native:
            self._limits, self._native_again_at = limits, time.monotonic() + _NATIVE_AGAIN
        for folder in folders:
            if folder.presence:
                with self.work.inside(folder.path):
                    self._look_after(folder, may_be_native=may_be_native)
        self._reach(Phase.OVER)

    def _pause_between_rounds(self) -> float:
        folders, now = self._folders(), time.monotonic()
        return min([max(ROUND, _ROUND_EACH * len(folders)), *(max(each.due_in(now), _SHORTEST) for each in folders)])

    def _reach(self, phase: Phase) -> None:
        with self._rounds:
            self._reached[phase] += 1
            self._rounds.notify_all()

    # --- is it there?

    def _look_for(self, folder: Folder, *, mounts_changed: bool) -> Presence | None:
        """What is there, if it is to be adopted now."""
        before = folder.presence  # once: the main thread may take it away, if the folder holds another thread
        try:
            if before and not mounts_changed and identity_of(folder.config) == before.identity:
                return None
            presence = look(folder.config)
            if before and before.is_like(presence):
                self._look_at_mounts_inside(folder)
                return None
            if before:
                log.warning("folder is another one", path=folder.path)
                self._unobserve(folder)
            moment = adopted(self._ledger, folder.config, presence, self.work.step)
        except Absent as away:
            self._take_away(folder, away)
        except LedgerError as error:
            self._failed = error
        except OSError as error:
            self._take_away(folder, Absent(f"it cannot be read: {error.strerror or error}", is_fault=True))
        else:
            if moment is None:
                return presence
            self._came(folder, presence, moment, is_new=False)
        return None

    def _adopt(self, new: Sequence[tuple[Folder, Presence]]) -> None:
        if not new:
            return
        try:
            moment = adopt(self._ledger, [(folder.config, presence) for folder, presence in new])
        except LedgerError as error:
            self._failed = error
            return
        for folder, presence in new:
            self._came(folder, presence, moment, is_new=True)

    def _came(self, folder: Folder, presence: Presence, adopted_at_ns: int, *, is_new: bool) -> None:
        folder.mounts = mounts_below(folder.root)
        if folder.watched and folder.watched.adopted_at_ns != adopted_at_ns:
            self._on_other(folder)
        if folder.came(presence, adopted_at_ns, is_new=is_new):
            log.info("folder back", path=folder.path)
            with suppress(LedgerError):  # as at a start: their disk may have been what failed
                self._ledger.retry_failed(time.time())

    def _take_away(self, folder: Folder, away: Absent) -> None:
        self._unobserve(folder)
        if folder.went(str(away), is_fault=away.is_fault):
            say = log.error if away.is_fault else log.warning
            say("folder offline", path=folder.path, reason=str(away))

    def _look_at_mounts_inside(self, folder: Folder) -> None:
        """What is mounted inside hides folders that are watched, and uncovers some when it goes."""
        mounts = mounts_below(folder.root)
        if mounts != folder.mounts:
            folder.mounts = mounts
            folder.is_observed = False
            folder.want_scan()

    # --- are its events told?

    def _forget_others(self) -> None:
        """Folders that are not configured any more, or not as they were, are not observed any more."""
        if self._observer is None or self._observer.dead():
            return
        observed = {folder.path for folder in self._folders() if folder.is_observed}
        for path in self._observer.paths() - observed:
            self._observer.remove(path)

    def _look_at_observer(self) -> None:
        """One that does not see any more is thrown away, but not more and more often."""
        reason = self._observer.dead() if self._observer else None
        if reason is None:
            return
        now = time.monotonic()
        if now < self._renew_at:
            for folder in self._folders():
                if folder.is_observed:
                    self._poll(folder, f"{reason}; it is polled for a while")
            return
        self._pause = (
            _RENEW_FIRST if now - self._renewed_at > _RENEWED_LONG_AGO else min(self._pause * 2, _RENEW_LONGEST)
        )
        self._renewed_at, self._renew_at = now, now + self._pause
        log.warning("observer replaced", reason=reason)
        observer, self._observer = self._observer, None
        if observer:
            observer.stop()
        for folder in self._folders():
            folder.is_observed = False

    def _look_after(self, folder: Folder, *, may_be_native: bool) -> None:
        if folder.is_to_be_polled():
            self._unobserve(folder)
            self._poll(folder, folder.why_distrusted())
        elif folder.is_observed:
            self._look_at_events(folder)
        elif self._may_observe() and (may_be_native or not folder.lacks_resources):
            self._observe(folder)
        if folder.scan_is_due(time.monotonic()):
            self._scan(folder, folder.path)
        for place in folder.to_read_again(time.monotonic()):
            self._scan(folder, place)

    def _may_observe(self) -> bool:
        """False while an observer that is dead is to be replaced, but not yet."""
        return self._observer is None or self._observer.dead() is None

    def _look_at_events(self, folder: Folder) -> None:
        if self._observer is None:
            folder.is_observed = False
            return
        limit = self._observer.limit_reached(folder.path)
        if limit:
            folder.lacks_resources = True
            self._native_again_at = time.monotonic() + _NATIVE_AGAIN
            self._unobserve(folder)
            self._poll(folder, limit)
            folder.want_scan()
            return
        blind = self._observer.blind(folder.path)
        if blind or folder.has_unobserved(self._observer.directories(folder.path)):
            log.warning("folder watched anew", path=folder.path, reason=blind or "some of its folders were not watched")
            self._unobserve(folder)
            self._observe(folder)
            return
        for place in self._observer.now_readable(folder.path):
            self._scan(folder, place)

    def _observe(self, folder: Folder) -> None:
        """Asks the kernel for the folder's events. Where it cannot give them, polls stand in for them."""
        is_being_added = True

        def enters(below: str) -> bool:
            if is_being_added:
                self.work.step()
                if self._ended:
                    raise Retired
            return folder.rules.enters(below)

        self._is_at_observer = True
        try:
            if self._observer is None:
                observer = FolderObserver(self._on_hint)
                observer.start()
                self._observer = observer
            self._observer.add(folder.path, folder.root, folder.config.recursive, enters)
        except LimitReached as error:
            folder.lacks_resources = True
            self._poll(folder, str(error))
        except WatchError as error:
            self._poll(folder, f"{error}; it is polled")
        else:
            folder.lacks_resources = False
            folder.observed()
        finally:
            is_being_added = self._is_at_observer = False

    def _unobserve(self, folder: Folder) -> None:
        self._is_at_observer = True
        if self._observer and folder.is_observed:
            self._observer.remove(folder.path)
        folder.is_observed = self._is_at_observer = False

    def _poll(self, folder: Folder, why: str | None) -> None:
        if folder.polled(why, time.monotonic()) and why:
            log.error("folder polled instead of watched", path=folder.path, reason=why)
