"""What can be asked of a ledger, and how reading commands open one, daemon running or not."""

from __future__ import annotations

import math
import os
import sqlite3
import sys
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pixstored.errors import LedgerUnusable
from pixstored.ledger.places import refuse_if_known
from pixstored.ledger.sqlite_adoption import ADOPTED_ON, ADOPTION, folders_below
from pixstored.ledger.sqlite_displaced import DISPLACED, DISPLACED_LIKE, identity, likeness
from pixstored.ledger.sqlite_file import SCHEMA_VERSION, Reads, connect, schema_version, unusable
from pixstored.ledger.sqlite_values import (
    Row,
    decoded,
    encoded,
    known_named,
    known_of,
    last_segment,
    link_of,
    signed,
    split,
    text,
    unsigned,
)
from pixstored.model import (
    WHOLE,
    Adoption,
    Attempt,
    Census,
    Displaced,
    FileState,
    Known,
    Latency,
    Link,
    Mark,
    Pause,
    Span,
    Stamp,
    Story,
)

_NO_STORE = 0
"""Stands for a store the ledger has never heard of: numbers begin at 1."""

_PAGE = 500
"""Rows of a long list fetched at a time: nobody is kept from writing while somebody reads them slowly."""

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

_STORE = "SELECT id FROM store WHERE name = ?"

_LOOK = "SELECT * FROM known WHERE store_id = ? AND folder = ? AND name = ?"

_LOOK_ALL = """
    SELECT known.* FROM json_each(:wanted) AS folders CROSS JOIN json_each(folders.value) AS names CROSS JOIN known
    WHERE store_id = :store AND folder = CAST(folders.key AS BLOB) AND name = CAST(names.value AS BLOB)"""
"""A statement for each file is seven times as slow (measured), and lets go of the interpreter each time."""

_INODES = """
    SELECT inode FROM file INDEXED BY file_inode
    WHERE store_id = :store AND inode IN (SELECT value FROM json_each(:inodes))
    UNION ALL
    SELECT inode FROM displaced
    WHERE store_id = :store AND inode IN (SELECT value FROM json_each(:inodes))"""

_AFTER_ANY_NAME = b"\xff" * 256
"""Names have 255 bytes at most."""

_KNOWN_IN = "SELECT * FROM known WHERE store_id = ? AND folder = ? AND name > ? AND name <= ?"

_KNOWN_PART = "SELECT * FROM known WHERE store_id = ? AND folder = ? AND name > ? ORDER BY name LIMIT ?"

_AT_REST = """
    SELECT name, size, mtime_ns, ctime_ns, inode FROM file
    WHERE store_id = ? AND folder_id = (SELECT id FROM folder WHERE path = ?)
        AND name > ? AND name <= ? AND missing_at IS NULL AND parked = 0
        AND state <> 'gone' AND (state <> 'skipped' OR reason = 'baseline')"""

_FOLDERS = """
    SELECT path FROM folder
    WHERE (path = :root OR (path >= :below AND path < :beyond))
        AND EXISTS (SELECT 1 FROM file WHERE store_id = :store AND folder_id = folder.id)
    ORDER BY path"""

_RENAMED = """
    SELECT * FROM known
    WHERE store_id = ? AND inode = ? AND size = ? AND mtime_ns = ? ORDER BY id"""

_PRIVATE_LIKE = """
    SELECT known.* FROM file INDEXED BY file_private JOIN known ON known.id = file.id
    WHERE file.store_id = ? AND file.size = ? AND file.mtime_ns = ?
        AND file.state = 'skipped' AND file.reason = 'baseline'
    ORDER BY file.id"""

_COUNTED = (
    FileState.SETTLING,
    FileState.PENDING,
    FileState.PUBLISHED,
    FileState.UNCERTAIN,
    FileState.REJECTED,
    FileState.FAILED,
    FileState.SKIPPED,
    FileState.GONE,
    FileState.WITHDRAWN,
)

_COUNTS = """
    SELECT
        settling, pending, published, uncertain, rejected, failed, skipped, gone, withdrawn,
        contents_published, contents_uncertain
    FROM census WHERE store_id = ?"""
"""The files in the states of `_COUNTED`, and the contents."""

_NO_COUNTS = (0,) * (len(_COUNTED) + 2)

_OLDEST = "SELECT min(changed_at) FROM file INDEXED BY file_oldest WHERE store_id = ? AND state = 'pending'"

_DELAYS = "SELECT seconds FROM delay WHERE store_id = ? AND at >= ? ORDER BY seconds"

_LINK_KEYS = """
    SELECT id, published_at FROM linked
    WHERE (:every_store OR store_id = :store) AND (:everything OR state = 'published')
        AND (:since IS NULL OR published_at >= :since) AND (:until IS NULL OR published_at < :until)
        AND (:watch IS NULL OR watch = :watch)
    UNION ALL
    SELECT -id, published_at FROM linked_before
    WHERE :everything AND (:every_store OR store_id = :store)
        AND (:since IS NULL OR published_at >= :since) AND (:until IS NULL OR published_at < :until)
        AND (:watch IS NULL OR watch = :watch)
    ORDER BY published_at DESC, id DESC"""

_LINKS = "SELECT * FROM linked WHERE id IN (SELECT value FROM json_each(?))"

_OLD_LINKS = "SELECT * FROM linked_before WHERE id IN (SELECT -value FROM json_each(?))"

_STORY = """
    SELECT
        iif(file.loose, NULL, folder.watch), file.seen_at, file.changed_at, file.tries, file.next_try_at,
        content.link, content.remote_id, coalesce(content.comment, sent.comment),
        coalesce(content.sent_at, sent.sent_at), content.published_at, sent.sha256
    FROM file
    JOIN folder ON folder.id = file.folder_id
    LEFT JOIN content ON content.store_id = file.store_id AND content.sha256 = file.sha256
    LEFT JOIN sent ON sent.file_id = file.id AND sent.unchanged = 1
    WHERE file.id = ?"""

_LINKS_BEFORE = """
    SELECT * FROM linked_before WHERE store_id = ? AND folder = ? AND name = ? ORDER BY published_at DESC, id DESC"""

_PAUSED = "SELECT since, until FROM pause WHERE until IS NULL OR until > ?"

_CONTENT_LINK = "SELECT link FROM content WHERE store_id = ? AND sha256 = ?"

_ATTEMPTS = "SELECT at, outcome, detail FROM attempt WHERE file_id = ? ORDER BY id"


def read_ledger(path: Path, store: str) -> SqliteReader | None:
    """The ledger as its owner may read it at any time, for this store; None if there is none yet.

    Raises `LedgerUnusable`, also for one that is missing though it is known: nobody should take it for an empty one.
    """
    reader = _reader(path, store)
    if reader is None:
        refuse_if_known(path)
    return reader


def _reader(path: Path, store: str) -> SqliteReader | None:
    try:
        if os.stat(path).st_size == 0:
            return None
        connection = connect(path, readonly=True)
        try:
            version = schema_version(connection, path)
            if 0 < version < SCHEMA_VERSION:
                raise LedgerUnusable(
                    f"the ledger {path} is of the older version {version}: start the daemon once to bring it to "
                    f"version {SCHEMA_VERSION}"
                )
            return None if version == 0 else SqliteReader(path, store, Reads(connection, path))
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LedgerUnusable(
            f"the ledger {path} cannot be read: {error.strerror}; run this as the user it belongs to"
        ) from error


class SqliteReader:
    """Implements `LedgerReader`. For any thread; one of them reads at a time."""

    def __init__(self, path: Path, store: str, reads: Reads) -> None:
        self.path = path
        self.store = store
        self._reads = reads
        row = reads.one(_STORE, (text(store),))
        self._store_id: int = row[0] if row else _NO_STORE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def look(self, path: str) -> Known | None:
        """See `LedgerReader.look`."""
        row = self._reads.one(_LOOK, (self._store_id, *split(path)))
        return known_of(row) if row else None

    def look_all(self, paths: Collection[str]) -> Mapping[str, Known]:
        """See `LedgerReader.look_all`. JSON has no way to say a path that is not UTF-8: such ones are looked up one by
        one."""
        import json  # late: no command that only reads needs it for that

        wanted: defaultdict[str, list[str]] = defaultdict(list)
        asked: dict[tuple[bytes, bytes], str] = {}
        found: dict[str, Known] = {}
        for path in paths:
            folder, name = split(path)
            try:
                wanted[folder.decode()].append(name.decode())
            except UnicodeDecodeError:
                known = self.look(path)
                if known is not None:
                    found[path] = known
            else:
                asked[folder, name] = path
        if asked:
            parameters = {"store": self._store_id, "wanted": json.dumps(wanted, ensure_ascii=False)}
            for row in self._reads.all(_LOOK_ALL, parameters):
                path = asked[row[1], row[2]]
                found[path] = known_named(path, row)
        return found

    def inodes_known(self, inodes: Collection[int]) -> Set[int]:
        """See `LedgerReader.inodes_known`."""
        as_json = "[" + ",".join(str(signed(inode)) for inode in inodes) + "]"
        rows = self._reads.all(_INODES, {"store": self._store_id, "inodes": as_json})
        return {unsigned(row[0]) for row in rows}

    def known_in(self, folder: str, span: Span = WHOLE) -> Mapping[str, Known]:
        """See `LedgerReader.known_in`."""
        return _by_name(folder, self._reads.all(_KNOWN_IN, (self._store_id, os.fsencode(folder), *_bounds(span))))

    def known_by_parts(self, folder: str) -> Iterator[Mapping[str, Known]]:
        """See `LedgerReader.known_by_parts`. What changes meanwhile is told as it is by then."""
        after = b""
        while rows := self._reads.all(_KNOWN_PART, (self._store_id, os.fsencode(folder), after, _PAGE)):
            yield _by_name(folder, rows)
            after = rows[-1][2]

    def at_rest_in(self, folder: str, span: Span = WHOLE) -> Mapping[str, Mark]:
        """See `LedgerReader.at_rest_in`. An inode from 2^63 on is like none: such files are compared one by one."""
        with self._reads.rows(_AT_REST, (self._store_id, os.fsencode(folder), *_bounds(span))) as rows:
            # As os.fsdecode does, at a third of its time (measured): there may be a million.
            return {row[0].decode(_ENCODING, _ERRORS): row[1:] for row in rows}

    def folders_known(self, root: str) -> Sequence[str]:
        """See `LedgerReader.folders_known`."""
        where = {"store": self._store_id, **folders_below(root)}
        return [os.fsdecode(row[0]) for row in self._reads.all(_FOLDERS, where)]

    def renamed_from(self, stamp: Stamp) -> Sequence[Known]:
        """See `LedgerReader.renamed_from`."""
        return [known_of(row) for row in self._reads.all(_RENAMED, (self._store_id, *identity(stamp)))]

    def displaced(self, stamp: Stamp) -> Sequence[Displaced]:
        """See `LedgerReader.displaced`."""
        return self._displaced(DISPLACED, identity(stamp))

    def private_like(self, stamp: Stamp) -> Sequence[Known]:
        """See `LedgerReader.private_like`."""
        return [known_of(row) for row in self._reads.all(_PRIVATE_LIKE, (self._store_id, *likeness(stamp)))]

    def displaced_like(self, stamp: Stamp) -> Sequence[Displaced]:
        """See `LedgerReader.displaced_like`."""
        return self._displaced(DISPLACED_LIKE, likeness(stamp))

    def _displaced(self, query: str, what: tuple[int | str, ...]) -> list[Displaced]:
        rows = self._reads.all(query, (self._store_id, *what))
        return [Displaced(os.fsdecode(folder), unsigned(device)) for folder, device in rows]

    def adoption(self, root: str) -> Adoption | None:
        """See `LedgerReader.adoption`."""
        row = self._reads.one(ADOPTION, (self._store_id, os.fsencode(root)))
        return Adoption(root, row[0], decoded(row[1])) if row else None

    def adopted_on(self, root: str, disk: str) -> int | None:
        """See `LedgerReader.adopted_on`."""
        row = self._reads.one(ADOPTED_ON, (self._store_id, os.fsencode(root), os.fsencode(disk)))
        return row[0] if row else None

    def census(self) -> Census:
        """See `LedgerReader.census`."""
        files = dict.fromkeys(FileState, 0)
        counts = self._reads.one(_COUNTS, (self._store_id,)) or _NO_COUNTS
        files.update(zip(_COUNTED, counts, strict=False))
        oldest = self._reads.one(_OLDEST, (self._store_id,))
        published, uncertain = counts[len(_COUNTED) :]
        return Census(files, published, uncertain, oldest[0] if oldest else None)

    def latency(self, since: float) -> Latency:
        """See `LedgerReader.latency`; the nearest rank is taken. Older ones than a week are forgotten."""
        delays: list[float] = [row[0] for row in self._reads.all(_DELAYS, (self._store_id, since))]
        return Latency(_percentile(delays, 0.50), _percentile(delays, 0.95), len(delays))

    def links(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        watch: str | None = None,
        everything: bool = False,
        all_stores: bool = False,
        oldest_first: bool = False,
    ) -> Iterator[Link]:
        """See `LedgerReader.links`. What changes while it is read is told as it is by then, or left out."""
        chosen = {
            "store": self._store_id,
            "every_store": all_stores,
            "everything": everything,
            "since": since,
            "until": until,
            "watch": encoded(watch),
        }
        with self._reads.rows(_LINK_KEYS, chosen) as cursor:
            keys = array("q", (row[0] for row in cursor))
        if oldest_first:
            keys.reverse()
        for start in range(0, len(keys), _PAGE):
            yield from self._links(keys[start : start + _PAGE])

    def _links(self, keys: Sequence[int]) -> Iterator[Link]:
        """The links of these keys, in their order; those of superseded ones are negative."""
        as_json = ("[" + ",".join(map(str, keys)) + "]",)
        found = {row[0]: row for row in self._reads.all(_LINKS, as_json)}
        if any(key < 0 for key in keys):
            found |= {-row[0]: row for row in self._reads.all(_OLD_LINKS, as_json)}
        return (link_of(found[key]) for key in keys if key in found)

    def story(self, path: str) -> Story | None:
        """See `LedgerReader.story`."""
        known = self.look(path)
        row = self._reads.one(_STORY, (known.file_id,)) if known else None
        if known is None or row is None:
            return None
        watch, seen_at, changed_at, tries, next_try_at, link, remote_id, comment, sent_at, published_at, sent = row
        return Story(
            known=known if sent is None else replace(known, sha256=sent),
            watch=decoded(watch),
            seen_at=seen_at,
            changed_at=changed_at,
            tries=tries,
            next_try_at=next_try_at,
            link=link,
            id=last_segment(link) if link is not None and remote_id is None else remote_id,
            comment=comment,
            sent_at=sent_at,
            published_at=published_at,
            attempts=tuple(Attempt(*each) for each in self._reads.all(_ATTEMPTS, (known.file_id,))),
            superseded=tuple(map(link_of, self._reads.all(_LINKS_BEFORE, (self._store_id, *split(path))))),
        )

    def paused(self, now: float) -> Pause | None:
        """See `LedgerReader.paused`."""
        row = self._reads.one(_PAUSED, (now,))
        return Pause(*row) if row else None

    def records(self) -> Iterator[Mapping[str, Any]]:
        """See `LedgerReader.records`."""
        from pixstored.ledger.sqlite_records import records  # late: only `ledger export` and `restore` need it

        return records(self._reads)

    def link_of_content(self, sha256: bytes) -> str | None:
        """The link this content has, or had, at this store."""
        row = self._reads.one(_CONTENT_LINK, (self._store_id, sha256))
        return row[0] if row else None

    def links_of(self, file_ids: Sequence[int]) -> list[Link]:
        """The links that these files have now."""
        return list(self._links(file_ids))

    def close(self) -> None:
        """See `LedgerReader.close`."""
        self._reads.close()


def _by_name(folder: str, rows: Sequence[Row]) -> dict[str, Known]:
    """What is known of the files of one folder."""
    names = [os.fsdecode(row[2]) for row in rows]
    return {name: known_named(os.path.join(folder, name), row) for name, row in zip(names, rows, strict=True)}


def _bounds(span: Span) -> tuple[bytes, bytes]:
    """The two names that a name must be greater than, and not greater than."""
    return os.fsencode(span.after or ""), _AFTER_ANY_NAME if span.upto is None else os.fsencode(span.upto)


def _percentile(ordered: Sequence[float], part: float) -> float | None:
    return ordered[math.ceil(part * len(ordered)) - 1] if ordered else None
