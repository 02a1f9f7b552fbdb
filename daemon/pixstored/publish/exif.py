"""When a picture or video was taken, as its own header tells: a few small reads, whatever the bytes are.

Understood are EXIF data (CIPA DC-008) in JPEG, PNG, WebP, HEIC and AVIF, in TIFF and the raw formats built on it
(DNG, NEF, CR2, ARW, PEF, SRW, ORF, RW2), in RAF and CR3, and the creation time of MP4 and MOV.
"""

from __future__ import annotations

import re
import struct
from datetime import datetime

from pixstored.publish.boxes import FIRST_BOXES, when_or_where
from pixstored.publish.peek import Broken, Read, Source, number
from pixstored.publish.segments import START, segments

_DATE_TIME_ORIGINAL = 0x9003
_OFFSET_TIME_ORIGINAL = 0x9011
_EXIF_DIRECTORY = 0x8769
_ASCII = 2
_MOST_ENTRIES = 1000
"""Entries of a directory; cameras write up to a hundred."""
_LONGEST_TEXT = 64
"""Bytes of a time as text; 20 by the standard."""
_TIFF_KINDS = frozenset({42, 0x4F52, 0x5352, 0x55})
"""The number after the byte order: TIFF's own, and those of Olympus (ORF) and Panasonic (RW2)."""

_TIME = re.compile(rb"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d")
_TIME_FORM = "%Y:%m:%d %H:%M:%S"
_OFFSET = re.compile(rb"[+-](?:0\d|1[0-4]):[0-5]\d")

_APP1 = 0xE1
"""The marker of the JPEG segment that holds EXIF data."""
_EXIF = b"Exif\0\0"
"""What such a segment begins with."""
_RAF_PREVIEW = 84
"""Where a RAF file tells where its JPEG lies, which has the EXIF data."""


def taken(read: Read) -> str:
    """The time as RFC 3339, without offset where only the camera's clock is told; empty if it is not told."""
    try:
        return _taken(Source(read))
    except (Broken, OSError):
        return ""


def _taken(source: Source) -> str:
    head = source.at(0, 12)
    if head.startswith(START):
        return _jpeg(source, 0)
    if head.startswith((b"II", b"MM")):
        return _tiff(source, 0)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(source)
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return _webp(source)
    if head.startswith(b"FUJIFILMCCD"):
        return _jpeg(source, number(source.at(_RAF_PREVIEW, 4)))
    if head[4:8] in FIRST_BOXES:
        found = when_or_where(source)
        if isinstance(found, datetime):
            return found.isoformat().replace("+00:00", "Z")
        return _tiff(source, found.offset, is_exif_directory=found.is_exif_directory) if found else ""
    return ""


def _jpeg(source: Source, start: int) -> str:
    """Segment after segment, up to the picture itself."""
    for marker, at, _ in segments(source, start):
        if marker == _APP1 and source.at(at, len(_EXIF)) == _EXIF:
            return _tiff(source, at + len(_EXIF))
    return ""


def _png(source: Source) -> str:
    at = 8
    while True:
        length, kind = struct.unpack(">I4s", source.at(at, 8))
        if kind == b"eXIf":
            return _tiff(source, at + 8)
        if kind in (b"IDAT", b"IEND"):
            return ""
        at += 12 + length


def _webp(source: Source) -> str:
    at = 12
    while True:
        kind, length = struct.unpack("<4sI", source.at(at, 8))
        if kind == b"EXIF":
            has_prefix = source.at(at + 8, len(_EXIF)) == _EXIF
            return _tiff(source, at + 8 + (len(_EXIF) if has_prefix else 0))
        at += 8 + length + length % 2


def _tiff(source: Source, base: int, *, is_exif_directory: bool = False) -> str:
    """The time told by the TIFF structure that begins at `base`."""
    head = source.at(base, 8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        raise Broken
    kind, first = struct.unpack(order + "HI", head[2:])
    if kind not in _TIFF_KINDS:
        raise Broken
    entries = _directory(source, base + first, order)
    if not is_exif_directory:
        pointer = entries.get(_EXIF_DIRECTORY)
        if pointer is None:
            return ""
        entries = _directory(source, base + struct.unpack(order + "8xI", pointer)[0], order)
    found = _TIME.match(_text(source, base, entries.get(_DATE_TIME_ORIGINAL), order))
    try:
        moment = datetime.strptime(found[0].decode(), _TIME_FORM) if found else None
    except ValueError:  # a clock that was never set writes zeros
        return ""
    offset = _OFFSET.match(_text(source, base, entries.get(_OFFSET_TIME_ORIGINAL), order))
    return moment.isoformat() + (offset[0].decode() if offset else "") if moment else ""


def _directory(source: Source, offset: int, order: str) -> dict[int, bytes]:
    """The entries of a directory by their tag, each as its 12 bytes."""
    count = struct.unpack(order + "H", source.at(offset, 2))[0]
    if count > _MOST_ENTRIES:
        raise Broken
    data = source.at(offset + 2, 12 * count)
    entries = [data[at : at + 12] for at in range(0, len(data), 12)]
    return {struct.unpack(order + "H", entry[:2])[0]: entry for entry in entries}


def _text(source: Source, base: int, entry: bytes | None, order: str) -> bytes:
    """The text an entry holds or points to; empty if there is none."""
    if entry is None:
        return b""
    kind, length, where = struct.unpack(order + "2xHII", entry)
    if kind != _ASCII or length > _LONGEST_TEXT:
        return b""
    return entry[8 : 8 + length] if length <= 4 else source.at(base + where, length)
