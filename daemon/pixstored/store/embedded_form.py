"""A multipart/form-data body taken apart while it arrives: the file goes straight on, the small fields are kept."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Protocol

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from pixstored.store.embedded_http import Refusal

FILE_PART = "file"

_MAX_BOUNDARY = 200
"""Bytes of a boundary; RFC 2046 allows 70, and the parser's own limit is 256."""
_MAX_FIELD = 64 * 1024
"""Bytes of a field that is no file: a comment has no documented limit, a memory has."""
_MAX_HEADERS = 8 * 1024
"""Bytes of the headers of a part: the longest file name Linux has, escaped, takes a tenth of it."""
_MAX_PARTS = 64

_BOUNDARY = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class FileSink(Protocol):
    """Where the bytes of the `file` part go."""

    def begin(self, filename: str) -> None:
        """The part begins; `filename` is as it was sent, and may hold anything."""

    def write(self, data: memoryview) -> None:
        """The next bytes; valid during the call."""

    def end(self) -> None:
        """The part is complete. The body may not be."""


class FormReader:
    """Reads one body. Whatever is wrong with it is a `Refusal`; what the sink raises goes through."""

    def __init__(self, content_type: str, sink: FileSink) -> None:
        self.fields: dict[str, str] = {}
        """The fields that are complete, by name; of several the last."""
        self._sink = sink
        self._complete = False
        self._parts = 0
        self._field: bytearray | None = None
        self._name = ""
        self._headers: dict[bytes, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._header_bytes = 0
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_name_comes,
                "on_header_value": self._header_value_comes,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._data_begins,
                "on_part_data": self._data_comes,
                "on_part_end": self._part_ends,
                "on_end": self._form_ends,
            },
        )

    def feed(self, block: bytes) -> None:
        """Takes the next bytes of the body."""
        try:
            self._parser.write(block)
        except FormParserError as error:
            raise _malformed("it cannot be taken apart") from error

    def finish(self) -> None:
        """The body has come to its end."""
        if not self._complete:
            raise _malformed("its closing boundary is missing")

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise _malformed("it has too many parts")
        self._headers = {}
        self._header_bytes = 0

    def _header_name_comes(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_name += data[start:end]

    def _header_value_comes(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADERS:
            raise _malformed("the headers of a part are too long")

    def _header_ends(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _data_begins(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise _malformed("a part has no name")
        self._name = options[b"name"].decode("utf-8", "replace")
        if self._name != FILE_PART:
            self._field = bytearray()
            return
        if b"filename" not in options:
            raise Refusal(HTTPStatus.BAD_REQUEST, f'the part "{FILE_PART}" is not a file: it has no file name')
        self._field = None
        self._sink.begin(options[b"filename"].decode("utf-8", "replace"))

    def _data_comes(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._sink.write(memoryview(data)[start:end])
            return
        self._field += data[start:end]
        if len(self._field) > _MAX_FIELD:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"a field is longer than {_MAX_FIELD} bytes")

    def _part_ends(self) -> None:
        if self._field is None:
            self._sink.end()
        else:
            self.fields[self._name] = self._field.decode("utf-8", "replace")

    def _form_ends(self) -> None:
        self._complete = True


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or len(boundary) > _MAX_BOUNDARY or not _BOUNDARY.fullmatch(boundary):
        raise Refusal(HTTPStatus.BAD_REQUEST, "send the file as multipart/form-data, with a boundary")
    return boundary


def _malformed(what: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, f"the form is malformed: {what}")
