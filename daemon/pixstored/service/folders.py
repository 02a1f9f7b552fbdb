"""The watched folders of a running daemon: observed, adopted, scanned, and told the truth about."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

from pixstored.config.schema import Existing, WatchConfig
from pixstored.errors import WatchError
from pixstored.eventlog import EventLog
from pixstored.ledger.base import Ledger
from pixstored.model import Lane, WatchState
from pixstored.publish.intake import Intake
from pixstored.publish.reconcile import Outcome, Reconciler, Request
from pixstored.publish.watched import Watched, watch_above
from pixstored.service.status import FolderReport
from pixstored.watch.filters import Rules
from pixstored.watch.mounts import adoption_moment, filesystem_of
from pixstored.watch.observer import FolderObserver, Hint, HintKind

log = EventLog("pixstored.watch")

_POLL_EVERY = 10.0
"""Seconds between two scans of a folder that no events come from (`poll_every`)."""


class _Folder:
    """What is known of one watched folder at this moment; guarded by the lock of `Folders`."""

    def __init__(self, config: WatchConfig) -> None:
        self.config = config
        self.rules = Rules.of(config)
        self.watched: Watched | None = None
        self.online = False
        self.scans = 0
        self.directories = 0
        self.missed = 0
        self.unobserved: str | None = None
        """Why no events come from it: it is scanned often instead."""
        self.unmade: str | None = None
        """Why it could not be made though it is missing."""
        self.unread: str | None = None
        """Why it could not be read to its end when it was last scanned."""
        self.next_scan = 0.0

    @property
    def path(self) -> str:
        return str(self.config.path)

    @property
    def error(self) -> str | None:
        return self.unmade or self.unobserved or self.unread

    def state(self) -> WatchState:
        if self.error:
            return WatchState.ERROR
        if not self.online:
            return WatchState.OFFLINE
        return WatchState.SCANNING if self.scans else WatchState.WATCHING

    def report(self) -> FolderReport:
        return FolderReport(
            self.config.name, self.path, self.state(), "native", self.directories, self.missed, self.error
        )


class Folders:
    """All watched folders. `start`, `tick` and `stop` are the main thread's; the rest may be called by any."""

    def __init__(
        self, watches: Sequence[WatchConfig], rescan_every: float, ledger: Ledger, stopping: threading.Event
    ) -> None:
        self._folders = {str(config.path): _Folder(config) for config in watches}
        self._rescan_every = rescan_every
        self._ledger = ledger
        self._stopping = stopping
        self._lock = threading.Lock()
        self.intake = Intake(ledger, self.find, self._missed)
        self.reconciler = Reconciler(ledger, self.intake, stopping)
        self._observer: FolderObserver | None = None

    # --- asked by others

    def find(self, path: str) -> Watched | None:
        """The watch of this path, if it is one that is adopted."""
        folder = self._folders.get(path)
        return folder.watched if folder else None

    def above(self, path: str) -> Watched | None:
        """The watch that a file lies in."""
        return watch_above(self.find, path)

    def offer(self, path: str, watch: str, lane: Lane) -> None:
        """Look at this path of a watch as soon as it is quiet."""
        self.intake.offer(path, watch, lane)

    def reports(self) -> list[FolderReport]:
        """The folders as they are now, in the configuration's order."""
        with self._lock:
            return [folder.report() for folder in self._folders.values()]

    # --- the main thread's

    def start(self) -> None:
        """Observes and adopts every folder that is there, and asks for its first scan. Never waits for a scan."""
        self._ledger.watched({folder.path: folder.config.name for folder in self._folders.values()})
        self.intake.start()
        self.reconciler.start()
        self._renew_observer()

    def tick(self) -> None:
        """Once a second: folders that went or came back, an observer that went blind, scans that are due."""
        self._replace_dead_threads()
        for folder in self._folders.values():
            there = os.path.isdir(folder.config.root)
            if folder.online and not there:
                self._take_offline(folder)
            elif there and not folder.online:
                self._bring_online(folder)
            elif folder.online and time.monotonic() >= folder.next_scan:
                if folder.unobserved:
                    self._observe(folder)
                self._scan(folder, expects_events=True)
        blind = self._observer.healthy() if self._observer else None
        if blind:
            log.warning("observer replaced", reason=blind)
            self._renew_observer()

    def next_tick(self) -> float:
        """Seconds until `tick` has something to do at the latest."""
        return 1.0

    def reconfigure(self, watches: Sequence[WatchConfig], rescan_every: float) -> None:
        """Watches these folders from now on. Those whose configuration is what it was go on undisturbed.

        New and changed ones are observed and adopted when this returns, and their scan is asked for. What settles in
        those that are not watched any more is forgotten, and what waits in them to be sent is `skipped`.
        """
        before = self._folders
        kept = [before.get(str(config.path)) for config in watches]
        after = [
            folder if folder and folder.config == config else _Folder(config)
            for folder, config in zip(kept, watches, strict=True)
        ]
        with self._lock:
            self._folders = {folder.path: folder for folder in after}
            self._rescan_every = rescan_every
        for path, folder in before.items():
            if self._folders.get(path) is not folder and self._observer:
                self._observer.remove(path)
            if path not in self._folders:
                self.intake.forget_under(path)
        self._ledger.watched({folder.path: folder.config.name for folder in after})
        for folder in after:
            if before.get(folder.path) is not folder:
                self._bring_online(folder)
            folder.next_scan = min(folder.next_scan, time.monotonic() + rescan_every)

    def stop(self) -> None:
        """No more hints, scans or decisions."""
        if self._observer:
            self._observer.stop()
        self.reconciler.stop()
        self.intake.stop()

    # --- one folder

    def _renew_observer(self) -> None:
        """A fresh observer for all folders, and a scan of each: what happened meanwhile, no event has told."""
        if self._observer:
            self._observer.stop()
        self._observer = None
        for folder in self._folders.values():
            folder.online = False
            self._bring_online(folder)

    def _bring_online(self, folder: _Folder) -> None:
        """Observes first, then adopts, then scans: what comes in between is brought by an event or the scan."""
        if not self._is_there(folder):
            return
        self._observe(folder)
        self._adopt(folder)
        with self._lock:
            folder.online = True
        self._scan(folder, expects_events=False)

    def _replace_dead_threads(self) -> None:
        """What a dead thread held in memory, a scan of every folder finds again."""
        if self.intake.is_alive() and self.reconciler.is_alive():
            return
        self.intake.stop()
        self.reconciler.stop()
        self.intake = Intake(self._ledger, self.find, self._missed)
        self.reconciler = Reconciler(self._ledger, self.intake, self._stopping)
        self.intake.start()
        self.reconciler.start()
        for folder in self._folders.values():
            folder.scans = 0
            if folder.online:
                self._scan(folder, expects_events=False)

    def _observe(self, folder: _Folder) -> None:
        """Asks the kernel for the folder's events. Where it cannot give them, scans stand in for them."""
        try:
            if self._observer is None:
                observer = FolderObserver(self._on_hint)
                observer.start()
                self._observer = observer
            root = str(folder.config.root)
            self._observer.add(folder.path, root, folder.config.recursive, folder.rules.enters)
        except WatchError as error:
            if folder.unobserved != str(error):
                log.error("folder scanned instead of watched", path=folder.path, reason=str(error))
            with self._lock:
                folder.unobserved = str(error)
        else:
            with self._lock:
                folder.unobserved = None

    def _is_there(self, folder: _Folder) -> bool:
        root = folder.config.root
        if folder.config.create and not os.path.lexists(root):
            try:
                root.mkdir(parents=True, exist_ok=True)
                log.info("folder made", path=folder.path)
            except OSError as error:
                folder.unmade = f"it is not there, and cannot be made: {error.strerror}"
                log.error("folder offline", path=folder.path, reason=folder.unmade)
                return False
        if os.path.isdir(root):
            folder.unmade = None
            return True
        log.warning("folder offline", path=folder.path, reason="it is not there; it is waited for")
        return False

    def _adopt(self, folder: _Folder) -> None:
        adoption = self._ledger.adoption(folder.path)
        if adoption is None:
            moment = adoption_moment()
            self._ledger.adopt(folder.path, moment, _identity(str(folder.config.root)))
            log.info("folder adopted", path=folder.path, existing=folder.config.existing.value)
        else:
            moment = adoption.adopted_at_ns
        with self._lock:
            folder.watched = Watched(folder.config, folder.rules, moment)

    def _take_offline(self, folder: _Folder) -> None:
        if self._observer:
            self._observer.remove(folder.path)
        with self._lock:
            folder.online = False
            folder.directories = 0
        log.warning("folder offline", path=folder.path, reason="it is not there any more; it is waited for")

    def _scan(self, folder: _Folder, *, expects_events: bool) -> None:
        folder.next_scan = time.monotonic() + (_POLL_EVERY if folder.unobserved else self._rescan_every)
        if folder.watched is None:
            return
        with self._lock:
            folder.scans += 1
        self.reconciler.ask(
            Request(
                folder.watched,
                folder.path,
                announced=False,
                finished=lambda outcome: self._scanned(folder, outcome),
                expects_events=expects_events,
            )
        )

    def _scanned(self, folder: _Folder, outcome: Outcome) -> None:
        with self._lock:
            folder.scans -= 1
            folder.directories = outcome.directories
            folder.unread = outcome.error
        if outcome.baseline and folder.config.existing is Existing.IGNORE:
            log.info(
                "baseline: what was there stays private",
                path=folder.path,
                files=outcome.baseline,
                publish_them=f"pixstored publish {folder.path}",
            )
        log.debug("scanned", path=folder.path, directories=outcome.directories, files=outcome.files, new=outcome.new)

    # --- the observer's thread

    def _on_hint(self, hint: Hint) -> None:
        watched = self.find(hint.watch)
        if watched is None:
            return
        match hint.kind:
            case HintKind.FILE:
                self.intake.offer(hint.path, hint.watch, Lane.FRESH, announced=True)
            case HintKind.GONE:
                self.intake.offer(hint.path, hint.watch, Lane.FRESH, announced=True)
                self.reconciler.ask(Request(watched, hint.path, announced=False))
            case HintKind.FOLDER:
                self.reconciler.ask(Request(watched, hint.path, announced=True))
            case HintKind.RESCAN:
                folder = self._folders.get(hint.watch)
                if folder:
                    folder.next_scan = 0.0

    # --- the intake's thread

    def _missed(self, watch: str) -> None:
        folder = self._folders.get(watch)
        if folder:
            with self._lock:
                folder.missed += 1


def _identity(root: str) -> str | None:
    """The identity of the folder's file system; one that cannot be had counts as the same as any."""
    try:
        return filesystem_of(root).identity
    except WatchError:
        return None
