"""Private (baseline) files whose path another file has taken: what looks like one of them stays private."""

from __future__ import annotations

import sqlite3

from pixstored.ledger.sqlite_values import moment, signed
from pixstored.model import Stamp

_MOST_KEPT = 100_000
"""Rows (about 80 bytes each); after that the oldest make room. A program that gives each file of an archive a new one
in its place leaves as many, and the files they tell of are gone: nobody can tell that from being away."""

DISPLACED = """
    SELECT folder.path, device FROM displaced JOIN folder ON folder.id = folder_id
    WHERE store_id = ? AND inode = ? AND size = ? AND mtime_ns = ?"""

DISPLACED_LIKE = """
    SELECT folder.path, device FROM displaced JOIN folder ON folder.id = folder_id
    WHERE store_id = ? AND size = ? AND mtime_ns = ?"""

_ANY = "SELECT EXISTS (SELECT 1 FROM displaced)"

_KEEP = """
    INSERT INTO displaced (store_id, inode, size, mtime_ns, device, folder_id) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING"""

_MAKE_ROOM = "DELETE FROM displaced WHERE id <= (SELECT max(id) FROM displaced) - ?"

_TURNED_UP = """
    DELETE FROM displaced WHERE store_id = ? AND inode = ? AND size = ? AND mtime_ns = ? AND device = ?"""


def identity(stamp: Stamp) -> tuple[int, int, int | str]:
    """inode, size, mtime_ns: what a rename leaves as it is."""
    return signed(stamp.inode), stamp.size, moment(stamp.mtime_ns)


def likeness(stamp: Stamp) -> tuple[int, int | str]:
    """size, mtime_ns: what is left of that where inodes are made up anew."""
    return stamp.size, moment(stamp.mtime_ns)


class DisplacedFiles:
    """Those of one store, inside a transaction somebody else ends."""

    def __init__(self, connection: sqlite3.Connection, store_id: int) -> None:
        self._db = connection
        self._store_id = store_id
        (self._any,) = connection.execute(_ANY).fetchone()

    def keep(self, stamp: Stamp, folder_id: int) -> None:
        """A private file that looked like this has lost its path, in this folder."""
        self._db.execute(_KEEP, (self._store_id, *identity(stamp), signed(stamp.device), folder_id))
        self._db.execute(_MAKE_ROOM, (_MOST_KEPT,))
        self._any = True

    def turned_up(self, stamp: Stamp) -> None:
        """The file that looks like this has a record again."""
        if self._any:
            self._db.execute(_TURNED_UP, (self._store_id, *identity(stamp), signed(stamp.device)))
