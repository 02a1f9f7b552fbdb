"""The request's body, `multipart/form-data` (RFC 7578): what stands before and after the file's bytes."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from functools import cache

from pixstored.model import extension_of
from pixstored.slotted import dataclass

UNKNOWN_TYPE = "application/octet-stream"

MEDIA_TYPES = {
    ".3fr": "image/x-hasselblad-3fr",
    ".3g2": "video/3gpp2",
    ".3gp": "video/3gpp",
    ".arw": "image/x-sony-arw",
    ".avi": "video/x-msvideo",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".cr2": "image/x-canon-cr2",
    ".cr3": "image/x-canon-cr3",
    ".crw": "image/x-canon-crw",
    ".dng": "image/x-adobe-dng",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".hif": "image/heif",
    ".jfif": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".m2ts": "video/mp2t",
    ".m4v": "video/x-m4v",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".mts": "video/mp2t",
    ".nef": "image/x-nikon-nef",
    ".nrw": "image/x-nikon-nrw",
    ".orf": "image/x-olympus-orf",
    ".pef": "image/x-pentax-pef",
    ".png": "image/png",
    ".raf": "image/x-fuji-raf",
    ".rw2": "image/x-panasonic-rw2",
    ".srw": "image/x-samsung-srw",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webm": "video/webm",
    ".webp": "image/webp",
}
"""What the watched kinds are called. Python's own table differs between versions, and lacks some."""

_RANDOM = 16
"""Random bytes of a boundary."""

_DRAWN = 64
"""Boundaries drawn at once."""

_PLAIN_NAME = re.compile(r"[ !#-\[\]-~]*")
"""ASCII that is printed, without quotes and backslash: as it is."""

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A", "\\": "%5C"})
"""As browsers do (WHATWG HTML, multipart/form-data encoding), and the backslash, which some servers take
for an escape."""


@dataclass(frozen=True, slots=True)
class Form:
    """The bytes around the file's, and the Content-Type that announces them."""

    content_type: str
    head: bytes
    tail: bytes

    def length(self, size: int) -> int:
        """Bytes of the whole body for a file of `size` bytes."""
        return len(self.head) + size + len(self.tail)


def boundaries() -> Iterator[str]:
    """Boundaries without end, for one thread. Each is random: a file cannot hold it, not even one that was made from
    an earlier request. Many are drawn at once: asking the system for each gives the interpreter away each time."""
    while True:
        drawn = os.urandom(_DRAWN * _RANDOM).hex()
        for start in range(0, len(drawn), 2 * _RANDOM):
            yield drawn[start : start + 2 * _RANDOM]


def form_for(boundary: str, filename: str, comment: str | None = None, key: str | None = None) -> Form:
    """The form for one file, parts in the order key, comment, file; each of the first two only if given.

    `filename` may hold anything a file name may, surrogates too.
    """
    part = f"--{boundary}\r\nContent-Disposition: form-data; name="
    head = f'{part}"key"\r\n\r\n{key}\r\n' if key else ""
    if comment:
        head += f'{part}"comment"\r\n\r\n{comment}\r\n'
    head += f'{part}"file"; filename="{header_name(filename)}"\r\nContent-Type: {media_type(filename)}\r\n\r\n'
    tail = f"\r\n--{boundary}--\r\n"
    return Form(f"multipart/form-data; boundary={boundary}", head.encode("utf-8", "replace"), tail.encode("ascii"))


def header_name(filename: str) -> str:
    """The name as it may stand in a header: valid UTF-8, nothing that ends the quotes or the line."""
    if _PLAIN_NAME.fullmatch(filename):
        return filename
    text = os.fsencode(filename).decode("utf-8", "replace").translate(_ESCAPES)
    if text.isprintable():
        return text
    return "".join("_" if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)


def media_type(filename: str) -> str:
    """The Content-Type for a name, by its extension."""
    extension = extension_of(filename)
    return MEDIA_TYPES.get(extension) or _other_types().get(extension, UNKNOWN_TYPE)


@cache
def _other_types() -> dict[str, str]:
    """Python's own table, without the system's files."""
    from mimetypes import MimeTypes  # late: few have other files, and it takes 3 ms of a start (measured)

    return MimeTypes().types_map[True]
