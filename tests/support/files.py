"""Small pictures and videos made of bytes alone: same seed and size, same bytes; another seed, another content."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

_SEGMENT = 0xFFFF + 2
"""The longest JPEG segment: its marker, and what two bytes of length can count."""
_SEGMENT_HEAD = 4


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes of no format at all."""
    return random.Random(seed).randbytes(size)


def jpeg(size: int | None = None, seed: int = 0) -> bytes:
    """A baseline JPEG of one grey pixel, decodable, padded with comments to exactly `size` bytes."""
    head = b"\xff\xd8" + _segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0")
    tables = (
        _segment(0xDB, b"\0" + b"\x01" * 64)
        + _segment(0xC0, struct.pack(">BHHB", 8, 1, 1, 1) + b"\x01\x11\0")
        + _segment(0xC4, b"\0" + b"\x01" + b"\0" * 15 + b"\0")
        + _segment(0xC4, b"\x10" + b"\x01" + b"\0" * 15 + b"\0")
    )
    scan = _segment(0xDA, b"\x01\x01\0\0\x3f\0") + b"\x3f" + b"\xff\xd9"
    smallest = len(head) + len(tables) + len(scan)
    wanted = size if size is not None else smallest + _SEGMENT_HEAD + 16
    return head + _comments(wanted - smallest, seed) + tables + scan


def _comments(size: int, seed: int) -> bytes:
    assert size >= 0, "a JPEG of one pixel takes more"
    noisy = random.Random(seed)
    parts = []
    while size >= _SEGMENT_HEAD:
        take = min(size, _SEGMENT)
        if 0 < size - take < _SEGMENT_HEAD:
            take -= _SEGMENT_HEAD
        parts.append(_segment(0xFE, noisy.randbytes(take - _SEGMENT_HEAD)))
        size -= take
    return b"".join(parts) + b"\xff" * size  # a marker may have any number of fill bytes before it


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def png(size: int | None = None, seed: int = 0) -> bytes:
    """A PNG of one grey pixel, decodable, padded with a text chunk to exactly `size` bytes (at least 96)."""
    head = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    tail = _chunk(b"IDAT", zlib.compress(b"\0\x80")) + _chunk(b"IEND", b"")
    smallest = len(head) + len(tail) + len(_chunk(b"tEXt", b"seed\0"))
    padding = (size if size is not None else smallest + 16) - smallest
    assert padding >= 0, "a PNG of one pixel takes more"
    text = bytes(random.Random(seed).choices(b"abcdefghijklmnopqrstuvwxyz0123456789", k=padding))
    return head + _chunk(b"tEXt", b"seed\0" + text) + tail


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def mp4(size: int = 256, seed: int = 0, brand: bytes = b"isom") -> bytes:
    """What an MP4 looks like from outside, exactly `size` bytes (at least 40): boxes that end where the file ends."""
    kind = _box(b"ftyp", brand + struct.pack(">I", 512) + brand)
    moov = _box(b"moov", b"")
    return kind + moov + _box(b"mdat", noise(size - len(kind) - len(moov) - 8, seed))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def write(path: Path, data: bytes) -> Path:
    """Puts these bytes there, with the folders that takes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
