"""Which files the built-in store takes, and as what it serves them.

Served types come from this fixed table only, so nothing that is stored can ever be run by a browser as a page.
"""

from __future__ import annotations

from pixstored.model import extension_of
from pixstored.store.body import MEDIA_TYPES, UNKNOWN_TYPE

SNIFF_BYTES = 16
"""How much of a file's beginning tells its kind; every signature below fits in."""

_RARE_RAW = {
    *(".cap", ".cin", ".dcr", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc"),
    *(".mos", ".mrw", ".raw", ".rwl", ".sr2", ".srf", ".x3f"),
}
_TAKEN = _RARE_RAW | MEDIA_TYPES.keys()
"""With their dot: `@images`, `@videos`, `@tiff` and `@raw` of the configuration, completely."""

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "jpg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (8, b"WEBP", "webp"),
    (8, b"AVI ", "avi"),
    (4, b"ftypheic", "heic"),
    (4, b"ftypheix", "heic"),
    (4, b"ftypmif1", "heif"),
    (4, b"ftypavif", "avif"),
    (4, b"ftypqt  ", "mov"),
    (4, b"ftyp3gp", "3gp"),
    (4, b"ftypcrx ", "cr3"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "mkv"),
    (0, b"\x00\x00\x01\xba", "mpg"),
    (0, b"\x00\x00\x01\xb3", "mpg"),
    (0, b"FUJIFILMCCD-RAW", "raf"),
    (0, b"II*\x00", "tif"),
    (0, b"MM\x00*", "tif"),
)
"""(offset, bytes, extension), the more exact before the less."""


def extension_by_name(filename: str) -> str | None:
    """The extension of this name, without the dot, in lower case, if it is one of a picture or video; else None."""
    extension = extension_of(filename)
    return extension[1:] if extension in _TAKEN else None


def extension_by_bytes(head: bytes) -> str | None:
    """The extension that the first `SNIFF_BYTES` bytes of a file call for; None if they are no picture or video."""
    for offset, signature, extension in _SIGNATURES:
        if head.startswith(signature, offset):
            return extension
    return None


def content_type(media_id: str) -> str:
    """The type a stored file is served as, by its id's extension; some raw formats have no customary one."""
    return MEDIA_TYPES.get(extension_of(media_id), UNKNOWN_TYPE)
