"""Between rows and the values of `model`: paths as bytes, unsigned numbers as signed, text UTF-8 can carry."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import Any

from pixstored.model import Claim, FileState, Known, Link, Stamp

Row = tuple[Any, ...]
"""A row as SQLite gives it; its columns are told by the query beside it."""

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

_WATCHES = 128
"""Names of watches that are remembered."""

_BITS_64 = 1 << 64
_TOP_BIT = 1 << 63


def split(path: str) -> tuple[bytes, bytes]:
    """A path as folder and name. As `os.path.split` and `os.fsencode` do, at a third of their time (measured)."""
    folder, slash, name = path.encode(_ENCODING, _ERRORS).rpartition(b"/")
    return folder.rstrip(b"/") or folder + slash, name


def join(folder: bytes, name: bytes) -> str:
    """The path of a name in a folder."""
    slash = b"" if folder.endswith(b"/") or not folder else b"/"
    return b"".join((folder, slash, name)).decode(_ENCODING, _ERRORS)


def text(untrusted: str) -> str:
    """Any text, as UTF-8 can carry it: a surrogate of a file name in a message becomes `\\udcXX`."""
    return untrusted.encode("utf-8", "backslashreplace").decode("utf-8")


def encoded(name: str | None) -> bytes | None:
    """A name that must come back exactly as it was."""
    return None if name is None else os.fsencode(name)


@lru_cache(maxsize=_WATCHES)
def decoded(name: bytes | None) -> str | None:
    """The name again. Nearly every row tells one of the few watches' names: they are decoded once."""
    return None if name is None else os.fsdecode(name)


def last_segment(link: str) -> str:
    """The last path segment of a link: what the store's `id` usually is."""
    return link.partition("#")[0].partition("?")[0].rpartition("/")[2]


def stamp_columns(stamp: Stamp) -> tuple[int, int | str, int | str, int, int]:
    """size, mtime_ns, ctime_ns, inode, device"""
    return stamp.size, moment(stamp.mtime_ns), moment(stamp.ctime_ns), signed(stamp.inode), signed(stamp.device)


def guard_of(claim: Claim) -> dict[str, object]:
    """What tells, as parameters of a statement, that a row is still that of a claimed file."""
    folder, name = split(claim.path)
    size, mtime, ctime, inode, _ = stamp_columns(claim.stamp)
    return guard(claim.file_id, folder, name, size, mtime, ctime, inode)


def guard(
    file_id: int, folder: bytes, name: bytes, size: int, mtime_ns: int | str, ctime_ns: int | str, inode: int
) -> dict[str, object]:
    """The same of a row's own columns."""
    return {
        "id": file_id,
        "folder": folder,
        "name": name,
        "size": size,
        "mtime": mtime_ns,
        "ctime": ctime_ns,
        "inode": inode,
    }


def stamp_of(size: int, mtime_ns: int | str, ctime_ns: int | str, inode: int, device: int) -> Stamp:
    """The stamp of these columns."""
    return Stamp(size, int(mtime_ns), int(ctime_ns), inode % _BITS_64, device % _BITS_64)


def moment(nanoseconds: int) -> int | str:
    """A time of the file system as it is kept: one beyond the year 2262 as text."""
    return nanoseconds if -_TOP_BIT <= nanoseconds < _TOP_BIT else str(nanoseconds)


def place_by_age(mtime_ns: int) -> int:
    """A place in the queue, the newest first; times too far away share the outermost one."""
    return max(-_TOP_BIT, min(_TOP_BIT - 1, -mtime_ns))


def signed(number: int) -> int:
    """An unsigned 64-bit number as the signed one of the same bits: SQLite has no other."""
    return number - _BITS_64 if number >= _TOP_BIT else number


def unsigned(number: int) -> int:
    """The number that is kept so."""
    return number % _BITS_64


def known_of(row: Row) -> Known:
    """A row of the view `known`."""
    return known_named(join(row[1], row[2]), row)


def known_named(path: str, row: Row) -> Known:
    """A row of the view `known` whose path has been put together already."""
    file_id, _, _, state, reason, size, mtime_ns, ctime_ns, inode, device, sha256, missing, parked = row[:13]
    stamp = stamp_of(size, mtime_ns, ctime_ns, inode, device)
    return Known(file_id, path, FileState(state), stamp, reason, sha256, bool(missing), bool(parked))


def link_of(row: Row) -> Link:
    """A row of the views `linked` and `linked_before`."""
    _, folder, name, link, remote_id, sha256, size, published_at, watch, comment, store, state = row[:12]
    return Link(
        path=join(folder, name),
        link=link,
        id=remote_id if remote_id is not None else last_segment(link),
        sha256=sha256.hex(),
        size=size,
        published_at=published_at,
        watch=decoded(watch),
        comment=comment,
        store=store,
        state=state,
    )
