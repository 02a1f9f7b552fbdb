"""Brings a ledger's file to the schema of this program: makes a new one, or migrates, after a copy."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pixstored.errors import LedgerUnusable
from pixstored.ledger.places import backup_file, links_file, logs_of, make_folder, refuse_if_known
from pixstored.ledger.sqlite_copy import copy_into
from pixstored.ledger.sqlite_file import SCHEMA_VERSION, connect, needs_recovery, schema_version

_FILE_MODE = 0o640
"""The owner writes, the group may read; SQLite gives its own files beside it the same mode."""

_WRITING_CACHE = 1024
"""KiB of pages that the writing connection keeps, besides those it has changed and not committed."""

_LOG_LIMIT = 64 * 1024 * 1024
"""Bytes the write-ahead log is cut back to after a burst."""


def open_for_writing(path: Path, *, fresh: bool) -> sqlite3.Connection:
    """A connection to an up-to-date ledger, made if it is missing and none is known to have been there.

    Raises `LedgerUnusable` (nothing was touched then), or `sqlite3.Error`.
    """
    make_folder(path)
    version = _version_of(path)
    if version == 0:
        if not fresh:
            refuse_if_known(path)
        _set_aside(path)
    _make_file(path)
    connection = connect(path, readonly=False)
    try:
        _set_up(connection, path)
        if version < SCHEMA_VERSION:
            if version > 0:
                back_up(connection, path)
            _migrate(connection, version)
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _version_of(path: Path) -> int:
    """0 if there is nothing yet. Looks through a connection that cannot write, so a newer ledger stays as it is."""
    if not path.exists() or path.stat().st_size == 0:
        return 0
    try:
        return _look_at_version(path, readonly=True)
    except sqlite3.OperationalError as error:
        if not needs_recovery(error):
            raise
        return _look_at_version(path, readonly=False)


def _look_at_version(path: Path, *, readonly: bool) -> int:
    with closing(connect(path, readonly=readonly)) as connection:
        return schema_version(connection, path)


def _set_aside(path: Path) -> None:
    """What is left of a ledger that is gone gets other names: it must not be taken for this one's."""
    logs = () if path.exists() else logs_of(path)
    mark = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for rest in (backup_file(path), links_file(path), *logs):
        if rest.exists():
            rest.replace(rest.with_name(f"{rest.name}.old-{mark}"))


def _make_file(path: Path) -> None:
    """Makes the file with its mode before SQLite has it open: closing it later would drop SQLite's locks."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _FILE_MODE))
    except FileExistsError:
        return
    except OSError as error:
        raise LedgerUnusable(
            f"the ledger {path} cannot be made: {error.strerror}; see that its folder may be written, "
            "or name another place with `ledger` in the configuration"
        ) from error


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise LedgerUnusable(
            f"the ledger {path} lies on a file system that cannot share memory between programs: "
            "name a place on a local disk with `ledger` in the configuration"
        )
    connection.execute("PRAGMA synchronous = FULL")  # NORMAL may forget the last commits when the power fails
    connection.execute(f"PRAGMA cache_size = -{_WRITING_CACHE:d}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT:d}")
    connection.execute("BEGIN IMMEDIATE")  # finds out that nothing may be written here
    connection.execute("ROLLBACK")


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Runs the missing scripts in one transaction; each sets `user_version` itself."""
    script = "\n".join(["BEGIN IMMEDIATE;", *scripts(after=version), "COMMIT;"])
    try:
        connection.executescript(script)
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def scripts(*, after: int) -> Iterator[str]:
    """The migrations that follow this version, in order."""
    for script in sorted(Path(__file__).with_name("schema").glob("*.sql")):
        number, _, _ = script.name.partition("_")
        if number.isdecimal() and int(number) > after:
            yield script.read_text(encoding="utf-8")


def back_up(connection: sqlite3.Connection, path: Path) -> None:
    """Makes `NAME.bak`, a whole copy by SQLite itself; a half one never bears the name. Raises `LedgerUnusable`."""
    backup = backup_file(path)
    try:
        copy_into(connection, backup)
    except (sqlite3.Error, OSError) as error:
        raise LedgerUnusable(
            f"no copy of the ledger {path} could be made as {backup}, which must be before it is brought to a newer "
            f"version: {error}"
        ) from error
