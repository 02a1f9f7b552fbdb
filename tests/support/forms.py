"""multipart/form-data read by the letter (RFC 7578), by other code than the program's: a judge of what is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOUNDARY = re.compile(r'multipart/form-data;\s*boundary=(?:"([^"]{1,70})"|([^\s";]{1,70}))')
_DISPOSITION = re.compile(rb'form-data; name="([^"\r\n]*)"(?:; filename="([^"\r\n]*)")?')
_FILE_NAME = re.compile(rb'name="file"; filename="([^"\r\n]*)"')


class Malformed(ValueError):
    """The form breaks a rule; the text says which."""


@dataclass(frozen=True)
class Part:
    """One part, as sent: `filename` is None for a plain field, and escaped (%22 %0D %0A) where it had to be."""

    name: str
    filename: str | None
    content_type: str | None
    content: bytes


def parse_form(content_type: str, body: bytes) -> list[Part]:
    """All parts, in order. Raises `Malformed`."""
    matched = _BOUNDARY.fullmatch(content_type)
    if not matched:
        raise Malformed(f"this Content-Type names no boundary: {content_type}")
    delimiter = b"--" + (matched[1] or matched[2]).encode("ascii")
    if not body.startswith(delimiter + b"\r\n"):
        raise Malformed("the body does not begin with its boundary")
    *parts, end = body[len(delimiter) :].split(b"\r\n" + delimiter)
    if end not in (b"--", b"--\r\n"):
        raise Malformed("the body does not end with its closing boundary")
    return [_parse_part(part) for part in parts]


def _parse_part(part: bytes) -> Part:
    head, gap, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    if not gap:
        raise Malformed("a part has no end of its headers")
    headers = {}
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b": ")
        if not colon:
            raise Malformed(f"this is no header: {line!r}")
        headers[name.lower()] = value
    matched = _DISPOSITION.fullmatch(headers.get(b"content-disposition", b""))
    if not matched:
        raise Malformed(f"this Content-Disposition cannot be read: {head!r}")
    filename = None if matched[2] is None else matched[2].decode("utf-8")
    kind = headers[b"content-type"].decode("ascii") if b"content-type" in headers else None
    return Part(matched[1].decode("utf-8"), filename, kind, content)


def peek_filename(beginning: bytes) -> str | None:
    """The file's name, if the beginning of a body tells it already."""
    matched = _FILE_NAME.search(beginning)
    return matched[1].decode("utf-8", "replace") if matched else None
