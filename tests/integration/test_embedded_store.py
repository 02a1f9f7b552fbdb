"""The built-in store, spoken to over real connections, with real files below it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import resource
import signal
import socket
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import RemoteDisconnected
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from integration.store_suite import CommentOf, Stored, StoreSuite, sha
from pixstored.errors import ConfigError
from pixstored.store.embedded import EmbeddedStore
from pixstored.store.embedded_files import EmbeddedFiles
from pixstored.watch.builtin import SETS
from support import files
from support.posting import BOUNDARY, Got, ask, connect, field, file, form, post

ID = re.compile(r"[0-9a-f]{32}\.[a-z0-9]{1,10}")

LAST_BREATH = 5.0
"""Seconds for a thread that has said goodbye to be gone: on a busy machine that is not at once."""


@contextmanager
def running(folder: Path, *, port: int = 0) -> Iterator[EmbeddedStore]:
    before = set(threading.enumerate())
    store = EmbeddedStore(folder, "127.0.0.1", port)
    store.start()
    try:
        yield store
    finally:
        store.stop()
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(LAST_BREATH)
    assert not any(thread.is_alive() for thread in left), "a thread outlived the store"


def media_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def everything_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture
def store(folder: Path) -> Iterator[EmbeddedStore]:
    with running(folder) as store:
        yield store


def root_of(store: EmbeddedStore) -> str:
    return store.url.removesuffix("/store")


def stored_picture(store: EmbeddedStore, data: bytes = b"", name: str = "a.jpg") -> str:
    """Its link."""
    got = post(store.url, [file(data or files.jpeg(), name)])
    assert got.status == 200, got.body
    return str(got.json["link"])


def raw_exchange(store: EmbeddedStore, request: bytes) -> bytes:
    """All that the store answers to these bytes, after which nothing more is sent."""
    with socket.create_connection(("127.0.0.1", store.port), timeout=20) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


class TestEmbeddedStoreAsAStore(StoreSuite):
    @pytest.fixture
    def store_url(self, store: EmbeddedStore) -> str:
        return store.url

    @pytest.fixture
    def stored(self, store: EmbeddedStore, folder: Path) -> Stored:
        return lambda: Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in media_in(folder))

    @pytest.fixture
    def comment_of(self, folder: Path) -> CommentOf:
        def comment_of(media_id: str) -> str | None:
            about = EmbeddedFiles(folder).about(media_id)
            assert about is not None
            return about.comment

        return comment_of


# --- what it takes


@pytest.mark.parametrize("extension", sorted({word for words in SETS.values() for word in words}))
def test_every_kind_that_can_be_watched_is_taken_by_its_name(store: EmbeddedStore, extension: str) -> None:
    extension = extension.removeprefix("*.").removeprefix(".")
    link = stored_picture(store, b"whatever is in it", f"DSC_0001.{extension.upper()}")
    assert link.endswith(f".{extension}")
    assert ask(link).headers["content-type"].split("/")[0] in {"image", "video", "application"}


@pytest.mark.parametrize(
    ("data", "extension"),
    [(files.jpeg(), "jpg"), (files.png(), "png"), (files.mp4(), "mp4"), (b"GIF89a" + bytes(20), "gif")],
)
def test_a_picture_with_a_strange_name_is_known_by_its_bytes(store: EmbeddedStore, data: bytes, extension: str) -> None:
    for name in ("no extension", "photo.html", "x.", ".jpg", "a.jp\x00g"):
        link = stored_picture(store, data, name)
        assert link.endswith(f".{extension}")
        assert ask(link).body == data


@pytest.mark.parametrize("data", [b"x", b"<html>" + b"x" * 100, b"BM", b"\x00" * 40])
def test_what_is_neither_image_nor_video_is_refused(store: EmbeddedStore, folder: Path, data: bytes) -> None:
    got = post(store.url, [file(data, "page.html"), field("comment", "c")])
    assert got.status == got.json["status"] == 415
    assert everything_in(folder) == []


@pytest.mark.parametrize(
    "parts",
    [
        [file(b"", "a.jpg")],
        [file(b"", "")],
        [field("file", "not a file")],
        [file(files.jpeg()), file(files.jpeg(seed=1), "b.jpg")],
        [file(files.jpeg()), field("comment", "x" * 70_000)],
        [field(f"n{k}", "x") for k in range(100)],
        [],
    ],
    ids=["empty file", "nothing chosen", "no file name", "two files", "long comment", "many parts", "no parts"],
)
def test_a_form_that_is_not_one_upload_is_refused_and_leaves_nothing(
    store: EmbeddedStore, folder: Path, parts: list[bytes]
) -> None:
    got = post(store.url, parts)
    assert got.status == got.json["status"] == 400
    assert everything_in(folder) == []


@pytest.mark.parametrize(
    "end", [b"", b"--", b"\r\n--", b"\r\n--" + BOUNDARY.encode(), b"\r\n--" + BOUNDARY.encode() + b"-"]
)
def test_a_form_without_its_end_is_refused(store: EmbeddedStore, folder: Path, end: bytes) -> None:
    body = file(files.jpeg())[:-2] + end
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    assert ask(store.url, "POST", body=body, headers=kind).status == 400
    assert everything_in(folder) == []


@given(cut=st.integers(min_value=0, max_value=len(form(file(files.jpeg()))) - 1))
@example(cut=len(form(file(files.jpeg()))) - 1)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_a_body_cut_short_leaves_nothing(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    body = form(file(files.jpeg()))
    head = f"POST /store HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    with running(folder) as store:
        assert raw_exchange(store, head.encode() + body[:cut]) == b""
    assert everything_in(folder) == []


def test_a_body_of_any_size_takes_the_same_memory(store: EmbeddedStore, folder: Path) -> None:
    block, blocks = files.noise(1 << 20), 48
    head, tail = file(b"", "film.mp4")[:-2], form()
    connection = connect(store.url)
    tracemalloc.start()
    try:
        connection.putrequest("POST", "/store")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        connection.putheader("Content-Length", str(len(head) + blocks * len(block) + 2 + len(tail)))
        connection.endheaders(head)
        for _ in range(blocks):
            connection.send(block)
        connection.send(b"\r\n" + tail)
        assert connection.getresponse().status == 200
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        connection.close()
    assert peak < 4 << 20
    assert [path.stat().st_size for path in media_in(folder)] == [blocks * len(block)]


def test_64_connections_are_served_at_once(store: EmbeddedStore, folder: Path) -> None:
    together = threading.Barrier(64)

    def send(number: int) -> int:
        connection = connect(store.url)
        try:
            connection.connect()
            together.wait(20)
            return post(store.url, [file(files.jpeg(seed=number))], over=connection).status
        finally:
            connection.close()

    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(send, range(64))) == {200}
    assert len(media_in(folder)) == 64


# --- who may


def test_any_key_or_none_is_taken(store: EmbeddedStore) -> None:
    picture = file(files.jpeg())
    assert post(store.url, [picture]).status == 200
    assert post(store.url, [field("key", ""), picture]).status == 200
    assert post(store.url, [field("key", "anything"), picture]).status == 200
    assert post(store.url, [picture], {"WWW-Authenticate": "anything"}).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8787"])
def test_a_web_page_cannot_fill_the_store(store: EmbeddedStore, folder: Path, origin: str) -> None:
    got = post(store.url, [file(files.jpeg())], {"Origin": origin})
    assert got.status == got.json["status"] == 403
    assert everything_in(folder) == []


# --- what it gives


def test_a_link_gives_the_media_with_all_a_browser_needs(store: EmbeddedStore) -> None:
    data = files.mp4(5000)
    link = stored_picture(store, data, "Holiday ✈.MP4")
    assert link.startswith(f"http://127.0.0.1:{store.port}/")
    assert ID.fullmatch(link.rpartition("/")[2])
    got = ask(link)
    assert (got.status, got.body) == (200, data)
    assert got.headers["content-type"] == "video/mp4"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-disposition"] == "inline; filename*=UTF-8''Holiday%20%E2%9C%88.MP4"
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["cache-control"]
    only_head = ask(link, "HEAD")
    assert (only_head.status, only_head.body) == (200, b"")
    assert only_head.headers == got.headers


@given(wanted=st.tuples(st.integers(0, 120) | st.none(), st.integers(0, 120) | st.none()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_a_video_can_be_sought(ranged: tuple[str, bytes], wanted: tuple[int | None, int | None]) -> None:
    link, data = ranged
    first, last = wanted
    text = f"{'' if first is None else first}-{'' if last is None else last}"
    got = ask(link, headers={"Range": f"bytes={text}"})
    if first is None and last is None:
        assert (got.status, got.body) == (200, data), "what is no range is ignored"
        return
    if first is not None and last is not None and last < first:
        assert (got.status, got.body) == (200, data), "what is no range is ignored"
        return
    if first is None:
        expected = data[max(0, len(data) - (last or 0)) :]
    else:
        expected = data[first : None if last is None else last + 1]
    if not expected:
        assert got.status == 416
        assert got.headers["content-range"] == f"bytes */{len(data)}"
        return
    assert (got.status, got.body) == (206, expected)
    start = len(data) - len(expected) if first is None else first
    assert got.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{len(data)}"


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, bytes]]:
    data = files.mp4(100)
    with running(tmp_path_factory.mktemp("ranged")) as store:
        yield stored_picture(store, data, "a.mp4"), data


def test_a_range_of_something_else_is_given_whole(store: EmbeddedStore) -> None:
    data = files.jpeg()
    link = stored_picture(store, data)
    tag = ask(link).headers["etag"]
    assert ask(link, headers={"Range": "bytes=0-9", "If-Range": '"another"'}).body == data
    assert ask(link, headers={"Range": "bytes=0-9", "If-Range": tag}).body == data[:10]
    assert ask(link, headers={"Range": "bytes=0-9,20-29"}).body == data
    assert ask(link, headers={"Range": "lines=1-2"}).body == data


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.jpg",
        "/%2e%2e/secret.jpg",
        "/..%2fsecret.jpg",
        "/.about/",
        "/.incoming/",
        "/" + "0" * 32 + ".jpg",
        "/" + "0" * 32 + ".jpg%00",
        "/" + "0" * 32 + ".jpg%0a",
        "//etc/passwd",
        "/linked.jpg",
        "/" + "1" * 32 + ".jpg/../../secret.jpg",
        "/%ff",
    ],
)
def test_nothing_but_media_is_given(store: EmbeddedStore, folder: Path, path: str) -> None:
    (folder.parent / "secret.jpg").write_text("secret")
    (folder / "linked.jpg").symlink_to(folder.parent / "secret.jpg")
    got = ask(root_of(store) + path)
    assert (got.status, got.json["status"]) == (404, 404)
    assert got.headers["content-type"].startswith("application/json")


def test_a_symlink_among_the_media_is_not_followed(store: EmbeddedStore, folder: Path) -> None:
    (folder.parent / "secret.jpg").write_text("secret")
    (folder / f"{'2' * 32}.jpg").symlink_to(folder.parent / "secret.jpg")
    got = ask(f"{root_of(store)}/{'2' * 32}.jpg")
    assert got.status >= 400
    assert b"secret" not in got.body


def test_it_says_what_it_is_and_that_it_is_up(store: EmbeddedStore) -> None:
    home = ask(root_of(store) + "/")
    assert home.headers["content-type"].startswith("text/plain")
    assert b"pixstored" in home.body
    status = ask(root_of(store) + "/status")
    assert (status.status, status.json["status"]) == (200, 200)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/store", 405),
        ("PUT", "/store", 405),
        ("POST", "/", 405),
        ("DELETE", "/status", 405),
        ("GET", "/x", 404),
    ],
)
def test_other_methods_and_places_are_refused_as_documented(
    store: EmbeddedStore, method: str, path: str, status: int
) -> None:
    got = ask(root_of(store) + path, method, body=b"some body" if method in {"PUT", "POST"} else None)
    assert (got.status, got.json["status"]) == (status, status)
    assert got.json["error"]
    assert status != 405 or got.headers["allow"]


def test_media_are_deleted_by_link_or_by_id_and_only_once(store: EmbeddedStore, folder: Path) -> None:
    for link in (stored_picture(store), stored_picture(store)):
        media_id = link.rpartition("/")[2]
        by = link if len(media_in(folder)) == 2 else media_id
        assert ask(f"{root_of(store)}/delete?link={by}").json == {"status": 200, "id": media_id, "deleted": True}
        again = ask(f"{root_of(store)}/delete?link={by}")
        assert (again.status, again.json["status"], again.json["deleted"]) == (404, 404, False)
    assert everything_in(folder) == []
    assert ask(f"{root_of(store)}/delete").status == 400
    assert ask(f"{root_of(store)}/delete?link=../../etc/passwd").status == 404


# --- over restarts, and when things go wrong


def test_media_comment_and_name_last_across_restarts(folder: Path) -> None:
    with running(folder) as store:
        port = store.port
        link = post(store.url, [field("comment", "kept"), file(files.jpeg(), "Ünïque.jpg")]).json["link"]
    with running(folder, port=port) as store:
        got = ask(link)
        assert got.body == files.jpeg()
        assert "%C3%9Cn%C3%AFque.jpg" in got.headers["content-disposition"]
        about = EmbeddedFiles(folder).about(link.rpartition("/")[2])
        assert about is not None
        assert (about.name, about.comment, about.size) == ("Ünïque.jpg", "kept", len(files.jpeg()))


def test_what_a_crash_left_half_arrived_is_cleared_at_the_next_start(folder: Path) -> None:
    with running(folder) as store:
        stored_picture(store)
    files.write(folder / ".incoming" / "half", b"half a file")
    with running(folder) as first, running(folder) as second:
        assert not (folder / ".incoming" / "half").exists()
        assert len(media_in(folder)) == 1
        assert stored_picture(first) != stored_picture(second)
        files.write(folder / ".incoming" / "of the first one", b"half a file")
        with running(folder):
            assert (folder / ".incoming" / "of the first one").exists(), "another one is at work here"


def test_files_are_private_to_the_owner(store: EmbeddedStore, folder: Path) -> None:
    stored_picture(store)
    assert {path.stat().st_mode & 0o077 for path in [folder, *folder.rglob("*")]} == {0}


def test_a_taken_port_is_a_fault_of_the_configuration(store: EmbeddedStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        EmbeddedStore(tmp_path / "other", "127.0.0.1", store.port).start()
    assert "store.embedded.listen" in str(caught.value)
    assert f"127.0.0.1:{store.port} is taken" in str(caught.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_a_fault_of_the_configuration(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=rf"store\.embedded\.listen: cannot listen on {re.escape(host)}:0 "):
        EmbeddedStore(tmp_path / "media", host, 0).start()


def test_a_folder_that_cannot_be_used_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    files.write(tmp_path / "file", b"in the way")
    with pytest.raises(ConfigError, match=r"store\.embedded\.dir: .*cannot be used"):
        EmbeddedStore(tmp_path / "file" / "media", "127.0.0.1", 0).start()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "[::1]", "localhost"])  # noqa: S104 - that is the question
def test_it_can_be_reached_wherever_it_listens(tmp_path: Path, host: str) -> None:
    if ":" in host and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    store = EmbeddedStore(tmp_path / "media", host, 0)
    store.start()
    try:
        link = stored_picture(store)
        assert urlsplit(link).port == store.port
        assert ask(link).body == files.jpeg()
    finally:
        store.stop()


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """A disk that fails in mid-file: the kernel refuses to let any file of this process grow further."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [400_000, 3_000_000])
def test_a_disk_that_fails_is_answered_and_leaves_nothing(
    store: EmbeddedStore, folder: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    with caplog.at_level(logging.ERROR, "pixstored.store.embedded"), files_limited_to(200_000):
        got = post(store.url, [file(files.jpeg(size), "private name.jpg")])
    assert got.status == got.json["status"] == 500
    assert everything_in(folder) == []
    assert len(caplog.records) == 1
    assert "private name" not in caplog.text + str(vars(caplog.records[0]))
    assert stored_picture(store)


def test_a_folder_that_vanishes_is_answered(store: EmbeddedStore, folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    assert post(store.url, [file(files.jpeg())]).status == 500


# --- HTTP


def test_a_refusal_reaches_a_sender_in_the_middle_of_a_large_body(store: EmbeddedStore) -> None:
    got = post(store.url, [file(b"text " * 2_000_000, "novel.txt")])
    assert got.status == 415
    assert got.headers["connection"] == "close"


def test_connections_are_kept_between_requests(store: EmbeddedStore) -> None:
    connection = connect(store.url)
    try:
        connection.connect()
        first = connection.sock
        answers = [
            post(store.url, [file(files.jpeg())], over=connection),
            post(store.url, [file(b"text", "a.txt")], over=connection),
            ask(root_of(store) + "/nothing", over=connection),
            ask(root_of(store) + "/store", "PUT", body=b"x" * 1000, over=connection),
            ask(root_of(store) + "/status", "HEAD", over=connection),
            post(store.url, [file(files.jpeg())], over=connection),
        ]
        assert [got.status for got in answers] == [200, 415, 404, 405, 200, 200]
        assert connection.sock is first
    finally:
        connection.close()


def test_a_sender_that_asks_first_is_told_to_go_on(store: EmbeddedStore, folder: Path) -> None:
    body = form(file(files.jpeg()))
    head = f"POST /store HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", store.port), timeout=20) as sock:
        sock.sendall(head.encode())
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        sock.sendall(head.replace("POST", "PUT").encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 405 ")
    assert len(media_in(folder)) == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 200),
        (b"\r\nGET / HTTP/1.0\r\n\r\n", 200),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET http://127.0.0.1/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nx", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /store HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    ],
)
def test_requests_are_read_by_the_letter(store: EmbeddedStore, request_: bytes, status: int) -> None:
    assert raw_exchange(store, request_).startswith(f"HTTP/1.1 {status} ".encode())


@given(garbage=st.binary(max_size=300), headed=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_no_garbage_harms_it(shared: EmbeddedStore, garbage: bytes, headed: bool) -> None:
    head = f"POST /store HTTP/1.1\r\nContent-Length: {len(garbage)}\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    answer = raw_exchange(shared, head.encode() + garbage if headed else garbage)
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert ask(root_of(shared) + "/status").status == 200


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with running(tmp_path_factory.mktemp("shared")) as store:
        yield store


def test_it_stops_with_connections_open_and_bodies_on_their_way(folder: Path) -> None:
    with running(folder) as store:
        idle = [socket.create_connection(("127.0.0.1", store.port), timeout=20) for _ in range(20)]
        half = connect(store.url)
        half.putrequest("POST", "/store")
        half.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        half.putheader("Content-Length", "1000000")
        half.endheaders(file(files.jpeg()))
        assert ask(root_of(store) + "/status").status == 200
    assert all(sock.recv(1) == b"" for sock in idle)
    with pytest.raises((RemoteDisconnected, ConnectionError)):
        half.getresponse()
    half.close()
    for sock in idle:
        sock.close()
    assert everything_in(folder) == []
    with pytest.raises(ConnectionRefusedError):
        connect(store.url).connect()


def test_it_stops_while_somebody_takes_no_answer(folder: Path) -> None:
    with running(folder) as store:
        link = stored_picture(store, files.jpeg(20_000_000))
        deaf = socket.create_connection(("127.0.0.1", store.port), timeout=20)
        deaf.sendall(f"GET {urlsplit(link).path} HTTP/1.1\r\n\r\n".encode())
        assert deaf.recv(10)
    deaf.close()


def test_it_can_be_started_again_on_its_port(folder: Path) -> None:
    store = EmbeddedStore(folder, "127.0.0.1", 0)
    links = []
    for _ in range(3):
        store.start()
        links.append(stored_picture(store))
        answers: list[Got] = [ask(link) for link in links]
        store.stop()
        assert [got.body for got in answers] == [files.jpeg()] * len(links)
    assert len({urlsplit(link).port for link in links}) == 1
    assert sha(media_in(folder)[0].read_bytes()) == sha(files.jpeg())
    assert os.listdir(folder / ".incoming") == []
