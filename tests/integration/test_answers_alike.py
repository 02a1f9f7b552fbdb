"""The first request on a connection goes out by the libraries, each further one without them: both ways an answer means
the same, and makes the same of the connection."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pixstored.errors import NotSent, Refused, Stale, StoreDown, Uncertain
from pixstored.store.client import PROOF, HttpStore
from support.clients import a_store
from support.rawserver import CERTIFICATE, LINK, PATIENCE, STORED, Peer, RawServer, answer
from support.uploads import BytesUpload

GOOD = json.dumps(STORED).encode()


class Clock:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Script:
    """Answers the requests to come, on whatever connection, with these bytes; closes after those that say so."""

    def __init__(self) -> None:
        self.replies: deque[tuple[bytes, bool]] = deque()
        self.served: list[int] = []
        """The connection of each request, by its number."""
        self.closed = threading.Event()
        self._connections = 0

    def begin(self, *replies: tuple[bytes, bool]) -> None:
        self.replies = deque(replies)
        self.served.clear()
        self.closed.clear()

    def __call__(self, peer: Peer) -> None:
        self._connections += 1
        number = self._connections
        while peer.request() is not None:
            self.served.append(number)
            reply, closes = self.replies.popleft()
            try:
                peer.say(reply)
                if closes:
                    socket.socket.shutdown(peer.sock, socket.SHUT_RDWR)  # under TLS, too: it says no goodbye
                    return
            finally:
                if closes:
                    self.closed.set()


Way = tuple[Script, HttpStore, Clock]


@pytest.fixture(scope="module", params=["plain", "TLS"])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    script, clock = Script(), Clock()
    with (
        RawServer(script, tls=request.param == "TLS") as server,
        a_store(server.url, answer_timeout=PATIENCE, clock=clock, ca_file=CERTIFICATE) as store,
    ):
        yield script, store, clock


def told(store: HttpStore, upload: BytesUpload | None = None) -> tuple[object, ...]:
    """What became of one upload, in full."""
    try:
        receipt = store.send(upload or BytesUpload(b"data"))
    except StoreDown as error:
        return type(error), error.state, error.retry_after, str(error)
    except (NotSent, Refused, Uncertain) as error:
        return type(error), str(error)
    return receipt.link, receipt.id


def meaning(way: Way, reply: bytes, *, closes: bool, first: bool) -> tuple[object, ...]:
    """What is made of the answer, and whether its connection is used again."""
    script, store, clock = way
    good = (answer(), False)
    script.begin(*([] if first else [good]), (reply, closes), good, good)
    store.close()
    if not first:
        told(store)
        clock.ahead += PROOF  # nothing more comes, and nobody needs to wait for that
    outcome = told(store)
    number = len(script.served)
    if closes:
        assert script.closed.wait(PATIENCE)
    clock.ahead += PROOF
    after = told(store)
    if after[0] is Stale:
        clock.ahead += 60  # of distrust
    again = script.served[number - 1 : number + 1]
    return outcome, after[0] in (LINK, Stale), len(set(again)) < len(again)


def lengths(body: bytes) -> st.SearchStrategy[bytes]:
    size = len(body)
    odd = [b"%d, %d" % (size, size), b"%d, %d" % (size, size + 1), b"0%d" % size, b"+%d" % size, b"-1", b"", b"1_0"]
    odd += [b"%d\xa0" % size, b"%d " % size, b"%d\r\n " % size, b"%d;x" % size, b"%d" % (size + 1), b"%d" % (size - 1)]
    return st.just(b"%d" % size) | st.sampled_from(odd)


ODD_LINES = st.sampled_from(
    [
        b"Connection: close",
        b"connection: Keep-Alive, CLOSE",
        b"Connection: keep-alive",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: close",
        b"Content-Encoding: gzip",
        b"Content-Encoding: br",
        b"Transfer-Encoding: gzip, chunked",
        b"Retry-After: 7",
        b"Retry-After: 70",
        b"retry-after: \xa09",
        b"Retry-After: 5\r\n 6",
        b"Location: https://elsewhere.example/",
        b"Location: /\xe9\x07\r\n\tfolded",
        b": no name",
        b" folded",
        b"no colon",
        b"a space : y",
        b"X: a\rb",
        b"X: a\nContent-Length: 3",
        b"X: \0\x0b\x0c\x1c\x85",
        b"Content-Type: multipart/mixed; boundary=x",
        b"Content-Type: message/rfc822",
        b"\r\n".join([b"X: y"] * 60),
        b"\r\n".join([b"X: y"] * 120),
        b"X: " + b"y" * 65_600,
    ]
)
BODIES = st.sampled_from(
    [
        *[GOOD] * 3,
        b"",
        b"<html>busy</html>",
        b'{"status": 413, "error": "too large"}',
        b'{"status": 502}',
        GOOD[:-1],
        GOOD + b" " * 70_000,
        GOOD.decode().encode("utf-16"),
        gzip.compress(GOOD),
    ]
)
STATUSES = st.just(200) | st.sampled_from(
    [99, 100, 103, 201, 204, 206, 302, 304, 307, 400, 401, 404, 408, 413, 415, 429, 500, 502, 503, 524, 599, 600, 1000]
)
VERSIONS = st.just(b"HTTP/1.1") | st.sampled_from(
    [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.", b"HTTP/2", b"http/1.1", b"ICY"]
)
REASONS = st.sampled_from([b" OK", b"", b" ", b"\tOK", b" \xe9\0"])
BEFORE = [b"", b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nA: b\r\n\r\n", b"\r\n"]
LAST_CHUNKS = [b"0\r\n\r\n", b"0\r\n\r\n", b"0;x\r\nTrailer: y\r\n\r\n", b"0\r\n", b"zz\r\n", b"-1\r\n\r\n"]


@st.composite
def chunks(draw: st.DrawFn, body: bytes) -> bytes:
    size = draw(st.integers(1, len(body) + 1))
    extension = draw(st.sampled_from([b"", b"", b"; a=b", b" "]))
    pieces = [body[start : start + size] for start in range(0, len(body), size)][:100]
    end = draw(
        st.sampled_from([b"0\r\n\r\n", b"0\r\n\r\n", b"0;x\r\nTrailer: y\r\n\r\n", b"0\r\n", b"zz\r\n", b"-1\r\n\r\n"])
    )
    return b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces) + end


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Answers of all kinds, some of them cut off, some with something before them."""
    body = draw(BODIES)
    lines = draw(st.lists(ODD_LINES, max_size=2))
    framing = draw(st.sampled_from(["length", "length", "length", "two lengths", "chunks", "both", "none"]))
    if framing not in ("chunks", "none"):
        lines.append(b"Content-Length: " + draw(lengths(body)))
    if framing == "two lengths":
        lines.append(b"content-length:" + draw(lengths(body)))
    if framing in ("chunks", "both"):
        lines.append(draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED "])))
        body = draw(chunks(body))
    eol = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]))
    start = b"%s %d%s\r\n" % (draw(VERSIONS), draw(STATUSES), draw(REASONS))
    before = draw(
        st.sampled_from([b"", b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nA: b\r\n\r\n", b"\r\n"])
    )
    whole = before + start + b"".join(line + eol for line in draw(st.permutations(lines))) + eol + body
    return whole[: draw(st.just(len(whole)) | st.integers(0, len(whole)))]


@pytest.mark.parametrize("way", ["plain"], indirect=True)  # a handshake for each would take a minute
@given(answers())
@example(answer(STORED, "200 OK", **{f"X-{number}": "y" for number in range(120)}))
@example(answer({}, "429 Slow Down", Retry_After="7", retry_after="70"))
@example(answer({}, "429 Slow Down", Retry_After="\xa07"))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_answer_means_the_same_on_a_new_connection_and_on_one_that_has_served(way: Way, reply: bytes) -> None:
    assert meaning(way, reply, closes=True, first=True) == meaning(way, reply, closes=True, first=False)


WHOLE: list[Any] = [
    answer(),
    answer({"status": 413, "error": "too large"}, "413 Too Large"),
    answer(b"<html>" + b" " * 70_000, "413 Too Large"),
    answer({}, "503 Busy", Retry_After="7"),
    answer(b"", "204 No Content"),
    answer(b"", "304 Not Modified"),
    answer(STORED, "200 OK", Connection="close"),
    answer(STORED, "200 OK", Connection="keep-alive"),
    answer(gzip.compress(GOOD), "200 OK", Content_Encoding="gzip"),
    answer(b"nope", "200 OK", Content_Encoding="gzip"),
    b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(GOOD), GOOD),
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s" % (len(GOOD), GOOD),
    b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x;x\r\n%s\r\n0\r\nT: x\r\n\r\n" % (len(GOOD), GOOD),
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.7\r\n",
]


@pytest.mark.parametrize("reply", WHOLE)
def test_so_it_does_where_the_server_keeps_the_connection_open(way: Way, reply: bytes) -> None:
    assert meaning(way, reply, closes=False, first=True) == meaning(way, reply, closes=False, first=False)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("reply", WHOLE)
def test_so_it_does_where_the_answer_comes_before_the_last_bytes(reply: bytes, tls: bool) -> None:
    outcomes = []
    for first in (True, False):
        noting, said = threading.Event(), threading.Event()

        def behave(
            peer: Peer, first: bool = first, noting: threading.Event = noting, said: threading.Event = said
        ) -> None:
            if not first:
                peer.request()
                peer.answer()
            peer.head()
            assert noting.wait(PATIENCE)
            peer.say(reply)
            said.set()
            peer.drain()

        def note(noting: threading.Event = noting, said: threading.Event = said) -> None:
            noting.set()
            assert said.wait(PATIENCE)

        upload = BytesUpload(b"data", on_release=note)
        with RawServer(behave, tls=tls) as server, a_store(server.url, ca_file=CERTIFICATE) as store:
            if not first:
                store.send(BytesUpload(b"data"))
            outcomes.append(told(store, upload))
        assert (upload.noted, upload.taken_back) == (1, 1)
    on_new, on_used = outcomes
    assert on_used == on_new or (on_used[0] is Stale and on_new[0] is StoreDown)
