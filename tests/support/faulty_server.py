"""The HTTP side of the `FaultyStore`: reads requests, and answers, hangs or drops as the script says."""

from __future__ import annotations

import hashlib
import select
import socket
import socketserver
import struct
import sys
import threading
import traceback
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from support.faults import SUCCESS, Afterwards, Answer, Drop, DropAnswer, Early, Fault, Hang, Reply, Slow, says
from support.forms import Malformed, Part, parse_form, peek_filename

if TYPE_CHECKING:
    from support.faulty_store import FaultyStore, Seen

_BLOCK = 256 * 1024
_LOOK_EVERY = 0.02
"""Seconds between two looks of a hanging connection at what would release it."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: close() sends a reset."""


class FaultyServer(socketserver.ThreadingTCPServer):
    """A thread a connection; `crashes` has the traceback of each fault that nobody scripted."""

    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = False
    block_on_close = True

    def __init__(self, store: FaultyStore, port: int) -> None:
        self.store = store
        self.crashes: list[str] = []
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError | _Lost):
            self.crashes.append(traceback.format_exc())

    def cut(self) -> None:
        """Ends all connections."""
        with self.store.changed:
            connections = list(self.open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Lost(Exception):
    """This connection is over."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyServer
    connection: socket.socket

    def setup(self) -> None:
        super().setup()
        self.store = self.server.store
        with self.store.changed:
            self.server.open.add(self.connection)
            self.store.connections += 1
            self.number = self.store.connections
        if self.store.stopping.is_set():  # else `cut` may have come and gone before this one was there
            self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        with self.store.changed:
            self.server.open.discard(self.connection)
            self.store.changed.notify_all()
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests have their own words."""

    def handle_one_request(self) -> None:
        super().handle_one_request()
        self.connection.settimeout(self.store.idle_timeout)  # for the next one: however long the first may take to come

    def do_POST(self) -> None:
        self.connection.settimeout(None)
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen, fault, undecided = self.store.begin(self.path, headers, self.number)
        exchange = _Exchange(self, seen)
        try:
            exchange.run(fault, undecided)
        finally:
            exchange.over()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        name = url.path.removeprefix("/")
        if name == "status":
            self.reply(says(200))
        elif name == "delete":
            self._delete(parse_qs(url.query).get("link", [""])[0].rpartition("/")[2])
        elif (digest := self.store.ids.get(name)) in self.store.bodies:
            self.reply(Reply(200, (("Content-Type", "image/jpeg"),), self.store.bodies[digest or ""]))
        else:
            self.reply(says(404, 404, error="nothing here"))

    do_HEAD = do_GET

    def _delete(self, media_id: str) -> None:
        with self.store.changed:
            known = self.store.ids.pop(media_id, None)
            if known:
                self.store.deleted.append(media_id)
                self.store.changed.notify_all()
        self.reply(says(200, id=media_id, deleted=True) if known else says(404, 404, error="no such media"))

    def reply(self, reply: Reply) -> None:
        """Sends an answer as it is told."""
        body = reply.body or b""
        reason = HTTPStatus(reply.status).phrase if reply.status in HTTPStatus._value2member_map_ else "Unknown"
        lines = [f"HTTP/1.1 {reply.status} {reason}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        sent = b"" if self.command == "HEAD" else body[: reply.cut]
        if reply.drip is None:
            self.connection.sendall(head + sent)
        else:
            self.connection.sendall(head)
            for byte in sent:
                self.store.stopping.wait(reply.drip)
                self.connection.sendall(bytes([byte]))
        if reply.close or reply.cut is not None or self.store.close_after_answer:
            self.close_connection = True


class _Exchange:
    """One POST: how far its body came, and what is done to it."""

    def __init__(self, handler: _Handler, seen: Seen) -> None:
        self._handler = handler
        self._store = handler.store
        self._seen = seen
        self._body = bytearray()
        self._content = b""
        self._pace = Slow(_BLOCK, 0)
        self._wrong: Reply | None = None
        self._over = False

    def over(self) -> None:
        """The request is no longer under way. Told before the client can know, so that `peak` never counts too many."""
        with self._store.changed:
            if not self._over:
                self._over = True
                self._store.in_flight -= 1
                self._store.changed.notify_all()

    def run(self, fault: Fault | None, undecided: bool) -> None:
        if undecided:
            while self._seen.filename is None and self._receive_some(self._seen.length):
                pass
            fault = self._store.ask(self._seen)
        if undecided and fault is None:
            self._receive_all()
            fault = self._store.ask(self._seen)
        self._perform(fault)

    def _perform(self, fault: Fault | None) -> None:
        match fault:
            case Hang(release, int(at), _, then):
                self._receive(at)
                self._hold(release)
                self._perform(then)
            case Hang(release, None, stored, then):
                self._receive_all()
                if stored and not self._wrong:
                    self._store.keep(self._seen, self._content)
                self._hold(release)
                self._perform(then)
            case Slow(_, _, then):
                self._pace = fault
                self._perform(then)
            case Early():
                self._answer_early(fault)
            case Drop(at, reset):
                self._receive(at)
                self._lose(reset)
            case DropAnswer(stored, reset):
                self._receive_all()
                if stored:
                    self._store.keep(self._seen, self._content)
                self._lose(reset)
            case Answer(reply, stored):
                self._answer(reply, stored)
            case None:
                self._answer(SUCCESS, stored=True)

    def _answer(self, reply: Reply, stored: bool) -> None:
        self._receive_all()
        if self._wrong:
            self._reply(self._wrong)
            return
        if stored:
            media_id = self._store.keep(self._seen, self._content)
            if reply.body is None:
                reply = _success(reply, self._store.link_to(media_id), media_id)
        self._reply(reply)

    def _answer_early(self, fault: Early) -> None:
        self._receive(fault.at)
        match fault.afterwards:
            case Afterwards.DRAIN:
                self._reply(fault.reply)
                self._receive(self._seen.length)
                return
            case Afterwards.CLOSE:
                headers = (*fault.reply.headers, ("Connection", "close"))
                self._reply(Reply(fault.reply.status, headers, fault.reply.body))
                self._handler.connection.shutdown(socket.SHUT_WR)
                self._discard()
            case Afterwards.RESET:
                self._reply(fault.reply)
                self._lose(reset=True)
            case Afterwards.DEAF:
                self._reply(fault.reply)
                self._hold(threading.Event())
        raise _Lost

    def _reply(self, reply: Reply) -> None:
        self.over()
        with self._store.changed:
            self._seen.answered = reply.status
        self._handler.reply(reply)
        with self._store.changed:
            self._store.changed.notify_all()

    def _receive(self, at: int) -> None:
        """Reads the body up to this byte; negative counts from its end."""
        end = at if at >= 0 else max(0, self._seen.length + at)
        while len(self._body) < min(end, self._seen.length):
            self._receive_some(end)

    def _receive_some(self, end: int) -> bool:
        """Reads one block, not beyond `end`. False if the body is complete already."""
        wanted = min(end, self._seen.length) - len(self._body)
        if wanted <= 0:
            return False
        if self._pace.pause:
            self._store.stopping.wait(self._pace.pause)
        block = self._handler.rfile.read1(min(wanted, self._pace.block))
        if not block:
            with self._store.changed:
                self._seen.client_left = True
                self._store.changed.notify_all()
            raise _Lost
        self._body += block
        with self._store.changed:
            self._seen.received = len(self._body)
            if self._seen.filename is None:
                self._seen.filename = peek_filename(bytes(self._body[:_BLOCK]))
                self._store.begun.update([self._seen.filename] if self._seen.filename is not None else [])
            self._store.changed.notify_all()
        return True

    def _receive_all(self) -> None:
        self._receive(self._seen.length)
        with self._store.changed:
            if self._seen.completed:
                return
            self._seen.completed = True
            try:
                parts = parse_form(self._seen.headers.get("content-type", ""), bytes(self._body))
                self._take(parts)
            except (Malformed, UnicodeDecodeError) as error:
                self._seen.malformed = str(error)
                self._wrong = says(400, 400, error=f"malformed: {error}")
            self._store.changed.notify_all()

    def _take(self, parts: list[Part]) -> None:
        seen, store = self._seen, self._store
        seen.parts = [part.name for part in parts]
        seen.fields = {part.name: part.content.decode("utf-8") for part in parts if part.filename is None}
        files = [part for part in parts if part.name == "file" and part.filename is not None]
        if len(files) != 1:
            raise Malformed(f"{len(files)} files in one request")
        self._content = files[0].content
        seen.filename = files[0].filename
        seen.sha256 = hashlib.sha256(self._content).hexdigest()
        store.completed[seen.sha256] += 1
        key = seen.fields.get("key") or seen.headers.get("www-authenticate")
        if urlsplit(seen.path).path != "/store":
            self._wrong = says(404, 404, error="nothing here")
        elif store.keys is not None and key not in store.keys:
            self._wrong = says(401, 401, error="invalid API key")

    def _hold(self, release: threading.Event) -> None:
        """Waits; over when released, when the store stops, or when the client leaves."""
        while not release.wait(_LOOK_EVERY):
            if self._store.stopping.is_set():
                raise _Lost
            if self._client_left():
                with self._store.changed:
                    self._seen.client_left = True
                    self._store.changed.notify_all()
                raise _Lost

    def _client_left(self) -> bool:
        readable, _, _ = select.select([self._handler.connection], [], [], 0)
        if not readable:
            return False
        try:
            return not self._handler.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _discard(self) -> None:
        """Reads what still comes, until the client closes; it counts as received, never as completed."""
        while block := self._handler.rfile.read1(_BLOCK):
            with self._store.changed:
                self._seen.received += len(block)
                self._store.changed.notify_all()
        with self._store.changed:
            self._seen.client_left = True
            self._store.changed.notify_all()

    def _lose(self, reset: bool) -> None:
        self.over()
        if reset:
            self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._handler.connection.close()
        raise _Lost


def _success(reply: Reply, link: str, media_id: str) -> Reply:
    told = says(200, http=reply.status, headers=reply.headers, link=link, id=media_id)
    return Reply(told.status, told.headers, told.body, reply.cut, reply.drip, reply.close)
