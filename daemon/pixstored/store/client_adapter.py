"""How `requests` gets to the store: its adapter, with our sockets, our proxy and our trust, each looked up once."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from pixstored.errors import StoreDown
from pixstored.model import StoreState
from pixstored.store.alarm import Alarm
from pixstored.store.client_answer import response_on
from pixstored.store.connection import Clock, Cut, Wire, dial

FROM_ENVIRONMENT = "env"
NO_PROXY = "none"
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""What `requests` itself obeys; OpenSSL obeys SSL_CERT_FILE and SSL_CERT_DIR."""

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""How OpenSSL names the certificates of a directory; one without such names trusts nobody."""
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")
"""What http.client says if a proxy does not let us through; it has no attribute for the number."""
_PROXY_WANTS_LOGIN = "407"

KEY_HEADER = "WWW-Authenticate"
"""The request header that may carry the bare key (STORE doc)."""
_OF_ONE_REQUEST = frozenset({b"content-length", b"content-type", KEY_HEADER.lower().encode()})
"""Headers that are another request's no more."""
_EOL = b"\r\n"
_END = _EOL + _EOL


def proxy_for(url: str, setting: str) -> str | None:
    """The proxy to use for `url`: never one for loopback. `setting` is `env`, `none` or a URL."""
    if setting == NO_PROXY or _is_loopback(urlsplit(url).hostname or ""):
        return None
    if setting == FROM_ENVIRONMENT:
        return select_proxy(url, get_environ_proxies(url, no_proxy=None))
    return setting


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def trusted_cas(ca_file: Path | None, environ: Mapping[str, str]) -> str:
    """The file or directory of CAs to trust.

    The first there is of: `ca_file`; the variables that `requests` obeys; what OpenSSL uses here (the
    system's, or SSL_CERT_FILE and SSL_CERT_DIR); the bundle that `requests` brings along.
    """
    named = [str(ca_file)] if ca_file else [environ[name] for name in CA_VARIABLES if environ.get(name)]
    if named:
        return named[0]
    system = ssl.get_default_verify_paths()
    if system.cafile:
        return system.cafile
    if system.capath and any(_HASHED.fullmatch(name) for name in os.listdir(system.capath)):
        return system.capath
    return DEFAULT_CA_BUNDLE_PATH


def tls_context(cas: str) -> ssl.SSLContext:
    """A context that verifies certificate and host name. Raises `StoreDown` if the CAs cannot be loaded."""
    is_directory = os.path.isdir(cas)
    try:
        context = ssl.create_default_context(
            cafile=None if is_directory else cas,
            capath=cas if is_directory else None,
        )
        # While a server that began one lets it hang nothing can be sent, though the socket has room: no stall to see.
        context.options |= ssl.OP_NO_RENEGOTIATION
        return context
    except OSError as err:
        reason = err.strerror or type(err).__name__
        message = f"the CA certificates in {cas} cannot be loaded ({reason}); check store.ca_file"
    raise StoreDown(message, StoreState.UNREACHABLE)


class Body(Protocol):
    """What goes out after a request's head."""

    def run(self, wire: Wire, head: bytes) -> None: ...


class Line:
    """How one worker's connections are opened: with its alarm, its clock and its time limits."""

    def __init__(self, alarm: Alarm, clock: Clock, connect_timeout: float, stall_timeout: float) -> None:
        self._alarm = alarm
        self._clock = clock
        self._connect_timeout = connect_timeout
        self._stall_timeout = stall_timeout
        self._wire: Wire | None = None
        self._head = b""

    @property
    def idle(self) -> Wire | None:
        """The connection that could serve once more, if one was left open."""
        return self._wire if self._wire and self._wire.is_open else None

    def learn_head(self, head: bytes) -> None:
        """Keeps what every head of a request on this connection begins with, from the one the libraries have written:
        with the host's name, and what a proxy wants to hear."""
        first, *lines = head.removesuffix(_END).split(_EOL)
        kept = [line for line in lines if line.partition(b":")[0].lower() not in _OF_ONE_REQUEST]
        self._head = _EOL.join([first, *kept, b""])

    def head_of(self, own: Mapping[str, str]) -> bytes:
        """The head of a further request on this connection, with headers of its own."""
        lines = [f"{name}: {value}\r\n" for name, value in own.items()]
        return self._head + "".join(lines).encode("latin-1") + _EOL

    def dial(self, connection: HTTPConnection) -> socket.socket:
        """The TCP socket, to the store or its proxy; what the library does with it next can be cut too."""
        host, port = connection.host, connection.port
        peer = f"the proxy {host}:{port}" if connection.proxy else f"{host}:{port}"
        try:
            sock = dial(host, port, self._connect_timeout, self._alarm, self._clock)
        except TimeoutError:
            message = f"cannot connect to {peer} within {self._connect_timeout:g} s"
        except (OSError, UnicodeError) as err:
            message = f"cannot connect to {peer}: {getattr(err, 'strerror', None) or 'not a valid host name'}"
        else:
            self._alarm.doom(sock)
            return sock
        raise _unreachable(message)

    def open(self, connection: HTTPConnection, connect: Callable[[], None]) -> Wire:
        """Connects by the library's own `connect` (proxy, TLS) and puts a wire around what it has made."""
        failure: Exception
        try:
            connect()
        except (OSError, HTTPException, HTTPError, ValueError) as err:
            failure = Cut("the connection was given up") if self._alarm.rung else _explain(err, connection)
        else:
            self._wire = Wire(cast(socket.socket, connection.sock), self._alarm, self._clock, self._stall_timeout)
            return self._wire
        finally:
            self._alarm.spare()
        raise failure


def _explain(err: Exception, connection: HTTPConnection) -> StoreDown:
    """Why a connection that the store or a proxy had accepted could not be made ready."""
    peer = f"{connection._tunnel_host or connection.host}"
    if isinstance(err, ssl.SSLCertVerificationError):
        return _unreachable(
            f"the certificate of {peer} is not trusted ({err.verify_message}); "
            "if it is from a CA of your own, name that in store.ca_file"
        )
    if isinstance(err, TimeoutError):
        return _unreachable(f"{peer} did not complete the connection in time")
    if isinstance(err, ssl.SSLError):
        return _unreachable(f"no secure connection to {peer} ({err.reason or 'TLS failed'})")
    refused = _TUNNEL_REFUSED.match(str(err))
    if refused and refused[1] == _PROXY_WANTS_LOGIN:
        message = f"the proxy {connection.host} wants a user and password (407); put them into store.proxy"
        return StoreDown(message, StoreState.MISCONFIGURED)
    if refused:
        return _unreachable(f"the proxy {connection.host} does not connect to {peer} ({refused[1]})")
    reason = getattr(err, "strerror", None) or type(err).__name__
    return _unreachable(f"the connection to {peer} broke while it was made ({reason})")


def _unreachable(message: str) -> StoreDown:
    return StoreDown(message, StoreState.UNREACHABLE)


def _on_line(kind: type[HTTPConnection], line: Line) -> type[HTTPConnection]:
    """urllib3's connection of this kind, with a wire of the line for a socket, and a body that knows the wire."""

    class OnLine(kind):  # type: ignore[valid-type,misc]  # mypy knows no class made for a base that is an argument
        def _new_conn(self) -> socket.socket:
            return line.dial(self)

        def connect(self) -> None:
            self.sock = line.open(self, super().connect)

        def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
            super().request(method, url, None, headers, **options)
            head = self.sock.head()
            line.learn_head(head)
            cast(Body, body).run(self.sock, head)

        def getresponse(self) -> HTTPResponse:
            return response_on(self.sock)

    return OnLine


class RawResponse(Response):
    """What is asked of a response here: nothing but what it is made of. It has no cookies, nor room for them."""

    def __init__(self, raw: Any) -> None:
        self.status_code = raw.status
        self.raw = raw


class StoreAdapter(HTTPAdapter):
    """An adapter for one URL: its pool, proxy and TLS context are made once, not looked up for each request."""

    def __init__(self, url: str, line: Line, proxy: str, ca_file: Path | None) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._url = urlsplit(url)
        self._line = line
        self._proxy = proxy_for(url, proxy)
        self._cas = trusted_cas(ca_file, os.environ)
        self._context: ssl.SSLContext | None = None
        self._pool: HTTPConnectionPool | None = None
        self._target: str | None = None

    def hang_up(self) -> None:
        """Closes the connection, if there is one; the next request opens a new one."""
        self.close()
        self._pool = None

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> HTTPConnectionPool:
        if self._pool is None:
            self._pool = self._make_pool()
        return self._pool

    def cert_verify(self, *args: Any, **options: Any) -> None:
        """The pool's own context verifies."""

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        if self._target is None:
            self._target = super().request_url(request, {self._url.scheme: self._proxy} if self._proxy else None)
        return self._target

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        return RawResponse(resp)

    def _make_pool(self) -> HTTPConnectionPool:
        secure = self._url.scheme == "https"
        if secure and self._context is None:
            self._context = tls_context(self._cas)
        manager = self._proxied() if self._proxy else self.poolmanager
        pool: HTTPConnectionPool = manager.connection_from_host(
            self._url.hostname,
            self._url.port,
            self._url.scheme,
            pool_kwargs={"ssl_context": self._context} if secure else None,
        )
        pool.ConnectionCls = cast(Any, _on_line(HTTPSConnection if secure else HTTPConnection, self._line))
        return pool

    def _proxied(self) -> Any:
        proxy = self._proxy or ""
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        try:
            parts = urlsplit(proxy)
            usable = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise _unreachable(
                "only proxies at an http:// address can be used; "
                "check store.proxy, or the proxy variables of the environment"
            )
        return self.proxy_manager_for(proxy)
