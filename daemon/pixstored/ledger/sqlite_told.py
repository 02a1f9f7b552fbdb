"""A ledger that can be told something: one SQLite file, one thread that writes it, and who hears of what changed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pixstored.ledger import sqlite_adoption
from pixstored.ledger.sqlite_file import Reads
from pixstored.ledger.sqlite_intake import Recorder, judge_waiting, name_watches
from pixstored.ledger.sqlite_lessons import Teaching
from pixstored.ledger.sqlite_merge import Merger
from pixstored.ledger.sqlite_people import Told, pause, resume
from pixstored.ledger.sqlite_reader import SqliteReader
from pixstored.ledger.sqlite_recovery import recover, retry_failed
from pixstored.ledger.sqlite_writer import Writer
from pixstored.model import Adoption, Change, FileState, Known, Pause, Receipt, Stamp, Standing

T = TypeVar("T")

_NOTE_LINKS_FILE = "INSERT INTO links_file (id, looked) VALUES (1, ?)"

_LINKS_FILE = "SELECT looked FROM links_file"

_FORGET_LINKS_FILE = "DELETE FROM links_file"

_SAME_AGAIN = "UPDATE store SET name = name WHERE id = ?"


class ToldLedger(SqliteReader):
    """What the intake, the service and people tell a ledger; what the uploaders do with it is added by `sqlite`."""

    def __init__(
        self,
        path: Path,
        store: str,
        connection: sqlite3.Connection,
        reads: Reads,
        clock: Callable[[], float],
        pause: Pause | None,
    ) -> None:
        super().__init__(path, store, reads)
        self._pause = pause
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._link_listeners: list[Callable[[Sequence[int]], None]] = []
        self._forget_listeners: list[Callable[[Sequence[bytes]], None]] = []
        self._merge_listeners: list[Callable[[], None]] = []
        self._writer = Writer(connection, path)

    # --- for the one who supervises

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls this whenever there may be new work, from the thread that changed it, no lock held. Must be quick."""
        self._listeners.append(callback)

    def on_links(self, callback: Callable[[Sequence[int]], None]) -> None:
        """Calls this with the ids of files that have got a link, once that is durable, from the thread that got it.

        Must be quick; `links_of` tells the links.
        """
        self._link_listeners.append(callback)

    def on_forgotten(self, callback: Callable[[Sequence[bytes]], None]) -> None:
        """Calls this with the hashes of contents that were forgotten at this store. Must be quick."""
        self._forget_listeners.append(callback)

    def on_merged(self, callback: Callable[[], None]) -> None:
        """Calls this after the last record of a merge, which may have brought links. Must be quick."""
        self._merge_listeners.append(callback)

    def take_links_file(self) -> str | None:
        """What `note_links_file` was told when this ledger was last closed, once; None if that cannot be relied on."""

        def step(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(_LINKS_FILE).fetchone()
            connection.execute(_FORGET_LINKS_FILE)
            return row[0] if row else None

        return self._writer.run(step)

    def note_links_file(self, looked: str) -> None:
        """Notes what the links file, which tells of every link, looks like: the last thing before it is closed."""

        def step(connection: sqlite3.Connection) -> None:
            connection.execute(_FORGET_LINKS_FILE)
            connection.execute(_NOTE_LINKS_FILE, (looked,))

        self._writer.run(step)

    def healthy(self) -> bool:
        """True while the thread that writes lives and is not stuck."""
        return self._writer.healthy()

    @property
    def condition(self) -> str:
        """How the last writing went, in the words of `status`: `ok`, `full`, `readonly` or `error`."""
        trouble = self._writer.trouble
        if trouble is None:
            return "ok"
        if trouble == "SQLITE_FULL":
            return "full"
        return "readonly" if trouble.startswith("SQLITE_READONLY") or self._is_on_readonly() else "error"

    def _is_on_readonly(self) -> bool:
        """SQLite calls it an error of the disk where the file system has become read-only under an open ledger."""
        try:
            return bool(os.statvfs(self.path).f_flag & os.ST_RDONLY)
        except OSError:
            return False

    # --- what the intake and the service tell

    def adopt(self, adoptions: Sequence[Adoption]) -> None:
        """See `Ledger.adopt`."""
        self._writer.run(lambda db: sqlite_adoption.adopt(db, self._store_id, adoptions))

    def other_disk(self, root: str) -> None:
        """See `Ledger.other_disk`."""
        self._writer.run(lambda db: sqlite_adoption.away(db, self._store_id, root, self._clock()))

    def watched(self, watches: Mapping[str, str]) -> None:
        """See `Ledger.watched`. What became `skipped` because its watch was removed waits again once it is back."""
        self._writer.run(lambda db: name_watches(db, self._store_id, watches))
        self._tell()

    def judge_waiting(self, judge: Callable[[str, int], str | None]) -> None:
        """See `Ledger.judge_waiting`."""
        self._writer.run(lambda db: judge_waiting(db, self._store_id, judge))
        self._tell()

    def apply(self, changes: Sequence[Change], *, is_lasting: bool = True) -> None:
        """See `Ledger.apply`."""
        if changes:
            now = self._clock()
            self._writer.run(lambda db: Recorder(db, self._store_id, now).apply(changes), is_lasting=is_lasting)
            self._tell()

    def retry_failed(self, now: float, quiet: float = 0.0) -> int:
        """See `Ledger.retry_failed`."""
        count = self._writer.run(lambda db: retry_failed(db, self._store_id, now - quiet, now))
        if count:
            self._tell()
        return count

    def located(self, url: str) -> None:
        """See `Ledger.located`."""
        self._writer.run(lambda db: Teaching(db, self._store_id).located(url))

    def recover(self, now: float) -> int:
        """See `Ledger.recover`."""
        return self._writer.run(lambda db: recover(db, self._store_id, now))

    # --- what people tell

    def retry(self, path: str, states: Collection[FileState]) -> Sequence[Known]:
        """See `Ledger.retry`."""
        put_back = self._writer.run(lambda db: Told(db, self._store_id).retry(path, states))
        self._tell()
        return put_back

    def retry_all(self, state: FileState, after: int, limit: int) -> Sequence[Known]:
        """See `Ledger.retry_all`."""
        put_back = self._writer.run(lambda db: Told(db, self._store_id).retry_all(state, after, limit))
        self._tell()
        return put_back

    def record_link(
        self, path: str, stamp: Stamp, watch: str | None, sha256: bytes, receipt: Receipt, now: float
    ) -> Standing:
        """See `Ledger.record_link`."""
        standing, linked = self._writer.run(
            lambda db: Told(db, self._store_id).record_link(path, stamp, watch, sha256, receipt, now)
        )
        self._tell_links(linked)
        self._tell()
        return standing

    def forget(self, path: str) -> Sequence[str]:
        """See `Ledger.forget`."""
        paths, sha256 = self._writer.run(lambda db: Told(db, self._store_id).forget(path))
        if sha256 is not None:
            for listener in self._forget_listeners:
                listener([sha256])
        return paths

    def pause(self, until: float | None, now: float) -> None:
        """See `Ledger.pause`."""
        self._writer.run(lambda db: pause(db, until, now))
        self._pause = Pause(self._pause.since if self._pause else now, until)
        self._tell()

    def resume(self) -> None:
        """See `Ledger.resume`."""
        self._writer.run(resume)
        self._pause = None
        self._tell()

    def paused(self, now: float) -> Pause | None:
        """See `LedgerReader.paused`. From memory: it is asked before each file."""
        pause = self._pause
        return pause if pause and (pause.until is None or now < pause.until) else None

    def merge(self, records: Sequence[Mapping[str, Any]]) -> None:
        """See `Ledger.merge`."""

        def step(connection: sqlite3.Connection) -> None:
            connection.execute(_FORGET_LINKS_FILE)  # its links are not in the file
            merger = Merger(connection)
            for record in records:
                merger.merge(record)

        self._writer.run(step)

    def merged(self) -> None:
        """See `Ledger.merged`."""
        self._writer.run(lambda db: Merger(db).settle())
        for listener in self._merge_listeners:
            listener()
        self._tell()

    def probe(self) -> None:
        """See `Ledger.probe`."""
        self._writer.run(lambda db: db.execute(_SAME_AGAIN, (self._store_id,)))

    # --- all of them

    def _tell_links(self, file_ids: Sequence[int]) -> None:
        if file_ids:
            for listener in self._link_listeners:
                listener(file_ids)

    def _tell(self) -> None:
        """There may be new work."""
        for listener in self._listeners:
            listener()
