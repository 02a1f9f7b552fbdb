"""Whole copies of a ledger, made by SQLite itself: consistent, whoever writes meanwhile, and never a half one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from pixstored.errors import LedgerError, LedgerUnusable
from pixstored.ledger.places import UNFINISHED
from pixstored.ledger.sqlite_file import connect, keep_few_pages, schema_version, trouble, unusable

_MODE = 0o640
"""As the ledger: the owner writes, the group may read."""

_COPY = "VACUUM INTO CAST(? AS TEXT)"
"""The name goes as its bytes: not every path is UTF-8, and Python makes no text of SQLite's from another one."""


def copy_ledger(path: Path, target: Path) -> None:
    """Copies the ledger, daemon running or not; a file of the target's name is replaced when the copy is whole.

    A damaged ledger is not copied: the target may be the last good one. Raises `LedgerError`.
    """
    try:
        with closing(connect(path, readonly=True)) as connection:
            schema_version(connection, path)
            keep_few_pages(connection)
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise LedgerUnusable(f"the ledger {path} is damaged ({verdict}): `pixstored ledger restore`")
            copy_into(connection, target)
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    except OSError as error:
        raise LedgerError(f"no copy of the ledger could be written to {target}: {error.strerror}") from error


def copy_into(connection: sqlite3.Connection, target: Path) -> None:
    """Writes what this connection sees to a file of its own. Raises `sqlite3.Error` or OSError."""
    unfinished = target.with_name(target.name + UNFINISHED)
    unfinished.unlink(missing_ok=True)
    # An empty file is taken (VACUUM INTO). Made here it is nobody else's to read at any moment, and the kernel says why
    # if it cannot be: SQLite only says that it could not.
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _MODE))
    try:
        try:
            connection.execute(_COPY, (os.fsencode(unfinished),))
        except sqlite3.OperationalError as error:
            raise _as_told_by_the_disk(error, unfinished) from error
        unfinished.chmod(_MODE)
        to_disk(unfinished)
        unfinished.replace(target)
        to_disk(target.parent)
    except BaseException:  # Ctrl-C too
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def to_disk(path: Path) -> None:
    """Makes a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_told_by_the_disk(error: sqlite3.Error, target: Path) -> OSError:
    """SQLite does not say whether the ledger or the copy failed; here it is nearly always the copy."""
    return OSError(0, f"{trouble(error)}", os.fspath(target))
