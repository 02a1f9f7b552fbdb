"""The daemon's ledger: one SQLite file, one thread that writes it, the claims in memory."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from pixstored.errors import LedgerError, LedgerUnusable
from pixstored.ledger.claims import Live
from pixstored.ledger.sqlite_file import Reads, connect, unusable
from pixstored.ledger.sqlite_lessons import ANYTHING_TAUGHT, LESSONS, NOTHING_TAUGHT, key_of, lessons_of
from pixstored.ledger.sqlite_outcome import Outcome
from pixstored.ledger.sqlite_people import pause_of
from pixstored.ledger.sqlite_queue import Queue
from pixstored.ledger.sqlite_schema import open_for_writing
from pixstored.ledger.sqlite_told import ToldLedger
from pixstored.ledger.sqlite_values import guard_of, text
from pixstored.model import Claim, FileState, Lessons, Pause, Receipt, Standing

T = TypeVar("T")

_ADD_STORE = "INSERT INTO store (name) VALUES (?) ON CONFLICT DO NOTHING"

_IS_KNOWN = """
    SELECT 1 FROM content_known WHERE store_id = :store AND sha256 = :sha256
    UNION ALL
    SELECT 1 FROM refused WHERE store_id = :store AND sha256 = :sha256 AND extension = :extension"""


def open_ledger(path: Path, store: str, *, fresh: bool = False, clock: Callable[[], float] = time.time) -> SqliteLedger:
    """The ledger to write, for this store; made if it is missing. The caller holds its `LedgerLock`.

    A ledger that is missing though a backup or a links file tells of it is not made, unless `fresh`. `clock`
    gives seconds since the epoch. Raises `LedgerUnusable`.
    """
    try:
        connection = open_for_writing(path, fresh=fresh)
        try:
            connection.execute(_ADD_STORE, (text(store),))
            reads = Reads(connect(path, readonly=False), path)
            queue = Reads(connect(path, readonly=False), path)
            return SqliteLedger(path, store, connection, reads, queue, clock, pause_of(connection))
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    except OSError as error:
        raise LedgerUnusable(f"the ledger {path} cannot be opened: {error.strerror}") from error


class SqliteLedger(ToldLedger):
    """Implements `Ledger`, for any thread.

    Besides the writer's, there are two connections to read with: what hands out work never waits for a long list.
    """

    def __init__(
        self,
        path: Path,
        store: str,
        connection: sqlite3.Connection,
        reads: Reads,
        queue: Reads,
        clock: Callable[[], float],
        pause: Pause | None,
    ) -> None:
        super().__init__(path, store, connection, reads, clock, pause)
        self._reads_queue = queue
        self._queue = Queue(self._store_id, queue)
        self._claims = self._queue.claims
        self._taught = self._is_anything_taught()

    def close(self) -> None:
        """Writes what waits, and closes the file. Every verb raises `LedgerError` from then on."""
        self._reads.close()
        self._reads_queue.close()
        self._writer.close()

    # --- the queue

    def claim(
        self,
        owner: str,
        now: float,
        *,
        small_backlog: int | None = None,
        longest: float = math.inf,
        avoid: Collection[int] | None = None,
    ) -> Claim | None:
        """See `Ledger.claim`. Never waits for something being written."""
        return self._queue.claim(owner, now, small_backlog, longest, avoid)

    def claim_path(self, owner: str, path: str) -> Claim | None:
        """See `Ledger.claim_path`. Never waits for something being written."""
        return self._queue.claim_path(owner, path)

    def claim_to_recheck(self, owner: str) -> Claim | None:
        """See `Ledger.claim_to_recheck`. Never waits for something being written."""
        return self._queue.claim_to_recheck(owner)

    def next_due(self, now: float, longest: float = math.inf) -> float | None:
        """See `Ledger.next_due`."""
        return self._queue.next_due(now, longest)

    def state_of(self, claim: Claim) -> FileState | None:
        """See `Ledger.state_of`."""
        return self._queue.state_of(claim)

    def was_named(self, claim: Claim) -> bool:
        """See `Ledger.was_named`."""
        return self._queue.was_named(claim)

    def lessons(self, extension: str) -> Lessons:
        """See `Ledger.lessons`. From memory where nothing has ever been taught: it is asked before each file."""
        if not self._taught:
            return NOTHING_TAUGHT
        asked = {"store": self._store_id, "extension": os.fsencode(extension)}
        return lessons_of(self._reads_queue.one(LESSONS, asked))

    def _is_anything_taught(self) -> bool:
        return self._reads_queue.one(ANYTHING_TAUGHT, {"store": self._store_id}) is not None

    def recover(self, now: float) -> int:
        """See `Ledger.recover`."""
        count = super().recover(now)
        self._queue.recovered()
        return count

    # --- what the worker tells while its claim lasts

    def hashed(self, claim: Claim, sha256: bytes) -> Standing:
        """See `Ledger.hashed`. A CLEAR hash is written down when the claim goes on or ends."""
        live = self._live(claim)
        if not self._announce(claim, sha256, heed_streams=True):
            self._end(live, lambda outcome: outcome.note_hash(sha256))
            return Standing.IN_FLIGHT
        asked = {"store": self._store_id, "sha256": sha256, "extension": key_of(claim.path)}
        if self._reads_queue.one(_IS_KNOWN, asked) is None:
            return Standing.CLEAR
        now = self._clock()
        return self._end_unless_clear(live, lambda outcome: outcome.standing(sha256, now))

    def rechecked(self, claim: Claim, sha256: bytes) -> Standing:
        """See `Ledger.rechecked`. It keeps nobody from sending this content: it is not to be sent by this claim."""
        live = self._live(claim)
        now = self._clock()
        standing = self._write(live, lambda outcome: outcome.recheck(sha256, now))
        self._ended(live)
        return standing

    def sending(
        self, claim: Claim, sha256: bytes, comment: str | None, now: float, *, others_follow: bool = False
    ) -> Standing:
        """See `Ledger.sending`."""
        live = self._live(claim)
        if live.noted == sha256:
            return Standing.CLEAR
        if live.noted is not None:
            raise LedgerError(f"another content of {claim.path!r} is noted as sent: that must be taken back first")
        if not self._announce(claim, sha256, heed_streams=False):
            self._end(live, lambda outcome: outcome.note_hash(sha256))
            return Standing.IN_FLIGHT
        standing = self._end_unless_clear(
            live, lambda outcome: outcome.send(sha256, comment, now), others_follow=others_follow
        )
        if standing is Standing.CLEAR:
            live.noted = sha256
        return standing

    def take_back(self, claim: Claim) -> None:
        """See `Ledger.take_back`."""
        live = self._claims.find(claim)
        if live and live.noted is not None:
            self._write(live, Outcome.take_back)
            live.noted = None

    # --- how a claim ends; a claim that has ended already changes nothing, but for what the store has

    def published(self, claim: Claim, receipt: Receipt, now: float) -> None:
        """See `Ledger.published`."""
        live, publish = self._publishing(claim, receipt, now)
        self._end(live, publish)

    def answered(self, claim: Claim, receipt: Receipt, now: float, then: Callable[[LedgerError | None], None]) -> None:
        """See `Ledger.answered`."""
        live, publish = self._publishing(claim, receipt, now)
        linked: list[int] = []

        def recorded(error: LedgerError | None) -> None:
            if error is None:
                self._ended(live, linked)
            then(error)

        self._writer.ride(self._step(live, publish, linked), recorded)

    def flush(self) -> None:
        """See `Ledger.flush`."""
        self._writer.flush()

    def _publishing(self, claim: Claim, receipt: Receipt, now: float) -> tuple[Live, Callable[[Outcome], None]]:
        live = self._claims.find(claim) or _ended(claim)
        sha256 = live.noted or live.sha256
        if sha256 is None:
            raise LedgerError(f"the store has {claim.path!r} as {receipt.link}, but its hash is not known")
        return live, lambda outcome: outcome.publish(sha256, receipt, now)

    def hold(self, claim: Claim, why: str, now: float) -> None:
        """See `Ledger.hold`."""
        live = self._claims.find(claim) or _ended(claim)
        sha256 = live.noted or live.sha256
        self._end(live, lambda outcome: outcome.doubt(sha256, why, now))

    def resend(self, claim: Claim, why: str, until: float, now: float) -> bool:
        """See `Ledger.resend`."""
        live = self._claims.find(claim)
        if live is None:
            return False
        sha256 = live.noted or live.sha256
        once_more = self._write(live, lambda outcome: outcome.resend(sha256, why, until, now))
        if once_more:
            self._ended(live)
        return once_more

    def refuse(self, claim: Claim, why: str, now: float, status: int | None = None) -> None:
        """See `Ledger.refuse`."""
        self._taught = self._taught or status is not None
        self._end_if_live(claim, lambda outcome: outcome.refuse(why, now, status))

    def suspect(self, claim: Claim, why: str, now: float) -> Sequence[str]:
        """See `Ledger.suspect`."""
        live = self._claims.find(claim)
        if live is None:
            return ()
        sha256 = live.noted or live.sha256
        put_back = self._write(live, lambda outcome: outcome.suspect(sha256, why, now))
        self._ended(live)
        return put_back

    def postpone(self, claim: Claim, why: str, until: float, now: float) -> None:
        """See `Ledger.postpone`."""
        self._end_if_live(claim, lambda outcome: outcome.postpone(why, until, now))

    def give_up(self, claim: Claim, why: str, now: float) -> None:
        """See `Ledger.give_up`."""
        self._end_if_live(claim, lambda outcome: outcome.give_up(why, now))

    def release(self, claim: Claim) -> None:
        """See `Ledger.release`. Nothing is written if nothing was found out."""
        live = self._claims.find(claim)
        if live and live.noted is None and live.sha256 == claim.sha256:
            self._ended(live)
        else:
            self._end_if_live(claim, Outcome.release)

    def park(self, claim: Claim) -> None:
        """See `Ledger.park`."""
        self._end_if_live(claim, Outcome.park)

    def turn_away(self, claim: Claim, why: str) -> None:
        """See `Ledger.turn_away`."""
        self._end_if_live(claim, lambda outcome: outcome.turn_away(why))

    def vanished(self, claim: Claim, now: float) -> None:
        """See `Ledger.vanished`."""
        self._end_if_live(claim, lambda outcome: outcome.vanish(now))

    def abandon(self, claim: Claim, why: str, now: float) -> None:
        """See `Ledger.abandon`."""
        live = self._claims.find(claim)
        if live and live.noted is not None:
            self.hold(claim, why, now)
        else:
            self.release(claim)

    def set_aside(self, claim: Claim) -> None:
        """See `Ledger.set_aside`."""
        self._claims.set_aside(claim)
        self._tell()

    # --- all of them

    def _live(self, claim: Claim) -> Live:
        live = self._claims.find(claim)
        if live is None:
            raise LedgerError(f"the claim on {claim.path!r} has ended already")
        return live

    def _announce(self, claim: Claim, sha256: bytes, *, heed_streams: bool) -> bool:
        announced = self._claims.announce(claim, sha256, heed_streams=heed_streams)
        if announced and self._claims.unblocked(claim.stamp.size):
            self._tell()
        return announced

    def _step(self, live: Live, work: Callable[[Outcome], T], linked: list[int]) -> Callable[[sqlite3.Connection], T]:
        """What the writer does for this claim; `linked` gets the files that have got a link by it."""

        def step(connection: sqlite3.Connection) -> T:
            linked.clear()
            return work(Outcome(connection, self._store_id, live.claim, live.row, live.sha256, live.noted, linked))

        return step

    def _write(self, live: Live, work: Callable[[Outcome], T], *, others_follow: bool = False) -> T:
        linked: list[int] = []
        result = self._writer.run(self._step(live, work, linked), others_follow=others_follow)
        self._tell_links(linked)
        return result

    def _end(self, live: Live, work: Callable[[Outcome], object]) -> None:
        linked: list[int] = []
        self._writer.run(self._step(live, work, linked))
        self._ended(live, linked)

    def _end_if_live(self, claim: Claim, work: Callable[[Outcome], object]) -> None:
        live = self._claims.find(claim)
        if live:
            self._end(live, work)

    def _end_unless_clear(
        self, live: Live, work: Callable[[Outcome], Standing], *, others_follow: bool = False
    ) -> Standing:
        standing = self._write(live, work, others_follow=others_follow)
        if standing is not Standing.CLEAR:
            self._ended(live)
        return standing

    def _ended(self, live: Live, linked: Sequence[int] = ()) -> None:
        """The end of this claim is durable. If all it did was to publish its own file, the rest of the queue is as it
        was."""
        self._tell_links(linked)
        only_its_own = list(linked) == [live.claim.file_id]
        if only_its_own:
            self._queue.published(live.claim.stamp.size)
        self._claims.end(live.claim)
        if not only_its_own:
            self._queue.changed()
        super()._tell()

    def _tell(self) -> None:
        self._queue.changed()
        super()._tell()


def _ended(claim: Claim) -> Live:
    """A claim that has ended, for what must be recorded nevertheless."""
    return Live(claim, "", guard_of(claim), claim.sha256)
