"""What goes over the wire to the store, when, and what is made of what comes back."""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import python_multipart
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixstored.config.schema import KeyIn, Secret
from pixstored.errors import (
    Changed,
    ConfigError,
    Duplicate,
    LedgerError,
    NotSent,
    Refused,
    Stale,
    Stopped,
    StoreDown,
    Uncertain,
)
from pixstored.model import Receipt, Standing, StoreState
from pixstored.store.client import HttpStore
from support.app import eventually
from support.clients import KEY, a_store, in_thread
from support.rawserver import LINK, PATIENCE, STORED, Heard, Peer, RawServer, answer, store_all
from support.uploads import BytesUpload

BIG = bytes(range(256)) * (32 * 1024 * 1024 // 256)
"""More than all buffers between the two ends can hold."""
MIB = 1024 * 1024


class Clock:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._looks = 0

    def __call__(self) -> float:
        self._looks += 1
        return time.monotonic() + self.ahead

    def strike(self) -> None:
        """A second more, and whoever looks at the clock again and again has seen it when this returns."""
        self.ahead += 1.0
        seen = self._looks + 2  # one look may have begun before
        eventually(lambda: self._looks, lambda looks: looks >= seen)


def parts_of(request: Heard) -> dict[str, tuple[bytes | None, bytes]]:
    """Each part's file name and content, as python-multipart reads them, in order."""
    parts: dict[str, tuple[bytes | None, bytes]] = {}

    def on_field(field: Any) -> None:
        parts[field.field_name.decode()] = (None, field.value)

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        parts[file.field_name.decode()] = (file.file_name, file.file_object.read())

    parser = python_multipart.create_form_parser(
        {"Content-Type": request.headers["content-type"].encode()}, on_field, on_file
    )
    parser.write(request.body)
    parser.finalize()
    return parts


# --- what is sent


@pytest.mark.parametrize("size", [1, 2, 50_000, 256 * 1024, 256 * 1024 + 1, 3 * MIB + 7])
def test_a_parser_finds_exactly_the_files_bytes(size: int) -> None:
    data, heard = os.urandom(size), list[Heard]()
    upload = BytesUpload(data, comment="Zoë's")
    with RawServer(store_all(heard)) as server, a_store(server.url) as store:
        assert store.send(upload) == Receipt(LINK, "24p62f73c9583ec6.jpg")
    assert list(parts_of(heard[0]).items()) == [
        ("key", (None, KEY.encode())),
        ("comment", (None, "Zoë's".encode())),
        ("file", (b"IMG_0001.jpg", data)),
    ]
    assert upload.on_record
    assert upload.moved[-1] == size
    assert upload.moved == sorted(upload.moved)


def test_content_length_is_exact_and_nothing_follows_the_body() -> None:
    everything: list[bytes] = []

    def behave(peer: Peer) -> None:
        peer.request()
        peer.answer()
        peer.drain()
        everything.append(bytes(peer.arrived))

    with RawServer(behave) as server, a_store(server.url) as store:
        store.send(BytesUpload(b"some bytes"))
    head, _, body = everything[0].partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert head.startswith(b"POST /store HTTP/1.1\r\n")
    assert body.endswith(b"--\r\n")


def test_a_hostile_name_stays_inside_its_header() -> None:
    heard: list[Heard] = []
    name = 'a"\r\nX-Evil: 1\r\n\r\n--x\\.jpg'
    with RawServer(store_all(heard)) as server, a_store(server.url) as store:
        store.send(BytesUpload(b"data", name))
        store.send(BytesUpload(b"data", os.fsdecode(b"\xff\xfe.jpg")))
    assert parts_of(heard[0])["file"] == (b"a%22%0D%0AX-Evil: 1%0D%0A%0D%0A--x%5C.jpg", b"data")
    assert parts_of(heard[1])["file"] == ("\ufffd\ufffd.jpg".encode(), b"data")


def test_the_key_may_travel_in_a_header_instead() -> None:
    heard: list[Heard] = []
    with RawServer(store_all(heard)) as server, a_store(server.url, key_in=KeyIn.HEADER) as store:
        store.send(BytesUpload(b"data"))
    assert heard[0].headers["www-authenticate"] == KEY
    assert list(parts_of(heard[0])) == ["file"]


def test_a_changed_key_counts_for_the_next_request() -> None:
    heard: list[Heard] = []
    keys: Iterator[Secret | None] = iter([Secret("first"), None, Secret("third")])
    with (
        RawServer(store_all(heard)) as server,
        a_store(server.url, key=lambda: next(keys), key_in=KeyIn.HEADER) as store,
    ):
        for _ in range(3):
            store.send(BytesUpload(b"data"))
    assert [request.headers.get("www-authenticate") for request in heard] == ["first", None, "third"]


def test_without_a_key_no_key_is_sent() -> None:
    heard: list[Heard] = []
    with RawServer(store_all(heard)) as server, a_store(server.url, key=lambda: None) as store:
        store.send(BytesUpload(b"data"))
    assert list(parts_of(heard[0])) == ["file"]


@pytest.mark.parametrize("key", ["line\r\nX-Evil: 1", "schlüssel", "日本"])
def test_a_key_that_a_header_cannot_hold_is_not_sent_and_not_shown(key: str) -> None:
    with (
        RawServer(store_all()) as server,
        a_store(server.url, key=lambda: Secret(key), key_in=KeyIn.HEADER) as store,
        pytest.raises(StoreDown) as caught,
    ):
        store.send(BytesUpload(b"data"))
    assert server.connections == 0
    assert caught.value.state is StoreState.AUTH_FAILED
    assert key not in "".join(traceback.format_exception(caught.value))


# --- the note, and the last bytes


@pytest.mark.parametrize("size", [1, 100, 2 * MIB])
def test_the_last_bytes_leave_only_after_the_note(size: int) -> None:
    last, nearly_all, lacking = b"\xfe", threading.Event(), list[bool]()
    body = bytearray()

    def behave(peer: Peer) -> None:
        found = peer.head()
        assert found
        boundary = found[1]["content-type"].partition("boundary=")[2].encode()
        held_back = last + b"\r\n--" + boundary + b"--\r\n"
        length = int(found[1]["content-length"])
        start = peer.arrived.index(b"\r\n\r\n") + 4
        while len(peer.arrived) - start < length:
            if len(peer.arrived) - start >= length - len(held_back):
                body[:] = peer.arrived[start:]
                nearly_all.set()
            peer.arrived += peer.sock.recv(MIB)
        peer.answer()

    def note() -> None:
        assert nearly_all.wait(PATIENCE), "all but the last bytes are out when the note is made"
        lacking.append(last not in body and not body.endswith(b"--\r\n"))

    with RawServer(behave) as server, a_store(server.url) as store:
        store.send(BytesUpload(b"a" * (size - 1) + last, on_release=note))
    assert lacking == [True]


@pytest.mark.parametrize("error", [Duplicate(Standing.PUBLISHED), LedgerError("disk full"), Changed("it changed")])
def test_what_the_note_raises_drops_the_request_unfinished(error: Exception) -> None:
    heard: list[Heard] = []

    def note() -> None:
        raise error

    with RawServer(store_all(heard)) as server, a_store(server.url) as store:
        with pytest.raises(type(error)) as caught:
            store.send(BytesUpload(b"data", on_release=note))
        assert caught.value is error
        store.send(BytesUpload(b"other"))
    assert [parts_of(request)["file"][1] for request in heard] == [b"other"]


@pytest.mark.parametrize("error", [Changed("it changed"), Stopped("we stop"), OSError(5, "disk"), BrokenPipeError()])
def test_what_reading_raises_drops_the_request_unfinished(error: Exception) -> None:
    def read(offset: int) -> None:
        if offset >= MIB:
            raise error

    heard: list[Heard] = []
    upload = BytesUpload(BIG, on_read=read)
    with RawServer(store_all(heard)) as server, a_store(server.url) as store, pytest.raises(type(error)) as caught:
        store.send(upload)
    assert caught.value is error
    assert heard == []
    assert upload.noted == 0


@pytest.mark.parametrize("more", [1, -1], ids=["too few bytes", "too many"])
def test_an_upload_that_gives_other_bytes_than_it_has_announced_is_dropped_unfinished(more: int) -> None:
    upload = BytesUpload(b"picture")
    upload.size += more
    with RawServer(store_all()) as server, a_store(server.url) as store, pytest.raises(Changed):
        store.send(upload)
    assert upload.noted == 0


def test_a_progress_display_that_breaks_is_no_broken_connection() -> None:
    def show(sent: int) -> None:
        raise BrokenPipeError("the terminal has gone")

    with RawServer(store_all()) as server, a_store(server.url) as store, pytest.raises(BrokenPipeError):
        store.send(BytesUpload(BIG, on_progress=show))


def test_a_progress_display_that_breaks_after_the_release_leaves_it_uncertain() -> None:
    def show(sent: int) -> None:
        if sent == 4:
            raise BrokenPipeError("the terminal has gone")

    with RawServer(store_all()) as server, a_store(server.url) as store, pytest.raises(Uncertain):
        store.send(BytesUpload(b"data", on_progress=show))


def test_whatever_else_breaks_while_the_last_bytes_are_released_leaves_it_uncertain() -> None:
    faults: list[OSError] = []

    def clock() -> float:
        if faults:
            raise faults.pop()
        return time.monotonic()

    upload = BytesUpload(b"picture", on_release=lambda: faults.append(OSError("the clock is broken")))
    with RawServer(store_all()) as server, a_store(server.url, clock=clock) as store, pytest.raises(Uncertain):
        store.send(upload)
    assert not faults
    assert upload.on_record


# --- answers that come early


@pytest.mark.parametrize("afterwards", [Peer.drain, lambda peer: None], ids=["drains", "closes"])
def test_an_early_answer_ends_the_body(afterwards: Callable[[Peer], None]) -> None:
    answered = threading.Event()

    def behave(peer: Peer) -> None:
        peer.head()
        peer.answer({"status": 413, "error": "too large"}, "413 Too Large")
        answered.set()
        afterwards(peer)

    def read(offset: int) -> None:
        if offset >= MIB:
            assert answered.wait(PATIENCE)

    upload = BytesUpload(BIG, on_read=read)
    with RawServer(behave) as server, a_store(server.url) as store:
        with pytest.raises(Refused, match="too large") as caught:
            store.send(upload)
        with pytest.raises(Refused):
            store.send(BytesUpload(BIG))
        assert server.connections == 2, "a connection whose body was not completed is not used again"
    assert caught.value.status == 413
    assert upload.noted == 0
    assert max(upload.moved, default=0) < len(BIG) / 2


def test_an_answer_just_before_the_last_bytes_keeps_them_back() -> None:
    noting, answered, rest = threading.Event(), threading.Event(), list[bytes]()

    def behave(peer: Peer) -> None:
        peer.head()
        assert noting.wait(PATIENCE)
        peer.answer({}, "401 Unauthorized")
        answered.set()
        peer.drain()
        rest.append(bytes(peer.arrived))

    def note() -> None:
        noting.set()
        assert answered.wait(PATIENCE)

    upload = BytesUpload(b"data" * 1000, on_release=note)
    with RawServer(behave) as server, a_store(server.url) as store, pytest.raises(StoreDown) as caught:
        store.send(upload)
    assert caught.value.state is StoreState.AUTH_FAILED
    assert (upload.noted, upload.taken_back) == (1, 1)
    assert not rest[0].endswith(b"--\r\n")


def test_a_connection_that_closes_just_before_the_last_bytes_keeps_them_back() -> None:
    noting, closed = threading.Event(), threading.Event()

    def behave(peer: Peer) -> None:
        peer.head()
        assert noting.wait(PATIENCE)
        peer.sock.shutdown(socket.SHUT_WR)
        closed.set()
        peer.drain()

    def note() -> None:
        noting.set()
        assert closed.wait(PATIENCE)

    upload = BytesUpload(b"data", on_release=note)
    with RawServer(behave) as server, a_store(server.url) as store, pytest.raises(StoreDown) as caught:
        store.send(upload)
    assert caught.value.state is StoreState.UNREACHABLE
    assert (upload.noted, upload.taken_back) == (1, 1)


def test_interim_answers_are_no_answers() -> None:
    said = threading.Event()

    def behave(peer: Peer) -> None:
        peer.head()
        peer.say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\nHTTP/1.1 10")
        said.set()
        peer._rest += b"\r\n\r\n"  # the head is read already: what follows is only counted
        while not peer.arrived.endswith(b"--\r\n"):
            assert peer._more()
        peer.say(b"3 Early Hints\r\nLink: </x>\r\n\r\n" + answer())

    def read(offset: int) -> None:
        if offset >= MIB:
            assert said.wait(PATIENCE)

    with RawServer(behave) as server, a_store(server.url) as store:
        assert store.send(BytesUpload(BIG[: 4 * MIB], on_read=read)).link == LINK


# --- connections that are used again


def test_one_connection_serves_many_uploads() -> None:
    with RawServer(store_all()) as server, a_store(server.url) as store:
        for _ in range(5):
            store.send(BytesUpload(b"data"))
        assert server.connections == 1


def test_a_connection_idle_for_more_than_4_seconds_is_not_used_again() -> None:
    now = 0.0
    with RawServer(store_all()) as server, a_store(server.url, clock=lambda: now) as store:
        store.send(BytesUpload(b"data"))
        now += 3.9
        store.send(BytesUpload(b"data"))
        assert server.connections == 1
        now += 4.1
        store.send(BytesUpload(b"data"))
        assert server.connections == 2


def test_a_server_that_closes_after_each_answer_costs_no_uncertain_upload() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.sock.send(answer(), socket.MSG_MORE)  # leaves with the end of the connection, in one packet

    with RawServer(behave) as server, a_store(server.url) as store:
        for _ in range(200):
            assert store.send(BytesUpload(b"data" * 3000)).link == LINK
        assert server.connections == 200


def test_a_server_that_closes_a_moment_after_each_answer_is_found_out_before_anything_is_at_stake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pixstored.store.client.PROOF", PATIENCE)  # the moment of a busy machine may be a long one

    def behave(peer: Peer) -> None:
        peer.request()
        peer.answer()
        time.sleep(0.01)  # as long as a busy server takes: the next request could be out by then

    with RawServer(behave) as server, a_store(server.url) as store:
        for _ in range(20):
            assert store.send(BytesUpload(b"data" * 3000)).link == LINK
        assert server.connections == 20


def one_answer_and_then(end: Callable[[Peer], None], noting: threading.Event, ended: threading.Event) -> Any:
    def behave(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            peer.answer()
            if parts_of(request)["file"][1] == b"first":
                peer.head()
                assert noting.wait(PATIENCE)
                end(peer)
                ended.set()
                return

    return behave


@pytest.mark.parametrize("end", [lambda peer: peer.sock.close(), Peer.reset], ids=["closed", "reset"])
def test_a_reused_connection_that_turns_out_dead_is_stale_and_then_not_trusted(end: Callable[[Peer], None]) -> None:
    noting, ended, clock = threading.Event(), threading.Event(), Clock()

    def note() -> None:
        noting.set()
        assert ended.wait(PATIENCE)

    upload = BytesUpload(b"second", on_release=note)
    with (
        RawServer(one_answer_and_then(end, noting, ended)) as server,
        a_store(server.url, clock=clock) as store,
    ):
        store.send(BytesUpload(b"first"))
        with pytest.raises(Stale):
            store.send(upload)
        assert (upload.noted, upload.taken_back) == (1, 1)
        for _ in range(3):
            store.send(BytesUpload(b"third"))
        assert server.connections == 4, "for a while, each upload has a connection of its own"
        clock.ahead += 61
        for _ in range(3):
            store.send(BytesUpload(b"fourth"))
            clock.ahead += 1
        assert server.connections == 5


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_ones() -> None:
    def behave(peer: Peer) -> None:
        while peer.request() is not None:
            peer.say(answer() + answer({"status": 200, "link": "https://other.example/x.jpg"}) * 300)

    links = []
    with RawServer(behave) as server, a_store(server.url) as store:
        for _ in range(4):
            with suppress(Stale):
                links.append(store.send(BytesUpload(b"data")).link)
    assert set(links) == {LINK}


def test_a_connection_lost_in_mid_body_is_the_stores_fault() -> None:
    def behave(peer: Peer) -> None:
        peer.head()
        peer.reset()

    upload = BytesUpload(BIG)
    with RawServer(behave) as server, a_store(server.url) as store, pytest.raises(StoreDown) as caught:
        store.send(upload)
    assert caught.value.state is StoreState.UNREACHABLE
    assert not isinstance(caught.value, Stale)
    assert upload.noted == 0


# --- time limits


def test_a_body_that_does_not_move_is_a_stall() -> None:
    def behave(peer: Peer) -> None:
        peer.head()
        stalled.wait(PATIENCE)

    stalled = threading.Event()
    with (
        RawServer(behave) as server,
        a_store(server.url, stall_timeout=0.2) as store,
        pytest.raises(StoreDown, match="no byte has moved") as caught,
    ):
        try:
            store.send(BytesUpload(BIG))
        finally:
            stalled.set()
    assert caught.value.state is StoreState.UNREACHABLE


def test_time_that_the_upload_itself_takes_is_no_stall() -> None:
    clock = Clock()

    def pause(*_: int) -> None:
        clock.ahead += 3600.0

    with RawServer(store_all()) as server, a_store(server.url, clock=clock) as store:
        upload = BytesUpload(BIG[: 2 * MIB], on_read=pause, on_release=pause, on_progress=pause)
        assert store.send(upload).link == LINK


def test_no_answer_in_time_is_uncertain() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.drain()

    with (
        RawServer(behave) as server,
        a_store(server.url, answer_timeout=0.2) as store,
        pytest.raises(Uncertain, match=r"0\.2 s"),
    ):
        store.send(BytesUpload(b"data"))


@pytest.mark.parametrize("whole", [answer({}, "200 OK"), answer(STORED)[:-1]], ids=["head", "body"])
def test_an_answer_that_trickles_is_given_up_in_total(whole: bytes) -> None:
    given_up = threading.Event()

    def behave(peer: Peer) -> None:
        peer.request()
        for byte in whole + b"." * 1000:
            peer.say(bytes([byte]))
            if given_up.wait(0.005):
                return

    with (
        RawServer(behave) as server,
        a_store(server.url, answer_timeout=0.3) as store,
        pytest.raises(Uncertain),
    ):
        store.send(BytesUpload(b"data"))
    given_up.set()


SIP = 16 * 1024
"""Bytes that a slow line takes in a second."""


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that looks at the clock far more often than a second goes by on it."""
    monkeypatch.setattr("pixstored.store.connection.LOOK_EVERY", 0.01)


@pytest.mark.usefixtures("watchful")
def test_a_line_that_is_slow_but_moves_is_no_stall() -> None:
    """The kernel holds megabytes, and says that there is room again only when a third of them have left."""
    clock = Clock()

    def behave(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        peer.head()
        for _ in range(2 * int(PATIENCE)):
            peer.sock.recv(SIP, socket.MSG_WAITALL)
            clock.strike()
        while b"--\r\n" not in peer.arrived[-10:]:
            peer.arrived[:] = peer.sock.recv(MIB)
        peer.answer()

    with RawServer(behave) as server, a_store(server.url, stall_timeout=PATIENCE, clock=clock) as store:
        assert store.send(BytesUpload(BIG)).link == LINK


@pytest.mark.usefixtures("watchful")
def test_the_wait_for_the_answer_begins_when_the_last_byte_has_left() -> None:
    """The kernel takes megabytes at once; a slow line needs minutes for them."""
    released, clock = threading.Event(), Clock()

    def moved(sent: int) -> None:
        if sent == MIB:
            released.set()

    def behave(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        found = peer.head()
        assert found
        assert released.wait(PATIENCE)
        missing = int(found[1]["content-length"]) - len(peer._rest)
        while missing > 0:
            missing -= len(peer.sock.recv(SIP))
            clock.strike()
        peer.answer()

    with RawServer(behave) as server, a_store(server.url, answer_timeout=PATIENCE, clock=clock) as store:
        assert store.send(BytesUpload(BIG[:MIB], on_progress=moved)).link == LINK


# --- ended from another thread


@pytest.mark.parametrize("end", [HttpStore.cut, HttpStore.drop], ids=["cut", "drop"])
def test_ended_in_mid_body_nothing_was_sent(end: Callable[[HttpStore], None]) -> None:
    begun, over = threading.Event(), threading.Event()

    def behave(peer: Peer) -> None:
        peer.head()
        begun.set()
        over.wait(PATIENCE)

    upload = BytesUpload(BIG)
    with RawServer(behave) as server, a_store(server.url) as store:
        outcome = in_thread(store, upload)
        assert begun.wait(PATIENCE)
        end(store)
        assert isinstance(outcome(), Stopped)
        over.set()
    assert upload.noted == 0


@pytest.mark.parametrize("end", [HttpStore.cut, HttpStore.drop], ids=["cut", "drop"])
def test_ended_during_the_note_the_last_bytes_are_kept_back(end: Callable[[HttpStore], None]) -> None:
    heard: list[Heard] = []
    with RawServer(store_all(heard)) as server, a_store(server.url) as store:
        upload = BytesUpload(b"data", on_release=lambda: end(store))
        with pytest.raises(Stopped):
            store.send(upload)
        assert store.send(BytesUpload(b"next")).link == LINK
    assert (upload.noted, upload.taken_back) == (1, 1)
    assert [parts_of(request)["file"][1] for request in heard] == [b"next"]


def test_cut_while_the_answer_is_awaited_leaves_it_uncertain() -> None:
    complete, over = threading.Event(), threading.Event()

    def behave(peer: Peer) -> None:
        peer.request()
        complete.set()
        over.wait(PATIENCE)

    upload = BytesUpload(b"data")
    with RawServer(behave) as server, a_store(server.url) as store:
        outcome = in_thread(store, upload)
        assert complete.wait(PATIENCE)
        store.cut()
        assert isinstance(outcome(), Uncertain)
        over.set()
    assert upload.on_record


def test_cut_in_the_middle_of_an_answer_leaves_it_uncertain() -> None:
    complete, over = threading.Event(), threading.Event()

    def behave(peer: Peer) -> None:
        peer.request()
        peer.say(answer()[:-5])
        complete.set()
        over.wait(PATIENCE)

    with RawServer(behave) as server, a_store(server.url) as store:
        outcome = in_thread(store, BytesUpload(b"data"))
        assert complete.wait(PATIENCE)
        store.cut()
        assert isinstance(outcome(), Uncertain)
        over.set()


def test_dropped_while_the_answer_is_awaited_it_goes_on_waiting() -> None:
    complete, dropped = threading.Event(), threading.Event()

    def behave(peer: Peer) -> None:
        peer.request()
        complete.set()
        assert dropped.wait(PATIENCE)
        peer.answer()

    with RawServer(behave) as server, a_store(server.url) as store:
        outcome = in_thread(store, BytesUpload(b"data"))
        assert complete.wait(PATIENCE)
        store.drop()
        dropped.set()
        assert isinstance(outcome(), Receipt)


def test_between_two_uploads_there_is_nothing_to_cut() -> None:
    with RawServer(store_all()) as server, a_store(server.url) as store:
        for end in (store.cut, store.drop):
            end()
            assert store.send(BytesUpload(b"data")).link == LINK
            end()
        assert store.send(BytesUpload(b"data")).link == LINK


# --- what comes back


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect"])
def test_a_redirect_is_not_followed(status: str) -> None:
    heard: list[Heard] = []

    def behave(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            heard.append(request)
            peer.answer(b"", status, Location=f"http://127.0.0.1:{server.port}/elsewhere")

    with RawServer(behave) as server, a_store(server.url) as store, pytest.raises(StoreDown) as caught:
        store.send(BytesUpload(b"data"))
    assert caught.value.state is StoreState.MISCONFIGURED
    assert [request.start for request in heard] == ["POST /store HTTP/1.1"]


def test_a_huge_answer_is_not_read_to_its_end() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.say(b" " * MIB)

    with RawServer(behave) as server, a_store(server.url) as store, pytest.raises(Uncertain):
        store.send(BytesUpload(b"data"))


def test_a_huge_refusal_is_a_refusal() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.answer(b"<html>" + b" " * MIB, "415 Unsupported Media Type")

    with RawServer(behave) as server, a_store(server.url) as store, pytest.raises(Refused):
        store.send(BytesUpload(b"data"))


def after_the_release(reply: Callable[[Peer], None]) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        peer.request()
        reply(peer)

    return behave


@pytest.mark.parametrize(
    "reply",
    [
        lambda peer: None,
        Peer.reset,
        lambda peer: peer.say(b"SSH-2.0-OpenSSH_9.7\r\n"),
        lambda peer: peer.say(b"HT"),
        lambda peer: peer.say(b"HTTP/1.1 200 OK\r\nContent-Le"),
        lambda peer: peer.say(answer()[:-2]),
        lambda peer: peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        lambda peer: peer.say(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000),
        lambda peer: peer.say(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
        lambda peer: peer.say(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"),
        lambda peer: peer.answer({}, "502 Bad Gateway"),
    ],
    ids=["closed", "reset", "ssh", "stump", "half head", "half body", "chunks", "long", "many", "gzip", "502"],
)
def test_after_the_last_bytes_what_cannot_be_read_is_uncertain(reply: Callable[[Peer], None]) -> None:
    upload = BytesUpload(b"data")
    with RawServer(after_the_release(reply)) as server, a_store(server.url) as store, pytest.raises(Uncertain):
        store.send(upload)
    assert upload.on_record


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.0 200 OK\r\n\r\n" + answer().partition(b"\r\n\r\n")[2],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
        % (len(answer().partition(b"\r\n\r\n")[2]), answer().partition(b"\r\n\r\n")[2]),
        b"HTTP/1.1 200\r\nConnection: close\r\n\r\n" + answer().partition(b"\r\n\r\n")[2],
    ],
    ids=["HTTP/1.0", "chunked", "close"],
)
def test_an_answer_may_be_framed_in_any_way(reply: bytes) -> None:
    with (
        RawServer(after_the_release(lambda peer: peer.say(reply))) as server,
        a_store(server.url) as store,
    ):
        assert store.send(BytesUpload(b"data")).link == LINK


class Scripted:
    """Answers each request with the bytes of the moment, and closes."""

    def __init__(self) -> None:
        self.reply = b""

    def __call__(self, peer: Peer) -> None:
        peer.request()
        peer.sock.send(self.reply, socket.MSG_MORE)


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[Scripted, HttpStore]]:
    script = Scripted()
    with RawServer(script) as server, a_store(server.url, answer_timeout=1.0) as store:
        yield script, store


HEADER_LINES = st.sampled_from(
    [
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Content-Length: 5, 6",
        b"Transfer-Encoding: chunked",
        b"Content-Encoding: gzip",
        b"Connection: close",
        b"Retry-After: \xff",
        b": x",
        b" folded",
        b"\0",
    ]
)
ANSWERS = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda status, lines, body: b"HTTP/1.1 %d X\r\n%s\r\n\r\n%s" % (status, b"\r\n".join(lines), body),
        st.integers(0, 1100),
        st.lists(HEADER_LINES, max_size=4),
        st.binary(max_size=50) | st.just(answer().partition(b"\r\n\r\n")[2]),
    ),
)


@given(ANSWERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_answer_raises_anything_but_our_own_errors(scripted: tuple[Scripted, HttpStore], reply: bytes) -> None:
    script, store = scripted
    script.reply = reply
    try:
        assert store.send(BytesUpload(b"data")).link == LINK
    except (NotSent, Refused, Uncertain) as error:
        assert str(error).isprintable()


# --- secrets


def test_no_error_shows_the_key_or_holds_the_request() -> None:
    replies = [
        lambda peer: None,
        Peer.reset,
        lambda peer: peer.say(b"junk" * 10),
        lambda peer: peer.answer({"status": 401, "error": f"bad key {KEY}"}),
        lambda peer: peer.answer(b"", "302 Found", Location=f"https://x/{KEY}"),
    ]
    for key_in in KeyIn:
        for reply in replies:
            with (
                RawServer(after_the_release(reply)) as server,
                a_store(server.url, key_in=key_in) as store,
                pytest.raises((NotSent, Uncertain)) as caught,
            ):
                store.send(BytesUpload(b"data"))
            assert KEY not in "".join(traceback.format_exception(caught.value))
            assert KEY not in repr(vars(store))
            assert caught.value.__context__ is None
            assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["", "not a url", "http://", "http://[::1/"])
def test_an_address_that_cannot_be_used_is_said_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url"), a_store(url):
        pass
