"""Files that somebody asked for by name: one attempt now, through the same ledger and the same workers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from pixstored.errors import Changed, Duplicate, PixstoredError, UploadError
from pixstored.ledger.base import Ledger
from pixstored.model import Claim, FileState, Known, Lane, Remember, Stamp, Standing
from pixstored.publish.dispatcher import Dispatcher
from pixstored.publish.watched import Watched
from pixstored.slotted import dataclass
from pixstored.watch.opening import being_written, kind_of

QUIET = 1.0
"""Seconds for which a named file must have been as it is, like a watched one."""

_LOOK_EVERY = 0.25
"""Seconds between two looks at whether the store takes anything at all."""

_KEEPS_ITS_STATE = {
    FileState.PUBLISHED: "",
    FileState.UNCERTAIN: "the store may have it already: `pixstored why` tells how to settle that",
    FileState.WITHDRAWN: "it was unpublished on purpose",
}
"""States in which the same content is not sent again, and what is said of it."""


class NotPublishable(PixstoredError):
    """A named file cannot be published as it is: not regular, empty, or somebody writes to it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the attempt ended: the file's state now, its link if it has one, else why it has none."""

    path: str
    state: FileState
    link: str | None
    why: str


@dataclass(slots=True)
class _Asked:
    """A named file whose attempt has not ended."""

    descriptor: int
    outcome: Outcome | None = None


def quiet_stamp(descriptor: int, wait: Callable[[float], None] = time.sleep) -> Stamp:
    """The stamp of an open file that is regular, not empty and quiet; waits up to `QUIET` seconds for the last.

    Raises `NotPublishable`.
    """
    before = None
    while True:
        st = os.fstat(descriptor)
        kind = kind_of(st.st_mode)
        if kind is not None:
            raise NotPublishable(f"it is {kind}, not a file")
        if being_written(descriptor):
            raise NotPublishable("a program has it open for writing: try again when it is complete")
        if st.st_size == 0:
            raise NotPublishable("it is empty")
        stamp = Stamp.of(st)
        age = time.time() - max(st.st_ctime, st.st_mtime)
        if age >= QUIET or (before is not None and stamp.unchanged(before)):
            return stamp
        if before is not None:
            raise NotPublishable("it is changing: try again when it is complete")
        before = stamp
        wait(QUIET - max(age, 0.0))


class Publisher:
    """Takes named files and tells how their attempt ended. For any thread."""

    def __init__(self, ledger: Ledger, dispatcher: Dispatcher, above: Callable[[str], Watched | None]) -> None:
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._above = above
        self._asked: dict[str, _Asked] = {}
        self._changed = threading.Condition()
        self._stopped = False

    def offer(self, path: str, descriptor: int, *, try_now: bool = False) -> None:
        """Queues this file, before all others. The descriptor is ours from now on, and closed when it is done.

        `try_now` is for the first file of an asking: a store that was not well is tried once for all of them.
        Raises `NotPublishable` or `LedgerError`: nothing was queued then.
        """
        try:
            stamp = quiet_stamp(descriptor)
            known = self._ledger.look(path)
            outcome = self._settled_before(path, stamp, known)
            if outcome is None:
                self._remember(path, stamp)
        except BaseException:
            os.close(descriptor)
            raise
        with self._changed:
            before = self._asked.get(path)
            if before:
                os.close(before.descriptor)
            self._asked[path] = _Asked(descriptor, outcome)
        if outcome is None:
            self._dispatcher.name(path, try_now=try_now)

    def outcome(self, path: str, wait: float) -> Outcome | None:
        """How the attempt of an offered file ended; None if it has not within `wait` seconds."""
        deadline = time.monotonic() + wait
        with self._changed:
            while True:
                asked = self._asked.get(path)
                if asked is None:
                    raise NotPublishable("it was not offered")
                outcome = asked.outcome or self._given_up(path)
                if outcome:
                    del self._asked[path]
                    os.close(asked.descriptor)
                    return outcome
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, _LOOK_EVERY))

    def descriptor(self, path: str) -> int | None:
        """A descriptor of the offered file, for the caller to close; None if it is not one."""
        if not self._asked:
            return None  # nearly always, without the lock
        with self._changed:
            asked = self._asked.get(path)
            return None if asked is None else os.dup(asked.descriptor)

    def ended(self, claim: Claim, error: UploadError | None) -> None:
        """A worker's turn with this claim has ended."""
        if not self._asked:
            return
        with self._changed:
            asked = self._asked.get(claim.path)
        if asked is None:
            return
        if isinstance(error, Duplicate) and error.standing is Standing.IN_FLIGHT:
            self._dispatcher.name(claim.path)
            return
        outcome = self._outcome_of(claim.path, error)
        with self._changed:
            asked.outcome = outcome
            self._changed.notify_all()

    def stop(self) -> None:
        """Nobody waits any longer: what has not ended stays queued."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    # --- what is known and decided

    def _settled_before(self, path: str, stamp: Stamp, known: Known | None) -> Outcome | None:
        """The outcome of a file that needs no attempt: its content is where it belongs, as far as anybody knows."""
        if known is None or known.state not in _KEEPS_ITS_STATE or not known.stamp.unchanged(stamp) or known.kept_back:
            return None
        story = self._ledger.story(path)
        link = story.link if story and known.state is FileState.PUBLISHED else None
        return Outcome(path, known.state, link, _KEEPS_ITS_STATE[known.state])

    def _remember(self, path: str, stamp: Stamp) -> None:
        watched = self._above(path)
        watch = watched.config.name if watched else None
        changed_at = max(stamp.ctime_ns, stamp.mtime_ns) / 1e9
        self._ledger.apply([Remember(path, stamp, Lane.FRESH, watch, changed_at, named=True)])

    def _given_up(self, path: str) -> Outcome | None:
        """The outcome of a file that cannot get its turn now."""
        if self._stopped:
            return Outcome(path, FileState.PENDING, None, "the sending was stopped; it stays queued")
        known = self._ledger.look(path)
        if known is None or known.state is not FileState.PENDING:
            return self._outcome_of(path, None)  # another file of the same content has settled it
        closed = self._dispatcher.closed()
        return Outcome(path, FileState.PENDING, None, f"{closed}; it stays queued") if closed else None

    def _outcome_of(self, path: str, error: UploadError | None) -> Outcome:
        story = self._ledger.story(path)
        if story is None:
            return Outcome(path, FileState.GONE, None, "it is not known any more")
        state = story.known.state
        if state is FileState.PUBLISHED:
            return Outcome(path, state, story.link, "")
        why = str(error) if error else story.known.reason or state.value
        if isinstance(error, Duplicate):
            why = _KEEPS_ITS_STATE.get(state) or why
        stays = "; it stays queued" if state is FileState.PENDING and not isinstance(error, Changed) else ""
        return Outcome(path, state, None, why + stays)
