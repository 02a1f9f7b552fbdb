"""The watched folders of a running daemon, and the threads that look after them: supervised, and never waited for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pixstored.config.schema import Config, Existing
from pixstored.errors import LedgerError
from pixstored.eventlog import EventLog
from pixstored.ledger.base import Ledger
from pixstored.model import WATCH_REMOVED, Lane
from pixstored.publish.intake import Intake
from pixstored.publish.reconcile import Outcome, Reconciler, Request, Requests
from pixstored.publish.watched import Watched, watch_above
from pixstored.service.folder import Folder
from pixstored.service.keeper import Keeper, Phase
from pixstored.service.status import FolderReport
from pixstored.shown import command_line
from pixstored.watch.observer import Hint, HintKind

log = EventLog("pixstored.watch")

TICK = 1.0
"""Seconds between two ticks."""
_ADOPTED_WITHIN = 60.0
"""Seconds that a start waits for its folders to be adopted, at most: those that answer are, after less."""
_OBSERVED_WITHIN = 5.0
"""Seconds more that it waits for the events of all of them to be asked for. What happens before, a scan finds."""
_LOOK_EVERY = 0.5
"""Seconds between two looks, meanwhile, whether a thread is stuck."""
_STOP_WAIT = 6.0
"""Seconds for the observer to end; it is given five."""


class Folders:
    """All watched folders. `start`, `tick`, `reconfigure` and `stop` are the main thread's; the rest are anyone's.

    Nothing here does file I/O: a folder on a dead disk or server may hold a thread that does, but not the caller.
    """

    def __init__(self, config: Config, ledger: Ledger, stopping: threading.Event) -> None:
        self._config_file = str(config.path)
        self._folders = {str(watch.path): Folder(watch) for watch in config.watches}
        self._rescan_every = config.rescan_every
        self._ledger = ledger
        self._rules_are_new = False
        self._ledger_knows_names = False
        self._stopping = stopping
        self._requests = Requests()
        self.intake = self._new_intake()
        self._scanner = self._new_scanner()
        self._keeper = self._new_keeper()

    # --- asked by others

    def find(self, path: str) -> Watched | None:
        """The watch of this path, if it is one that is adopted."""
        folder = self._folders.get(path)
        return folder.watched if folder else None

    def above(self, path: str) -> Watched | None:
        """The watch that a file lies in; one that is not adopted yet is not `present`."""
        return watch_above(self._configured, path)

    def _configured(self, path: str) -> Watched | None:
        folder = self._folders.get(path)
        return folder.watched_or_not_yet() if folder else None

    def offer(self, path: str, watch: str, lane: Lane) -> None:
        """Look at this path of a watch as soon as it is quiet."""
        self.intake.offer(path, watch, lane)

    def reports(self) -> list[FolderReport]:
        """The folders as they are now, in the configuration's order."""
        return [folder.report(self._keeper.directories) for folder in list(self._folders.values())]

    # --- the main thread's

    def start(self) -> None:
        """Adopts every folder that is there, asks for its events, and for its first scan. Never waits for a scan.

        Raises LedgerError if an adoption could not be noted.
        """
        self._tell_names()
        self.intake.start()
        self._scanner.start()
        self._keeper.start()
        self._await_adoption(0)
        self._raise_ledger_failure()

    def tick(self) -> None:
        """Every `TICK` seconds: threads that died, or that a folder does not let go, are replaced.

        Raises LedgerError if an adoption cannot be noted, or the ledger cannot be told of another configuration.
        """
        self._replace_threads()
        self._raise_ledger_failure()
        if not self._ledger_knows_names:
            self._tell_names()

    def reconfigure(self, config: Config) -> None:
        """Watches these folders from now on. Those whose configuration is what it was go on undisturbed.

        New and changed ones are adopted when this returns, and their scan is asked for. What settles, and is not to be
        published any more, is forgotten, and what waits in folders that are not watched any more is `skipped`. What of
        this the ledger cannot record now, `tick` sees to; nothing is sent meanwhile.
        """
        before = self._folders
        known = [before.get(str(watch.path)) for watch in config.watches]
        after = [
            folder if folder and folder.config == watch else Folder(watch, folder)
            for folder, watch in zip(known, config.watches, strict=True)
        ]
        self._folders = {folder.path: folder for folder in after}
        self._rescan_every = config.rescan_every
        begun = self._keeper.rounds(Phase.BEGUN)
        for path in before.keys() - self._folders.keys():
            self.intake.forget_watch(path)
        changed = [folder for folder in after if before.get(folder.path) is not folder]
        for folder in changed:
            self.intake.forget_watch(folder.path, folder.takes)
        self._ledger_knows_names = False
        self._rules_are_new |= bool(changed)
        with suppress(LedgerError):
            self._tell_names()
        for folder in after:
            folder.rescans_by(time.monotonic() + config.rescan_every)
        self._await_adoption(begun)

    def held(self, path: str, thread: threading.Thread) -> None:
        """This thread, which was at work there, was given up: file I/O does not let it go."""
        watched = self.above(path)
        folder = self._folders.get(path) or (self._folders.get(watched.path) if watched else None)
        if folder is None:
            return
        if not folder.is_held():
            log.error("folder does not answer", path=folder.path, held=thread.name)
        folder.held_by(thread)

    def stop(self) -> None:
        """No more hints, scans or decisions."""
        self._keeper.finish()
        self._requests.close()
        self.intake.stop()
        if self._keeper.is_alive() and not self._keeper.work.stuck_in(time.monotonic()):
            self._keeper.join(_STOP_WAIT)

    def _tell_names(self) -> None:
        self._ledger.watched({folder.path: folder.config.name for folder in self._folders.values()})
        if self._rules_are_new:
            self._ledger.judge_waiting(self._why_not)
        self._ledger_knows_names, self._rules_are_new = True, False

    def _why_not(self, path: str, size: int) -> str | None:
        watched = self.above(path)
        return watched.turns_away(path, size) if watched else WATCH_REMOVED

    def _raise_ledger_failure(self) -> None:
        if self._keeper.ledger_failure:
            raise self._keeper.ledger_failure

    def _await_adoption(self, begun: int) -> None:
        """Waits for the next round but those `begun`: for all folders that answer, not long for those that do not."""
        deadline = time.monotonic() + _ADOPTED_WITHIN
        if self._await_round(Phase.ADOPTED, begun + 1, deadline):
            self._await_round(Phase.OVER, begun + 1, min(deadline, time.monotonic() + _OBSERVED_WITHIN))

    def _await_round(self, phase: Phase, number: int, deadline: float) -> bool:
        keeper = self._keeper
        keeper.wake()
        while not keeper.wait_for(phase, number, _LOOK_EVERY):
            self._replace_threads()
            if self._keeper is not keeper:
                return self._await_round(phase, 1, deadline)
            if time.monotonic() > deadline or self._stopping.is_set():
                return False
        return True

    # --- supervision

    def _replace_threads(self) -> None:
        """What a thread held in memory that died, or was given up, a scan finds again."""
        now = time.monotonic()
        if why := self._is_lost(self._keeper, now):
            log.warning("keeper replaced", reason=why)
            observer = self._keeper.give_up()
            self._keeper = self._new_keeper()
            self._keeper.take_over(observer)
            self._keeper.start()
        if why := self._is_lost(self._scanner, now):
            log.warning("scanner replaced", reason=why)
            lost = list(self._scanner.serving)
            self._scanner.work.retire()
            self._scanner = self._new_scanner()
            self._scanner.start()
            for request in lost:
                self._scan_lost(request.watch)
        if why := self._is_lost(self.intake, now):
            log.warning("intake replaced", reason=why)
            self.intake.work.retire()
            self.intake.stop()
            self.intake = self._new_intake()
            self._scanner.hand_to(self.intake)
            self.intake.start()
            for path in self._folders:
                self._scan_lost(path)

    def _is_lost(self, thread: Keeper | Reconciler | Intake, now: float) -> str | None:
        """Why the thread has to be replaced; None if all is well. A folder that holds it is told of it."""
        if not thread.is_alive():
            return "it died"
        path = thread.work.stuck_in(now)
        if path:
            self.held(path, thread)
        return f"stuck in {path}" if path else None

    def _scan_lost(self, path: str) -> None:
        folder = self._folders.get(path)
        if folder:
            folder.scan_lost()
        self._keeper.wake()

    def _new_keeper(self) -> Keeper:
        return Keeper(lambda: list(self._folders.values()), self._ledger, self._on_hint, self._scan, self._other)

    def _new_scanner(self) -> Reconciler:
        return Reconciler(self._ledger, self.intake, self.find, self._requests, self._is_behind, self._stopping)

    def _new_intake(self) -> Intake:
        return Intake(self._ledger, self.find, missed=self._missed, unreached=self._unreached)

    # --- the keeper's thread

    def _scan(self, folder: Folder, place: str) -> None:
        if place == folder.path:
            self._requests.add(folder.whole_scan(self._finished(folder, self._scanned)))
        else:
            self._requests.add(self._urgent(folder, place, announced=False))

    def _other(self, folder: Folder) -> None:
        """What events told of, and was to be scanned, was on another disk: what has such a name here is not new."""
        self.intake.forget_watch(folder.path)
        self._requests.forget(folder.path)
        folder.scan_lost()

    def _urgent(self, folder: Folder, place: str, *, announced: bool) -> Request:
        lane = Lane.FRESH if announced else Lane.BACKLOG
        finished = self._finished(folder, lambda folder, outcome: folder.scanned_below(outcome))
        return Request(folder.path, place, lane=lane, announced=announced, urgent=True, finished=finished)

    # --- the scanner's thread

    @staticmethod
    def _finished(folder: Folder, then: Callable[[Folder, Outcome], dict[str, str]]) -> Callable[[Outcome], None]:
        """What a scan has found, told to its folder; folders that cannot be read are said once."""

        def finished(outcome: Outcome) -> None:
            for place, why in then(folder, outcome).items():
                log.warning("folder not read", path=place, reason=why)

        return finished

    def _scanned(self, folder: Folder, outcome: Outcome) -> dict[str, str]:
        if outcome.baseline and folder.config.existing is Existing.IGNORE:
            log.info(
                "baseline: what was there stays private",
                path=folder.path,
                files=outcome.baseline,
                publish_them=command_line(["publish", folder.path], self._config_file),
            )
        log.debug("scanned", path=folder.path, directories=outcome.directories, files=outcome.files, new=outcome.new)
        news = folder.scanned(outcome, time.monotonic(), self._rescan_every)
        self._keeper.wake()  # for the time of the next one
        return news

    # --- the observer's thread

    def _on_hint(self, hint: Hint) -> None:
        folder = self._folders.get(hint.watch)
        if folder is None or folder.watched is None:
            return
        match hint.kind:
            case HintKind.FILE | HintKind.GONE:
                self.intake.offer(hint.path, hint.watch, Lane.FRESH, announced=True)
            case HintKind.FOLDER:
                self._requests.add(self._urgent(folder, hint.path, announced=True))
            case HintKind.FOLDER_GONE:
                self._requests.add(self._urgent(folder, hint.path, announced=False))
            case HintKind.RESCAN:
                folder.want_scan()
                self._keeper.wake()

    def _is_behind(self, path: str) -> bool:
        return self._keeper.is_behind(path)

    # --- the intake's thread

    def _missed(self, watch: str) -> None:
        folder = self._folders.get(watch)
        if folder:
            folder.missed_event()

    def _unreached(self, watch: str, path: str) -> None:
        folder = self._folders.get(watch)
        if folder:
            folder.unreached(os.path.dirname(path))
