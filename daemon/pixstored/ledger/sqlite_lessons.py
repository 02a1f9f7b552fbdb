"""What the store's refusals and successes teach, written into the tables: whose fault a refusal is, what not to send.

It is all kept in the ledger, so that a restart neither forgets what was learned nor begins to count anew. Order in
time is told by what was recorded, never by a clock.
"""

from __future__ import annotations

import os
import sqlite3

from pixstored.ledger.sqlite_intake import position_of
from pixstored.ledger.sqlite_values import Row, join, text
from pixstored.model import Lane, Lessons, extension_of
from pixstored.slotted import dataclass

IN_A_ROW = 3
"""Contents refused with no success between, from which on it is the store's fault."""

TOO_LARGE, NOT_THIS_KIND = 413, 415

_REFUSED_BEFORE = "SELECT answered FROM refusal WHERE store_id = ? AND sha256 = ?"

_REFUSED = "INSERT INTO refusal (store_id, sha256) VALUES (?, ?) ON CONFLICT DO NOTHING"

_COUNT = "SELECT count(*) FROM refusal INDEXED BY refusal_in_a_row WHERE store_id = ? AND answered = 0"

_TURNED_AWAY = """
    SELECT file.id, file.lane, file.mtime_ns, folder.path, file.name
    FROM refusal INDEXED BY refusal_in_a_row
    JOIN file INDEXED BY file_rejected USING (store_id, sha256)
    JOIN folder ON folder.id = file.folder_id
    WHERE refusal.store_id = ? AND answered = 0 AND put_back = 0 AND file.state = 'rejected'
    ORDER BY file.id"""

_WAIT_AGAIN = "UPDATE file SET state = 'pending', reason = NULL, position = ? WHERE id = ?"

_PUT_BACK = "UPDATE refusal SET put_back = 1 WHERE store_id = ? AND answered = 0 AND put_back = 0"

_NOT_REFUSED_IN_A_ROW = """
    DELETE FROM refused WHERE store_id = :store AND sha256 IN (
        SELECT sha256 FROM refusal INDEXED BY refusal_in_a_row
        WHERE store_id = :store AND answered = 0 AND put_back = 0
    )"""

_ANSWERED = "UPDATE refusal SET answered = 1 WHERE store_id = ? AND answered = 0"

_OF_CONTENT = (
    "DELETE FROM refusal WHERE store_id = ? AND sha256 = ?",
    "DELETE FROM resent WHERE store_id = ? AND sha256 = ?",
    "DELETE FROM refused WHERE store_id = ? AND sha256 = ?",
)

_CONTENT_REFUSED = """
    INSERT INTO refused (store_id, sha256, extension, reason) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET reason = excluded.reason"""

_HASH_FIRST = "INSERT INTO content_size (store_id, size) VALUES (?, ?) ON CONFLICT DO NOTHING"

_TRY_CONTENT = "DELETE FROM refused WHERE store_id = ? AND sha256 = ? AND extension = ?"

_EXTENSION_REFUSED = """
    INSERT INTO extension_lesson (store_id, extension, refused, accepted) VALUES (?, ?, 1, 0)
    ON CONFLICT DO UPDATE SET refused = refused + 1"""

_EXTENSION_ACCEPTED = """
    INSERT INTO extension_lesson (store_id, extension, refused, accepted) VALUES (?, ?, 0, 1)
    ON CONFLICT DO UPDATE SET accepted = 1 WHERE accepted = 0"""

_SIZE_REFUSED = """
    INSERT INTO size_lesson (store_id, refused, accepted) VALUES (:store, :size, 0)
    ON CONFLICT DO UPDATE SET refused = min(coalesce(refused, :size), :size) WHERE accepted < :size"""

_SIZE_ACCEPTED = """
    INSERT INTO size_lesson (store_id, refused, accepted) VALUES (:store, NULL, :size)
    ON CONFLICT DO UPDATE SET accepted = :size, refused = iif(refused > :size, refused, NULL)
    WHERE accepted < :size"""

LESSONS = """
    SELECT
        coalesce((
            SELECT refused FROM extension_lesson WHERE store_id = :store AND extension = :extension AND accepted = 0
        ), 0),
        (SELECT refused FROM size_lesson WHERE store_id = :store)"""
"""`Lessons` of one extension."""

ANYTHING_TAUGHT = """
    SELECT 1 FROM extension_lesson WHERE store_id = :store AND refused > 0 AND accepted = 0
    UNION ALL
    SELECT 1 FROM size_lesson WHERE store_id = :store AND refused IS NOT NULL"""
"""Has a row if there are `Lessons` that say more than `NOTHING_TAUGHT`."""

NOTHING_TAUGHT = Lessons(refused_kind=0, refused_size=None)

_NO_MORE_OF_EXTENSION = "UPDATE extension_lesson SET refused = 0 WHERE store_id = ? AND extension = ?"

_NO_MORE_OF_SIZE = "UPDATE size_lesson SET refused = NULL WHERE store_id = ? AND refused <= ?"

_NO_MORE = (
    "UPDATE extension_lesson SET refused = 0 WHERE store_id = ?",
    "UPDATE size_lesson SET refused = NULL WHERE store_id = ?",
    "DELETE FROM refused WHERE store_id = ?",
)

_ELSEWHERE = "UPDATE store SET url = ?2 WHERE id = ?1 AND url IS NOT ?2"

_ALL = (
    "DELETE FROM refusal WHERE store_id = ?",
    "DELETE FROM extension_lesson WHERE store_id = ?",
    "DELETE FROM size_lesson WHERE store_id = ?",
)


@dataclass(frozen=True, slots=True)
class Teaching:
    """Writes what is learned of one store, inside a transaction somebody else ends."""

    db: sqlite3.Connection
    store_id: int

    # --- refusals that may be the store's fault

    def blames_store(self, sha256: bytes) -> bool:
        """This content was refused: is that the store's fault?

        Not if something was published since this content was refused first: the store was well then, and the
        content counts no more. Else it is, from the third content in a row on.
        """
        before = self.db.execute(_REFUSED_BEFORE, (self.store_id, sha256)).fetchone()
        if before and before[0]:
            return False
        self.db.execute(_REFUSED, (self.store_id, sha256))
        count: int = self.db.execute(_COUNT, (self.store_id,)).fetchone()[0]
        return count >= IN_A_ROW

    def put_back(self) -> list[str]:
        """The files that were turned away by the refusals in a row wait again; their paths. Once for each content."""
        found = self.db.execute(_TURNED_AWAY, (self.store_id,)).fetchall()
        for file_id, lane, mtime_ns, _, _ in found:
            self.db.execute(_WAIT_AGAIN, (position_of(self.db, self.store_id, Lane(lane), mtime_ns), file_id))
        self.db.execute(_NOT_REFUSED_IN_A_ROW, {"store": self.store_id})
        self.db.execute(_PUT_BACK, (self.store_id,))
        return [join(folder, name) for *_, folder, name in found]

    # --- what is not worth sending

    def refused(self, status: int, path: str, size: int) -> None:
        """A file was refused with this status."""
        if status == NOT_THIS_KIND:
            self.db.execute(_EXTENSION_REFUSED, (self.store_id, key_of(path)))
        elif status == TOO_LARGE:
            self.db.execute(_SIZE_REFUSED, {"store": self.store_id, "size": size})

    def refused_content(self, sha256: bytes, path: str, size: int, why: str | None) -> None:
        """This content was refused under the extension of this path. It is hashed first wherever it turns up."""
        self.db.execute(_CONTENT_REFUSED, (self.store_id, sha256, key_of(path), why))
        self.db.execute(_HASH_FIRST, (self.store_id, size))

    def accepted(self, sha256: bytes, path: str, size: int) -> None:
        """A file was published: the store is well, and takes such files."""
        self.forget_content(sha256)
        self.db.execute(_ANSWERED, (self.store_id,))
        self.db.execute(_EXTENSION_ACCEPTED, (self.store_id, key_of(path)))
        self.db.execute(_SIZE_ACCEPTED, {"store": self.store_id, "size": size})

    def try_such(self, path: str, size: int) -> None:
        """Files like this one are sent again, until they are refused again."""
        self.db.execute(_NO_MORE_OF_EXTENSION, (self.store_id, key_of(path)))
        self.db.execute(_NO_MORE_OF_SIZE, (self.store_id, size))

    def try_content(self, sha256: bytes, path: str) -> None:
        """This content is sent again under the extension of this path, until it is refused again."""
        self.db.execute(_TRY_CONTENT, (self.store_id, sha256, key_of(path)))

    def try_all(self) -> None:
        """All files are sent again, until they are refused again."""
        for statement in _NO_MORE:
            self.db.execute(statement, (self.store_id,))

    def located(self, url: str) -> None:
        """The store is at this address: what was learned at another one counts no more."""
        if self.db.execute(_ELSEWHERE, (self.store_id, text(url))).rowcount:
            for statement in _ALL:
                self.db.execute(statement, (self.store_id,))

    def forget_content(self, sha256: bytes) -> None:
        """Nothing is held against this content any more."""
        for statement in _OF_CONTENT:
            self.db.execute(statement, (self.store_id, sha256))


def key_of(path: str) -> bytes:
    """The extension of a name as the tables have it."""
    return os.fsencode(extension_of(path))


def lessons_of(row: Row | None) -> Lessons:
    """The lessons in a row of `LESSONS`."""
    return Lessons(refused_kind=row[0], refused_size=row[1]) if row else NOTHING_TAUGHT
