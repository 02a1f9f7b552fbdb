"""What a store, or whatever stands in front of it, may say that no honest one does: it costs no wrong link, no thread,
no memory and no secret."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from pixstored.config.schema import KeyIn
from pixstored.errors import Refused, Stale, StoreDown, Uncertain
from support.clients import KEY, a_store, in_thread
from support.rawserver import CERTIFICATE, LINK, PATIENCE, Peer, RawServer, answer
from support.uploads import BytesUpload

NO_END = 10 * PATIENCE
"""Seconds for an answer: a test that waits for them has failed."""


def endlessly(beginning: bytes, more: bytes) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.say(beginning)
        while True:
            peer.say(more * 1000)

    return behave


ENDLESS = pytest.mark.parametrize(
    "behave",
    [
        endlessly(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        endlessly(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: x\r\n"),
        endlessly(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 60_000 + b"\r\n \r\n"),
        endlessly(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    ],
    ids=["interim answers", "trailers", "extensions", "headers"],
)


@ENDLESS
@pytest.mark.parametrize("first", [True, False])
def test_an_answer_without_end_is_given_up(behave: Callable[[Peer], None], first: bool) -> None:
    def after_one(peer: Peer) -> None:
        if not first:
            peer.request()
            peer.answer()
        behave(peer)

    with RawServer(after_one) as server, a_store(server.url, answer_timeout=NO_END) as store:
        if not first:
            store.send(BytesUpload(b"data"))
        outcome = in_thread(store, BytesUpload(b"data"))
        assert isinstance(outcome(), Uncertain)


@pytest.mark.parametrize("junk", [b"\r\n", b"x", b"220\r\n"])
def test_a_few_bytes_before_the_last_ones_went_out_are_no_part_of_the_answer(junk: bytes) -> None:
    """A greeting of another protocol, or what a server adds to the answer before."""
    noting, said = threading.Event(), threading.Event()

    def behave(peer: Peer) -> None:
        peer.request()
        peer.answer()
        peer.head()
        assert noting.wait(PATIENCE)
        peer.say(junk)
        said.set()
        peer.request()
        peer.answer()

    def note() -> None:
        noting.set()
        assert said.wait(PATIENCE)

    upload = BytesUpload(b"data", on_release=note)
    with RawServer(behave) as server, a_store(server.url) as store:
        store.send(BytesUpload(b"data"))
        with pytest.raises(Stale):
            store.send(upload)
    assert (upload.noted, upload.taken_back) == (1, 1)


def test_a_greeting_of_a_few_bytes_is_no_answer() -> None:
    said = threading.Event()

    def behave(peer: Peer) -> None:
        peer.say(b"220\r\n")
        said.set()
        peer.drain()

    def note() -> None:
        assert said.wait(PATIENCE)

    upload = BytesUpload(b"data", on_release=note)
    with RawServer(behave) as server, a_store(server.url) as store, pytest.raises(StoreDown) as caught:
        store.send(upload)
    assert not isinstance(caught.value, Stale)
    assert (upload.noted, upload.taken_back) == (1, 1)


def test_what_tls_holds_of_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_ones() -> None:
    """The reader takes 8 KiB of a record of up to 16; no poll tells of the rest."""
    head, _, body = answer().partition(b"\r\n\r\n")
    other = answer({"status": 200, "link": "https://other.example/x.jpg"})

    def behave(peer: Peer) -> None:
        peer.request()
        peer.say(head + b"\r\n\r\n")
        peer.say((body + b"x" * 8192)[:8192] + other)
        while peer.request() is not None:
            peer.answer()

    links = set()
    with RawServer(behave, tls=True) as server, a_store(server.url, ca_file=CERTIFICATE) as store:
        for _ in range(3):
            with suppress(Stale):
                links.add(store.send(BytesUpload(b"data")).link)
    assert links == {LINK}


@pytest.mark.parametrize("reused", [False, True])
def test_no_library_tells_of_a_head_that_echoes_the_key(caplog: pytest.LogCaptureFixture, reused: bool) -> None:
    def behave(peer: Peer) -> None:
        if reused:
            peer.request()
            peer.answer()
        peer.request()
        peer.say(b"HTTP/1.1 400 Bad\r\nno header %s\r\nWWW-Authenticate: %s\r\n\r\n" % (KEY.encode(), KEY.encode()))

    with (
        caplog.at_level(logging.WARNING),
        RawServer(behave) as server,
        a_store(server.url, key_in=KeyIn.HEADER) as store,
        pytest.raises(Refused),
    ):
        if reused:
            store.send(BytesUpload(b"data"))
        store.send(BytesUpload(b"data"))
    assert caplog.text == ""
