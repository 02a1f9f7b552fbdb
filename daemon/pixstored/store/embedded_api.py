"""What the built-in store answers: the STORE API as documented, and the links it gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from os import fstat
from typing import BinaryIO
from urllib.parse import parse_qs, quote, unquote

from pixstored.eventlog import EventLog
from pixstored.store.embedded_files import DiskFailure, EmbeddedFiles, Incoming
from pixstored.store.embedded_form import FILE_PART, FormReader
from pixstored.store.embedded_http import Connection, Refusal, Request
from pixstored.store.embedded_media import SNIFF_BYTES, content_type, extension_by_bytes, extension_by_name

_log = EventLog("pixstored.store.embedded")

STORE_PATH = "/store"
_ABOUT = b"pixstored: the built-in store. Media are sent by POST to /store, and kept until /delete.\n"
_CACHE = "private, max-age=86400, immutable"
"""A link's content never changes; a day bounds how long a browser shows what was deleted."""
_NOSNIFF = {"X-Content-Type-Options": "nosniff"}
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))")


class StoreApi:
    """Answers requests, from any number of threads. `link_base` gives the URL that an id is put behind."""

    def __init__(self, files: EmbeddedFiles, link_base: Callable[[], str]) -> None:
        self._files = files
        self._link_base = link_base

    def respond(self, connection: Connection, request: Request) -> None:
        """Gives this request its one answer. Raises `PeerGone` and OSError where the peer is lost."""
        try:
            self._route(connection, request)
        except Refusal as refusal:
            headers = {"Allow": refusal.allow} if refusal.allow else None
            connection.answer_json(refusal.status, refusal.fields, headers)
        except DiskFailure as failure:
            _log.error("built-in store has a disk failure", method=request.method, reason=str(failure))
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            connection.answer_json(status, {"status": int(status), "error": f"the store's disk: {failure}"})

    def _route(self, connection: Connection, request: Request) -> None:
        if request.path == STORE_PATH:
            _only(request, "POST")
            self._store(connection, request)
            return
        _only(request, "GET", "HEAD")
        if request.path == "/":
            connection.answer(HTTPStatus.OK, {"Content-Type": "text/plain; charset=utf-8", **_NOSNIFF}, _ABOUT)
        elif request.path == "/status":
            connection.answer_json(HTTPStatus.OK, {"status": 200, "state": "up"})
        elif request.path == "/delete":
            _only(request, "GET")
            self._delete(connection, request)
        else:
            self._serve(connection, request)

    def _store(self, connection: Connection, request: Request) -> None:
        if "origin" in request.headers:
            raise Refusal(HTTPStatus.FORBIDDEN, "web pages may not fill this store")
        with self._files.incoming() as incoming:
            arrival = _Arrival(incoming)
            form = FormReader(request.headers.get("content-type", ""), arrival)
            for block in connection.body():
                form.feed(block)
            form.finish()
            media_id = arrival.keep(form.fields.get("comment"))
        connection.answer_json(HTTPStatus.OK, {"status": 200, "link": self._link_base() + media_id, "id": media_id})

    def _delete(self, connection: Connection, request: Request) -> None:
        link = parse_qs(request.query, errors="replace").get("link", [""])[-1]
        if not link:
            raise Refusal(HTTPStatus.BAD_REQUEST, 'the parameter "link" is missing')
        media_id = link.rpartition("/")[2]
        if not self._files.delete(media_id):
            raise Refusal(HTTPStatus.NOT_FOUND, "there is no such media here", id=media_id, deleted=False)
        connection.answer_json(HTTPStatus.OK, {"status": 200, "id": media_id, "deleted": True})

    def _serve(self, connection: Connection, request: Request) -> None:
        media_id = unquote(request.path[1:])
        file = self._files.read(media_id)
        if file is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        with file:
            stat = fstat(file.fileno())
            tag = f'"{media_id}"'
            headers = {
                "Content-Type": content_type(media_id),
                "Content-Disposition": self._disposition(media_id),
                "Accept-Ranges": "bytes",
                "Cache-Control": _CACHE,
                "ETag": tag,
                "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
                **_NOSNIFF,
            }
            wanted = request.headers.get("range", "") if request.headers.get("if-range", tag) == tag else ""
            _send(connection, headers, file, stat.st_size, wanted)

    def _disposition(self, media_id: str) -> str:
        about = self._files.about(media_id)
        name = about.name.replace("\\", "/").rpartition("/")[2] if about else media_id
        return f"inline; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


class _Arrival:
    """The one file of a form, judged by its name and its first bytes, and written down."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._name: str | None = None
        self._extension: str | None = None
        self._head = b""
        self._complete = False

    def begin(self, filename: str) -> None:
        if self._name is not None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "one file a request")
        self._name = filename
        self._extension = extension_by_name(filename)

    def write(self, data: memoryview) -> None:
        if self._extension is None:
            self._head += bytes(data[: SNIFF_BYTES - len(self._head)])
            if len(self._head) >= SNIFF_BYTES:
                self._judge()
        self._incoming.write(data)

    def end(self) -> None:
        if not self._incoming.size:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the file is empty")
        if self._extension is None:
            self._judge()
        self._complete = True

    def _judge(self) -> None:
        self._extension = extension_by_bytes(self._head)
        if self._extension is None:
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "this is neither an image nor a video")

    def keep(self, comment: str | None) -> str:
        """Keeps it for good; its id."""
        if self._name is None or self._extension is None or not self._complete:
            raise Refusal(HTTPStatus.BAD_REQUEST, f'the part "{FILE_PART}" is missing')
        return self._incoming.keep(self._name, comment, self._extension)


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        allowed = ", ".join(methods)
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"only {allowed} here", allow=allowed)


def _send(connection: Connection, headers: dict[str, str], file: BinaryIO, size: int, wanted: str) -> None:
    """Sends a file, or the one range of it that is wanted (RFC 9110, 14.2: what is not understood is ignored)."""
    matched = _RANGE.fullmatch(wanted)
    if not matched:
        connection.answer_file(HTTPStatus.OK, headers, file, 0, size)
        return
    first, last, suffix = matched.groups()
    start = int(first) if first is not None else max(0, size - int(suffix))
    end = min(size, int(last) + 1) if last else size
    if last and int(last) < start:
        connection.answer_file(HTTPStatus.OK, headers, file, 0, size)
        return
    if start >= size:
        connection.answer_json(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            {"status": 416, "error": "there is nothing in this range"},
            {"Content-Range": f"bytes */{size}"},
        )
        return
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    connection.answer_file(HTTPStatus.PARTIAL_CONTENT, headers, file, start, end - start)
