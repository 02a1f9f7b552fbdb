"""The address that `metrics.listen` names: one page, for whoever may reach it."""

from __future__ import annotations

import errno
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from pixstored.errors import ConfigError, Fault, LedgerError
from pixstored.eventlog import EventLog
from pixstored.slotted import dataclass

log = EventLog("pixstored.metrics")

PATH = "/metrics"

_KEY = "metrics.listen"
_PATIENCE = 10.0
"""Seconds a peer may take to ask, and to read the answer."""
_MOST_PEERS = 8
"""Connections at once: one or two Prometheus servers, and a person who looks. More are turned away."""
_ACCEPT_PAUSE = 1.0
"""Seconds to wait after a connection could not be taken: out of descriptors, most likely."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    content_type: str
    body: bytes


class MetricsServer:
    """Listens from its making to `stop`. `page` is called, in a thread of its own, with the `Accept` header.

    Raises `ConfigError` naming the key if the address cannot be listened on.
    """

    def __init__(self, address: tuple[str, int], page: Callable[[str], Page]) -> None:
        self._stopped = threading.Event()
        self._server = _listen(address, page, self._stopped)
        self._thread = threading.Thread(target=self._accept, name="metrics", daemon=True)
        host, port = self._server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        self.url = f"http://{shown}:{port}{PATH}"

    def start(self) -> None:
        """Answers from now on."""
        self._thread.start()
        log.info("metrics", url=self.url)

    def stop(self) -> None:
        """Listens no more; what is being answered is not waited for."""
        self._stopped.set()
        with suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)
        self._server.socket.close()

    def _accept(self) -> None:
        while not self._stopped.is_set():  # not `serve_forever`: that wakes up twice a second
            self._server.handle_request()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        family: socket.AddressFamily,
        address: Any,
        handler: type[BaseHTTPRequestHandler],
        stopped: threading.Event,
    ) -> None:
        self.address_family = family
        self._stopped = stopped
        self._places = threading.Semaphore(_MOST_PEERS)
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            self._stopped.wait(_ACCEPT_PAUSE)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self._places.acquire(blocking=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no more threads to give
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("metrics connection lost")


def _listen(address: tuple[str, int], page: Callable[[str], Page], stopped: threading.Event) -> _Server:
    host, port = address
    try:
        family, _, _, _, resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return _Server(family, resolved, _handler_of(page), stopped)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            advice = f"{host}:{port} is taken by another program: end that one, or choose another port"
        else:
            reason = getattr(error, "strerror", None) or "not a valid host name"
            advice = f"cannot listen on {host}:{port} ({reason}): name an address of this machine and a free port"
        raise ConfigError("the metrics cannot be served", [Fault(_KEY, None, advice)]) from error


def _handler_of(page: Callable[[str], Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE
        server_version = "pixstored"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self.send_error(HTTPStatus.NOT_FOUND, explain=f"there is only {PATH}")
                return
            try:
                answer = page(self.headers.get("Accept", ""))
            except LedgerError as error:
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Who reads the metrics is nothing for the log."""

    return Handler
