"""From named paths to ledger rows: everything after a path is one way, whoever named it.

Events, scans and workers only name paths. The intake waits until each is quiet, decides what it means, and
records it; the row in the ledger is the queue.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from pixstored.errors import LedgerError
from pixstored.eventlog import EventLog
from pixstored.ledger.base import Ledger
from pixstored.model import (
    BASELINE,
    HAS_A_LINK,
    FileState,
    Lane,
    Missing,
    Move,
    Remember,
    Skip,
    Stamp,
)
from pixstored.publish.batch import Batch, Named
from pixstored.publish.decide import Seen
from pixstored.publish.glance import Glance, glance
from pixstored.publish.meaning import Meaning, meaning_of
from pixstored.publish.pulse import Pulse
from pixstored.publish.recall import Recall, Records
from pixstored.publish.watched import Watched
from pixstored.slotted import dataclass
from pixstored.watch.filework import FileWork, Retired
from pixstored.watch.filters import UNFINISHED_SUFFIX
from pixstored.watch.opening import LastFolder
from pixstored.watch.settle import Settled, SettleTable, Unjudged, Vanished, Waiting

log = EventLog("pixstored.intake")

_BATCH = 500
"""Files looked at before the ledger is told: one commit for many, and never long without one."""

_LOOKS_LONGEST = 0.2
"""Seconds after which the ledger is told of fewer, and what came meanwhile goes first: on a slow disk or server so many
looks take ten."""

_MOST_FOUND = 1000
"""Files that scans may name before they have to wait: what they find next stays in the folders meanwhile."""

_LONGEST_WAIT = 0.5
"""Seconds for which a scan waits before it looks whether another one is more urgent."""

_MOST_SETTLING = 10_000
"""Files in the settle table (about 500 bytes each) beyond which a backlog waits; shots are always let in."""

_LEDGER_PAUSE = 5.0
"""Seconds to wait before the ledger is tried again."""

_ABSENCE = 1.0
"""Seconds after the last event in which a known file is not said to be gone: programs that retag a file put the new
one into its place a moment after they took the old one away."""

_JUST_NAMED = "it has just been named"


@dataclass(frozen=True, slots=True)
class _NoFile:
    """It is no regular file: what it is, in words."""

    stamp: Stamp
    why: str


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at a file of a watch from which something follows."""

    watched: Watched
    named: Named
    verdict: Settled | Vanished | _NoFile


class Intake(threading.Thread):
    """The one thread that decides what files mean. The other methods may be called from any thread.

    `missed` is told of the watch of each file that is news though no event brought it, if one should have; `unreached`
    of the watch and the path of each file that cannot be looked at, which is not to say that it is not there.
    """

    def __init__(
        self,
        ledger: Ledger,
        find_watch: Callable[[str], Watched | None],
        *,
        missed: Callable[[str], None],
        unreached: Callable[[str, str], None],
    ) -> None:
        super().__init__(name="intake", daemon=True)
        self._ledger = ledger
        self._find_watch = find_watch
        self._missed = missed
        self._unreached = unreached
        self._named: dict[str, Named] = {}
        self._found: dict[Lane, OrderedDict[str, Named]] = {lane: OrderedDict() for lane in sorted(Lane)}
        self._table = SettleTable()
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._stopped = False
        self._resting = Pulse()
        self.work = FileWork()

    # --- naming paths

    def offer(self, path: str, watch: str, lane: Lane, *, announced: bool = False) -> None:
        """Look at this path of the watch `watch` (its path) as soon as it is quiet. Never waits.

        `announced`: an event told of it, so it is new.
        """
        named = Named(path.removesuffix(UNFINISHED_SUFFIX), watch, lane, announced, expected=False)
        with self._wake:
            self._named[named.path] = named.joined(self._named.get(named.path))
            self._wake.notify()

    def offer_found(
        self, path: str, watch: str, lane: Lane, *, announced: bool = False, expected: bool = False
    ) -> bool:
        """As `offer`, for scans: waits while many files are named already, so that a backlog stays on the disk.
        `expected`: an event should have told of it.

        False: it has waited for a while, and the file was not taken; there may be something better to do.
        """
        with self._wake:
            found = self._found[lane]
            if len(found) >= _MOST_FOUND and not self._room.wait_for(
                lambda: len(found) < _MOST_FOUND or self._stopped, _LONGEST_WAIT
            ):
                return False
            found[path] = Named(path, watch, lane, announced, expected).joined(found.get(path))
            self._wake.notify()
            return True

    def forget_watch(self, watch: str, but: Callable[[str], bool] = lambda path: False) -> None:
        """What was named in this watch (its path), but those paths, is waited for no more: it is watched no more."""
        with self._wake:
            for named in (self._named, *self._found.values()):
                for path in [path for path, each in named.items() if each.watch == watch and not but(path)]:
                    del named[path]
            self._table.forget_watch(watch, but)
            self._room.notify_all()

    def stop(self) -> None:
        """Ends the thread; what was settling is found again by the next scan."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
            self._room.notify_all()

    # --- what is told

    def turns(self, now: float) -> bool:
        """False if the thread has ended or is stuck: for a minute it has neither moved nor waited for a disk or for
        something to do. Takes no lock: whoever is stuck may hold it."""
        return self.is_alive() and self._resting.goes(now)

    def settling(self) -> int:
        """How many files are waiting to be quiet."""
        with self._wake:
            return len(self._table) + len(self._named) + sum(map(len, self._found.values()))

    def oldest(self) -> float | None:
        """When the longest-waiting settling file changed last, in seconds since the epoch."""
        with self._wake:
            return self._table.oldest()

    def announced(self, paths: Iterable[str]) -> set[str]:
        """Those of them that wait because an event told of them."""
        with self._wake:
            return {path for path in paths if any(each.announced for each in self._waits(path))}

    def waiting(self, path: str) -> Waiting | None:
        """Why this path is not quiet yet; None if it does not wait."""
        with self._wake:
            return next(self._waits(path), None)

    def _waits(self, path: str) -> Iterator[Waiting]:
        """As what this path waits: it may have been named again while it settles."""
        found = self._table.get(path)
        if found:
            yield found
        for each in (self._named, *self._found.values()):
            named = each.get(path)
            if named:
                yield Waiting(path, named.watch, named.lane, None, _JUST_NAMED, named.announced)

    # --- the thread

    def run(self) -> None:
        try:
            while self._wait():
                self._look_at(self._due())
                self._resting.beat()
        except Retired:
            log.info("an intake that was stuck has ended")

    def _wait(self) -> bool:
        """Waits for something to do; False: stop."""
        with self._wake:
            while not (self._stopped or self._named or self._next_found()):
                now = time.monotonic()
                next_due = self._table.next_due()
                if next_due is not None and next_due <= now:
                    break
                with self._resting:
                    self._wake.wait(None if next_due is None else next_due - now)
            return not self._stopped

    def _next_found(self) -> OrderedDict[str, Named] | None:
        """Where the next file that a scan found comes from; None if there is none, or none may begin to settle."""
        is_full = len(self._table) >= _MOST_SETTLING
        return next(
            (found for lane, found in self._found.items() if found and (lane is Lane.FRESH or not is_full)), None
        )

    def _due(self) -> list[str]:
        """The files to look at now, those that events brought first."""
        with self._wake:
            now = time.monotonic()
            for named in self._named.values():
                self._hint(named, now)
            self._named = {}
            due = self._table.due(now, _BATCH)
            for _ in range(_BATCH - len(due)):
                found = self._next_found()
                if found is None:
                    break
                named = found.popitem(last=False)[1]
                if self._hint(named, now, at_once=True):
                    due.append(named.path)
            self._room.notify_all()
            return due + self._table.due(now, _BATCH - len(due))

    def _hint(self, named: Named, now: float, *, at_once: bool = False) -> bool:
        """Hands a path to the settle table, if it is to be taken; True if it is given out `at_once`."""
        watched = self._find_watch(named.watch)
        if watched is None or not watched.rules.takes(watched.relative(named.path)):
            return False
        return self._table.hint(
            named.path,
            settle=watched.config.settle,
            lane=named.lane,
            watch=named.watch,
            now=now,
            two_looks=watched.polled,
            announced=named.announced,
            expected=named.expected,
            at_once=at_once,
        )

    def _look_at(self, paths: list[str]) -> None:
        """Looks at these files, and then decides about all that may be decided, by what the ledger says of them."""
        looks = self._looks(paths)
        if not looks:
            return
        try:
            recall = Recall(
                self._ledger,
                [look.named.path for look in looks],
                [look.verdict.stamp.inode for look in looks if isinstance(look.verdict, Settled)],
            )
        except LedgerError as error:
            for look in looks:
                self._later(look.named, error)
        else:
            self._decide(looks, recall)

    def _looks(self, paths: list[str]) -> list[_Look]:
        """From which of these files something follows. If it takes long, the rest wait for what is more urgent."""
        looks = []
        until = time.monotonic() + _LOOKS_LONGEST
        with LastFolder() as last:
            for number, path in enumerate(paths, start=1):
                look = self._look(path, last)
                if look is not None:
                    looks.append(look)
                if (now := time.monotonic()) > until:
                    with self._lock:
                        self._table.give_again(paths[number:], now)
                    break
        return looks

    def _look(self, path: str, last: LastFolder) -> _Look | None:
        """One look at a settling file; None if nothing follows from it yet."""
        entry = self._table.named(path)
        watched = self._find_watch(entry[0]) if entry else None
        if entry is None or watched is None or not watched.present:
            with self._lock:
                self._table.forget(path)
            return None
        watch, lane, announced = entry
        with self.work.inside(watch):
            return self._look_in(watched, Named(path, watch, lane, announced, False), last)

    def _look_in(self, watched: Watched, named: Named, last: LastFolder) -> _Look | None:
        """The same, for a folder that is there as far as anybody knows."""
        path = named.path
        with self._resting:
            seen = glance(watched, path, last)
        try:
            verdict = self._verdict(path, seen)
        finally:
            seen.close()
        if isinstance(verdict, Settled | Vanished):
            return _Look(watched, named, verdict)
        if seen.hidden:
            self._unreached(watched.path, path)
        return _Look(watched, named, _NoFile(seen.stamp, seen.no_file)) if seen.no_file and seen.stamp else None

    def _verdict(self, path: str, seen: Glance) -> Settled | Waiting | Unjudged | Vanished | None:
        """What the settle table says to what was seen; whether a file is cut off is looked at without holding it."""
        with self._lock:
            if seen.hidden or seen.no_file:
                self._table.forget(path)
            if path not in self._table:  # its watch was removed meanwhile, perhaps
                return None
            verdict = self._table.look(path, seen.stamp, seen.busy, time.monotonic(), time.time(), writer=seen.writer)
        if not isinstance(verdict, Unjudged):
            return verdict
        with self._resting:
            missing = seen.missing()
        with self._lock:
            if path not in self._table:
                return None
            return self._table.judge(verdict, missing, time.monotonic(), time.time())

    def _decide(self, looks: Iterable[_Look], recall: Recall) -> None:
        """What follows from these looks is recorded."""
        batch = Batch()
        records: Records = recall
        for look in looks:
            try:
                with self.work.inside(look.watched.path):
                    meaning = self._meaning(look, records)
                    if isinstance(look.verdict, Settled) and batch.changes_what(look.named.path, meaning):
                        self._record(batch)
                        records = self._ledger  # what was recalled is not all true any more
                        meaning = self._meaning(look, records)
            except LedgerError as error:
                self._later(look.named, error)
            else:
                self._add(look, meaning, batch)
        self._record(batch)

    def _meaning(self, look: _Look, records: Records) -> Meaning:
        verdict, watch = look.verdict, look.watched.config.name
        if isinstance(verdict, Vanished):
            return self._vanished(look.named, verdict.quiet_for, records)
        if isinstance(verdict, _NoFile):
            return _no_file(look.named.path, verdict, watch, records)
        seen = Seen(verdict.path, verdict.stamp, verdict.lane, watch, verdict.changed_at, announced=verdict.announced)
        with self._resting:  # it looks whether other files are still there
            return meaning_of(records, look.watched, seen)

    def _vanished(self, named: Named, quiet_for: float, records: Records) -> Meaning:
        """A known file is gone once it has been for a moment."""
        known = records.look(named.path)
        if known is None or known.missing:
            return Meaning()
        if quiet_for < _ABSENCE:
            self._again(named, _ABSENCE - quiet_for)
            return Meaning()
        return Meaning((Missing(named.path),), known)

    def _add(self, look: _Look, meaning: Meaning, batch: Batch) -> None:
        if meaning.is_outdated:
            self._again(look.named, _ABSENCE)
            return
        batch.add(look.named, meaning)
        settled = look.verdict
        if isinstance(settled, Settled) and any(isinstance(change, Remember | Move) for change in meaning.changes):
            if settled.missed:
                self._missed(look.watched.path)
            if settled.cut_off:
                log.warning("published though it seems to be cut off", path=settled.path, reason=settled.cut_off)

    def _record(self, batch: Batch) -> None:
        # What waits of a watch that is removed is taken out of the queue: nothing of it may get there after that.
        decided = [(named, meaning) for named, meaning in batch.taken() if self._find_watch(named.watch)]
        if not decided:
            return
        try:
            self._ledger.apply(
                [change for _, meaning in decided for change in meaning.changes],
                is_lasting=not all(self._is_found_again(named, meaning) for named, meaning in decided),
            )
        except LedgerError as error:
            for named, _ in decided:
                self._later(named, error)
            return
        for _, meaning in decided:
            for change in meaning.changes:
                if isinstance(change, Skip) and change.reason != BASELINE:
                    log.info("skipped", path=change.path, reason=change.reason)

    def _is_found_again(self, named: Named, meaning: Meaning) -> bool:
        """True if a scan would decide the same: a new file need not wait for the disk twice before it is sent."""
        watched = self._find_watch(named.watch)
        return (
            watched is not None
            and meaning.known is None
            and all(
                isinstance(change, Remember) and change.stamp.ctime_ns > watched.adopted_at_ns
                for change in meaning.changes
            )
        )

    def _later(self, named: Named, error: LedgerError) -> None:
        """The ledger cannot be used: keep the path, and try again in a while."""
        log.debug("not recorded", path=named.path, reason=str(error))
        self._again(named, _LEDGER_PAUSE)

    def _again(self, named: Named, pause: float) -> None:
        """Looks at a file that has left the table again, after so many seconds."""
        with self._wake:
            now = time.monotonic()
            self._hint(replace(named, lane=Lane.BACKLOG), now)
            self._table.postpone(named.path, named.lane, now + pause)


def _no_file(path: str, found: _NoFile, watch: str, records: Records) -> Meaning:
    known = records.look(path)
    if known and known.state in HAS_A_LINK:  # the file that was sent is not there any more, and keeps its link
        return Meaning() if known.missing else Meaning((Missing(path),), known)
    if known and known.state is FileState.SKIPPED and known.stamp.unchanged(found.stamp):
        return Meaning()
    return Meaning((Skip(path, found.stamp, watch, found.why),), known)
