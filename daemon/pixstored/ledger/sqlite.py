"""The daemon's ledger: one SQLite file, one thread that writes it, the claims in memory."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pixstored.errors import LedgerError, LedgerUnusable
from pixstored.ledger.claims import Claims, Live
from pixstored.ledger.sqlite_file import Parameters, Reads, connect, unusable
from pixstored.ledger.sqlite_intake import Recorder, name_watches
from pixstored.ledger.sqlite_lessons import LESSONS, Teaching, lessons_of
from pixstored.ledger.sqlite_outcome import Outcome, recover, retry_failed
from pixstored.ledger.sqlite_people import Told, pause, pause_of, resume
from pixstored.ledger.sqlite_reader import SqliteReader
from pixstored.ledger.sqlite_records import Merger
from pixstored.ledger.sqlite_schema import open_for_writing
from pixstored.ledger.sqlite_values import Row, decoded, encoded, join, split, stamp_of, text
from pixstored.ledger.sqlite_writer import Writer
from pixstored.model import Change, Claim, FileState, Known, Lane, Lessons, Pause, Receipt, Stamp, Standing

T = TypeVar("T")

_ADD_STORE = "INSERT INTO store (name) VALUES (?) ON CONFLICT DO NOTHING"

_ADOPT = """
    INSERT INTO adoption (store_id, root, adopted_at_ns, filesystem) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET adopted_at_ns = excluded.adopted_at_ns, filesystem = excluded.filesystem"""

_QUEUE = """
    SELECT
        file.id, folder.path, name, size, mtime_ns, ctime_ns, inode, device, sha256,
        iif(loose, NULL, watch), tries, changed_at, lane
    FROM file INDEXED BY file_queue JOIN folder ON folder.id = folder_id
    WHERE store_id = :store AND state = 'pending' AND parked = 0 AND lane = :lane
        AND (next_try_at IS NULL OR next_try_at <= :now OR next_try_at > :latest)
        AND (:largest IS NULL OR size <= :largest)
        AND (:refused OR sha256 IS NULL OR NOT EXISTS (
            SELECT 1 FROM refusal
            WHERE refusal.store_id = file.store_id AND refusal.sha256 = file.sha256 AND answered = 0
        ))
    ORDER BY position"""

_NAMED = """
    SELECT
        file.id, folder.path, name, size, mtime_ns, ctime_ns, inode, device, sha256,
        iif(loose, NULL, watch), tries, changed_at, lane
    FROM file JOIN folder ON folder.id = folder_id
    WHERE store_id = ? AND folder.path = ? AND name = ? AND state = 'pending' AND parked = 0"""

_SMALL = """
    SELECT id FROM file INDEXED BY file_small
    WHERE store_id = ? AND state = 'pending' AND parked = 0 AND lane = 1 AND size <= ?"""

_NEXT_DUE = """
    SELECT min(next_try_at) FROM file INDEXED BY file_due
    WHERE store_id = ? AND state = 'pending' AND parked = 0 AND next_try_at IS NOT NULL
        AND next_try_at > ? AND next_try_at <= ?"""

_KNOWN_SIZE = "SELECT 1 FROM content_size WHERE store_id = ? AND size = ?"

_IS_SENT = "SELECT 1 FROM content WHERE store_id = ? AND sha256 = ? AND state = 'sent'"

_IS_KNOWN = """
    SELECT 1 FROM content WHERE store_id = :store AND sha256 = :sha256
    UNION ALL
    SELECT 1 FROM file INDEXED BY file_rejected
    WHERE store_id = :store AND sha256 = :sha256 AND state = 'rejected'"""

_STATE = "SELECT state FROM file WHERE id = ?"

_NOTE_LINKS_FILE = "INSERT INTO links_file (id, looked) VALUES (1, ?)"

_LINKS_FILE = "SELECT looked FROM links_file"

_FORGET_LINKS_FILE = "DELETE FROM links_file"

_SAME_AGAIN = "UPDATE store SET name = name WHERE id = ?"


@dataclass(frozen=True, slots=True)
class _Wish:
    """What kind of file is to be taken from the queue."""

    now: float
    longest: float
    small_backlog: int | None
    refused_too: bool = True
    avoid: Collection[int] = ()


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


class SqliteLedger(SqliteReader):
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
        super().__init__(path, store, reads)
        self._pause = pause
        self._link_listeners: list[Callable[[Sequence[int]], None]] = []
        self._forget_listeners: list[Callable[[Sequence[bytes]], None]] = []
        self._merge_listeners: list[Callable[[], None]] = []
        self._queue = queue
        self._clock = clock
        self._claims = Claims()
        self._listeners: list[Callable[[], None]] = []
        self._writer = Writer(connection, path)

    # --- for the one who supervises

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls this whenever there may be new work, from the thread that changed it, no lock held. Must be quick."""
        self._listeners.append(callback)

    def on_links(self, callback: Callable[[Sequence[int]], None]) -> None:
        """Calls this with the ids of files that have got a link, once that is durable, from the thread that got it.

        Must be quick; `links_of` tells the links.
        """
        self._link_listeners.append(callback)

    def on_forgotten(self, callback: Callable[[Sequence[bytes]], None]) -> None:
        """Calls this with the hashes of contents that were forgotten at this store. Must be quick."""
        self._forget_listeners.append(callback)

    def on_merged(self, callback: Callable[[], None]) -> None:
        """Calls this after the last record of a merge, which may have brought links. Must be quick."""
        self._merge_listeners.append(callback)

    def take_links_file(self) -> str | None:
        """What `note_links_file` was told when this ledger was last closed, once; None if that cannot be relied on."""

        def step(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(_LINKS_FILE).fetchone()
            connection.execute(_FORGET_LINKS_FILE)
            return row[0] if row else None

        return self._writer.run(step)

    def note_links_file(self, looked: str) -> None:
        """Notes what the links file, which tells of every link, looks like: the last thing before it is closed."""

        def step(connection: sqlite3.Connection) -> None:
            connection.execute(_FORGET_LINKS_FILE)
            connection.execute(_NOTE_LINKS_FILE, (looked,))

        self._writer.run(step)

    def healthy(self) -> bool:
        """True while the thread that writes lives and is not stuck."""
        return self._writer.healthy()

    @property
    def condition(self) -> str:
        """How the last writing went, in the words of `status`: `ok`, `full`, `readonly` or `error`."""
        trouble = self._writer.trouble
        if trouble is None:
            return "ok"
        if trouble == "SQLITE_FULL":
            return "full"
        return "readonly" if trouble.startswith("SQLITE_READONLY") or self._is_on_readonly() else "error"

    def _is_on_readonly(self) -> bool:
        """SQLite calls it an error of the disk where the file system has become read-only under an open ledger."""
        try:
            return bool(os.statvfs(self.path).f_flag & os.ST_RDONLY)
        except OSError:
            return False

    def close(self) -> None:
        """Writes what waits, and closes the file. Every verb raises `LedgerError` from then on."""
        self._reads.close()
        self._queue.close()
        self._writer.close()

    # --- what the intake and the service tell

    def adopt(self, root: str, adopted_at_ns: int, filesystem: str | None) -> None:
        """See `Ledger.adopt`."""
        adoption = (self._store_id, encoded(root), adopted_at_ns, encoded(filesystem))
        self._writer.run(lambda db: db.execute(_ADOPT, adoption))

    def watched(self, watches: Mapping[str, str]) -> None:
        """See `Ledger.watched`. What became `skipped` because its watch was removed waits again once it is back."""
        self._writer.run(lambda db: name_watches(db, self._store_id, watches))
        self._tell()

    def apply(self, changes: Sequence[Change]) -> None:
        """See `Ledger.apply`."""
        if changes:
            now = self._clock()
            self._writer.run(lambda db: Recorder(db, self._store_id, now).apply(changes))
            self._tell()

    def retry_failed(self, now: float, quiet: float = 0.0) -> int:
        """See `Ledger.retry_failed`."""
        count = self._writer.run(lambda db: retry_failed(db, self._store_id, now - quiet, now))
        if count:
            self._tell()
        return count

    def located(self, url: str) -> None:
        """See `Ledger.located`."""
        self._writer.run(lambda db: Teaching(db, self._store_id).located(url))

    def recover(self, now: float) -> int:
        """See `Ledger.recover`."""
        return self._writer.run(lambda db: recover(db, self._store_id, now))

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
        wishes = [_Wish(now, longest, small_backlog)]
        if avoid is not None:
            wishes = [_Wish(now, longest, small_backlog, refused_too, avoid) for refused_too in (False, True)]
        with self._claims.lock:
            row = next((row for wish in wishes if (row := self._first(wish))), None)
            return self._take(owner, row) if row else None

    def claim_path(self, owner: str, path: str) -> Claim | None:
        """See `Ledger.claim_path`. Never waits for something being written."""
        with self._claims.lock:
            row = self._first_free(_NAMED, (self._store_id, *split(path)))
            return self._take(owner, row) if row else None

    def next_due(self, now: float, longest: float = math.inf) -> float | None:
        """See `Ledger.next_due`."""
        row = self._queue.one(_NEXT_DUE, (self._store_id, now, now + longest))
        return row[0] if row else None

    def state_of(self, claim: Claim) -> FileState | None:
        """See `Ledger.state_of`."""
        row = self._queue.one(_STATE, (claim.file_id,))
        return FileState(row[0]) if row else None

    def _has_small(self, largest: int) -> bool:
        """False if a long backlog need not be searched for files of this size: there is none, but those held."""
        with self._queue.rows(_SMALL, (self._store_id, largest)) as cursor:
            return any(not self._claims.holds(row[0]) for row in cursor)

    def _first(self, wish: _Wish) -> Row | None:
        row = self._next(Lane.FRESH, wish, None)
        if row is None and (wish.small_backlog is None or self._has_small(wish.small_backlog)):
            row = self._next(Lane.BACKLOG, wish, wish.small_backlog)
        return row

    def _next(self, lane: Lane, wish: _Wish, largest: int | None) -> Row | None:
        parameters = {
            "store": self._store_id,
            "lane": lane,
            "now": wish.now,
            "latest": wish.now + wish.longest,
            "largest": largest,
            "refused": wish.refused_too,
        }
        return self._first_free(_QUEUE, parameters, wish.avoid)

    def _first_free(self, sql: str, parameters: Parameters, avoid: Collection[int] = ()) -> Row | None:
        # What is held is known before the queue is read: a row whose claim has ended is seen as that has left it.
        with self._queue.rows(sql, parameters) as cursor:
            free = (row for row in cursor if row[0] not in avoid and self._is_free(cursor.connection, row))
            return next(free, None)

    def _take(self, owner: str, row: Row) -> Claim:
        file_id, folder, name, size, *stamp, sha256, watch, tries, changed_at, lane = row
        known_size = self._queue.one(_KNOWN_SIZE, (self._store_id, size))
        claim = Claim(
            file_id=file_id,
            path=join(folder, name),
            stamp=stamp_of(size, *stamp),
            sha256=sha256,
            hash_first=known_size is not None or self._claims.has_size(size),
            lane=Lane(lane),
            watch=decoded(watch),
            tries=tries,
            changed_at=changed_at,
        )
        self._claims.take(owner, claim)
        return claim

    def _is_free(self, connection: sqlite3.Connection, row: Row) -> bool:
        file_id, size, sha256 = row[0], row[3], row[8]
        if self._claims.holds(file_id):
            return False
        if sha256 is None:
            return True
        if self._claims.blocks(size, sha256):
            return False
        return connection.execute(_IS_SENT, (self._store_id, sha256)).fetchone() is None

    def lessons(self, extension: str) -> Lessons:
        """See `Ledger.lessons`."""
        return lessons_of(self._queue.one(LESSONS, {"store": self._store_id, "extension": os.fsencode(extension)}))

    # --- what the worker tells while its claim lasts

    def hashed(self, claim: Claim, sha256: bytes) -> Standing:
        """See `Ledger.hashed`. A CLEAR hash is written down when the claim goes on or ends."""
        live = self._live(claim)
        if not self._announce(claim, sha256, heed_streams=True):
            self._end(live, lambda outcome: outcome.note_hash(sha256))
            return Standing.IN_FLIGHT
        if self._queue.one(_IS_KNOWN, {"store": self._store_id, "sha256": sha256}) is None:
            return Standing.CLEAR
        now = self._clock()
        return self._end_unless_clear(live, lambda outcome: outcome.standing(sha256, now))

    def sending(self, claim: Claim, sha256: bytes, comment: str | None, now: float) -> Standing:
        """See `Ledger.sending`."""
        live = self._live(claim)
        if live.noted == sha256:
            return Standing.CLEAR
        if live.noted is not None:
            raise LedgerError(f"another content of {claim.path!r} is noted as sent: that must be taken back first")
        if not self._announce(claim, sha256, heed_streams=False):
            self._end(live, lambda outcome: outcome.note_hash(sha256))
            return Standing.IN_FLIGHT
        standing = self._end_unless_clear(live, lambda outcome: outcome.send(sha256, comment, now))
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
        live = self._claims.find(claim) or _ended(claim)
        sha256 = live.noted or live.sha256
        if sha256 is None:
            raise LedgerError(f"the store has {claim.path!r} as {receipt.link}, but its hash is not known")
        self._end(live, lambda outcome: outcome.publish(sha256, receipt, now))

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
            self._claims.end(claim)
            self._tell()
        return once_more

    def refuse(self, claim: Claim, why: str, now: float, status: int | None = None) -> None:
        """See `Ledger.refuse`."""
        self._end_if_live(claim, lambda outcome: outcome.refuse(why, now, status))

    def suspect(self, claim: Claim, why: str, now: float) -> Sequence[str]:
        """See `Ledger.suspect`."""
        live = self._claims.find(claim)
        if live is None:
            return ()
        sha256 = live.noted or live.sha256
        put_back = self._write(live, lambda outcome: outcome.suspect(sha256, why, now))
        self._claims.end(claim)
        self._tell()
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
            self._claims.end(claim)
            self._tell()
        else:
            self._end_if_live(claim, Outcome.release)

    def park(self, claim: Claim) -> None:
        """See `Ledger.park`."""
        self._end_if_live(claim, Outcome.park)

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

    # --- what people tell

    def retry(self, path: str, states: Collection[FileState]) -> Sequence[Known]:
        """See `Ledger.retry`."""
        put_back = self._writer.run(lambda db: Told(db, self._store_id).retry(path, states))
        self._tell()
        return put_back

    def retry_all(self, state: FileState, after: int, limit: int) -> Sequence[Known]:
        """See `Ledger.retry_all`."""
        put_back = self._writer.run(lambda db: Told(db, self._store_id).retry_all(state, after, limit))
        self._tell()
        return put_back

    def record_link(
        self, path: str, stamp: Stamp, watch: str | None, sha256: bytes, receipt: Receipt, now: float
    ) -> Standing:
        """See `Ledger.record_link`."""
        standing, linked = self._writer.run(
            lambda db: Told(db, self._store_id).record_link(path, stamp, watch, sha256, receipt, now)
        )
        self._tell_links(linked)
        self._tell()
        return standing

    def forget(self, path: str) -> Sequence[str]:
        """See `Ledger.forget`."""
        paths, sha256 = self._writer.run(lambda db: Told(db, self._store_id).forget(path))
        if sha256 is not None:
            for listener in self._forget_listeners:
                listener([sha256])
        return paths

    def pause(self, until: float | None, now: float) -> None:
        """See `Ledger.pause`."""
        self._writer.run(lambda db: pause(db, until, now))
        self._pause = Pause(self._pause.since if self._pause else now, until)
        self._tell()

    def resume(self) -> None:
        """See `Ledger.resume`."""
        self._writer.run(resume)
        self._pause = None
        self._tell()

    def paused(self, now: float) -> Pause | None:
        """See `LedgerReader.paused`. From memory: it is asked before each file."""
        pause = self._pause
        return pause if pause and (pause.until is None or now < pause.until) else None

    def merge(self, records: Sequence[Mapping[str, Any]]) -> None:
        """See `Ledger.merge`."""

        def step(connection: sqlite3.Connection) -> None:
            connection.execute(_FORGET_LINKS_FILE)  # its links are not in the file
            merger = Merger(connection)
            for record in records:
                merger.merge(record)

        self._writer.run(step)

    def merged(self) -> None:
        """See `Ledger.merged`."""
        self._writer.run(lambda db: Merger(db).settle())
        for listener in self._merge_listeners:
            listener()
        self._tell()

    def probe(self) -> None:
        """See `Ledger.probe`."""
        self._writer.run(lambda db: db.execute(_SAME_AGAIN, (self._store_id,)))

    # --- all of them

    def _tell_links(self, file_ids: Sequence[int]) -> None:
        if file_ids:
            for listener in self._link_listeners:
                listener(file_ids)

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

    def _write(self, live: Live, work: Callable[[Outcome], T]) -> T:
        linked: list[int] = []

        def step(connection: sqlite3.Connection) -> T:
            return work(Outcome(connection, self._store_id, live.claim, live.sha256, live.noted, linked))

        result = self._writer.run(step)
        self._tell_links(linked)
        return result

    def _end(self, live: Live, work: Callable[[Outcome], object]) -> None:
        self._write(live, work)
        self._claims.end(live.claim)
        self._tell()

    def _end_if_live(self, claim: Claim, work: Callable[[Outcome], object]) -> None:
        live = self._claims.find(claim)
        if live:
            self._end(live, work)

    def _end_unless_clear(self, live: Live, work: Callable[[Outcome], Standing]) -> Standing:
        standing = self._write(live, work)
        if standing is not Standing.CLEAR:
            self._claims.end(live.claim)
            self._tell()
        return standing

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def _ended(claim: Claim) -> Live:
    """A claim that has ended, for what must be recorded nevertheless."""
    return Live(claim, "", claim.sha256)
