"""What the intake decided, written into the tables: files come, change, move and go."""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Callable, Mapping, Sequence

from pixstored.ledger.sqlite_displaced import DisplacedFiles
from pixstored.ledger.sqlite_values import (
    Row,
    encoded,
    join,
    place_by_age,
    signed,
    split,
    stamp_columns,
    stamp_of,
    text,
)
from pixstored.model import BASELINE, HAS_A_LINK, Change, FileState, Lane, Missing, Move, Remember, Restamp, Skip, Stamp

VANISHED = "it vanished before it was sent"

_NANOSECONDS = 1e9

_FIND = """
    SELECT id, state, sha256, reason, size, mtime_ns, ctime_ns, inode, device, folder_id FROM file
    WHERE store_id = ? AND folder_id = ? AND name = ?"""

_ADD = """
    INSERT INTO file (
        store_id, folder_id, name, state, reason, size, mtime_ns, ctime_ns, inode, device,
        lane, position, loose, seen_at, changed_at
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_START_OVER = """
    UPDATE file SET
        state = ?, reason = ?, size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, device = ?,
        lane = ?, position = ?, loose = ?, seen_at = ?, changed_at = ?, had_link = max(had_link, ?),
        sha256 = NULL, parked = 0, missing_at = NULL, tries = 0, next_try_at = NULL
    WHERE id = ?"""

_STILL_THERE = """
    UPDATE file SET
        device = ?, loose = ?, missing_at = NULL, parked = 0,
        changed_at = iif(parked, ?, changed_at)
    WHERE id = ?"""

_NAMED = """
    INSERT INTO named (file_id) SELECT id FROM file WHERE store_id = ? AND folder_id = ? AND name = ?
    ON CONFLICT DO NOTHING"""

_NOT_NAMED = "DELETE FROM named WHERE file_id = ?"

_RESTAMP = """
    UPDATE file SET
        size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, device = ?, missing_at = NULL,
        reason = coalesce(?, reason), sha256 = iif(?, NULL, sha256)
    WHERE id = ?"""

_MOVE = """
    UPDATE file SET
        folder_id = ?, name = ?, size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, device = ?, loose = ?,
        missing_at = NULL
    WHERE id = ? AND store_id = ?"""

_GONE = """
    UPDATE file SET
        state = 'gone', reason = ?, missing_at = ?, sha256 = NULL, position = NULL, parked = 0, next_try_at = NULL
    WHERE id = ?"""

_SUPERSEDE = """
    INSERT INTO superseded (store_id, folder_id, name, sha256, at)
    SELECT store_id, folder_id, name, sha256, ? FROM file WHERE id = ?
    ON CONFLICT DO NOTHING"""

_LAST_ARRIVAL = """
    SELECT coalesce(max(position), 0) FROM file INDEXED BY file_queue
    WHERE store_id = ? AND lane = 0 AND state = 'pending'"""


class Recorder:
    """Writes one batch of changes at one store, inside a transaction somebody else ends."""

    def __init__(self, connection: sqlite3.Connection, store_id: int, now: float) -> None:
        self._db = connection
        self._store_id = store_id
        self._now = now
        self._displaced = DisplacedFiles(connection, store_id)
        self._folders: dict[bytes, int] = {}

    def apply(self, changes: Sequence[Change]) -> None:
        """All of them, in order."""
        for change in changes:
            match change:
                case Remember():
                    self._remember(change)
                case Skip():
                    self._skip(change)
                case Restamp():
                    self._restamp(change)
                case Move():
                    self._move(change)
                case Missing():
                    self._missing(change)

    def _remember(self, change: Remember) -> None:
        row = self._row(change.path, change.watch)
        if row and row[1] == FileState.PENDING and change.stamp.unchanged(stamp_of(*row[4:9])):
            loose = change.watch is None
            self._db.execute(_STILL_THERE, (signed(change.stamp.device), loose, change.changed_at, row[0]))
        else:
            position = position_of(self._db, self._store_id, change.lane, change.stamp.mtime_ns)
            self._start(row, change, FileState.PENDING, None, change.lane, position, change.changed_at)
        if change.named:
            folder, name = split(change.path)
            self._db.execute(_NAMED, (self._store_id, self._folder(folder), name))

    def _skip(self, change: Skip) -> None:
        row = self._row(change.path, change.watch)
        is_gone = row is None or row[1] == FileState.GONE
        if change.unless_known and row and not is_gone and change.stamp.unchanged(stamp_of(*row[4:9])):
            return
        changed_at = change.stamp.mtime_ns / _NANOSECONDS
        self._start(row, change, FileState.SKIPPED, text(change.reason), Lane.BACKLOG, None, changed_at)

    def _start(
        self,
        row: Row | None,
        change: Remember | Skip,
        state: FileState,
        reason: str | None,
        lane: Lane,
        position: int | None,
        changed_at: float,
    ) -> None:
        """The path begins anew, whatever it was before."""
        if state is FileState.PENDING or reason == BASELINE:  # asked for by name, or private under its new one
            self._displaced.turned_up(change.stamp)
        stamp = stamp_columns(change.stamp)
        rest = (lane, position, change.watch is None, self._now, changed_at)
        if row is None:
            folder, name = split(change.path)
            self._db.execute(_ADD, (self._store_id, self._folder(folder), name, state, reason, *stamp, *rest))
            return
        had_link = self._supersede(row)
        self._displace(row, change.stamp)
        self._db.execute(_START_OVER, (state, reason, *stamp, *rest, had_link, row[0]))
        self._db.execute(_NOT_NAMED, (row[0],))

    def _restamp(self, change: Restamp) -> None:
        row = self._row(change.path, None)
        if row:
            if _is_private(row):
                self._displace(row, change.stamp)
                self._displaced.turned_up(change.stamp)
            # What waits to be sent is hashed again if it changed; what was sent is known by the hash it had.
            forget = row[1] == FileState.PENDING and not change.stamp.unchanged(stamp_of(*row[4:9]))
            reason = None if change.reason is None else text(change.reason)
            self._db.execute(_RESTAMP, (*stamp_columns(change.stamp), reason, forget, row[0]))

    def _move(self, change: Move) -> None:
        there = self._row(change.path, change.watch)
        if there and there[0] != change.file_id:
            self._supersede(there)
            self._displace(there, change.stamp)
            self._db.execute("DELETE FROM file WHERE id = ?", (there[0],))
        folder, name = split(change.path)
        columns = (self._folder(folder), name, *stamp_columns(change.stamp), change.watch is None)
        self._db.execute(_MOVE, (*columns, change.file_id, self._store_id))

    def _missing(self, change: Missing) -> None:
        row = self._row(change.path, None)
        if row is None:
            return
        if row[1] in (FileState.PENDING, FileState.FAILED):
            self._db.execute(_GONE, (VANISHED, self._now, row[0]))
        else:
            self._db.execute("UPDATE file SET missing_at = coalesce(missing_at, ?) WHERE id = ?", (self._now, row[0]))

    def _supersede(self, row: Row) -> bool:
        """The link of a path stays on record when it gets another content; False if it has none."""
        file_id, state, sha256 = row[:3]
        if sha256 is None or state not in HAS_A_LINK:
            return False
        self._db.execute(_SUPERSEDE, (self._now, file_id))
        return True

    def _displace(self, row: Row, stamp: Stamp) -> None:
        """A file that looks like this is at the path of a known one: a private one may turn up elsewhere."""
        was = stamp_of(*row[4:9])
        if _is_private(row) and was.inode != stamp.inode:
            self._displaced.keep(was, row[9])

    def _row(self, path: str, watch: str | None) -> Row | None:
        folder, name = split(path)
        folder_id = self._folder(folder)
        if watch is not None:
            self._db.execute(
                "UPDATE folder SET watch = :watch WHERE id = :id AND watch IS NOT :watch",
                {"watch": encoded(watch), "id": folder_id},
            )
        row: Row | None = self._db.execute(_FIND, (self._store_id, folder_id, name)).fetchone()
        return row

    def _folder(self, path: bytes) -> int:
        if path not in self._folders:
            self._folders[path] = folder_id_of(self._db, path)
        return self._folders[path]


def _is_private(row: Row) -> bool:
    """True of what was there before its folder was adopted."""
    return bool(row[1] == FileState.SKIPPED and row[3] == BASELINE)


def folder_id_of(connection: sqlite3.Connection, path: bytes) -> int:
    """The folder's number; it gets one if it has none yet."""
    connection.execute("INSERT INTO folder (path) VALUES (?) ON CONFLICT DO NOTHING", (path,))
    file_id: int = connection.execute("SELECT id FROM folder WHERE path = ?", (path,)).fetchone()[0]
    return file_id


def position_of(connection: sqlite3.Connection, store_id: int, lane: Lane, mtime_ns: int | str) -> int:
    """The place in the queue: behind all fresh ones, or among the backlog by age, newest first."""
    if lane is Lane.BACKLOG:
        return place_by_age(int(mtime_ns))
    last: int = connection.execute(_LAST_ARRIVAL, (store_id,)).fetchone()[0]
    return last + 1


# --- the watches as they are configured now

_NAME_FOLDER = "UPDATE folder SET watch = ? WHERE id = ?"

_NO_LONGER_LOOSE = """
    UPDATE file INDEXED BY file_loose SET loose = 0
    WHERE loose = 1 AND folder_id IN (SELECT value FROM json_each(?))"""

# Left to itself, SQLite goes through all files for each of the next two (measured: 0.7 µs a file).
_WATCH_REMOVED = """
    UPDATE file INDEXED BY file_oldest SET
        state = 'skipped', reason = 'watch removed', position = NULL, parked = 0, next_try_at = NULL
    WHERE store_id = ? AND state = 'pending' AND loose = 0 AND folder_id NOT IN (SELECT value FROM json_each(?))"""

_WATCHED_AGAIN = """
    SELECT file.id, lane, mtime_ns FROM json_each(?) CROSS JOIN file INDEXED BY file_unwatched ON folder_id = value
    WHERE store_id = ? AND state = 'skipped' AND reason = 'watch removed' ORDER BY file.id"""

_WAIT_AGAIN = """
    UPDATE file SET state = 'pending', reason = NULL, sha256 = NULL, tries = 0, position = ? WHERE id = ?"""


def name_watches(connection: sqlite3.Connection, store_id: int, watches: Mapping[str, str]) -> None:
    """Gives every known folder the name of its watch, takes what waits in no watch out of the queue, and puts
    back what was taken out of it by an earlier configuration."""
    names = {os.fsencode(root): encoded(name) for root, name in watches.items()}
    inside: list[int] = []
    for folder_id, path, named in connection.execute("SELECT id, path, watch FROM folder").fetchall():
        root = _root_of(path, names)
        if root is None:
            continue
        inside.append(folder_id)
        if named != names[root]:
            connection.execute(_NAME_FOLDER, (names[root], folder_id))
    as_json = "[" + ",".join(map(str, inside)) + "]"
    connection.execute(_NO_LONGER_LOOSE, (as_json,))
    connection.execute(_WATCH_REMOVED, (store_id, as_json))
    for file_id, lane, mtime_ns in connection.execute(_WATCHED_AGAIN, (as_json, store_id)).fetchall():
        position = position_of(connection, store_id, Lane(lane), mtime_ns)
        connection.execute(_WAIT_AGAIN, (position, file_id))


_WAITING = "SELECT id FROM file INDEXED BY file_oldest WHERE store_id = ? AND state = 'pending'"

_WAITING_FILE = """
    SELECT folder.path, name, size FROM file JOIN folder ON folder.id = folder_id
    WHERE file.id = ? AND loose = 0 AND NOT EXISTS (SELECT 1 FROM named WHERE file_id = file.id)"""

_TURN_AWAY = """
    UPDATE file SET
        state = 'skipped', reason = ?, position = NULL, parked = 0, next_try_at = NULL
    WHERE id = ?"""


def judge_waiting(connection: sqlite3.Connection, store_id: int, judge: Callable[[str, int], str | None]) -> None:
    """Takes out of the queue what waits there though it is turned away by now, by its path and its size."""
    waiting = array("q", (file_id for (file_id,) in connection.execute(_WAITING, (store_id,))))
    for file_id in waiting:
        for folder, name, size in connection.execute(_WAITING_FILE, (file_id,)).fetchall():
            why = judge(join(folder, name), size)
            if why is not None:
                connection.execute(_TURN_AWAY, (text(why), file_id))


def _root_of(folder: bytes, roots: Mapping[bytes, object]) -> bytes | None:
    """The nearest of these that is the folder, or has it somewhere below."""
    while folder not in roots:
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    return folder
