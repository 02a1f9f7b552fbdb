"""The queue of the daemon's ledger: which file is next, and who holds it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from typing import NamedTuple

from pixstored.ledger.claims import Claims
from pixstored.ledger.sqlite_file import Parameters, Reads
from pixstored.ledger.sqlite_values import Row, decoded, guard, join, split, stamp_of
from pixstored.model import Claim, FileState, Lane
from pixstored.slotted import dataclass

FEW_AHEAD, MOST_AHEAD = 4, 64
"""Rows read ahead: few after every change, twice as many each time they were all taken. One query a file costs as much
as its whole row in a query for many, five times over (measured)."""

_SIZE, _DEVICE, _SHA256, _LANE = 3, 7, 8, 12
"""Columns of a row of the queue."""

_LANES = (Lane.FRESH, Lane.BACKLOG)
"""Found at a fifth of the time that making one of its number takes (measured)."""

_QUEUE = """
    SELECT
        file.id, folder.path, name, size, mtime_ns, ctime_ns, inode, device, sha256,
        iif(loose, NULL, watch), tries, changed_at, lane,
        EXISTS (SELECT 1 FROM content_size known WHERE known.store_id = file.store_id AND known.size = file.size)
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
        iif(loose, NULL, watch), tries, changed_at, lane,
        EXISTS (SELECT 1 FROM content_size known WHERE known.store_id = file.store_id AND known.size = file.size)
    FROM file JOIN folder ON folder.id = folder_id
    WHERE store_id = ? AND folder.path = ? AND name = ? AND state = 'pending' AND parked = 0"""

_RECHECK = """
    SELECT
        file.id, folder.path, name, size, mtime_ns, ctime_ns, inode, device, sha256,
        iif(loose, NULL, watch), tries, changed_at, lane,
        EXISTS (SELECT 1 FROM content_size known WHERE known.store_id = file.store_id AND known.size = file.size)
    FROM file INDEXED BY file_recheck JOIN folder ON folder.id = folder_id
    WHERE store_id = ? AND state = 'pending' AND had_link = 1 AND parked = 0 AND sha256 IS NULL
        AND next_try_at IS NULL
    ORDER BY file.id"""

_SMALL = """
    SELECT id FROM file INDEXED BY file_small
    WHERE store_id = ? AND state = 'pending' AND parked = 0 AND lane = 1 AND size <= ?"""

_NEXT_DUE = """
    SELECT min(next_try_at) FROM file INDEXED BY file_due
    WHERE store_id = ? AND state = 'pending' AND parked = 0 AND next_try_at IS NOT NULL
        AND next_try_at > ? AND next_try_at <= ?"""

_IS_SENT = "SELECT 1 FROM sent WHERE store_id = ? AND sha256 = ?"

_SENT_BEFORE = "SELECT file_id FROM sent WHERE store_id = ? AND unchanged = 1"

_STATE = "SELECT state FROM file WHERE id = ?"

_WAS_NAMED = "SELECT 1 FROM named WHERE file_id = ?"


class Wish(NamedTuple):
    """What kind of file is to be taken from the queue; see `Ledger.claim`."""

    now: float
    longest: float
    small_backlog: int | None
    refused_too: bool = True
    avoid: Collection[int] = ()


@dataclass(slots=True)
class Ahead:
    """The next rows of the queue as they were read together, in order: for whoever asks within this time.

    A row that has been taken leaves; one that is not free now, and may be later, stays at its place.
    """

    rows: list[Row]
    is_all: bool
    """There was no further one."""
    since: float
    until: float
    """A postponed file comes due then."""
    longest: float

    def counts(self, wish: Wish) -> bool:
        """True if the rows are those that this wish would find."""
        return self.since <= wish.now < self.until and self.longest == wish.longest


class Queue:
    """Hands out claims. Safe to call from any thread; never waits for something being written."""

    def __init__(self, store_id: int, reads: Reads) -> None:
        self.claims = Claims()
        self._store_id = store_id
        self._reads = reads
        self._ahead: Ahead | None = None
        self._most_ahead = FEW_AHEAD
        self._left: set[int] = {row[0] for row in reads.all(_SENT_BEFORE, (store_id,))}
        """Files that a process which is gone was sending: nobody's before `recovered`."""
        self._published_sizes: set[int] = set()
        """Sizes of contents that were published since the rows ahead were read."""

    def claim(
        self, owner: str, now: float, small_backlog: int | None, longest: float, avoid: Collection[int] | None
    ) -> Claim | None:
        """See `Ledger.claim`."""
        with self.claims.lock:
            if avoid is None:
                row = self._from_ahead(Wish(now, longest, small_backlog))
            else:
                row = self._first(Wish(now, longest, small_backlog, False, avoid))
                row = row or self._first(Wish(now, longest, small_backlog, True, avoid))
            return self._take(owner, row) if row else None

    def claim_path(self, owner: str, path: str) -> Claim | None:
        """See `Ledger.claim_path`."""
        return self._claim_one(owner, _NAMED, (self._store_id, *split(path)))

    def claim_to_recheck(self, owner: str) -> Claim | None:
        """See `Ledger.claim_to_recheck`."""
        return self._claim_one(owner, _RECHECK, (self._store_id,))

    def _claim_one(self, owner: str, sql: str, parameters: Parameters) -> Claim | None:
        """Takes the first free row, though it may have been read ahead."""
        with self.claims.lock:
            row = self._first_free(sql, parameters)
            if row is None:
                return None
            self.changed()
            return self._take(owner, row)

    def next_due(self, now: float, longest: float) -> float | None:
        """See `Ledger.next_due`."""
        row = self._reads.one(_NEXT_DUE, (self._store_id, now, now + longest))
        return row[0] if row else None

    def state_of(self, claim: Claim) -> FileState | None:
        """See `Ledger.state_of`."""
        row = self._reads.one(_STATE, (claim.file_id,))
        return FileState(row[0]) if row else None

    def was_named(self, claim: Claim) -> bool:
        """See `Ledger.was_named`."""
        return self._reads.one(_WAS_NAMED, (claim.file_id,)) is not None

    def changed(self) -> None:
        """Something else than the end of a claim has changed the queue: what was read ahead counts no more."""
        with self.claims.lock:
            self._ahead = None
            self._most_ahead = FEW_AHEAD

    def recovered(self) -> None:
        """What a dead process was sending is told apart: it waits no more."""
        self._left.clear()

    def published(self, size: int) -> None:
        """A content of this size is known from now on; its claim has not ended yet."""
        with self.claims.lock:
            self._published_sizes.add(size)

    # --- the next rows, read together

    def _from_ahead(self, wish: Wish) -> Row | None:
        if self._ahead is None or not self._ahead.counts(wish):
            self._look_ahead(wish)
        elif not self._ahead.rows and not self._ahead.is_all:
            self._most_ahead = min(self._most_ahead * 2, MOST_AHEAD)
            self._look_ahead(wish)
        return self._next_ahead(wish)

    def _next_ahead(self, wish: Wish) -> Row | None:
        ahead = self._ahead
        if ahead is None:
            return None
        small = wish.small_backlog
        for index, row in enumerate(ahead.rows):
            if (small is None or row[_SIZE] <= small or row[_LANE] == Lane.FRESH) and self._is_free(row):
                return ahead.rows.pop(index)
        if ahead.is_all:
            return None
        found = self._first(wish)  # beyond those that are too large, or whose content is on its way
        ahead.rows = [row for row in ahead.rows if found is None or row[0] != found[0]]
        return found

    def _look_ahead(self, wish: Wish) -> None:
        self._published_sizes.clear()
        due = self.next_due(wish.now, wish.longest)
        rows: list[Row] = []
        for lane in (Lane.FRESH, Lane.BACKLOG):
            with self._reads.rows(_QUEUE, self._parameters(lane, wish, None)) as cursor:
                free = (row for row in cursor if not self.claims.holds(row[0]))
                rows += itertools.islice(free, self._most_ahead - len(rows))
        is_all = len(rows) < self._most_ahead
        self._ahead = Ahead(rows, is_all, wish.now, math.inf if due is None else due, wish.longest)

    # --- one row

    def _first(self, wish: Wish) -> Row | None:
        row = self._first_free(_QUEUE, self._parameters(Lane.FRESH, wish, None), wish.avoid)
        if row is None and (wish.small_backlog is None or self._has_small(wish.small_backlog)):
            row = self._first_free(_QUEUE, self._parameters(Lane.BACKLOG, wish, wish.small_backlog), wish.avoid)
        return row

    def _has_small(self, largest: int) -> bool:
        """False if a long backlog need not be searched for files of this size: there is none, but those held."""
        with self._reads.rows(_SMALL, (self._store_id, largest)) as cursor:
            return any(not self.claims.holds(row[0]) for row in cursor)

    def _parameters(self, lane: Lane, wish: Wish, largest: int | None) -> Parameters:
        return {
            "store": self._store_id,
            "lane": lane,
            "now": wish.now,
            "latest": wish.now + wish.longest,
            "largest": largest,
            "refused": wish.refused_too,
        }

    def _first_free(self, sql: str, parameters: Parameters, avoid: Collection[int] = ()) -> Row | None:
        with self._reads.rows(sql, parameters) as cursor:
            return next((row for row in cursor if row[0] not in avoid and self._is_free(row)), None)

    def _is_free(self, row: Row) -> bool:
        if self.claims.holds(row[0]) or row[0] in self._left:
            return False
        sha256 = row[_SHA256]
        if sha256 is None:
            return True
        if self.claims.blocks(row[_SIZE], sha256):
            return False
        return self._reads.one(_IS_SENT, (self._store_id, sha256)) is None

    def _take(self, owner: str, row: Row) -> Claim:
        file_id, folder, name, size, mtime_ns, ctime_ns, inode, device = row[:_SHA256]
        sha256, watch, tries, changed_at, lane, known_size = row[_SHA256:]
        claim = Claim(
            file_id=file_id,
            path=join(folder, name),
            stamp=stamp_of(size, mtime_ns, ctime_ns, inode, device),
            sha256=sha256,
            hash_first=known_size == 1 or size in self._published_sizes or self.claims.has_size(size),
            lane=_LANES[lane],
            watch=decoded(watch),
            tries=tries,
            changed_at=changed_at,
        )
        self.claims.take(owner, claim, guard(*row[:_DEVICE]))
        return claim
