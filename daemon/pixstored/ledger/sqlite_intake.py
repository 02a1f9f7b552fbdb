"""What the intake decided, written into the tables: files come, change, move and go."""

from __future__ import annotations

import itertools
import os
import sqlite3
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeGuard

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
    SELECT
        id, state, sha256, reason, size, mtime_ns, ctime_ns, inode, device, folder_id, missing_at IS NOT NULL
    FROM file
    WHERE store_id = ? AND folder_id = ? AND name = ?"""

_TOGETHER = 8
"""New files that one statement records: on their own they take half as long again (measured), and each statement lets
go of the interpreter, which somebody else has then."""

_NEW_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_ADD = """
    INSERT INTO file (
        store_id, folder_id, name, state, reason, size, mtime_ns, ctime_ns, inode, device,
        lane, position, loose, seen_at, changed_at
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (store_id, folder_id, name) DO NOTHING"""

_ADD_TOGETHER = _ADD.replace(_NEW_ROW, ", ".join([_NEW_ROW] * _TOGETHER))

_IN_WATCH = "UPDATE folder SET watch = :watch WHERE id = :id AND watch IS NOT :watch"

_START_OVER = """
    UPDATE file SET
        state = ?, reason = ?, size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, device = ?,
        lane = ?, position = ?, loose = ?, seen_at = ?, changed_at = ?, had_link = max(had_link, ?),
        sha256 = NULL, parked = 0, missing_at = NULL, tries = 0, next_try_at = NULL
    WHERE id = ?"""

_SENT_BEFORE = "UPDATE sent SET unchanged = 0 WHERE file_id = ?"

_STILL_THERE = """
    UPDATE file SET
        device = ?, loose = ?, missing_at = NULL, parked = 0,
        changed_at = iif(parked, ?, changed_at)
    WHERE id = ?"""

_NAMED = """
    INSERT INTO named (file_id) SELECT id FROM file WHERE store_id = ? AND folder_id = ? AND name = ?
    ON CONFLICT DO NOTHING"""

_TRY_NAMED = """
    DELETE FROM refused WHERE (store_id, sha256) = (
        SELECT store_id, sha256 FROM file WHERE id = ? AND state = 'rejected'
    )"""

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
        self._watches: dict[int, str] = {}
        self._arrived = 0

    def apply(self, changes: Sequence[Change]) -> None:
        """All of them, in order."""
        for start in range(0, len(changes), _TOGETHER):
            some = changes[start : start + _TOGETHER]
            if not self._add_together(some):
                for change in some:
                    self._apply(change)

    def _add_together(self, changes: Sequence[Change]) -> bool:
        """Records paths that nothing is known of; False if not all of them are.

        Those that were new are recorded then, and so they are again, at the same places, if each is recorded by itself.
        """
        new = [change for change in changes if _is_plain(change)]
        if len(new) < _TOGETHER:
            return False
        arrived = self._arrived
        rows = (self._new_row(change, self._columns(change)) for change in new)
        if self._db.execute(_ADD_TOGETHER, tuple(itertools.chain.from_iterable(rows))).rowcount < _TOGETHER:
            self._arrived = arrived
            return False
        for change in new:
            self._turned_up(change)
        return True

    def _apply(self, change: Change) -> None:
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
        columns = self._columns(change)
        row = self._add(change, columns)
        if row and row[1] == FileState.PENDING and change.stamp.unchanged(stamp_of(*row[4:9])):
            loose = change.watch is None
            self._db.execute(_STILL_THERE, (signed(change.stamp.device), loose, change.changed_at, row[0]))
        elif row:
            if change.named:
                self._db.execute(_TRY_NAMED, (row[0],))
            self._start_over(row, change, columns)
        if change.named:
            folder, name = split(change.path)
            self._db.execute(_NAMED, (self._store_id, self._folder(folder), name))

    def _skip(self, change: Skip) -> None:
        columns = self._columns(change)
        row = self._add(change, columns)
        if row is None:
            return
        is_known = row[1] != FileState.GONE and change.stamp.unchanged(stamp_of(*row[4:9]))
        if not (change.unless_known and is_known):
            self._start_over(row, change, columns)

    def _add(self, change: Remember | Skip, columns: Row) -> Row | None:
        """Records a path that nothing is known of; what is known of it, if something is: nothing was changed then."""
        if not self._db.execute(_ADD, self._new_row(change, columns)).rowcount:
            return self._row(change.path)
        self._turned_up(change)
        return None

    def _start_over(self, row: Row, change: Remember | Skip, columns: Row) -> None:
        """A known path begins anew, whatever it was before."""
        self._turned_up(change)
        had_link = self._supersede(row)
        self._displace(row, change.stamp)
        self._db.execute(_START_OVER, (*columns, had_link, row[0]))
        self._db.execute(_NOT_NAMED, (row[0],))
        self._db.execute(_SENT_BEFORE, (row[0],))

    def _new_row(self, change: Remember | Skip, columns: Row) -> Row:
        folder, name = split(change.path)
        return self._store_id, self._folder(folder, change.watch), name, *columns

    def _columns(self, change: Remember | Skip) -> Row:
        """What a path begins with, from `state` to `changed_at`: plain values, which SQLite takes as they are."""
        stamp, loose = stamp_columns(change.stamp), int(change.watch is None)
        if isinstance(change, Remember):
            lane, position = int(change.lane), self._position(change)
            return FileState.PENDING.value, None, *stamp, lane, position, loose, self._now, change.changed_at
        reason, changed_at = text(change.reason), change.stamp.mtime_ns / _NANOSECONDS
        return FileState.SKIPPED.value, reason, *stamp, int(Lane.BACKLOG), None, loose, self._now, changed_at

    def _position(self, change: Remember) -> int:
        """As `position_of`: what arrives is behind what came with it."""
        if change.lane is Lane.BACKLOG:
            return place_by_age(change.stamp.mtime_ns)
        self._arrived += 1
        return self._last_arrival + self._arrived

    @cached_property
    def _last_arrival(self) -> int:
        """The place of the last one that arrived before these."""
        return _last_place(self._db, self._store_id)

    def _turned_up(self, change: Remember | Skip) -> None:
        """What was private and had lost its path is asked for by name, or private under its new one."""
        if isinstance(change, Remember) or change.reason == BASELINE:
            self._displaced.turned_up(change.stamp)

    def _restamp(self, change: Restamp) -> None:
        row = self._row(change.path)
        if row:
            if _is_private(row):
                self._displace(row, change.stamp)
                self._displaced.turned_up(change.stamp)
            # What waits to be sent is hashed again if it changed; what was sent is known by the hash it had.
            forget = row[1] == FileState.PENDING and not change.stamp.unchanged(stamp_of(*row[4:9]))
            reason = None if change.reason is None else text(change.reason)
            self._db.execute(_RESTAMP, (*stamp_columns(change.stamp), reason, forget, row[0]))
            if forget:
                self._db.execute(_SENT_BEFORE, (row[0],))

    def _move(self, change: Move) -> None:
        folder, name = split(change.path)
        folder_id = self._folder(folder, change.watch)
        there = self._row(change.path)
        if there and there[0] != change.file_id:
            self._supersede(there)
            self._displace(there, change.stamp)
            self._db.execute("DELETE FROM file WHERE id = ?", (there[0],))
        columns = (folder_id, name, *stamp_columns(change.stamp), change.watch is None)
        self._db.execute(_MOVE, (*columns, change.file_id, self._store_id))

    def _missing(self, change: Missing) -> None:
        row = self._row(change.path)
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
        """A file that looks like this is at the path of a known one: a private one may turn up elsewhere, or, if it is
        missing, with the disk that it lies on. Where that is put in, another file may have its inode."""
        was, is_missing = stamp_of(*row[4:9]), row[10]
        is_another = not was.may_be_same_file(stamp) if is_missing else was.inode != stamp.inode
        if _is_private(row) and is_another:
            self._displaced.keep(was, row[9])

    def _row(self, path: str) -> Row | None:
        folder, name = split(path)
        row: Row | None = self._db.execute(_FIND, (self._store_id, self._folder(folder), name)).fetchone()
        return row

    def _folder(self, path: bytes, watch: str | None = None) -> int:
        """The folder's number. It lies in this watch, if one is named."""
        number = self._folders.get(path)
        if number is None:
            number = self._folders[path] = folder_id_of(self._db, path)
        if watch is not None and self._watches.get(number) != watch:
            self._db.execute(_IN_WATCH, {"watch": encoded(watch), "id": number})
            self._watches[number] = watch
        return number


def _is_plain(change: Change) -> TypeGuard[Remember | Skip]:
    """True of what makes a new path's record, and nothing else."""
    return isinstance(change, Skip) or (isinstance(change, Remember) and not change.named)


def _is_private(row: Row) -> bool:
    """True of what was there before its folder was adopted."""
    return bool(row[1] == FileState.SKIPPED and row[3] == BASELINE)


def folder_id_of(connection: sqlite3.Connection, path: bytes) -> int:
    """The folder's number; it gets one if it has none yet."""
    connection.execute("INSERT INTO folder (path) VALUES (?) ON CONFLICT DO NOTHING", (path,))
    folder_id: int = connection.execute("SELECT id FROM folder WHERE path = ?", (path,)).fetchone()[0]
    return folder_id


def position_of(connection: sqlite3.Connection, store_id: int, lane: Lane, mtime_ns: int | str) -> int:
    """The place in the queue: behind all fresh ones, or among the backlog by age, newest first."""
    return place_by_age(int(mtime_ns)) if lane is Lane.BACKLOG else _last_place(connection, store_id) + 1


def _last_place(connection: sqlite3.Connection, store_id: int) -> int:
    """The place of the fresh file that came last; 0 if none waits."""
    last: int = connection.execute(_LAST_ARRIVAL, (store_id,)).fetchone()[0]
    return last


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
