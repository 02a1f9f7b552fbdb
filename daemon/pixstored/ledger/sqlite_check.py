"""Is a ledger whole? SQLite's own judgement, and what must hold between its tables besides."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from pixstored.ledger.sqlite_file import SCHEMA_VERSION, connect, is_damaged, schema_version, unusable

_MOST_FAULTS = 20
"""Faults told of one kind: with more than that nobody repairs by hand."""

_INVARIANTS = (
    (
        "published without a link on record",
        """SELECT CAST(folder.path || '/' || file.name AS TEXT) FROM file JOIN folder ON folder.id = folder_id
        WHERE state IN ('published', 'withdrawn') AND NOT EXISTS (
            SELECT 1 FROM content WHERE content.store_id = file.store_id AND content.sha256 = file.sha256
                AND content.state IN ('published', 'withdrawn')
        ) LIMIT ?""",
    ),
    (
        "a content whose link is no link",
        """SELECT hex(sha256) FROM content WHERE state = 'published' AND link NOT LIKE 'http%://_%' LIMIT ?""",
    ),
    (
        "a content whose size is not known",
        """SELECT hex(sha256) FROM content WHERE NOT EXISTS (
            SELECT 1 FROM content_size AS known
            WHERE known.store_id = content.store_id AND known.size = content.size
        ) LIMIT ?""",
    ),
    (
        "a count that is wrong",
        """SELECT 'files at ' || store.name FROM census JOIN store ON store.id = store_id
        WHERE (settling, pending, published, uncertain, rejected, failed, skipped, gone, withdrawn) <> (
            SELECT
                count(*) FILTER (WHERE parked), count(*) FILTER (WHERE state = 'pending' AND NOT parked),
                count(*) FILTER (WHERE state = 'published'), count(*) FILTER (WHERE state = 'uncertain'),
                count(*) FILTER (WHERE state = 'rejected'), count(*) FILTER (WHERE state = 'failed'),
                count(*) FILTER (WHERE state = 'skipped'), count(*) FILTER (WHERE state = 'gone'),
                count(*) FILTER (WHERE state = 'withdrawn')
            FROM file NOT INDEXED WHERE file.store_id = census.store_id
        )
        UNION ALL
        SELECT 'contents at ' || store.name FROM census JOIN store ON store.id = store_id
        WHERE (contents_published, contents_uncertain) <> (
            SELECT count(*) FILTER (WHERE state = 'published'), count(*) FILTER (WHERE state = 'uncertain')
            FROM content WHERE content.store_id = census.store_id
        ) LIMIT ?""",
    ),
)
"""What is wrong in words, and where it is so."""


def check_ledger(path: Path) -> Sequence[str]:
    """What is wrong with it, in words; nothing if it is whole. Reads only, daemon running or not.

    Raises `LedgerUnusable` if it cannot be read at all for another reason than damage.
    """
    try:
        with closing(connect(path, readonly=True)) as connection:
            version = schema_version(connection, path)
            faults = _damage(connection)
            if faults or version < SCHEMA_VERSION:  # what an older one must fulfil, nobody knows any more
                return faults
            return _contradictions(connection)
    except sqlite3.Error as error:
        if is_damaged(error):
            return [f"it is damaged: {error}"]
        raise unusable(path, error) from error


def _damage(connection: sqlite3.Connection) -> list[str]:
    told = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_MOST_FAULTS:d})")]
    faults = [] if told == ["ok"] else [f"it is damaged: {line}" for line in told]
    for table, row_id, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(_MOST_FAULTS):
        faults.append(f"it is damaged: row {row_id} of {table} refers to a {parent} that is not there")
    return faults


def _contradictions(connection: sqlite3.Connection) -> list[str]:
    faults = []
    for words, query in _INVARIANTS:
        faults += [f"{words}: {where}" for (where,) in connection.execute(query, (_MOST_FAULTS,))]
    return faults
