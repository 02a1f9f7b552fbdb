"""How a claim ends, written into the tables: what is known of a content, and what became of a file.

Every change of a file's row is made only if the row still tells of the file that was claimed: what the intake has
recorded meanwhile stands. What the store has is recorded in any case.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import field

from pixstored.ledger.sqlite_intake import VANISHED, folder_id_of
from pixstored.ledger.sqlite_lessons import Teaching, key_of
from pixstored.ledger.sqlite_values import Row, join, last_segment, split, stamp_of, text
from pixstored.model import Claim, FileState, Lane, Receipt, Standing, extension_of
from pixstored.slotted import dataclass

_ATTEMPTS_KEPT = 50
"""Tries a file that are told by `why`: months of them, at one a day."""

_DELAYS_KEPT = 7 * 86400.0
"""Seconds for which it is known how long each fresh file took: `status` tells of a day."""

_STANDINGS = {
    "sent": Standing.IN_FLIGHT,
    "published": Standing.PUBLISHED,
    "uncertain": Standing.UNCERTAIN,
    "withdrawn": Standing.WITHDRAWN,
    "rejected": Standing.REJECTED,
}
"""What a content's state means for somebody else who wants to send it."""

_STATES = {
    Standing.UNCERTAIN: FileState.UNCERTAIN,
    Standing.WITHDRAWN: FileState.WITHDRAWN,
    Standing.REJECTED: FileState.REJECTED,
}
"""The state a file gets by what is known of its content, if it does not get a link."""

_KNOWN = """
    SELECT state, why FROM content_known WHERE store_id = :store AND sha256 = :sha256
    UNION ALL
    SELECT 'rejected', reason FROM refused WHERE store_id = :store AND sha256 = :sha256 AND extension = :extension"""
"""The content; then, whether it was refused under this extension."""

_NOTE = """
    INSERT INTO sent (store_id, sha256, size, comment, file_id, unchanged, sent_at)
    SELECT
        :store, :sha256, :size, :comment, :id, EXISTS (
            SELECT 1 FROM file
            WHERE id = :id AND state = 'pending' AND size = :size AND mtime_ns = :mtime AND ctime_ns = :ctime
                AND inode = :inode AND name = :name AND folder_id = (SELECT id FROM folder WHERE path = :folder)
        ), :at
    WHERE NOT EXISTS (
        SELECT 1 FROM refused WHERE store_id = :store AND sha256 = :sha256 AND extension = :extension
    )
    ON CONFLICT DO NOTHING"""
"""Nothing is noted of what is known: a trigger sees to that. The file itself gets its hash with its outcome: what is
written once costs half of what is written twice."""

_UNNOTE = "DELETE FROM sent WHERE store_id = ? AND sha256 = ? AND file_id = ?"

_PUBLISH_SENT = """
    INSERT INTO content (
        store_id, sha256, state, size, link, remote_id, comment, file_id, sent_at, published_at
    )
    SELECT store_id, sha256, 'published', size, ?, ?, comment, file_id, sent_at, ?
    FROM sent WHERE store_id = ? AND sha256 = ?"""
"""The note ends with it, by a trigger."""

_PUBLISH = """
    INSERT INTO content (store_id, sha256, state, size, link, remote_id, file_id, published_at)
    VALUES (?, ?, 'published', ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        state = 'published', link = excluded.link, remote_id = excluded.remote_id,
        published_at = excluded.published_at, why = NULL
    WHERE content.state = 'uncertain'"""

_DOUBTED = "SELECT id FROM file WHERE store_id = ? AND sha256 = ? AND state = 'uncertain'"

_DOUBT = """
    INSERT INTO content (store_id, sha256, state, size, file_id, why, comment, sent_at)
    SELECT :store, :sha256, 'uncertain', :size, :id, :why,
        (SELECT comment FROM sent WHERE store_id = :store AND sha256 = :sha256),
        (SELECT sent_at FROM sent WHERE store_id = :store AND sha256 = :sha256)
    WHERE true ON CONFLICT DO NOTHING"""

_FILE = """
    SELECT folder.path, name, state, size, mtime_ns, ctime_ns, inode, device
    FROM file JOIN folder ON folder.id = folder_id WHERE file.id = ?"""

_WAITING = """
    SELECT id, name FROM file INDEXED BY file_pending_content
    WHERE store_id = :store AND sha256 = :sha256 AND state = 'pending'
    UNION
    SELECT file.id, name FROM sent JOIN file ON file.id = sent.file_id
    WHERE sent.store_id = :store AND sent.sha256 = :sha256 AND unchanged = 1 AND file.state = 'pending'"""

_HASH = """
    UPDATE file SET sha256 = :sha256
    WHERE id = :id AND state = 'pending' AND size = :size AND mtime_ns = :mtime AND ctime_ns = :ctime
        AND inode = :inode AND name = :name AND folder_id = (SELECT id FROM folder WHERE path = :folder)"""

_LINK_ONLY_IT = """
    UPDATE file SET
        state = 'published', reason = NULL, sha256 = :sha256, position = NULL, parked = 0, next_try_at = NULL
    WHERE id = :id AND size = :size AND mtime_ns = :mtime AND ctime_ns = :ctime
        AND inode = :inode AND name = :name AND folder_id = (SELECT id FROM folder WHERE path = :folder)
        AND EXISTS (
            SELECT 1 FROM extension_lesson WHERE store_id = :store AND extension = :extension AND accepted = 1
        )
        AND (SELECT accepted FROM size_lesson WHERE store_id = :store) >= :size
        AND NOT EXISTS (SELECT 1 FROM refusal WHERE store_id = :store AND sha256 = :sha256)
        AND NOT EXISTS (SELECT 1 FROM refusal INDEXED BY refusal_in_a_row WHERE store_id = :store AND answered = 0)
        AND NOT EXISTS (SELECT 1 FROM resent WHERE store_id = :store AND sha256 = :sha256)
        AND NOT EXISTS (SELECT 1 FROM attempt WHERE file_id = :id)
        AND NOT EXISTS (
            SELECT 1 FROM file other INDEXED BY file_pending_content
            WHERE other.store_id = :store AND other.sha256 = :sha256 AND other.state = 'pending' AND other.id <> :id
        )
        AND NOT EXISTS (
            SELECT 1 FROM superseded
            WHERE superseded.store_id = :store AND superseded.folder_id = file.folder_id AND superseded.name = :name
        )"""
"""Gives the claimed file its link if nothing else follows: the publication teaches nothing new, no other file waits
for it, and this one has no past. One statement in place of a dozen that would change nothing, for nearly every file
(measured: a third of the ledger's time)."""

_LEAVE = """
    UPDATE file SET
        state = ?, reason = ?, sha256 = coalesce(?, sha256),
        position = NULL, parked = 0, next_try_at = NULL
    WHERE id = ?"""

_BACK_AGAIN = """
    DELETE FROM superseded WHERE id = (
        SELECT superseded.id FROM file JOIN superseded USING (store_id, folder_id, name, sha256) WHERE file.id = ?
    )"""

_OLD_LINK = """
    INSERT INTO superseded (store_id, folder_id, name, sha256, at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING"""

_DELAY = """
    INSERT INTO delay (store_id, at, file_id, seconds)
    SELECT store_id, :at, id, max(:at - changed_at, 0.0) FROM file WHERE id = :id AND lane = 0
    ON CONFLICT DO NOTHING"""

_FORGET_DELAYS = "DELETE FROM delay WHERE store_id = ? AND at < ?"

_TRIED = "UPDATE file SET tries = tries + 1 WHERE id = ?"

_POSTPONE = "UPDATE file SET next_try_at = ? WHERE id = ?"

_SENT_AGAIN = "INSERT INTO resent (store_id, sha256) VALUES (?, ?) ON CONFLICT DO NOTHING"

_PARK = "UPDATE file SET parked = 1, sha256 = NULL, next_try_at = NULL WHERE id = ?"

_ATTEMPT = "INSERT INTO attempt (file_id, at, outcome, detail) VALUES (?, ?, ?, ?)"

_LATE_SUCCESS = """
    INSERT INTO attempt (file_id, at, outcome, detail)
    SELECT :id, :at, 'published', :link WHERE EXISTS (SELECT 1 FROM attempt WHERE file_id = :id)"""

_FORGET_ATTEMPTS = """
    DELETE FROM attempt WHERE file_id = :id AND id <= (
        SELECT id FROM attempt WHERE file_id = :id ORDER BY id DESC LIMIT 1 OFFSET :kept
    )"""


@dataclass(slots=True)
class Outcome:
    """Writes how one claim goes on or ends, inside a transaction somebody else ends."""

    db: sqlite3.Connection
    store_id: int
    claim: Claim
    row: Mapping[str, object]
    """What tells that a row is still that of the claimed file (`sqlite_values.guard_of`)."""
    sha256: bytes | None
    """The hash this claim has found out, None if it has not."""
    noted: bytes | None
    """The content that is noted as sent for this claim."""
    linked: list[int] = field(default_factory=list)
    """The files that have got a link by it."""

    # --- before it is sent

    def standing(self, sha256: bytes, now: float) -> Standing:
        """What is known of this content. Unless CLEAR, the file is given the state that follows from it."""
        standing, why = self._known(sha256)
        if standing is Standing.IN_FLIGHT:
            self.note_hash(sha256)
        elif standing is not Standing.CLEAR and self._waits():
            self._settle(standing, why, sha256, now)
        return standing

    def recheck(self, sha256: bytes, now: float) -> Standing:
        """The same for a file that is not to be sent now: it is known to have this content, whatever that is."""
        standing = self.standing(sha256, now)
        if standing is Standing.CLEAR:
            self.note_hash(sha256)
        return standing

    def note_hash(self, sha256: bytes) -> None:
        """The file waits on, and is known to have this content."""
        self.db.execute(_HASH, {**self.row, "sha256": sha256})

    def send(self, sha256: bytes, comment: str | None, now: float) -> Standing:
        """Notes that the store may have it from now on, if the content is CLEAR."""
        note = {
            **self.row,
            "store": self.store_id,
            "sha256": sha256,
            "extension": key_of(self.claim.path),
            "comment": None if comment is None else text(comment),
            "at": now,
        }
        is_noted = self.db.execute(_NOTE, note).rowcount == 1
        return Standing.CLEAR if is_noted else self.standing(sha256, now)

    def take_back(self) -> None:
        """The store does not have it after all."""
        if self.noted is not None:
            self.db.execute(_UNNOTE, (self.store_id, self.noted, self.claim.file_id))

    # --- the store has it, or may have it

    def publish(self, sha256: bytes, receipt: Receipt, now: float) -> None:
        link, remote_id = text(receipt.link), text(receipt.id)
        own_id = None if remote_id == last_segment(link) else remote_id
        asked = {**self.row, "sha256": sha256, "store": self.store_id, "extension": key_of(self.claim.path)}
        is_alone = self.db.execute(_LINK_ONLY_IT, asked).rowcount == 1
        owners = set() if is_alone else {file_id for file_id, _ in self._waiting(sha256)}
        was_noted = self.db.execute(_PUBLISH_SENT, (link, own_id, now, self.store_id, sha256)).rowcount == 1
        if not was_noted:
            content = (self.store_id, sha256, self.claim.stamp.size, link, own_id, self.claim.file_id, now)
            self.db.execute(_PUBLISH, content)
        if is_alone:
            self._linked(self.claim.file_id, now)
        else:
            self._link_owners(owners, sha256, link, now)
        if not was_noted:
            self._link_doubted(sha256, now)

    def _link_owners(self, owners: set[int], sha256: bytes, link: str, now: float) -> None:
        """The claimed file and these get the link; if that has another content by now, it is its link from before."""
        self._teaching.accepted(sha256, self.claim.path, self.claim.stamp.size)
        if self._state():
            owners.add(self.claim.file_id)
        for file_id in owners:
            self._link(file_id, sha256, now)
        if self.claim.file_id in owners:
            self.db.execute(_LATE_SUCCESS, {"id": self.claim.file_id, "at": now, "link": link})
        else:
            folder, name = split(self.claim.path)
            self.db.execute(_OLD_LINK, (self.store_id, folder_id_of(self.db, folder), name, sha256, now))

    def doubt(self, sha256: bytes | None, why: str, now: float) -> None:
        why = text(why)
        if sha256 is not None and self._known(sha256)[0] is Standing.PUBLISHED:
            self.standing(sha256, now)  # records that were merged meanwhile tell of its link
            return
        waiting = self._waiting(sha256)
        if sha256 is not None:
            self._doubt(sha256, why)
        if self._state():
            self._leave(self.claim.file_id, FileState.UNCERTAIN, why, sha256)
            self._attempt("uncertain", why, now)
        for file_id, _ in waiting:
            self._leave(file_id, FileState.UNCERTAIN, why, sha256)

    def resend(self, sha256: bytes | None, why: str, until: float, now: float) -> bool:
        if sha256 is None or not self._waits():
            return False
        if not self.db.execute(_SENT_AGAIN, (self.store_id, sha256)).rowcount:
            return False
        self.take_back()
        self.note_hash(sha256)
        for file_id, _ in self._waiting(sha256):
            self.db.execute(_POSTPONE, (until, file_id))
        self._attempt("uncertain", text(why), now)
        return True

    # --- the store does not have it

    def suspect(self, sha256: bytes | None, why: str, now: float) -> list[str]:
        if sha256 is None or not self._teaching.blames_store(sha256):
            self.refuse(why, now)
            return []
        self.take_back()
        self.note_hash(sha256)
        if self._waits():
            self._attempt("rejected", text(why), now)
        return [self.claim.path, *self._teaching.put_back()]

    def refuse(self, why: str, now: float, status: int | None = None) -> None:
        why = text(why)
        self.take_back()
        if status is not None:
            self._teaching.refused(status, self.claim.path, self.claim.stamp.size)
        if self.sha256 is not None:
            self._teaching.refused_content(self.sha256, self.claim.path, self.claim.stamp.size, why)
        if not self._waits():
            return
        self._leave(self.claim.file_id, FileState.REJECTED, why, self.sha256)
        self._attempt("rejected", why, now)
        extension = extension_of(self.claim.path)
        for file_id, name in self._waiting(self.sha256):
            if extension_of(os.fsdecode(name)) == extension:
                self._leave(file_id, FileState.REJECTED, why, self.sha256)

    def postpone(self, why: str, until: float, now: float) -> None:
        self.release()
        if self._waits():
            self.db.execute(_TRIED, (self.claim.file_id,))
            self.db.execute(_POSTPONE, (until, self.claim.file_id))
            self._attempt("postponed", text(why), now)

    def give_up(self, why: str, now: float) -> None:
        self.take_back()
        if self._waits():
            self.db.execute(_TRIED, (self.claim.file_id,))
            self._leave(self.claim.file_id, FileState.FAILED, text(why), self.sha256)
            self._attempt("failed", text(why), now)

    def release(self) -> None:
        self.take_back()
        if self.sha256 is not None:
            self.note_hash(self.sha256)

    # --- the file is not what it was

    def park(self) -> None:
        self._doubt_the_note()
        if self._waits():
            self.db.execute(_PARK, (self.claim.file_id,))

    def turn_away(self, why: str) -> None:
        self.release()
        if self._waits():
            self._leave(self.claim.file_id, FileState.SKIPPED, text(why), None)

    def vanish(self, now: float) -> None:
        self._doubt_the_note()
        if self._waits():
            self._leave(self.claim.file_id, FileState.GONE, VANISHED, None)
            self.db.execute("UPDATE file SET missing_at = ?, sha256 = NULL WHERE id = ?", (now, self.claim.file_id))

    # --- all of them

    @property
    def _teaching(self) -> Teaching:
        return Teaching(self.db, self.store_id)

    def _known(self, sha256: bytes) -> tuple[Standing, str | None]:
        asked = {"store": self.store_id, "sha256": sha256, "extension": key_of(self.claim.path)}
        row: Row | None = self.db.execute(_KNOWN, asked).fetchone()
        return (_STANDINGS[row[0]], row[1]) if row else (Standing.CLEAR, None)

    def _settle(self, standing: Standing, why: str | None, sha256: bytes, now: float) -> None:
        """The file becomes what its content is."""
        if standing is Standing.PUBLISHED:
            self._link(self.claim.file_id, sha256, now)
        else:
            self._leave(self.claim.file_id, _STATES[standing], why, sha256)
            self.db.execute(_BACK_AGAIN, (self.claim.file_id,))

    def _doubt_the_note(self) -> None:
        """Nobody said that the noted content did not reach the store, so it may have."""
        if self.noted is not None:
            self._doubt(self.noted, "its upload was left without an answer")

    def _doubt(self, sha256: bytes, why: str) -> None:
        content = {"store": self.store_id, "sha256": sha256, "size": self.claim.stamp.size}
        self.db.execute(_DOUBT, {**content, "id": self.claim.file_id, "why": why})

    def _state(self) -> FileState | None:
        """The state of the claimed file's row; None if that is gone, or tells of another file by now."""
        row: Row | None = self.db.execute(_FILE, (self.claim.file_id,)).fetchone()
        if row is None or join(row[0], row[1]) != self.claim.path:
            return None
        return FileState(row[2]) if self.claim.stamp.unchanged(stamp_of(*row[3:])) else None

    def _waits(self) -> bool:
        return self._state() is FileState.PENDING

    def _waiting(self, sha256: bytes | None) -> list[Row]:
        """Files in the queue that are known to have this content, the one that carries it among them."""
        return self.db.execute(_WAITING, {"store": self.store_id, "sha256": sha256}).fetchall()

    def _link_doubted(self, sha256: bytes, now: float) -> None:
        """The store has what was held: the files of this content are uncertain no more. Goes through all files, as it
        happens only where an answer comes after all."""
        for (file_id,) in self.db.execute(_DOUBTED, (self.store_id, sha256)).fetchall():
            self._link(file_id, sha256, now)

    def _leave(self, file_id: int, state: FileState, reason: str | None, sha256: bytes | None) -> None:
        """The file waits no more."""
        self.db.execute(_LEAVE, (state, reason, sha256, file_id))

    def _link(self, file_id: int, sha256: bytes, now: float) -> None:
        """The file waits no more: it has this content's link."""
        self._leave(file_id, FileState.PUBLISHED, None, sha256)
        self.db.execute(_BACK_AGAIN, (file_id,))
        self._linked(file_id, now)

    def _linked(self, file_id: int, now: float) -> None:
        """The file has got its link; if it was fresh, it is kept how long that took."""
        self.linked.append(file_id)
        if file_id == self.claim.file_id and self.claim.lane is Lane.BACKLOG:
            return
        if self.db.execute(_DELAY, {"id": file_id, "at": now}).rowcount:
            self.db.execute(_FORGET_DELAYS, (self.store_id, now - _DELAYS_KEPT))

    def _attempt(self, outcome: str, detail: str, now: float) -> None:
        record_attempt(self.db, self.claim.file_id, outcome, detail, now)


def record_attempt(connection: sqlite3.Connection, file_id: int, outcome: str, detail: str, now: float) -> None:
    """One more try and how it ended; the oldest are forgotten."""
    connection.execute(_ATTEMPT, (file_id, now, outcome, detail))
    connection.execute(_FORGET_ATTEMPTS, {"id": file_id, "kept": _ATTEMPTS_KEPT})
