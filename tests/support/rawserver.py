"""A server made of bare sockets, for the peers that no well-behaved HTTP server can play."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

PATIENCE = 20.0
"""Seconds after which a test that hangs is given up."""

LINK = "https://media.example/24p62f73c9583ec6.jpg"
STORED = {"status": 200, "link": LINK, "id": "24p62f73c9583ec6.jpg"}

CERTIFICATE = Path(__file__).parent / "localhost.pem"
"""For `localhost` and `store.example`, signed by itself, with its private key: of no worth outside these tests."""


@dataclass(frozen=True)
class Heard:
    """One request, as it came: the head's lines without their ends, and the body."""

    start: str
    headers: dict[str, str]
    head: bytes
    body: bytes


class Peer:
    """The server's end of one connection, told by the test what to do."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.arrived = bytearray()
        """Everything that has come, of all requests, in order."""
        self._rest = bytearray()

    def _more(self) -> bool:
        try:
            data = self.sock.recv(1 << 20)
        except OSError:
            return False
        self.arrived += data
        self._rest += data
        return bool(data)

    def head(self) -> tuple[str, dict[str, str], bytes] | None:
        """The next request's head; None if the client closes first."""
        while b"\r\n\r\n" not in self._rest:
            if not self._more():
                return None
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return start, headers, bytes(head)

    def request(self) -> Heard | None:
        """The next request, complete; None if the client closes first."""
        found = self.head()
        if found is None:
            return None
        start, headers, head = found
        length = int(headers.get("content-length", "0"))
        while len(self._rest) < length:
            if not self._more():
                return None
        body = bytes(self._rest[:length])
        del self._rest[:length]
        return Heard(start, headers, head, body)

    def drain(self) -> None:
        """Reads until the client closes."""
        while self._more():
            self._rest.clear()

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, fields: object = STORED, status: str = "200 OK", **headers: str) -> None:
        self.say(answer(fields, status, **headers))

    def reset(self) -> None:
        """Ends the connection the hard way (RST)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()


def answer(fields: object = STORED, status: str = "200 OK", **headers: str) -> bytes:
    """The bytes of an answer; `fields` is made JSON unless it is bytes already."""
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class RawServer:
    """Runs `behave(peer)` for each connection, in a thread of its own. Stops and joins all at its end."""

    def __init__(self, behave: Callable[[Peer], None], *, tls: bool = False) -> None:
        self._behave = behave
        self._context = _tls_context() if tls else None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, name="raw-server")
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.connections = 0
        self.port: int = self._listener.getsockname()[1]
        scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{self.port}/store"

    def __enter__(self) -> RawServer:
        self._accepting.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._closing = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(PATIENCE)
        self._listener.close()
        for sock in list(self._open):
            _shut(sock)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )  # what is said is there when the next thing happens
            self.connections += 1
            self._open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), name="raw-peer")
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._context:
                sock = self._secured(sock, self._context)
            self._behave(Peer(sock))
        except OSError:
            pass  # the client has gone: what it made of that is what the test looks at
        finally:
            self._open.discard(sock)
            sock.close()

    def _secured(self, sock: socket.socket, context: ssl.SSLContext) -> socket.socket:
        self._open.discard(sock)
        secured = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._open.add(secured)
        try:
            secured.do_handshake()
        except OSError:
            self._open.discard(secured)
            secured.close()
            raise
        return secured


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def _shut(sock: socket.socket) -> None:
    """Ends what another thread does with it; that thread closes it."""
    with suppress(OSError):  # gone already
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def store_all(heard: list[Heard] | None = None) -> Callable[[Peer], None]:
    """A well-behaved store: reads each request, keeps it in `heard`, and answers with a link."""

    def behave(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            if heard is not None:
                heard.append(request)
            peer.answer()

    return behave


@contextmanager
def dead_port() -> Iterator[int]:
    """A port where nobody listens, and nobody else will meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
