"""When watched folders were adopted, and on which disks: those of a camera take turns in one place."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable

from pixstored.ledger.sqlite_values import encoded
from pixstored.model import Adoption

ADOPTION = "SELECT adopted_at_ns, filesystem FROM adoption WHERE store_id = ? AND root = ?"

ADOPTED_ON = "SELECT adopted_at_ns FROM disk WHERE store_id = ? AND root = ? AND identity = ?"

_ADD = "INSERT INTO adoption (store_id, root, adopted_at_ns, filesystem) VALUES (?, ?, ?, ?) ON CONFLICT"

_ADD_DISK = "INSERT INTO disk (store_id, root, identity, adopted_at_ns) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"

_ADOPT = f"{_ADD} DO UPDATE SET adopted_at_ns = excluded.adopted_at_ns, filesystem = excluded.filesystem"

_LEARN = f"{_ADD} DO NOTHING"

_AWAY = """
    UPDATE file SET missing_at = :now
    WHERE store_id = :store AND missing_at IS NULL AND state NOT IN ('pending', 'failed', 'gone')
        AND folder_id IN (SELECT id FROM folder WHERE path = :root OR (path >= :below AND path < :beyond))"""


def folders_below(root: str) -> dict[str, bytes]:
    """What tells a folder and all below it: "0" follows "/", so every path below it lies between the two."""
    top = os.fsencode(root)
    stem = top.rstrip(b"/")
    return {"root": top, "below": stem + b"/", "beyond": stem + b"0"}


def adopt(connection: sqlite3.Connection, store_id: int, adoptions: Iterable[Adoption]) -> None:
    """Notes these, inside a transaction somebody else ends; an older note of a folder is replaced, that of a disk is
    not."""
    _note(connection, _ADOPT, store_id, adoptions)


def learn(connection: sqlite3.Connection, store_id: int, adoption: Adoption) -> None:
    """The same of what another ledger knows: no note is replaced."""
    _note(connection, _LEARN, store_id, [adoption])


def _note(connection: sqlite3.Connection, statement: str, store_id: int, adoptions: Iterable[Adoption]) -> None:
    for each in adoptions:
        root = encoded(each.root)
        connection.execute(statement, (store_id, root, each.adopted_at_ns, encoded(each.filesystem)))
        if each.disk is not None:
            learn_disk(connection, store_id, each.root, each.disk, each.adopted_at_ns)


def learn_disk(connection: sqlite3.Connection, store_id: int, root: str, disk: str, adopted_at_ns: int) -> None:
    """Notes when a disk was adopted there, unless that is known."""
    connection.execute(_ADD_DISK, (store_id, encoded(root), encoded(disk), adopted_at_ns))


def away(connection: sqlite3.Connection, store_id: int, root: str, now: float) -> None:
    """What is known in this folder is missing, but for what waits to be sent."""
    connection.execute(_AWAY, {"store": store_id, "now": now, **folders_below(root)})
