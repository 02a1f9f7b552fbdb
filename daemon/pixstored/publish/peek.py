"""A few small reads of untrusted bytes: whatever they hold, reading ends, and nothing but `Broken` comes out."""

from __future__ import annotations

from collections.abc import Callable

Read = Callable[[int, int], bytes]
"""Reads at an offset so many bytes; fewer at the file's end. May raise OSError."""

MOST_READS = 128
"""Reads of one file for its header: real ones take 5 to 40, a chain of boxes made to keep us busy is left there."""
_LARGEST_READ = 256 * 1024
"""Bytes at a time: the list of items of a HEIC picture of many tiles takes a few thousand."""
_FARTHEST = 1 << 62
"""Bytes: no file is as long, and pread(2) takes nothing beyond 2^63."""


class Broken(ValueError):
    """The bytes are not what they should be, or there are too many of them."""


class Source:
    """A file that is read at a few places."""

    def __init__(self, read: Read, *, most_reads: int = MOST_READS) -> None:
        self._read = read
        self._left = most_reads

    def at(self, offset: int, length: int) -> bytes:
        """Exactly these bytes. Raises `Broken`."""
        self._left -= 1
        if self._left < 0 or not 0 <= length <= _LARGEST_READ or not 0 <= offset < _FARTHEST:
            raise Broken
        data = self._read(offset, length)
        if len(data) < length:
            raise Broken
        return data


class Cursor:
    """Bytes read from first to last; `Broken` where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, length: int) -> bytes:
        if not 0 <= length <= self.left():
            raise Broken
        self._at += length
        return self._data[self._at - length : self._at]

    def skip(self, length: int) -> None:
        self.take(length)

    def number(self, length: int) -> int:
        """A big-endian number of so many bytes."""
        return number(self.take(length))


def number(data: bytes) -> int:
    """These bytes as a big-endian number."""
    return int.from_bytes(data, "big")
