"""What the boxes of MP4, MOV, HEIC, AVIF and CR3 files (ISO 14496-12) tell of when they were taken, and where."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pixstored.publish.peek import Broken, Cursor, Source, number
from pixstored.slotted import dataclass

FIRST_BOXES = frozenset({b"ftyp", b"moov", b"wide", b"mdat", b"free", b"skip"})
"""What such a file begins with; QuickTime files of old have no `ftyp`."""

_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
"""Earlier ones are clocks that were never set."""

_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
"""The `uuid` box in the `moov` of a CR3; its `CMT2` holds the EXIF directory (described by L. Chevallier)."""


@dataclass(frozen=True, slots=True)
class Tiff:
    """Where a TIFF structure begins, and whether its first directory is the EXIF one already."""

    offset: int
    is_exif_directory: bool


def when_or_where(source: Source) -> datetime | Tiff | None:
    """The creation time of a video (UTC), or where a picture has its EXIF data; None if neither is there."""
    for kind, start, end in boxes(source, 0, None):
        if kind == b"meta":
            item = _exif_item(source, start, end)
            if item is not None:
                return Tiff(item + 4 + number(source.at(item, 4)), is_exif_directory=False)
        elif kind == b"moov":
            return _canon(source, start, end) or _creation_time(source, start, end)
    return None


def boxes(source: Source, at: int, end: int | None) -> Iterator[tuple[bytes, int, int]]:
    """The boxes from `at` on: what they are, and where their content starts and ends."""
    while end is None or at + 8 <= end:
        size, kind = struct.unpack(">I4s", source.at(at, 8))
        start = at + 8
        if size == 1:
            size = number(source.at(start, 8))
            start += 8
        if size == 0 or at + size < start:  # the last one; or a broken one
            return
        yield kind, start, at + size
        at += size


def _creation_time(source: Source, start: int, end: int) -> datetime | None:
    for kind, at, _ in boxes(source, start, end):
        if kind == b"mvhd":
            is_wide = source.at(at, 1) == b"\x01"
            try:
                moment = _EPOCH + timedelta(seconds=number(source.at(at + 4, 8 if is_wide else 4)))
            except OverflowError:
                return None
            return moment if moment >= _EARLIEST else None
    return None


def _canon(source: Source, start: int, end: int) -> Tiff | None:
    for kind, at, stop in boxes(source, start, end):
        if kind == b"uuid" and source.at(at, len(_CANON)) == _CANON:
            for inner, where, _ in boxes(source, at + len(_CANON), stop):
                if inner == b"CMT2":
                    return Tiff(where, is_exif_directory=True)
    return None


def _exif_item(source: Source, start: int, end: int) -> int | None:
    """Where in the file the EXIF item begins, by this `meta` box; None if it has none, or is of another make."""
    try:
        meta = source.at(start, end - start)
        inside = Source(lambda offset, length: meta[offset : offset + length])
        found = {kind: meta[at:stop] for kind, at, stop in boxes(inside, 4, len(meta))}
        item = _item_of_type(Cursor(found.get(b"iinf", b"")), b"Exif")
        return None if item is None else _place(Cursor(found.get(b"iloc", b"")), item)
    except Broken:
        return None


def _item_of_type(iinf: Cursor, wanted: bytes) -> int | None:
    """The number of the first item of this type (ItemInfoBox)."""
    iinf.skip(5 if iinf.number(1) == 0 else 7)
    while iinf.left():
        size, kind = iinf.number(4), iinf.take(4)
        entry = Cursor(iinf.take(size - 8))
        version = entry.number(1)
        if kind != b"infe" or version < 2:
            continue
        entry.skip(3)
        item = entry.number(2 if version == 2 else 4)
        entry.skip(2)
        if entry.take(4) == wanted:
            return item
    return None


def _place(iloc: Cursor, wanted: int) -> int | None:
    """Where the first part of an item begins (ItemLocationBox); None if that is not in the file itself."""
    version = iloc.number(1)
    iloc.skip(3)
    sizes = iloc.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version in (1, 2) else 0
    number_size = 2 if version < 2 else 4
    for _ in range(iloc.number(number_size)):
        item = iloc.number(number_size)
        method = iloc.number(2) & 15 if version in (1, 2) else 0
        iloc.skip(2)
        base, extents = iloc.number(base_size), iloc.number(2)
        if item == wanted:
            iloc.skip(index_size)
            return base + iloc.number(offset_size) if extents and method == 0 else None
        iloc.skip(extents * (index_size + offset_size + length_size))
    return None
