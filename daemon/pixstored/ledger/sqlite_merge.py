"""The merging of records, as `sqlite_records` writes them, into a ledger.

It never makes anything less known: a content that is published in either is published, a file keeps its own story, and
merging the same again changes nothing.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from pixstored.errors import PixstoredError
from pixstored.ledger.sqlite_adoption import learn, learn_disk
from pixstored.ledger.sqlite_displaced import DisplacedFiles
from pixstored.ledger.sqlite_intake import folder_id_of, position_of
from pixstored.ledger.sqlite_lessons import Teaching
from pixstored.ledger.sqlite_schema import scripts
from pixstored.ledger.sqlite_values import Row, join, stamp_columns, stamp_of, text
from pixstored.model import Adoption, FileState, Lane, Stamp
from pixstored.slotted import dataclass

Record = Mapping[str, Any]

_LINK = re.compile(r"https?://[^\s\x00-\x1f\x7f]+", re.IGNORECASE)
"""What the links of stores are: they are shown in pages and feeds, where others would do harm."""

_ENDED_ELSEWHERE = "it was being sent when the records were written"


class BadRecord(PixstoredError):
    """A record that cannot be one; nothing of it was merged."""


def _name_in(value: object) -> bytes:
    """A name as it is written in a record. Raises `BadRecord`."""
    if isinstance(value, str) and "\0" not in value:
        return os.fsencode(value)
    if isinstance(value, dict) and isinstance(value.get("hex"), str):
        try:
            return bytes.fromhex(value["hex"])
        except ValueError:
            pass
    raise BadRecord("a name in it is neither text nor hex")


@dataclass(frozen=True, slots=True)
class _FileRecord:
    """A record of a file, taken apart."""

    folder: bytes
    name: bytes
    watch: bytes | None
    loose: bool
    state: FileState
    reason: str | None
    stamp: Stamp
    sha256: bytes | None
    lane: Lane
    missing_at: float | None
    seen_at: float
    changed_at: float
    tries: int
    attempts: list[tuple[float, str, str]]

    @classmethod
    def of(cls, record: Record) -> _FileRecord:
        folder, name = os.path.split(_name_in(record["path"]))
        watch = record["watch"]
        return cls(
            folder=folder,
            name=name,
            watch=None if watch is None else _name_in(watch),
            loose=bool(record["loose"]),
            state=FileState(record["state"]),
            reason=record["reason"],
            stamp=Stamp(*map(int, record["stamp"])),
            sha256=bytes.fromhex(record["sha256"]) if record["sha256"] else None,
            lane=Lane(record["lane"]),
            missing_at=record["missing_at"],
            seen_at=float(record["seen_at"]),
            changed_at=float(record["changed_at"]),
            tries=int(record["tries"]),
            attempts=[(float(at), str(outcome), str(detail)) for at, outcome, detail in record["attempts"]],
        )


_CONTENT_THERE = "SELECT state, link FROM content_known WHERE store_id = ? AND sha256 = ?"

_ADD_CONTENT = """
    INSERT INTO content (store_id, sha256, state, size, link, remote_id, comment, sent_at, published_at, why)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        state = excluded.state, link = excluded.link, remote_id = excluded.remote_id, comment = excluded.comment,
        published_at = excluded.published_at, why = excluded.why"""

_FILE_THERE = """
    SELECT id, state, sha256, size, mtime_ns, ctime_ns, inode, device FROM file
    WHERE store_id = ? AND folder_id = ? AND name = ?"""

_ADD_FILE = """
    INSERT INTO file (
        store_id, folder_id, name, state, reason, size, mtime_ns, ctime_ns, inode, device, sha256,
        lane, position, loose, missing_at, seen_at, changed_at, tries
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_ADD_ATTEMPT = "INSERT INTO attempt (file_id, at, outcome, detail) VALUES (?, ?, ?, ?)"

_SETTLE = """
    UPDATE file SET
        state = ?, reason = ?, sha256 = ?, position = NULL, parked = 0, next_try_at = NULL
    WHERE id = ?"""

_RESTAMP = "UPDATE file SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, device = ? WHERE id = ?"

_ADD_SUPERSEDED = """
    INSERT INTO superseded (store_id, folder_id, name, sha256, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""

_NAME_FOLDER = "UPDATE folder SET watch = ? WHERE id = ? AND watch IS NULL"

_SETTLE_ALL = """
    UPDATE file SET
        state = (SELECT content.state FROM content
                 WHERE content.store_id = file.store_id AND content.sha256 = file.sha256),
        reason = NULL, position = NULL, parked = 0, next_try_at = NULL
    WHERE sha256 IS NOT NULL AND state IN ('pending', 'uncertain') AND EXISTS (
        SELECT 1 FROM content
        WHERE content.store_id = file.store_id AND content.sha256 = file.sha256
            AND content.state <> file.state
    )"""

_NOT_SUPERSEDED = """
    DELETE FROM superseded WHERE EXISTS (
        SELECT 1 FROM file
        WHERE file.store_id = superseded.store_id AND file.folder_id = superseded.folder_id
            AND file.name = superseded.name AND file.sha256 = superseded.sha256
            AND file.state IN ('published', 'uncertain', 'withdrawn')
    )"""

_AT_THE_STORE = {"published": 3, "withdrawn": 2, "uncertain": 1, "sent": 0}
"""States of a content by how much is known of it. What is on its way here may yet be kept back, and nothing would be
known of it then."""

_MAY_BE_THERE = frozenset({FileState.PUBLISHED, FileState.WITHDRAWN, FileState.UNCERTAIN})


@contextmanager
def rehearsal() -> Iterator[Merger]:
    """A merger into an empty ledger that nobody keeps: finds what cannot be merged before anything is."""
    with closing(sqlite3.connect("", isolation_level=None)) as connection:  # SQLite keeps it in a file without a name
        for script in scripts(after=0):
            connection.executescript(script)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN")
        yield Merger(connection)


class Merger:
    """Merges records, inside a transaction somebody else ends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._stores: dict[str, int] = {}
        self._folders: dict[tuple[bytes, bytes | None], int] = {}
        """What has been looked up, and named after its watch, in this transaction: most records share it."""

    def merge(self, record: Record) -> None:
        """Takes over what it knows and this ledger does not. Raises `BadRecord`."""
        try:
            match record["kind"]:
                case "content":
                    self._content(record)
                case "adoption":
                    filesystem = record["filesystem"]
                    noted = None if filesystem is None else os.fsdecode(_name_in(filesystem))
                    root, moment = os.fsdecode(_name_in(record["root"])), int(record["adopted_at_ns"])
                    learn(self._db, self._store(record), Adoption(root, moment, noted))
                case "disk":
                    root, disk = (os.fsdecode(_name_in(record[key])) for key in ("root", "identity"))
                    learn_disk(self._db, self._store(record), root, disk, int(record["adopted_at_ns"]))
                case "file":
                    self._file(self._store(record), _FileRecord.of(record))
                case "superseded":
                    folder, name = os.path.split(_name_in(record["path"]))
                    sha256 = bytes.fromhex(record["sha256"])
                    self._supersede(self._store(record), folder, name, sha256, float(record["at"]))
                case "displaced":
                    folder_id = self._folder(_name_in(record["folder"]), None)
                    was = Stamp(*map(int, record["stamp"]))
                    DisplacedFiles(self._db, self._store(record)).keep(was, folder_id)
                case kind:
                    raise BadRecord(f"it is of a kind nobody knows: {text(str(kind))}")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, sqlite3.ProgrammingError) as error:
            # the last: a list or an object, which is nothing a column can hold
            raise BadRecord("it is not whole, or has a value of the wrong kind") from error
        except sqlite3.IntegrityError as error:
            raise BadRecord(f"it contradicts itself ({error})") from error

    def settle(self) -> None:
        """Afterwards: the files whose content turned out to be known get what follows from that."""
        self._db.execute(_SETTLE_ALL)
        self._db.execute(_NOT_SUPERSEDED)

    def _store(self, record: Record) -> int:
        name = text(record["store"])
        if name not in self._stores:
            self._db.execute("INSERT INTO store (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            self._stores[name] = self._db.execute("SELECT id FROM store WHERE name = ?", (name,)).fetchone()[0]
        return self._stores[name]

    def _folder(self, path: bytes, watch: bytes | None) -> int:
        if (path, watch) not in self._folders:
            folder_id = folder_id_of(self._db, path)
            if watch is not None:
                self._db.execute(_NAME_FOLDER, (watch, folder_id))
            self._folders[path, watch] = folder_id
        return self._folders[path, watch]

    def _content(self, record: Record) -> None:
        store_id, sha256 = self._store(record), bytes.fromhex(record["sha256"])
        state, why, link = record["state"], record["why"], record["link"]
        if link is not None and not _LINK.fullmatch(link):
            raise BadRecord("its link is no link")
        if state == "sent":
            state, why = "uncertain", _ENDED_ELSEWHERE
        rank = _AT_THE_STORE[state]
        there = self._db.execute(_CONTENT_THERE, (store_id, sha256)).fetchone()
        # A link that is known to be withdrawn was published before: that is the later news of the two.
        later = there is not None and state == "withdrawn" and there == ("published", link)
        if there and not later and (rank <= _AT_THE_STORE[there[0]] or there == ("withdrawn", link)):
            return
        rest = (record["comment"], record["sent_at"], record["published_at"], why)
        self._db.execute(_ADD_CONTENT, (store_id, sha256, state, int(record["size"]), link, record["id"], *rest))

    def _file(self, store_id: int, file: _FileRecord) -> None:
        folder_id = self._folder(file.folder, file.watch)
        state = self._state_by_content(store_id, file)
        there = self._db.execute(_FILE_THERE, (store_id, folder_id, file.name)).fetchone()
        if there is None:
            self._add(store_id, folder_id, file, state)
            return
        if state not in _MAY_BE_THERE or file.sha256 is None:
            return  # this ledger knows no less of it
        if self._is_same(there, file):
            if there[1] == FileState.GONE:
                self._db.execute(_RESTAMP, (*stamp_columns(file.stamp), there[0]))
            reason = file.reason if state is FileState.UNCERTAIN else None
            self._db.execute(_SETTLE, (state, reason, file.sha256, there[0]))
        elif there[2] != file.sha256 or there[1] not in _MAY_BE_THERE:
            self._supersede(store_id, file.folder, file.name, file.sha256, file.seen_at)

    def _is_same(self, there: Row, file: _FileRecord) -> bool:
        """True if the file of this ledger is the one of the record, and may take over what that knows."""
        _, state, sha256, *columns = there
        stamp = stamp_of(*columns)
        if state in _MAY_BE_THERE:
            return False
        if state == FileState.GONE or sha256 == file.sha256:
            return True
        # A private file stays so whatever it is taken for: by its size it is most likely the one that was sent.
        by_size = state == FileState.SKIPPED and stamp.size == file.stamp.size
        return by_size or stamp.unchanged(file.stamp)

    def _state_by_content(self, store_id: int, file: _FileRecord) -> FileState:
        """What the file is by what this ledger knows of its content now."""
        if file.state not in _MAY_BE_THERE or file.sha256 is None:
            return file.state
        row = self._db.execute(_CONTENT_THERE, (store_id, file.sha256)).fetchone()
        if row is None:
            raise BadRecord(f"it is {file.state.value}, but no record tells of its content")
        return FileState.UNCERTAIN if row[0] == "sent" else FileState(row[0])

    def _add(self, store_id: int, folder_id: int, file: _FileRecord, state: FileState) -> None:
        position = None
        if state is FileState.PENDING:
            position = position_of(self._db, store_id, file.lane, file.stamp.mtime_ns)
        missing_at = file.missing_at
        row = (file.name, state, file.reason, *stamp_columns(file.stamp), file.sha256, file.lane, position)
        rest = (file.loose, missing_at, file.seen_at, file.changed_at, file.tries)
        cursor = self._db.execute(_ADD_FILE, (store_id, folder_id, *row, *rest))
        if state is FileState.REJECTED and file.sha256 is not None:
            path = join(file.folder, file.name)
            Teaching(self._db, store_id).refused_content(file.sha256, path, file.stamp.size, file.reason)
        for attempt in file.attempts:
            self._db.execute(_ADD_ATTEMPT, (cursor.lastrowid, *attempt))

    def _supersede(self, store_id: int, folder: bytes, name: bytes, sha256: bytes, at: float) -> None:
        folder_id = folder_id_of(self._db, folder)
        self._db.execute(_ADD_SUPERSEDED, (store_id, folder_id, name, sha256, at))
