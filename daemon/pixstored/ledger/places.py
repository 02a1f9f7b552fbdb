"""Where the files lie that belong to a ledger, and the folder for them.

Beside the ledger `NAME.db` lie `NAME.lock`, `NAME.bak` and `NAME.links.jsonl`; a ledger whose name does not
end in `.db` keeps its whole name in front of them.
"""

from __future__ import annotations

import os
from pathlib import Path

from pixstored.errors import LedgerUnusable

_FOLDER_MODE = 0o750
"""The ledger tells what was photographed, and where the links are: nothing for everybody."""

UNFINISHED = ".new"
"""Added to the name of a copy until it is whole."""


def lock_file(ledger: Path) -> Path:
    """The file whose lock says that somebody writes."""
    return _beside(ledger, ".lock")


def backup_file(ledger: Path) -> Path:
    """The copy made by SQLite: daily, and before each migration."""
    return _beside(ledger, ".bak")


def links_file(ledger: Path) -> Path:
    """All links, one JSON object a line."""
    return _beside(ledger, ".links.jsonl")


def logs_of(ledger: Path) -> tuple[Path, Path]:
    """The files that SQLite keeps beside a ledger while it is open, or was not closed."""
    return ledger.with_name(ledger.name + "-wal"), ledger.with_name(ledger.name + "-shm")


def is_hidden(ledger: Path) -> bool:
    """True if there is a ledger, or may be one, that this user cannot read."""
    try:
        os.stat(ledger)
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(ledger, os.R_OK)


def make_folder(ledger: Path) -> None:
    """Makes the ledger's folder if it is missing. Raises `LedgerUnusable` if that cannot be."""
    try:
        ledger.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerUnusable(
            f"the folder {ledger.parent} for the ledger cannot be made: {error.strerror}; "
            "make it yourself, or name another place with `ledger` in the configuration"
        ) from error


def refuse_if_known(path: Path) -> None:
    """For a ledger that is not there: raises `LedgerUnusable` if what lies beside its place tells of one."""
    if backup_file(path).exists():
        raise LedgerUnusable(
            f"the ledger {path} is missing, but {backup_file(path)} tells that there was one: `pixstored ledger "
            "restore` puts it back; or start with --new-ledger to forget what was published (what is published "
            "again is then stored twice)"
        )
    if links_file(path).exists():
        raise LedgerUnusable(
            f"the ledger {path} is missing, but {links_file(path)} tells that there was one: `pixstored ledger "
            "restore` takes what it tells; or start with --new-ledger to forget what was published (what is "
            "published again is then stored twice)"
        )


def _beside(ledger: Path, suffix: str) -> Path:
    name = ledger.name.removesuffix(".db") or ledger.name
    return ledger.with_name(name + suffix)
