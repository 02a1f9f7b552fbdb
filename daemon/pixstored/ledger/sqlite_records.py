"""All that a ledger knows, at all stores, as JSON records; `sqlite_merge` reads them again.

The kinds of records, in the order they are written:

{"kind": "content", "store", "sha256", "state", "size", "link", "id", "comment", "sent_at", "published_at", "why"}
{"kind": "adoption", "store", "root", "adopted_at_ns", "filesystem"}
{"kind": "disk", "store", "root", "identity", "adopted_at_ns"}
{"kind": "file", "store", "path", "watch", "loose", "state", "reason", "stamp", "sha256", "lane", "missing_at",
 "seen_at", "changed_at", "tries", "attempts"}
{"kind": "superseded", "store", "path", "sha256", "at"}
{"kind": "displaced", "store", "folder", "stamp"}

A name that is not UTF-8 is {"hex": "…"} instead of text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from pixstored.ledger.sqlite_file import Reads
from pixstored.ledger.sqlite_values import Row, join, stamp_of
from pixstored.model import Stamp

_PAGE = 500
"""Rows read at a time: nobody is kept from writing while somebody reads them slowly."""

_NO_TIME = 0
"""The ctime of a file whose ctime is not kept."""

_CONTENTS = """
    SELECT store_id, sha256, store.name, state, size, link, remote_id, comment, sent_at, published_at, why
    FROM content JOIN store ON store.id = store_id
    WHERE (store_id, sha256) > (?, ?) ORDER BY store_id, sha256 LIMIT ?"""

SENT = """
    SELECT store_id, sha256, store.name, 'sent', size, NULL, NULL, comment, sent_at, NULL, NULL
    FROM sent JOIN store ON store.id = store_id"""
"""The contents that are on their way at this moment, in the same columns."""

_ADOPTIONS = """
    SELECT store.name, root, adopted_at_ns, filesystem FROM adoption JOIN store ON store.id = store_id
    ORDER BY store.name, root"""

_DISKS = """
    SELECT store.name, root, identity, adopted_at_ns FROM disk JOIN store ON store.id = store_id
    ORDER BY store.name, root, identity"""

_FILES = """
    SELECT
        file.id, store.name, folder.path, file.name, folder.watch, loose, file.state, reason,
        file.size, mtime_ns, ctime_ns, inode, device,
        coalesce(file.sha256, (SELECT sha256 FROM sent WHERE file_id = file.id AND unchanged = 1)),
        lane, missing_at, seen_at, changed_at, tries,
        (SELECT json_group_array(json_array(at, outcome, detail)) FROM (
            SELECT at, outcome, detail FROM attempt WHERE file_id = file.id ORDER BY attempt.id
        )),
        content.store_id, content.sha256, store.name, content.state, content.size, link, remote_id, comment, sent_at,
        published_at, why
    FROM file JOIN folder ON folder.id = folder_id JOIN store ON store.id = file.store_id
    LEFT JOIN content ON content.store_id = file.store_id AND content.sha256 = file.sha256
    WHERE file.id > ? ORDER BY file.id LIMIT ?"""
"""Each with its content, as in `_CONTENTS`."""

_OF_FILE = 20
"""Columns of the file itself."""

_COMMITS = "PRAGMA data_version"
"""Another number once anybody has written something."""

_SUPERSEDED = """
    SELECT superseded.id, store.name, folder.path, superseded.name, sha256, at
    FROM superseded JOIN folder ON folder.id = folder_id JOIN store ON store.id = store_id
    WHERE superseded.id > ? ORDER BY superseded.id LIMIT ?"""

_DISPLACED = """
    SELECT displaced.id, store.name, folder.path, size, mtime_ns, inode, device
    FROM displaced JOIN folder ON folder.id = folder_id JOIN store ON store.id = store_id
    WHERE displaced.id > ? ORDER BY displaced.id LIMIT ?"""


def records(reads: Reads) -> Iterator[dict[str, Any]]:
    """Everything, contents first: what a file refers to comes before it. Raises `LedgerError`.

    If somebody writes meanwhile, a content may have come after its turn: it is told once more with each file of it.
    """
    commits = reads.one(_COMMITS, ())
    yield from map(content_record, reads.all(SENT, ()))  # first: what is published meanwhile is told once more
    last: tuple[int, bytes] = (0, b"")
    while rows := reads.all(_CONTENTS, (*last, _PAGE)):
        yield from map(content_record, rows)
        last = rows[-1][:2]
    yield from map(_adoption_record, reads.all(_ADOPTIONS, ()))
    yield from map(_disk_record, reads.all(_DISKS, ()))
    file_id = 0
    while rows := reads.all(_FILES, (file_id, _PAGE)):
        is_all_told = reads.one(_COMMITS, ()) == commits
        for row in rows:
            own, of_content = row[:_OF_FILE], row[_OF_FILE:]
            if not is_all_told and of_content[0] is not None:
                yield content_record(of_content)
            yield _file_record(own)
        file_id = rows[-1][0]
    old_id = 0
    while rows := reads.all(_SUPERSEDED, (old_id, _PAGE)):
        yield from map(_superseded_record, rows)
        old_id = rows[-1][0]
    private_id = 0
    while rows := reads.all(_DISPLACED, (private_id, _PAGE)):
        yield from map(_displaced_record, rows)
        private_id = rows[-1][0]


def content_record(row: Row) -> dict[str, Any]:
    """A row of the contents as a record."""
    _, sha256, store, state, size, link, remote_id, comment, sent_at, published_at, why = row
    return {
        "kind": "content",
        "store": store,
        "sha256": sha256.hex(),
        "state": state,
        "size": size,
        "link": link,
        "id": remote_id,
        "comment": comment,
        "sent_at": sent_at,
        "published_at": published_at,
        "why": why,
    }


def _disk_record(row: Row) -> dict[str, Any]:
    store, root, identity, adopted_at_ns = row
    shown = {"root": _shown(root), "identity": _shown(identity)}
    return {"kind": "disk", "store": store, **shown, "adopted_at_ns": adopted_at_ns}


def _adoption_record(row: Row) -> dict[str, Any]:
    store, root, adopted_at_ns, filesystem = row
    return {
        "kind": "adoption",
        "store": store,
        "root": _shown(root),
        "adopted_at_ns": adopted_at_ns,
        "filesystem": _shown(filesystem),
    }


def _file_record(row: Row) -> dict[str, Any]:
    _, store, folder, name, watch, loose, state, reason, *stamp = row[:13]
    sha256, lane, missing_at, seen_at, changed_at, tries, attempts = row[13:]
    seen = stamp_of(*stamp)
    return {
        "kind": "file",
        "store": store,
        "path": _shown(os.fsencode(join(folder, name))),
        "watch": _shown(watch),
        "loose": bool(loose),
        "state": state,
        "reason": reason,
        "stamp": _as_list(seen),
        "sha256": sha256.hex() if sha256 else None,
        "lane": lane,
        "missing_at": missing_at,
        "seen_at": seen_at,
        "changed_at": changed_at,
        "tries": tries,
        "attempts": json.loads(attempts),
    }


def _superseded_record(row: Row) -> dict[str, Any]:
    _, store, folder, name, sha256, at = row
    path = _shown(os.fsencode(join(folder, name)))
    return {"kind": "superseded", "store": store, "path": path, "sha256": sha256.hex(), "at": at}


def _displaced_record(row: Row) -> dict[str, Any]:
    _, store, folder, size, mtime_ns, inode, device = row
    was = stamp_of(size, mtime_ns, _NO_TIME, inode, device)
    return {"kind": "displaced", "store": store, "folder": _shown(folder), "stamp": _as_list(was)}


def _as_list(stamp: Stamp) -> list[int]:
    return [stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, stamp.device]


def _shown(name: bytes | None) -> str | dict[str, str] | None:
    if name is None:
        return None
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return {"hex": name.hex()}
