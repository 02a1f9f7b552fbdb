"""What is done when nobody holds a claim: what died on its way is told apart, and what has failed is tried again."""

from __future__ import annotations

import sqlite3

from pixstored.ledger.sqlite_intake import position_of
from pixstored.ledger.sqlite_outcome import record_attempt
from pixstored.model import Lane

_ENDED_MIDWAY = "the daemon ended before the store's answer was recorded"

_FAILED = """
    SELECT id, lane, mtime_ns FROM file INDEXED BY file_failed
    WHERE store_id = :store AND state = 'failed' AND NOT EXISTS (
        SELECT 1 FROM attempt WHERE file_id = file.id AND at > :since AND at <= :now
    )
    ORDER BY id"""

_TRY_AGAIN = "UPDATE file SET state = 'pending', reason = NULL, position = ? WHERE id = ?"

_SENT = """
    SELECT sha256, file_id, unchanged FROM sent WHERE store_id = ?"""

_DOUBT_SENT = """
    INSERT INTO content (store_id, sha256, state, size, comment, file_id, sent_at, why)
    SELECT store_id, sha256, 'uncertain', size, comment, file_id, sent_at, ?
    FROM sent WHERE store_id = ? AND sha256 = ?"""
"""The note ends with it, by a trigger."""

_DOUBT_FILES = """
    UPDATE file SET
        state = 'uncertain', reason = :why, position = NULL, parked = 0, next_try_at = NULL
    WHERE store_id = :store AND sha256 = :sha256 AND state = 'pending'"""

_DOUBT_CARRIER = """
    UPDATE file SET
        state = 'uncertain', reason = :why, sha256 = :sha256, position = NULL, parked = 0, next_try_at = NULL
    WHERE id = :id AND state = 'pending'"""


def retry_failed(connection: sqlite3.Connection, store_id: int, since: float, now: float) -> int:
    """Every `failed` file whose last try was not between these times waits again, with the tries it has spent.

    A try in the future is one before the clock was set back.
    """
    failed = connection.execute(_FAILED, {"store": store_id, "since": since, "now": now}).fetchall()
    for file_id, lane, mtime_ns in failed:
        position = position_of(connection, store_id, Lane(lane), mtime_ns)
        connection.execute(_TRY_AGAIN, (position, file_id))
    return len(failed)


def recover(connection: sqlite3.Connection, store_id: int, now: float) -> int:
    """What was noted as sent when the process died is `uncertain`, and so are its files."""
    sent = connection.execute(_SENT, (store_id,)).fetchall()
    for sha256, file_id, unchanged in sent:
        connection.execute(_DOUBT_SENT, (_ENDED_MIDWAY, store_id, sha256))
        doubt = {"why": _ENDED_MIDWAY, "store": store_id, "sha256": sha256, "id": file_id}
        connection.execute(_DOUBT_FILES, doubt)
        if unchanged:
            connection.execute(_DOUBT_CARRIER, doubt)
        if connection.execute("SELECT 1 FROM file WHERE id = ?", (file_id,)).fetchone():
            record_attempt(connection, file_id, "uncertain", _ENDED_MIDWAY, now)
    return len(sent)
