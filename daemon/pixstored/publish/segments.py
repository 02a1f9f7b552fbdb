"""The segments of a JPEG file (ITU-T T.81, annex B), up to the first one that holds a part of the picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pixstored.publish.peek import Broken, Source

START = b"\xff\xd8"
END = b"\xff\xd9"
SCAN = 0xDA
"""The marker of the header that the compressed picture follows."""

_LONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""
_FILL = 0xFF
"""A byte that may stand before any marker, any number of times."""
_END = 0xD9
_LENGTH = 2
"""Bytes of a segment that say how long it is, themselves included."""


def segments(source: Source, start: int) -> Iterator[tuple[int, int, int]]:
    """The segments of the file that begins at `start`: marker, and where the content begins and ends.

    The last one is that of the first scan. Raises `Broken` where no marker is.
    """
    at = start + len(START)
    while True:
        mark, marker, length = struct.unpack(">BBH", source.at(at, 4))
        if mark != 0xFF:
            raise Broken
        if marker == _FILL:
            at += 1
        elif marker in _LONE_MARKERS:
            at += 2
        elif marker == _END:
            return
        else:
            if length < _LENGTH:
                raise Broken
            end = at + 2 + length
            yield marker, at + 4, end
            if marker == SCAN:
                return
            at = end
