"""Who may send what now: hands claims to the workers, one probe at a time while the store is not well.

The queue itself is the ledger; nothing is kept here but the store's health, under one lock.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum

from pixstored.errors import LedgerError, NotSent, Uncertain
from pixstored.eventlog import EventLog
from pixstored.ledger.base import Ledger
from pixstored.model import Claim, FileState, StoreState
from pixstored.slotted import dataclass
from pixstored.store.health import Health, Look, Permit, Probe, Wait

log = EventLog("pixstored.publish")

SMALL_BACKLOG = 1024 * 1024
"""Bytes up to which the worker that is kept for fresh files takes one of the backlog meanwhile."""

_LEDGER_PAUSE = 5.0
"""Seconds without sending after the ledger could not be read or written."""


class Duty(Enum):
    """What a worker takes from the queue."""

    ALL = "all"
    FRESH = "fresh"
    """Fresh files, and of the backlog only small ones."""
    NONE = "none"
    """Nothing more: it ends."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A worker's turn: one file, and the leave to send it."""

    claim: Claim
    permit: Permit
    named: bool = False
    """Somebody waits for it."""


@dataclass(frozen=True, slots=True)
class StoreReport:
    """The store's health for `status`; times are seconds since the epoch."""

    state: StoreState
    since: float
    error: str | None
    next_try: float | None


class Dispatcher:
    """Hands out turns until it is stopped. Safe to call from any thread."""

    def __init__(
        self, ledger: Ledger, health: Health, store_id: str, *, longest: float = math.inf, named_only: bool = False
    ) -> None:
        """`longest`: the seconds of `retry.longest`."""
        self._ledger = ledger
        self._longest = longest
        self._probed: set[int] = set()
        self._health = health
        self._store_id = store_id
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._named_only = named_only
        self._named: deque[str] = deque()
        self._stopped = False
        self._ledger_error: str | None = None
        self._closed_until = 0.0
        self._began = time.time()
        self._turns: set[int] = set()
        """The files (by id) whose turns have not ended: one may end twice, if its worker was given up meanwhile."""

    def wake(self) -> None:
        """Something may have come into the queue, or may be tried now."""
        with self._lock:
            self._wake.notify()

    def stop(self) -> None:
        """No more turns: every waiting worker gets None."""
        with self._lock:
            self._stopped = True
            self._wake.notify_all()

    def pace(self, first: float, longest: float) -> None:
        """Other seconds of `retry.first` and `retry.longest` count from now on."""
        with self._lock:
            self._longest = longest
            self._health.pace(first, longest)
            self._wake.notify_all()

    def poke(self) -> None:
        """Something was mended, another key may be let in: try at once."""
        with self._lock:
            self._health.poke(time.monotonic())
            self._wake.notify_all()

    def name(self, path: str, *, try_now: bool = False) -> None:
        """Somebody asked for this queued path: it comes before all others, whenever its next try was due.

        With `try_now` the store is tried at once, though it was not well a moment ago.
        """
        with self._lock:
            self._named.append(path)
            if try_now and self._store_closed():
                self._health.poke(time.monotonic())
            self._wake.notify_all()

    def closed(self) -> str | None:
        """Why nothing is sent at this moment, in words; None if something may be."""
        with self._lock:
            return self._closed()

    def take(self, owner: str, duty: Callable[[], Duty], before_waiting: Callable[[], None]) -> Turn | None:
        """The next turn for this worker; waits for it, and looks at its duty again whenever it is woken. None: stop.

        `before_waiting` is called each time there is nothing to do; it must not wait for anything.
        """
        while True:
            if self._ledger_error is not None:
                self._see_to_ledger()
            with self._lock:
                now = Duty.NONE if self._stopped else duty()
                found = None if now is Duty.NONE else self._next(owner, SMALL_BACKLOG if now is Duty.FRESH else None)
                if isinstance(found, Turn) or now is not Duty.ALL:
                    self._wake.notify()  # the one that is woken wakes the next: there may be more than it can take
                if isinstance(found, Turn):
                    self._turns.add(found.claim.file_id)
                    return found
                if now is Duty.NONE:
                    return None
                before_waiting()
                self._wake.wait(found)

    def _next(self, owner: str, small_backlog: int | None) -> Turn | float | None:
        """A turn, or for how many seconds there is none (None: until something happens)."""
        now = time.monotonic()
        if self._ledger_error is not None:
            return max(self._closed_until - now, 0.0)
        wall = time.time()
        pause = self._ledger.paused(wall)
        if pause:
            return self._look(owner) or (None if pause.until is None else max(pause.until - wall, 0.0))
        permit = self._health.ask(now)
        if isinstance(permit, Wait):
            return self._look(owner) or (None if math.isinf(permit.until) else max(permit.until - now, 0.0))
        try:
            if self._named and (named := self._claim_named(owner)):
                return Turn(named, permit, named=True)
            claim = None if self._named_only else self._claim(owner, wall, small_backlog, permit)
            due = None if claim or self._named_only else self._ledger.next_due(wall, self._longest)
        except LedgerError as error:
            self._health.done(now, permit)
            self._close(str(error))
            return _LEDGER_PAUSE
        if claim:
            return Turn(claim, permit)
        self._health.done(now, permit)
        return None if due is None else max(due - wall, 0.0)

    def _look(self, owner: str) -> Turn | float | None:
        """A turn that needs no leave to send: to see whether a file that had a link is the same as before."""
        if self._named_only:
            return None
        try:
            claim = self._ledger.claim_to_recheck(owner)
        except LedgerError as error:
            self._close(str(error))
            return _LEDGER_PAUSE
        return Turn(claim, Look()) if claim else None

    def _claim(self, owner: str, wall: float, small_backlog: int | None, permit: Permit) -> Claim | None:
        """The next file of the queue. Probes go round: one file that no store would take keeps no other waiting."""
        ledger, longest = self._ledger, self._longest
        if not isinstance(permit, Probe):
            self._probed.clear()
            return ledger.claim(owner, wall, small_backlog=small_backlog, longest=longest)
        found = ledger.claim(owner, wall, small_backlog=small_backlog, longest=longest, avoid=self._probed)
        if found is None and self._probed and small_backlog is None:
            self._probed.clear()
            found = ledger.claim(owner, wall, longest=longest, avoid=self._probed)
        return found

    def _see_to_ledger(self) -> None:
        """Finds out whether the ledger, which could not be used, can be written again: no body is begun for that.

        Not under the lock: whoever writes the ledger tells us of what was written.
        """
        if time.monotonic() < self._closed_until:
            return
        try:
            self._ledger.probe()
        except LedgerError as error:
            with self._lock:
                self._close(str(error))
        else:
            with self._lock:
                self._reopen()

    def _claim_named(self, owner: str) -> Claim | None:
        """The first of the named files that is free; those whose content is on its way are kept for later."""
        for path in list(self._named):
            claim = self._ledger.claim_path(owner, path)
            if claim:
                self._named.remove(path)
                return claim
            known = self._ledger.look(path)
            if known is None or known.state is not FileState.PENDING:
                self._named.remove(path)
        return None

    def _closed(self) -> str | None:
        if self._ledger_error is not None:
            return self._ledger_error
        pause = self._ledger.paused(time.time())
        if pause:
            moment = time.strftime(" until %Y-%m-%d %H:%M", time.localtime(pause.until)) if pause.until else ""
            return f"the sending is paused{moment} (`pixstored resume` ends that)"
        return self._store_closed()

    def _store_closed(self) -> str | None:
        if self._health.next_try is None or self._health.next_try <= time.monotonic():
            return None
        return f"the store is {self._health.state.value}: {self._health.error}"

    # --- how a turn ended

    def succeeded(self, turn: Turn) -> None:
        """The store has answered as a well store does."""
        with self._lock:
            self._turns.discard(turn.claim.file_id)
            changed = self._health.succeeded(time.monotonic(), turn.permit)
            if changed:
                self._tell()
            self._open_after(turn, changed)

    def refused(self, turn: Turn) -> None:
        """The store has said no to this file: it answers."""
        with self._lock:
            self._turns.discard(turn.claim.file_id)
            changed = self._health.refused(time.monotonic(), turn.permit)
            if changed:
                self._tell()
            self._open_after(turn, changed)

    def refusing(self, turn: Turn, why: str) -> None:
        """The store has said no to this file, as to those before it: it is not well."""
        with self._lock:
            self._turns.discard(turn.claim.file_id)
            self._was_probed(turn)
            if self._health.refusing(f"it refuses one file after another: {why}", time.monotonic(), turn.permit):
                self._tell()
            self._wake.notify_all()

    def failed(self, turn: Turn, error: NotSent | Uncertain) -> None:
        """The store could not take the file."""
        with self._lock:
            self._turns.discard(turn.claim.file_id)
            self._was_probed(turn)
            if self._health.failed(error, time.monotonic(), turn.permit):
                self._tell()
            self._wake.notify_all()

    def done(self, turn: Turn) -> None:
        """The turn ended without telling anything of the store."""
        with self._lock:
            self._turns.discard(turn.claim.file_id)
            self._open_after(turn, self._health.done(time.monotonic(), turn.permit))

    def _open_after(self, turn: Turn, changed: bool) -> None:
        """Who waited for this turn need not any more: that is so if the store's state has changed, or for a probe."""
        if changed or isinstance(turn.permit, Probe):
            self._wake.notify_all()

    def is_alone(self) -> bool:
        """True if there is one turn under way at most."""
        return len(self._turns) <= 1

    def is_files_own(self, turn: Turn) -> bool:
        """True if a failure of this turn is the file's own: the store was well, and is."""
        with self._lock:
            return not isinstance(turn.permit, Probe) and self._health.is_open

    def _was_probed(self, turn: Turn) -> None:
        if isinstance(turn.permit, Probe):
            self._probed.add(turn.claim.file_id)

    def ledger_failed(self, error: LedgerError) -> None:
        """Nothing can be recorded: nothing is sent for a while."""
        with self._lock:
            self._close(str(error))
            self._wake.notify_all()

    # --- what is told

    def report(self) -> StoreReport:
        """How the store is doing."""
        with self._lock:
            offset = time.time() - time.monotonic()
            health = self._health
            return StoreReport(
                health.state,
                self._began if health.since is None else health.since + offset,
                health.error,
                None if health.next_try is None else health.next_try + offset,
            )

    def _tell(self) -> None:
        state = self._health.state
        say = log.info if state is StoreState.OK else log.warning
        say("store", state=state.value, store=self._store_id, error=self._health.error)

    def _close(self, error: str) -> None:
        if self._ledger_error is None:
            log.critical("sending stopped", reason=error)
        self._ledger_error = error
        self._closed_until = time.monotonic() + _LEDGER_PAUSE

    def _reopen(self) -> None:
        if self._ledger_error is not None:
            log.info("sending resumed")
            self._ledger_error = None
