"""The ledger's file as SQLite opens it: is it one of ours, can this program read it, and what is wrong if not."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from pixstored.errors import LedgerError, LedgerUnusable
from pixstored.ledger.places import backup_file, links_file
from pixstored.ledger.sqlite_values import Row

APPLICATION_ID = 1885960307
"""What SQLite keeps in the header of a pixstored ledger: the letters "pixs"."""

SCHEMA_VERSION = 12
"""The newest migration this program knows, and the `user_version` of a ledger it can work with."""

_BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that reads or checkpoints: it needs milliseconds."""

_READING_CACHE = 256
"""KiB of pages that a reading connection keeps, instead of 2,000: the kernel has them all, and there are several
connections. With 100,000 files queued it saves 3 MB, and takes no time; a copy of the ledger is made with 1 MB instead
of 5, and as fast (measured)."""

_OLDEST_SQLITE = (3, 38, 0)
"""STRICT tables are of 3.37; JSON functions are always built in since 3.38."""

_WHAT_IT_IS = """
    SELECT application_id, user_version, NOT EXISTS (SELECT 1 FROM sqlite_master)
    FROM pragma_application_id, pragma_user_version"""
"""In one look: a daemon may be making the ledger at this moment."""

Parameters = Sequence[object] | Mapping[str, object]


def connect(path: Path, *, readonly: bool) -> sqlite3.Connection:
    """A connection that commits by itself, for any thread. The file must be there. Raises `sqlite3.Error`."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        wanted = ".".join(map(str, _OLDEST_SQLITE))
        raise LedgerUnusable(f"the ledger needs SQLite {wanted} or newer; this Python has {sqlite3.sqlite_version}")
    if path.exists() and not path.is_file():
        raise LedgerUnusable(f"{path} is not a file: name the file itself with `ledger` in the configuration")
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rw'}",
        uri=True,
        timeout=_BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )


def keep_few_pages(connection: sqlite3.Connection) -> None:
    """Lets a connection that only reads keep little in memory."""
    connection.execute(f"PRAGMA cache_size = -{_READING_CACHE:d}")


def schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """The ledger's schema version, 0 for a database nothing was put in yet.

    Raises `LedgerUnusable` if it is not a ledger, or a newer program's; reads only.
    """
    version: int
    application, version, is_blank = connection.execute(_WHAT_IT_IS).fetchone()
    if is_blank and (application, version) == (0, 0):
        return 0
    if application != APPLICATION_ID:
        raise LedgerUnusable(
            f"{path} is a database, but not a pixstored ledger: name another file with `ledger` in the configuration"
        )
    if version > SCHEMA_VERSION:
        raise LedgerUnusable(
            f"the ledger {path} is of version {version}, this pixstored knows versions up to {SCHEMA_VERSION}: "
            "use the newer pixstored that has written it"
        )
    return version


def unusable(path: Path, error: sqlite3.Error) -> LedgerUnusable:
    """Why the ledger could not be opened, and the way out, in one sentence."""
    name = error_name(error)
    if name.startswith("SQLITE_NOTADB"):
        return LedgerUnusable(f"{path} is not a pixstored ledger, or its beginning is damaged; {_way_back(path)}")
    if name.startswith("SQLITE_CORRUPT"):
        return LedgerUnusable(f"the ledger {path} is damaged ({error}); {_way_back(path)}")
    if needs_recovery(error):
        return LedgerUnusable(
            f"the ledger {path} was left in the middle of a write, and cannot be read before its owner has started "
            "the daemon again"
        )
    if name.startswith("SQLITE_READONLY"):
        return LedgerUnusable(
            f"the ledger {path} is read-only, or belongs to another user ({error}); run this as its owner, "
            "and see that its folder and file system are writable"
        )
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return LedgerUnusable(
            f"the ledger {path} cannot be opened ({error}); run this as the user it belongs to, "
            "and see that its folder may be written by them"
        )
    return LedgerUnusable(f"the ledger {path} cannot be used: {trouble(error)}")


def needs_recovery(error: sqlite3.Error) -> bool:
    """True if a process died while it wrote, and only somebody who may write can tidy that up."""
    return error_name(error) in {"SQLITE_READONLY_ROLLBACK", "SQLITE_READONLY_RECOVERY"}


def is_damaged(error: sqlite3.Error) -> bool:
    """True if no other try will help: the file is not what it was written as."""
    return error_name(error).startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))


def trouble(error: sqlite3.Error) -> str:
    """What SQLite says, in words for people."""
    name = error_name(error)
    if name.startswith("SQLITE_FULL"):
        return "the disk is full"
    if name.startswith("SQLITE_IOERR"):
        return f"its disk fails ({error})"
    if name.startswith("SQLITE_READONLY"):
        return f"it is read-only ({error})"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "another program holds it"
    return str(error)


def error_name(error: sqlite3.Error) -> str:
    """SQLite's name of the error, such as `SQLITE_FULL`."""
    return str(getattr(error, "sqlite_errorname", None) or "SQLITE_ERROR")


def _way_back(path: Path) -> str:
    if backup_file(path).exists():
        return "`pixstored ledger restore` puts it back from its last copy"
    if links_file(path).exists():
        return "`pixstored ledger restore` makes it again from its links file"
    return "move it away; without a copy of it, everything that is to be published would be published again"


class Reads:
    """A connection to read with, for several threads: one at a time, which may read while it reads.

    Every result is fetched before the connection is given back, so that no reader, however slow, keeps
    SQLite from tidying its log.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        connection.execute("PRAGMA query_only = ON")
        keep_few_pages(connection)
        self._connection: sqlite3.Connection | None = connection
        self._path = path
        self._lock = threading.RLock()

    def all(self, sql: str, parameters: Parameters) -> list[Row]:
        """All rows. Raises `LedgerError`."""
        with self.rows(sql, parameters) as cursor:
            return cursor.fetchall()

    def one(self, sql: str, parameters: Parameters) -> Row | None:
        """The first row. Raises `LedgerError`."""
        with self._lock:
            try:
                row: Row | None = self._open().execute(sql, parameters).fetchone()
                return row
            except sqlite3.Error as error:
                raise self._explained(error) from error

    @contextmanager
    def rows(self, sql: str, parameters: Parameters) -> Iterator[sqlite3.Cursor]:
        """The rows, while no other thread reads. Raises `LedgerError`."""
        with self._lock:
            try:
                with closing(self._open().execute(sql, parameters)) as cursor:
                    yield cursor
            except sqlite3.Error as error:
                raise self._explained(error) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LedgerError(f"the ledger {self._path} is closed")
        return self._connection

    def _explained(self, error: sqlite3.Error) -> LedgerError:
        if is_damaged(error):
            return unusable(self._path, error)
        return LedgerError(f"the ledger {self._path} cannot be read: {trouble(error)}")

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
