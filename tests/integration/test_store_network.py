"""How the client gets to the store: connecting, TLS, proxies, and what of the environment counts."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pixstored.errors import Refused, Stopped, StoreDown, Uncertain
from pixstored.model import Receipt, StoreState
from pixstored.store.client import HttpStore
from pixstored.store.client_adapter import proxy_for, tls_context, trusted_cas
from support.clients import KEY, a_store, in_thread
from support.rawserver import CERTIFICATE, LINK, PATIENCE, Heard, Peer, RawServer, dead_port, store_all
from support.uploads import BytesUpload

MIB = 1024 * 1024
BIG = bytes(32 * MIB)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, *(name.upper() for name in PROXY_VARIABLES), "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def why_down(store: HttpStore) -> StoreDown:
    with pytest.raises(StoreDown) as caught:
        store.send(BytesUpload(b"data"))
    assert KEY not in str(caught.value)
    assert caught.value.__context__ is None
    return caught.value


# --- connecting


def test_a_refused_connection_is_the_stores_fault() -> None:
    upload = BytesUpload(b"data")
    with dead_port() as port, a_store(f"http://127.0.0.1:{port}/") as store, pytest.raises(StoreDown) as caught:
        store.send(upload)
    assert caught.value.state is StoreState.UNREACHABLE
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "refused" in str(caught.value)
    assert (upload.noted, upload.moved) == (0, [])


def test_a_host_that_cannot_be_resolved_is_the_stores_fault() -> None:
    with a_store("http://a..b/store") as store:
        assert why_down(store).state is StoreState.UNREACHABLE


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that lets nobody in and refuses nobody: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for sock in waiting:
                sock.close()


def test_a_connection_that_is_not_answered_is_given_up_in_time() -> None:
    with deaf_port() as port, a_store(f"http://127.0.0.1:{port}/", connect_timeout=0.2) as store:
        assert "within 0.2 s" in str(why_down(store))


@pytest.mark.parametrize("end", [HttpStore.cut, HttpStore.drop], ids=["cut", "drop"])
def test_a_connection_attempt_can_be_ended(end: Callable[[HttpStore], None]) -> None:
    with deaf_port() as port, a_store(f"http://127.0.0.1:{port}/") as store:
        outcome = in_thread(store, BytesUpload(b"data"))
        assert isinstance(ended(store, end, outcome), Stopped)


def ended(store: HttpStore, end: Callable[[HttpStore], None], outcome: Callable[[], object]) -> object:
    """The outcome, where nothing tells when the client has begun to wait: ends it until it has ended."""
    while any(thread.name == "send" for thread in threading.enumerate()):
        end(store)
    return outcome()


# --- TLS


def test_over_tls_small_and_large_files_arrive() -> None:
    heard: list[Heard] = []
    data = os.urandom(3 * MIB + 1)
    with RawServer(store_all(heard), tls=True) as server, a_store(server.url, ca_file=CERTIFICATE) as store:
        assert store.send(BytesUpload(b"small")).link == LINK
        assert store.send(BytesUpload(data)).link == LINK
        assert server.connections == 1
    assert b"\r\n\r\nsmall\r\n--" in heard[0].body
    assert data in heard[1].body


def test_an_early_answer_over_tls_ends_the_body() -> None:
    answered = threading.Event()

    def behave(peer: Peer) -> None:
        peer.head()
        peer.answer({"error": "too large"}, "413 Too Large")
        answered.set()
        peer.drain()

    def read(offset: int) -> None:
        if offset >= MIB:
            assert answered.wait(PATIENCE)

    upload = BytesUpload(BIG, on_read=read)
    with (
        RawServer(behave, tls=True) as server,
        a_store(server.url, ca_file=CERTIFICATE) as store,
        pytest.raises(Refused),
    ):
        store.send(upload)
    assert upload.noted == 0
    assert max(upload.moved, default=0) < len(BIG) / 2


def test_a_tls_connection_that_closes_just_before_the_last_bytes_keeps_them_back() -> None:
    noting, closed = threading.Event(), threading.Event()

    def behave(peer: Peer) -> None:
        peer.head()
        assert noting.wait(PATIENCE)
        peer.sock.close()
        closed.set()

    def note() -> None:
        noting.set()
        assert closed.wait(PATIENCE)

    upload = BytesUpload(b"data", on_release=note)
    with (
        RawServer(behave, tls=True) as server,
        a_store(server.url, ca_file=CERTIFICATE) as store,
        pytest.raises(StoreDown),
    ):
        store.send(upload)
    assert (upload.noted, upload.taken_back) == (1, 1)


def test_a_stall_over_tls_is_noticed() -> None:
    over = threading.Event()

    def behave(peer: Peer) -> None:
        peer.head()
        over.wait(PATIENCE)

    with (
        RawServer(behave, tls=True) as server,
        a_store(server.url, ca_file=CERTIFICATE, stall_timeout=0.2) as store,
        pytest.raises(StoreDown, match="no byte has moved"),
    ):
        try:
            store.send(BytesUpload(BIG))
        finally:
            over.set()


@pytest.mark.parametrize("end", [HttpStore.cut, HttpStore.drop], ids=["cut", "drop"])
def test_a_tls_handshake_can_be_ended(end: Callable[[HttpStore], None]) -> None:
    accepted, over = threading.Event(), threading.Event()

    def say_nothing(peer: Peer) -> None:
        peer.sock.recv(1)
        accepted.set()
        over.wait(PATIENCE)

    with RawServer(say_nothing) as server, a_store(f"https://localhost:{server.port}/", ca_file=CERTIFICATE) as store:
        outcome = in_thread(store, BytesUpload(b"data"))
        assert accepted.wait(PATIENCE)
        end(store)
        assert isinstance(outcome(), Stopped)
        over.set()


def test_a_handshake_that_does_not_end_is_given_up_in_time() -> None:
    with RawServer(Peer.drain) as server:
        url = f"https://localhost:{server.port}/"
        with a_store(url, ca_file=CERTIFICATE, connect_timeout=0.2) as store:
            assert "in time" in str(why_down(store))


def test_cut_over_tls_leaves_what_was_released_uncertain() -> None:
    complete, over = threading.Event(), threading.Event()

    def behave(peer: Peer) -> None:
        peer.request()
        complete.set()
        over.wait(PATIENCE)

    with RawServer(behave, tls=True) as server, a_store(server.url, ca_file=CERTIFICATE) as store:
        outcome = in_thread(store, BytesUpload(b"data"))
        assert complete.wait(PATIENCE)
        store.cut()
        assert isinstance(outcome(), Uncertain)
        over.set()


def test_a_certificate_of_an_unknown_ca_is_refused_and_the_way_out_named() -> None:
    with RawServer(store_all(), tls=True) as server, a_store(server.url) as store:
        error = why_down(store)
    assert error.state is StoreState.UNREACHABLE
    assert "certificate of localhost is not trusted" in str(error)
    assert "store.ca_file" in str(error)


def test_a_certificate_for_another_host_is_refused() -> None:
    with (
        RawServer(store_all(), tls=True) as server,
        a_store(f"https://127.0.0.1:{server.port}/", ca_file=CERTIFICATE) as store,
    ):
        assert "certificate of 127.0.0.1 is not trusted" in str(why_down(store))


def test_a_server_that_does_not_speak_tls_is_the_stores_fault() -> None:
    def behave(peer: Peer) -> None:
        peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RawServer(behave) as server, a_store(f"https://localhost:{server.port}/", ca_file=CERTIFICATE) as store:
        assert "no secure connection to localhost" in str(why_down(store))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_loaded_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with a_store("https://localhost:1/", ca_file=path) as store:
        assert str(path) in str(why_down(store))


def test_the_usual_variable_may_name_the_ca(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    with RawServer(store_all(), tls=True) as server, a_store(server.url) as store:
        assert store.send(BytesUpload(b"data")).link == LINK


def test_the_configured_ca_comes_before_any_variable() -> None:
    environ = {"REQUESTS_CA_BUNDLE": "/a", "CURL_CA_BUNDLE": "/b"}
    assert trusted_cas(Path("/mine"), environ) == "/mine"
    assert trusted_cas(None, environ) == "/a"
    assert trusted_cas(None, {"CURL_CA_BUNDLE": "/b"}) == "/b"
    assert os.path.exists(trusted_cas(None, {}))


def test_a_server_cannot_begin_the_handshake_anew() -> None:
    """One that began it and did not go on was waited for without end, and at full speed."""
    assert tls_context(str(CERTIFICATE)).options & ssl.OP_NO_RENEGOTIATION


# --- proxies


def test_a_proxy_gets_the_whole_address_and_its_own_login() -> None:
    heard: list[Heard] = []
    with (
        RawServer(store_all(heard)) as proxy,
        a_store("http://store.example/store", proxy=f"http://me:pw@127.0.0.1:{proxy.port}") as store,
    ):
        assert store.send(BytesUpload(b"data")).link == LINK
    assert heard[0].start == "POST http://store.example/store HTTP/1.1"
    assert heard[0].headers["proxy-authorization"] == "Basic bWU6cHc="


def test_the_proxy_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Heard] = []
    with RawServer(store_all(heard)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        with a_store("http://store.example/store", proxy="env") as store:
            assert store.send(BytesUpload(b"data")).link == LINK
    assert heard[0].start == "POST http://store.example/store HTTP/1.1"


@pytest.mark.parametrize("proxy", ["env", "none", "http://127.0.0.1:9"])
def test_loopback_is_never_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with RawServer(store_all()) as server, a_store(server.url, proxy=proxy) as store:
        assert store.send(BytesUpload(b"data")).link == LINK


@pytest.mark.parametrize("host", ["localhost", "photos.localhost", "127.0.0.1", "127.1.2.3", "[::1]", "[::]"])
def test_what_counts_as_loopback(host: str) -> None:
    assert proxy_for(f"http://{host}:8787/store", "http://proxy:3128") is None


def test_no_proxy_is_obeyed_and_none_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert proxy_for("https://api.pixlab.io/store", "env") == "http://proxy:3128"
    assert proxy_for("https://api.pixlab.io/store", "none") is None
    monkeypatch.setenv("no_proxy", "pixlab.io")
    assert proxy_for("https://api.pixlab.io/store", "env") is None


def tunnel_to(port: int) -> Callable[[Peer], None]:
    """A proxy that connects everyone to one port of this machine."""

    def behave(peer: Peer) -> None:
        found = peer.head()
        assert found
        assert found[0] == f"CONNECT store.example:{port} HTTP/1.0" or found[0].endswith("HTTP/1.1")
        with socket.create_connection(("127.0.0.1", port)) as onward:
            peer.say(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=pass_on, args=(onward, peer.sock))
            back.start()
            pass_on(peer.sock, onward)
            back.join(PATIENCE)

    return behave


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(MIB):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_tls_goes_through_a_proxys_tunnel_to_the_stores_own_certificate() -> None:
    heard: list[Heard] = []
    with (
        RawServer(store_all(heard), tls=True) as server,
        RawServer(tunnel_to(server.port)) as proxy,
        a_store(
            f"https://store.example:{server.port}/store", proxy=f"http://127.0.0.1:{proxy.port}", ca_file=CERTIFICATE
        ) as store,
    ):
        for _ in range(2):
            assert store.send(BytesUpload(os.urandom(MIB))).link == LINK
        assert proxy.connections == 1
    assert [request.start for request in heard] == ["POST /store HTTP/1.1"] * 2


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("407 Proxy Authentication Required", StoreState.MISCONFIGURED),
        ("502 Bad Gateway", StoreState.UNREACHABLE),
    ],
)
def test_a_proxy_that_does_not_let_us_through_is_named(status: str, state: StoreState) -> None:
    def behave(peer: Peer) -> None:
        peer.head()
        peer.answer(b"", status)

    with (
        RawServer(behave) as proxy,
        a_store("https://store.example/", proxy=f"http://me:pw@127.0.0.1:{proxy.port}") as store,
    ):
        error = why_down(store)
    assert error.state is state
    assert "the proxy 127.0.0.1" in str(error)
    assert "pw" not in str(error).split()


@pytest.mark.parametrize("drop", [b"X: y\r\n", b"y"], ids=["lines", "one line"])
def test_a_proxy_whose_answer_does_not_end_is_given_up_in_time(drop: bytes) -> None:
    over = threading.Event()

    def behave(peer: Peer) -> None:
        peer.head()
        peer.say(b"HTTP/1.1 200 Connected\r\nX: ")
        while not over.wait(0.02):
            peer.say(drop)

    with (
        RawServer(behave) as proxy,
        a_store("https://store.example/", proxy=f"http://127.0.0.1:{proxy.port}", connect_timeout=0.3) as store,
    ):
        outcome = in_thread(store, BytesUpload(b"data"))()
        over.set()
    assert isinstance(outcome, StoreDown)
    assert "in time" in str(outcome)


def test_a_dead_proxy_is_named() -> None:
    with dead_port() as port, a_store("https://store.example/", proxy=f"http://127.0.0.1:{port}") as store:
        assert f"cannot connect to the proxy 127.0.0.1:{port}" in str(why_down(store))


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "https://me:pw@127.0.0.1:3128", "http://", "http://[x"])
def test_a_proxy_of_a_kind_that_cannot_be_used_is_said(proxy: str) -> None:
    with a_store("https://store.example/", proxy=proxy) as store:
        error = why_down(store)
    assert "store.proxy" in str(error)
    assert "pw" not in str(error).split()


# --- the rest of the environment


def test_netrc_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password pw\ndefault login me password pw\n")
    monkeypatch.setenv("NETRC", str(netrc))
    heard: list[Heard] = []
    with RawServer(store_all(heard)) as server, a_store(server.url, proxy="env") as store:
        store.send(BytesUpload(b"data"))
    assert "authorization" not in heard[0].headers


def test_a_closed_store_opens_again_when_it_is_used() -> None:
    with RawServer(store_all()) as server, a_store(server.url) as store:
        assert isinstance(store.send(BytesUpload(b"data")), Receipt)
        store.close()
        assert isinstance(store.send(BytesUpload(b"data")), Receipt)
        assert server.connections == 2


def test_the_store_room_is_entered_without_loading_requests() -> None:
    script = "import sys, pixstored.store; assert not {'requests', 'urllib3', 'ssl'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0
