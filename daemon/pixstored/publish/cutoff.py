"""Whether a picture or video is plainly cut off: a few small reads of untrusted bytes, and never a guess.

Plainly cut off are a JPEG file without an end marker anywhere after its headers, a PNG file without its last chunk,
and a file of boxes (MP4, MOV, HEIC, AVIF, CR3) of which one reaches past the end. Whatever may follow a whole
picture, another picture or a video among it, does not count; neither does what no format is known for.
"""

from __future__ import annotations

from pixstored.publish.boxes import FIRST_BOXES, boxes
from pixstored.publish.peek import Broken, Read, Source
from pixstored.publish.segments import END, SCAN, START, segments

_HEAD = 8
"""Bytes that tell the format."""
_JPEG = START + b"\xff"
"""The start marker, and the first byte of the next one."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
"""The last chunk, which is the same in every PNG file."""
_TOP_LEVEL = FIRST_BOXES | {
    b"emsg",
    b"imda",
    b"meta",
    b"mfra",
    b"moof",
    b"pdin",
    b"pnot",
    b"prft",
    b"sidx",
    b"ssix",
    b"styp",
    b"uuid",
}
"""The boxes that lie in no other one. Cameras put things behind the last box that are none, and look like long ones."""
_MOST_READS = 1024
"""A search ends after so many blocks, a video of more boxes is not followed to its end: then nothing is plain."""
_BLOCK = 256 * 1024
"""Bytes a search reads at a time."""


def cut_off(read: Read, size: int) -> str | None:
    """What is missing of a file of `size` bytes, in words; None if nothing is, or if that cannot be told."""
    try:
        return _missing(Source(read, most_reads=_MOST_READS), size)
    except (Broken, OSError):
        return None


def _missing(source: Source, size: int) -> str | None:
    head = source.at(0, _HEAD)
    if head.startswith(_JPEG):
        return None if _has_end(source, size) else "a JPEG picture without its end marker"
    if head == _PNG:
        return None if _holds(source, _PNG_END, _HEAD, size) else "a PNG picture without its last chunk"
    if head[4:] in FIRST_BOXES:
        return _box_beyond(source, size)
    return None


def _has_end(source: Source, size: int) -> bool:
    """True if a JPEG file has an end marker; the one of a preview in its headers is not its own."""
    if source.at(size - len(END), len(END)) == END:
        return True
    end = len(START)
    try:
        for marker, _, end in segments(source, 0):
            if marker == SCAN or end + 4 > size:
                break
    except Broken:  # what should be a marker is none: where a file is laid out in advance, zeros
        pass
    return _holds(source, END, end, size)


def _holds(source: Source, wanted: bytes, start: int, end: int) -> bool:
    """True if these bytes are somewhere between `start` and `end`; looked for from the end, where they usually are."""
    while end - start >= len(wanted):
        at = max(start, end - _BLOCK)
        if wanted in source.at(at, end - at):
            return True
        end = at + len(wanted) - 1 if at > start else start
    return False


def _box_beyond(source: Source, size: int) -> str | None:
    for kind, _, end in boxes(source, 0, size):
        if kind not in _TOP_LEVEL:
            return None
        if end > size:
            return f"its box `{kind.decode('ascii')}` reaches {end - size} bytes past the end of the file"
    return None
