"""The STORE endpoint over HTTP: one object a worker, one request a file, and never a second one by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from requests import PreparedRequest, Request
from requests.exceptions import RequestException

from pixstored import __version__
from pixstored.config.schema import KeyIn, Secret, StoreConfig
from pixstored.errors import ConfigError, Stale, Stopped, StoreDown, Uncertain, UploadError
from pixstored.model import Receipt, StoreState
from pixstored.store.alarm import Alarm
from pixstored.store.base import Upload
from pixstored.store.body import boundaries, form_for
from pixstored.store.client_adapter import KEY_HEADER, Line, StoreAdapter
from pixstored.store.client_answer import UNREADABLE, answer_of, answer_on
from pixstored.store.connection import Clock, Cut, Lost, Wire, WireError
from pixstored.store.delivery import Delivery, UploadFault
from pixstored.store.verdict import Answer, judge

LONGEST_IDLE = 4.0
"""Seconds: a connection idle for longer may be being closed by the store at this moment."""
DISTRUST = 60.0
"""Seconds without reusing connections after one turned out to be closed: some servers close after each answer
without saying so, and a close that crosses our last bytes costs an uncertain upload."""
PROOF = 0.05
"""Seconds for which the first connection that could be reused is watched, once: a server that closes after each
answer does so within them, and is found out before anything is at stake."""


class HttpStore:
    """A `Store` over HTTP(S). `send` and `close` are for one thread; `drop` and `cut` are for any.

    `key` is asked for before each request. Timeouts are in seconds: to connect; with no byte of the body
    moving; from the last byte that left to the complete answer. `proxy` is a URL, `env` or `none`, never used
    for loopback. `ca_file` replaces the CAs that are trusted. Environment and trust are looked up once, here.

    Raises `ConfigError` if the URL cannot be used.
    """

    def __init__(
        self,
        url: str,
        key: Callable[[], Secret | None],
        *,
        key_in: KeyIn,
        connect_timeout: float,
        stall_timeout: float,
        answer_timeout: float,
        proxy: str,
        ca_file: Path | None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._template = _template(url)
        self._key = key
        self._key_in = key_in
        self._answer_timeout = answer_timeout
        self._timeout = (connect_timeout, None)  # once connected, the wire has limits of its own
        self._clock = clock
        self._alarm = Alarm()
        self._line = Line(self._alarm, clock, connect_timeout, stall_timeout)
        self._adapter = StoreAdapter(self._template.url or url, self._line, proxy, ca_file)
        self._boundaries = boundaries()
        self._keeps_open = False
        self._used_at = clock()
        self._distrust_until = clock()

    @classmethod
    def of(cls, settings: StoreConfig, url: str, key: Callable[[], Secret | None]) -> HttpStore:
        """A store as the configuration says; `url` apart, because the built-in one's is known only when it runs."""
        return cls(
            url,
            key,
            key_in=settings.key_in,
            connect_timeout=settings.connect_timeout,
            stall_timeout=settings.stall_timeout,
            answer_timeout=settings.answer_timeout,
            proxy=settings.proxy,
            ca_file=settings.ca_file,
        )

    def send(self, upload: Upload) -> Receipt:
        """Sends one file; see `Store.send`. `StoreDown` also if the key cannot be sent."""
        secret = self._key()
        key = secret.reveal() if secret else None
        key_in_form = self._key_in is KeyIn.FORM
        form = form_for(next(self._boundaries), upload.filename, upload.comment, key if key_in_form else None)
        headers = {"Content-Length": str(form.length(upload.size)), "Content-Type": form.content_type}
        if key and not key_in_form:
            headers[KEY_HEADER] = _fit_for_a_header(key)
        delivery = Delivery(upload, form, self._answer_timeout)
        wire = self._reusable()
        if wire is None:
            self._adapter.hang_up()
        keep = False
        self._alarm.arm()
        try:
            receipt = judge(self._answer_to(wire, delivery, headers), time.time(), secret)
            keep = True
            return receipt
        finally:
            self._alarm.disarm()
            self._used_at = self._clock()
            if not keep:
                self._adapter.hang_up()

    def drop(self) -> None:
        """Like `cut`, but a `send` past its release goes on waiting for its answer."""
        self._alarm.drop()

    def cut(self) -> None:
        """Ends the `send` that is under way, at once: it raises `Stopped`, or `Uncertain` after its release.

        Does nothing between two sends: whoever wants no further one must not begin it (an upload whose
        `read` raises `Stopped` closes the gap). A look-up of the host name, and whatever the upload itself
        is doing, end first.
        """
        self._alarm.cut()

    def close(self) -> None:
        """Closes the idle connection; a later `send` opens a new one."""
        self._adapter.hang_up()

    def _reusable(self) -> Wire | None:
        """The connection, if there is one that may serve once more."""
        now = self._clock()
        if now - self._used_at >= LONGEST_IDLE or now < self._distrust_until:
            return None
        idle = self._line.idle
        if idle is None or self._keeps_open:  # if it is closed by now, that is found out before the last bytes go
            return idle
        self._keeps_open = idle.stays_open(max(PROOF - (now - self._used_at), 0.0))
        if not self._keeps_open:
            self._distrust()
        return idle if self._keeps_open else None

    def _distrust(self) -> None:
        self._keeps_open = False
        self._distrust_until = self._clock() + DISTRUST

    def _answer_to(self, wire: Wire | None, delivery: Delivery, headers: Mapping[str, str]) -> Answer:
        """Sends, over this wire or a new one, and reads.

        The libraries' errors end here, and are not chained: they may hold the request.
        """
        failure: UploadError | OSError
        try:
            return self._by_libraries(delivery, headers) if wire is None else self._over(wire, delivery, headers)
        except UploadFault as fault:
            failure = _uncertain("the upload failed by itself") if delivery.released else fault.error
        except (RequestException, *UNREADABLE) as err:
            failure = self._explain(err, delivery)
        raise failure

    def _by_libraries(self, delivery: Delivery, headers: Mapping[str, str]) -> Answer:
        """On a new connection, which they make."""
        request = self._template.copy()
        request.headers.update(headers)
        body: Any = delivery  # requests hands it on to our connection as it is
        request.body = body
        response = self._adapter.send(request, stream=True, timeout=self._timeout)
        return answer_of(response.raw, delivery.released)

    def _over(self, wire: Wire, delivery: Delivery, headers: Mapping[str, str]) -> Answer:
        """On the connection that the libraries have made, without them.

        What they do for each further request (pool, retries, rendering and parsing headers in general) took three
        quarters of the processor time of a small upload (measured: 0.40 ms with them, 0.11 ms without).
        """
        delivery.run(wire, self._line.head_of(headers))
        return answer_on(wire, delivery.released)

    def _explain(self, err: Exception, delivery: Delivery) -> UploadError:
        # What comes early on a connection that had served and cannot be read is a rest of the last answer.
        is_stale = delivery.reused and (delivery.early or isinstance(err, Lost))
        if is_stale:
            self._distrust()
        reason = str(err) if isinstance(err, WireError) else "the answer is not HTTP that can be read"
        if delivery.released:
            return _uncertain(reason)
        if isinstance(err, Cut) or self._alarm.rung:
            return Stopped(f"{reason}; the store cannot have the file")
        if is_stale:
            return Stale(f"{reason}, on a connection that had served before")
        if delivery.early:
            return StoreDown(f"the store answered early, and {reason}", StoreState.UNREACHABLE)
        return StoreDown(f"{reason}, with {delivery.sent} of {delivery.size} bytes sent", StoreState.UNREACHABLE)


def check_url(url: str) -> None:
    """Raises `ConfigError` if nothing can be sent to this address."""
    _template(url)


def _uncertain(reason: str) -> Uncertain:
    return Uncertain(f"the store had the whole file, but {reason}: it may have stored it")


def _template(url: str) -> PreparedRequest:
    headers = {"User-Agent": f"pixstored/{__version__}", "Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        return Request("POST", url, headers=headers).prepare()
    except (RequestException, ValueError):
        pass
    raise ConfigError("store.url: not an http:// or https:// address that can be used")


def _fit_for_a_header(key: str) -> str:
    if key.isascii() and key.isprintable():
        return key
    raise StoreDown(
        "the API key has characters that a header cannot hold; check it, or set store.key_in: form",
        StoreState.AUTH_FAILED,
    )
