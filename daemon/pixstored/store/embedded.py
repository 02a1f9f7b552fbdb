"""The built-in store: a small server inside the daemon, for trying things out and for keeping media at home."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pixstored.errors import ConfigError, Fault
from pixstored.eventlog import EventLog
from pixstored.store.embedded_api import STORE_PATH, StoreApi
from pixstored.store.embedded_files import EmbeddedFiles
from pixstored.store.embedded_http import Connection, PeerGone, Refusal

_log = EventLog("pixstored.store.embedded")

_BACKLOG = 128
_MAX_CONNECTIONS = 256
"""A thread each; far more than a daemon's workers and some browsers need."""
_ACCEPT_PAUSE = 0.2
"""Seconds to wait after a failed accept: out of descriptors is over only when connections have ended."""
_POLITE_STOP = 0.5
"""Seconds answers under way are given when the store stops."""
_WHOLE_STOP = 0.9
"""Seconds after which `stop` returns, whatever still hangs in the disk."""

_DOCUMENTATION_V4 = "192.0.2.1"
_DOCUMENTATION_V6 = "2001:db8::1"
"""Addresses that belong to nobody (RFC 5737, RFC 3849): the way to them is the way out."""
_ANY_PORT = 9


class EmbeddedStore:
    """The STORE API at `http://HOST:PORT/store`, keeping files in a folder.

    It takes any key or none. `dir` is made where it is missing. Port 0 takes any free one.
    """

    def __init__(self, dir: Path, host: str, port: int) -> None:
        self._files = EmbeddedFiles(dir)
        self._host = host.strip("[]")
        self._port = port
        self._api = StoreApi(self._files, lambda: self._link_base)
        self._link_base = ""
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._peers: dict[Connection, threading.Thread] = {}

    @property
    def port(self) -> int:
        """The port it listens on; before the start the one it was told."""
        return self._port

    @property
    def url(self) -> str:
        """Where to send uploads."""
        return f"http://{_url_host(_reachable(self._host, loopback=True))}:{self._port}{STORE_PATH}"

    def start(self) -> None:
        """Listens when it returns. Raises `ConfigError` naming `store.embedded.dir` or `store.embedded.listen`."""
        self._files.open()
        try:
            listener = listener_at(self._host, self._port)
        except ConfigError:
            self._files.close()
            raise
        self._listener = listener
        self._port = listener.getsockname()[1]
        self._link_base = f"http://{_url_host(_reachable(self._host, loopback=False))}:{self._port}/"
        self._stopping.clear()
        self._acceptor = threading.Thread(
            target=self._accept, args=(listener,), name="embedded-store-accept", daemon=True
        )
        self._acceptor.start()

    def stop(self) -> None:
        """Stops within a second: bodies not yet complete are dropped, complete ones get their answer."""
        deadline = time.monotonic() + _WHOLE_STOP
        self._stopping.set()
        if self._listener is not None and self._acceptor is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join()
            self._listener.close()
            self._listener = None
        with self._lock:
            peers = dict(self._peers)
        for connection in peers:
            connection.interrupt()
        _join(peers.values(), time.monotonic() + _POLITE_STOP)
        for connection in peers:
            connection.cut()
        _join(peers.values(), deadline)
        self._files.close()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError as error:
                if not self._stopping.is_set() and error.errno != errno.ECONNABORTED:
                    _log.error("built-in store cannot accept connections", reason=error.strerror)
                    self._stopping.wait(_ACCEPT_PAUSE)
                continue
            self._take(sock)

    def _take(self, sock: socket.socket) -> None:
        with self._lock:
            full = len(self._peers) >= _MAX_CONNECTIONS
        if full or self._stopping.is_set():
            sock.close()
            return
        try:
            connection = Connection(sock)
        except OSError:
            sock.close()  # gone before it was greeted
            return
        thread = threading.Thread(target=self._talk, args=(connection,), name="embedded-store-peer", daemon=True)
        with self._lock:
            self._peers[connection] = thread
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads to give
            _log.error("built-in store cannot serve a connection", reason="no more threads")
            self._end(connection)

    def _talk(self, connection: Connection) -> None:
        try:
            while connection.open and not self._stopping.is_set():
                try:
                    request = connection.next_request()
                except Refusal as refusal:
                    connection.answer_json(refusal.status, refusal.fields)
                    break
                if request is None:
                    break
                self._api.respond(connection, request)
        except (OSError, PeerGone) as error:
            _log.debug("built-in store lost a connection", kind=type(error).__name__)
        finally:
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        connection.close()
        with self._lock:
            del self._peers[connection]


def _join(threads: Iterable[threading.Thread], deadline: float) -> None:
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def listener_at(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises `ConfigError` naming `store.embedded.listen`."""
    where = f"{_url_host(host)}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = f"{where} is taken by another program: end that one, or choose another port (0 is any free one)"
        else:
            advice = f"cannot listen on {where} ({error.strerror}): name an address of this machine and a free port"
        raise ConfigError("the built-in store cannot start", [Fault("store.embedded.listen", None, advice)]) from error
    return listener


def _reachable(host: str, *, loopback: bool) -> str:
    """The host to put into a URL: listening everywhere is an address to listen on, not one to go to."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    home, elsewhere, family = (
        ("127.0.0.1", _DOCUMENTATION_V4, socket.AF_INET)
        if address.version == 4
        else ("::1", _DOCUMENTATION_V6, socket.AF_INET6)
    )
    return home if loopback else _outward_address(family, elsewhere) or home


def _outward_address(family: socket.AddressFamily, elsewhere: str) -> str | None:
    """This machine's address as others see it; None without a network. Nothing is sent: UDP only looks up the route."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, _ANY_PORT))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
