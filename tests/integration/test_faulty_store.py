"""The fault-injecting store itself: a judge that errs would acquit anybody."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from integration.store_suite import CommentOf, Stored, StoreSuite, sha
from support import files
from support.faults import (
    Afterwards,
    Answer,
    Drop,
    DropAnswer,
    Early,
    Fault,
    Hang,
    Reply,
    Slow,
    page,
    rate_limited,
    raw,
    redirect,
    says,
)
from support.faulty_store import Asked, FaultyStore
from support.posting import BOUNDARY, Got, ask, connect, field, file, form, post

LOST = (http.client.HTTPException, ConnectionError)
PICTURE = files.jpeg(1000)


@pytest.fixture
def store() -> Iterator[FaultyStore]:
    before = set(threading.enumerate())
    with FaultyStore(keep_bodies=True) as store:
        yield store
    assert set(threading.enumerate()) <= before, "a thread outlived the store"


def send(store: FaultyStore, data: bytes = PICTURE, name: str = "a.jpg") -> Got:
    return post(store.url, [file(data, name)])


def begin(store: FaultyStore, sent: int) -> socket.socket:
    """A request of which so many bytes of the body have been sent."""
    body = form(file(PICTURE))
    head = f"POST /store HTTP/1.1\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    sock = socket.create_connection(("127.0.0.1", urlsplit(store.url).port or 0), timeout=20)
    sock.sendall(head.encode() + body[:sent])
    return sock


class TestFaultyStoreAsAStore(StoreSuite):
    @pytest.fixture
    def store_url(self, store: FaultyStore) -> str:
        return store.url

    @pytest.fixture
    def stored(self, store: FaultyStore) -> Stored:
        return lambda: store.stored

    @pytest.fixture
    def comment_of(self, store: FaultyStore) -> CommentOf:
        return lambda media_id: next(
            seen.fields.get("comment") for seen in store.requests if seen.sha256 == store.ids[media_id]
        )


def test_it_remembers_what_came(store: FaultyStore) -> None:
    got = post(store.url, [field("key", "k"), field("comment", "c"), file(PICTURE, "IMG 1.jpg")], {"X-Test": "1"})
    (seen,) = store.requests
    assert (seen.number, seen.filename, seen.sha256) == (1, "IMG 1.jpg", sha(PICTURE))
    assert seen.parts == ["key", "comment", "file"]
    assert seen.fields == {"key": "k", "comment": "c"}
    assert seen.headers["x-test"] == "1"
    assert seen.completed and seen.stored and seen.answered == 200
    assert seen.received == seen.length
    assert store.begun == {"IMG 1.jpg": 1}
    assert store.completed == store.stored == {sha(PICTURE): 1}
    assert store.ids == {got.json["id"]: sha(PICTURE)}
    assert store.bodies == {sha(PICTURE): PICTURE}
    assert (store.connections, store.in_flight, store.peak) == (1, 0, 1)


@pytest.mark.parametrize(
    "fault",
    [
        Drop(),
        Drop(500),
        Drop(-1),
        Drop(500, reset=False),
        DropAnswer(stored=False),
        Slow(100, 0, then=Drop(450)),
    ],
)
def test_a_lost_connection_stores_nothing_and_the_next_request_goes_well(store: FaultyStore, fault: Fault) -> None:
    store.next(fault)
    with pytest.raises(LOST):
        send(store)
    assert store.stored == {}
    assert send(store).status == 200
    store.wait_for(lambda s: s.in_flight == 0)


@pytest.mark.parametrize(("at", "received"), [(0, 0), (500, 500), (-1, len(form(file(PICTURE))) - 1)])
def test_a_body_is_read_to_the_very_byte(store: FaultyStore, at: int, received: int) -> None:
    store.next(Drop(at))
    with pytest.raises(LOST):
        send(store)
    store.wait_for(lambda s: s.in_flight == 0)
    seen = store.requests[0]
    assert (seen.received, seen.completed) == (received, False)


@pytest.mark.parametrize("stored", [True, False])
def test_a_lost_answer_can_hide_a_stored_body(store: FaultyStore, stored: bool) -> None:
    store.next(DropAnswer(stored))
    with pytest.raises(LOST):
        send(store)
    assert store.completed == {sha(PICTURE): 1}
    assert bool(store.stored) is stored


@pytest.mark.parametrize("at", [None, 0, 500])
def test_a_hanging_request_goes_on_when_released(store: FaultyStore, at: int | None) -> None:
    release = threading.Event()
    store.next(Hang(release, at))
    with closing(begin(store, 10_000)) as sock:
        store.wait_for(lambda s: s.requests and s.requests[0].received >= (at or 0))
        store.wait_for(lambda s: at is not None or s.stored[sha(PICTURE)])
        assert store.requests[0].answered is None
        assert at is None or store.requests[0].received == at
        release.set()
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "fault", [Hang(threading.Event()), Hang(threading.Event(), 10), Early(page(500), 0, Afterwards.DEAF)]
)
def test_a_client_that_leaves_a_hanging_request_is_noticed(store: FaultyStore, fault: Fault) -> None:
    store.next(fault)
    sock = begin(store, 0)
    store.wait_for(lambda s: s.requests)
    sock.close()
    store.wait_for(lambda s: s.requests[0].client_left and s.in_flight == 0)
    assert store.stored == {}


def test_it_stops_while_requests_hang(store: FaultyStore) -> None:
    store.always(Hang(threading.Event()))
    with closing(begin(store, 10_000)) as hanging, closing(begin(store, 10)) as half:
        store.wait_for(lambda s: s.peak == 2 and s.stored)
        store.stop()
        assert hanging.recv(1) == half.recv(1) == b""


@pytest.mark.parametrize("afterwards", list(Afterwards))
def test_an_early_answer_comes_before_the_body_is_complete(store: FaultyStore, afterwards: Afterwards) -> None:
    store.next(Early(says(413, 413, error="too large"), 100, afterwards))
    with closing(begin(store, 200)) as sock:
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")
        assert store.requests[0].answered == 413
    assert store.stored == {}


def test_an_early_answer_that_drains_keeps_the_connection(store: FaultyStore) -> None:
    store.next(Early(says(401, 401, error="no"), 0, Afterwards.DRAIN))
    with closing(connect(store.url)) as connection:
        assert post(store.url, [file(PICTURE)], over=connection).status == 401
        assert post(store.url, [file(PICTURE)], over=connection).status == 200
    assert [seen.connection for seen in store.requests] == [1, 1]
    assert store.stored == {sha(PICTURE): 1}


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (says(401, error="no"), 200, b'{"status": 401, "error": "no"}'),
        (says("200", link="https://cdn.example/x.jpg", id=7), 200, None),
        (page(502), 502, None),
        (raw(b"{not json"), 200, b"{not json"),
        (raw(b""), 200, b""),
        (raw(b"x" * 3_000_000), 200, b"x" * 3_000_000),
        (page(599, "odd"), 599, b"odd"),
    ],
)
@pytest.mark.parametrize("stored", [True, False])
def test_any_answer_can_be_given(
    store: FaultyStore, reply: Reply, status: int, body: bytes | None, stored: bool
) -> None:
    store.next(Answer(reply, stored))
    got = send(store)
    assert got.status == status
    assert got.body == (reply.body if body is None else body)
    assert bool(store.stored) is stored


def test_headers_travel_with_an_answer(store: FaultyStore) -> None:
    store.next(Answer(rate_limited("7")), Answer(redirect("http://elsewhere.example/store", 307)))
    assert send(store).headers["retry-after"] == "7"
    assert send(store).headers["location"] == "http://elsewhere.example/store"


def test_an_answer_can_break_off(store: FaultyStore) -> None:
    store.next(Answer(Reply(200, body=b'{"status": 200}', cut=5), stored=True))
    with pytest.raises(http.client.IncompleteRead):
        send(store)
    assert store.stored == {sha(PICTURE): 1}


def test_an_answer_can_drip(store: FaultyStore) -> None:
    store.next(Answer(Reply(200, body=b"12345", drip=0.001)))
    assert send(store).body == b"12345"


def test_the_ordinary_answer_can_have_another_status(store: FaultyStore) -> None:
    store.next(Answer(Reply(201), stored=True))
    got = send(store)
    assert (got.status, got.json["status"]) == (201, 200)
    assert ask(got.json["link"]).body == PICTURE


def test_a_slow_reader_reads_in_small_blocks(store: FaultyStore) -> None:
    store.next(Slow(100, 0.001, then=Drop(450)))
    with pytest.raises(LOST):
        send(store)
    store.wait_for(lambda s: s.in_flight == 0)
    assert store.requests[0].received == 450


def test_connections_close_after_each_answer_without_a_word(store: FaultyStore) -> None:
    store.close_after_answer = True
    with closing(connect(store.url)) as connection:
        got = post(store.url, [file(PICTURE)], over=connection)
        assert "connection" not in got.headers
        assert connection.sock is not None and connection.sock.recv(1) == b""


def test_idle_connections_are_closed(store: FaultyStore) -> None:
    store.idle_timeout = 0.01
    with closing(connect(store.url)) as connection:
        post(store.url, [file(PICTURE)], over=connection)
        assert connection.sock is not None and connection.sock.recv(1) == b""


def test_faults_are_scripted_for_the_next_for_all_or_by_a_function(store: FaultyStore) -> None:
    refused = Answer(says(400, 400, error="no"))
    store.next(None, refused)
    assert [send(store).status for _ in range(3)] == [200, 400, 200]
    store.always(refused)
    store.next(None)
    assert [send(store).status for _ in range(3)] == [200, 400, 400]
    store.heal()
    asked: list[Asked] = []

    def decide(about: Asked) -> Fault | None:
        asked.append(about)
        if about.filename == "bad.jpg":
            return refused
        return Answer(says(415, error="no")) if about.sha256 == sha(b"bad") else None

    store.decide(decide)
    assert send(store).status == 200
    assert send(store, name="bad.jpg").status == 400
    assert send(store, b"bad").json["status"] == 415
    assert asked == [
        Asked(7, "a.jpg", None),
        Asked(7, "a.jpg", sha(PICTURE)),
        Asked(8, "bad.jpg", None),
        Asked(9, "a.jpg", None),
        Asked(9, "a.jpg", sha(b"bad")),
    ]


def test_it_goes_down_and_comes_back_on_its_port(store: FaultyStore) -> None:
    url = store.url
    store.stop()
    with pytest.raises(ConnectionRefusedError):
        send(store)
    store.start()
    assert store.url == url
    assert send(store).status == 200
    assert len(store.requests) == 1


def test_keys_are_wanted_where_told() -> None:
    with FaultyStore(keys=frozenset({"good"})) as store:
        assert send(store).json["status"] == 401
        assert post(store.url, [field("key", "bad"), file(PICTURE)]).status == 401
        assert store.stored == {}
        assert post(store.url, [field("key", "good"), file(PICTURE)]).status == 200
        assert post(store.url, [file(PICTURE)], {"WWW-Authenticate": "good"}).status == 200


@pytest.mark.parametrize(
    "body",
    [
        form(file(PICTURE)).removesuffix(b"--\r\n"),
        b"preamble\r\n" + form(file(PICTURE)),
        form(file(PICTURE)) + b"more",
        form(file(PICTURE, 'qu"ote.jpg')),
        form(file(PICTURE), file(PICTURE)),
        b"",
    ],
    ids=["no end", "preamble", "epilogue", "raw quote", "two files", "empty"],
)
def test_forms_are_judged_by_the_letter(store: FaultyStore, body: bytes) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    got = ask(store.url, "POST", body=body, headers=kind)
    assert (got.status, json.loads(got.body)["status"]) == (400, 400)
    assert store.requests[0].malformed
    assert store.stored == {}


def test_waiting_in_vain_fails_with_what_was_seen(store: FaultyStore) -> None:
    send(store, name="the one that came.jpg")
    with pytest.raises(AssertionError, match=r"the one that came\.jpg"):
        store.wait_for(lambda s: s.stored["another"], timeout=0)


def test_peak_tells_how_many_were_under_way_at_once(store: FaultyStore) -> None:
    release = threading.Event()
    store.always(Hang(release))
    socks = [begin(store, 10_000) for _ in range(3)]
    store.wait_for(lambda s: s.in_flight == 3)
    release.set()
    for sock in socks:
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        sock.close()
    store.heal()
    for _ in range(20):
        send(store)
    assert store.peak == 3
    assert store.in_flight == 0
