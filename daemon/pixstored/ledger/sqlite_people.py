"""What people tell the ledger by a command: try it again, it is published there, forget it, do not send for now."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from pixstored.ledger.sqlite_intake import Recorder, position_of
from pixstored.ledger.sqlite_lessons import Teaching
from pixstored.ledger.sqlite_values import Row, join, known_of, last_segment, split, text
from pixstored.model import FileState, Known, Lane, Pause, Receipt, Remember, Stamp, Standing, extension_of
from pixstored.slotted import dataclass

_LOOK = "SELECT * FROM known WHERE store_id = ? AND folder = ? AND name = ?"

_IN_STATE = "SELECT * FROM known WHERE store_id = ? AND state = ? AND id > ? ORDER BY id LIMIT ?"

_SAME_CONTENT = "SELECT * FROM known WHERE store_id = ? AND state = ? AND sha256 = ? ORDER BY id"

_LANE = "SELECT lane FROM file WHERE id = ?"

_WAIT_AGAIN = """
    UPDATE file SET state = 'pending', reason = NULL, tries = 0, next_try_at = NULL, position = ? WHERE id = ?"""

_TRY_NOW = "UPDATE file SET next_try_at = NULL WHERE id = ?"

_NO_LONGER_UNCERTAIN = "DELETE FROM content WHERE store_id = ? AND sha256 = ? AND state = 'uncertain'"

_CONTENT = "SELECT state, link FROM content_known WHERE store_id = ? AND sha256 = ?"

_PUBLISHED = """
    INSERT INTO content (store_id, sha256, state, size, link, remote_id, published_at)
    VALUES (?, ?, 'published', ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        state = 'published', link = excluded.link, remote_id = excluded.remote_id,
        published_at = excluded.published_at, why = NULL
    WHERE content.state = 'uncertain'"""

_UNPUBLISHED_FILES = """
    SELECT id FROM file
    WHERE store_id = ? AND sha256 = ? AND state IN ('pending', 'uncertain', 'failed', 'rejected')"""

_LINK = """
    UPDATE file SET
        state = 'published', reason = NULL, sha256 = ?, position = NULL, parked = 0, next_try_at = NULL
    WHERE id = ?"""

_BACK_AGAIN = """
    DELETE FROM superseded WHERE id IN (
        SELECT superseded.id FROM file JOIN superseded USING (store_id, folder_id, name, sha256) WHERE file.id = ?
    )"""

_FILE_ID = """
    SELECT file.id FROM file JOIN folder ON folder.id = folder_id
    WHERE store_id = ? AND folder.path = ? AND name = ?"""

_FILES_OF = """
    SELECT folder.path, name FROM file JOIN folder ON folder.id = folder_id
    WHERE store_id = ? AND sha256 = ? AND state <> 'pending' ORDER BY folder.path, name"""

_FORGET = (
    "DELETE FROM content WHERE store_id = ? AND sha256 = ?",
    "DELETE FROM superseded WHERE store_id = ? AND sha256 = ?",
    "DELETE FROM file WHERE store_id = ? AND sha256 = ? AND state <> 'pending'",
)

_PAUSE = "INSERT INTO pause (id, since, until) VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until"

_PAUSED = "SELECT since, until FROM pause"


@dataclass(frozen=True, slots=True)
class Told:
    """Writes what somebody has said of files at one store, inside a transaction somebody else ends."""

    db: sqlite3.Connection
    store_id: int

    # --- try it again

    def retry(self, path: str, states: Collection[FileState]) -> list[Known]:
        """This file, and those that share its fate: the files of its content."""
        row: Row | None = self.db.execute(_LOOK, (self.store_id, *split(path))).fetchone()
        if row is None:
            return []
        known = known_of(row)
        if known.state not in states:
            return []
        if known.state is FileState.PENDING:
            self.db.execute(_TRY_NOW, (known.file_id,))
            return [known]
        if known.state is FileState.REJECTED:
            teaching = Teaching(self.db, self.store_id)
            teaching.try_such(known.path, known.stamp.size)
            if known.sha256 is not None:
                teaching.try_content(known.sha256, known.path)
        return self._put_back([known, *self._companions(known)])

    def retry_all(self, state: FileState, after: int, limit: int) -> list[Known]:
        """The next files in this state, by their ids."""
        if state is FileState.REJECTED and after == 0:
            Teaching(self.db, self.store_id).try_all()
        rows = self.db.execute(_IN_STATE, (self.store_id, state, after, limit)).fetchall()
        return self._put_back([known_of(row) for row in rows])

    def _companions(self, known: Known) -> list[Known]:
        """What would turn a file away again that alone is put back."""
        if known.sha256 is None or known.state not in (FileState.UNCERTAIN, FileState.REJECTED):
            return []
        rows = self.db.execute(_SAME_CONTENT, (self.store_id, known.state, known.sha256)).fetchall()
        others = [each for each in map(known_of, rows) if each.file_id != known.file_id]
        if known.state is FileState.UNCERTAIN:
            return others
        return [each for each in others if extension_of(each.path) == extension_of(known.path)]

    def _put_back(self, files: Sequence[Known]) -> list[Known]:
        for known in files:
            if known.state is FileState.UNCERTAIN and known.sha256 is not None:
                self.db.execute(_NO_LONGER_UNCERTAIN, (self.store_id, known.sha256))
            lane = Lane(self.db.execute(_LANE, (known.file_id,)).fetchone()[0])
            position = position_of(self.db, self.store_id, lane, known.stamp.mtime_ns)
            self.db.execute(_WAIT_AGAIN, (position, known.file_id))
        return list(files)

    # --- it is published there

    def record_link(
        self, path: str, stamp: Stamp, watch: str | None, sha256: bytes, receipt: Receipt, now: float
    ) -> tuple[Standing, list[int]]:
        """CLEAR and the files that have the link now; else why it cannot be: what is known of the content."""
        link, remote_id = text(receipt.link), text(receipt.id)
        standing = self._in_the_way(sha256, link)
        if standing is not Standing.CLEAR:
            return standing, []
        own_id = None if remote_id == last_segment(link) else remote_id
        self.db.execute(_PUBLISHED, (self.store_id, sha256, stamp.size, link, own_id, now))
        changed_at = max(stamp.mtime_ns, stamp.ctime_ns) / 1e9
        Recorder(self.db, self.store_id, now).apply([Remember(path, stamp, Lane.BACKLOG, watch, changed_at)])
        own = self.db.execute(_FILE_ID, (self.store_id, *split(path))).fetchone()[0]
        others = {row[0] for row in self.db.execute(_UNPUBLISHED_FILES, (self.store_id, sha256))}
        linked = [own, *sorted(others - {own})]
        for file_id in linked:
            self.db.execute(_LINK, (sha256, file_id))
            self.db.execute(_BACK_AGAIN, (file_id,))
        return Standing.CLEAR, linked

    def _in_the_way(self, sha256: bytes, link: str) -> Standing:
        row = self.db.execute(_CONTENT, (self.store_id, sha256)).fetchone()
        match row:
            case ("sent", _):
                return Standing.IN_FLIGHT
            case ("withdrawn", _):
                return Standing.WITHDRAWN
            case ("published", known) if known != link:
                return Standing.PUBLISHED
            case _:
                return Standing.CLEAR

    # --- forget it

    def forget(self, path: str) -> tuple[list[str], bytes | None]:
        """The paths that were forgotten with the content of this one, and that; none if it is being sent, or not
        known."""
        row: Row | None = self.db.execute(_LOOK, (self.store_id, *split(path))).fetchone()
        sha256 = known_of(row).sha256 if row else None
        if sha256 is None:
            return [], None
        content = self.db.execute(_CONTENT, (self.store_id, sha256)).fetchone()
        if content and content[0] == "sent":
            return [], None
        forgotten = [join(*row) for row in self.db.execute(_FILES_OF, (self.store_id, sha256))]
        for statement in _FORGET:
            self.db.execute(statement, (self.store_id, sha256))
        Teaching(self.db, self.store_id).forget_content(sha256)
        return forgotten, sha256


def pause(connection: sqlite3.Connection, until: float | None, now: float) -> None:
    """Notes that nothing is to be sent."""
    connection.execute(_PAUSE, (now, until))


def resume(connection: sqlite3.Connection) -> None:
    """Notes that sending may go on."""
    connection.execute("DELETE FROM pause")


def pause_of(connection: sqlite3.Connection) -> Pause | None:
    """The pause on record, over or not."""
    row: Row | None = connection.execute(_PAUSED).fetchone()
    return Pause(*row) if row else None
