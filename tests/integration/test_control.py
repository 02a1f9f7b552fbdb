"""Who asks a daemon that does not answer, or is about to end, is told which of these it is."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pixstored.errors import LedgerError
from pixstored.service.control import Answer, ControlClient, ControlError, DaemonSilent
from pixstored.service.control_server import MOST_PEERS, ControlServer
from pixstored.service.writing import text_of

PATIENCE = "pixstored.service.control.PATIENCE"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers on a busy machine does so within this time."""
    monkeypatch.setattr(PATIENCE, 60.0)


@contextmanager
def impatience() -> Iterator[None]:
    """Where nobody is going to answer."""
    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr(PATIENCE, 0.2)
        yield


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        yield listener


def test_a_daemon_that_says_nothing_is_not_taken_for_one_that_does_not_run(
    tmp_path: Path, listener: socket.socket
) -> None:
    with impatience(), pytest.raises(DaemonSilent, match="does not answer"):
        ControlClient.connect(tmp_path / "control.sock", None)


def test_a_daemon_that_greets_and_then_says_nothing_is_silent_too(tmp_path: Path, listener: socket.socket) -> None:
    answered = threading.Event()

    def greet() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"{}\n")
            answered.wait()

    thread = threading.Thread(target=greet)
    thread.start()
    client = ControlClient.connect(tmp_path / "control.sock", None)
    assert client
    with closing(client), pytest.raises(DaemonSilent):
        client.ask("status", patience=0.2)
    answered.set()
    thread.join()


def test_a_daemon_that_is_about_to_end_does_not_run(tmp_path: Path, listener: socket.socket) -> None:
    def end() -> None:
        listener.accept()[0].close()

    thread = threading.Thread(target=end)
    thread.start()
    assert ControlClient.connect(tmp_path / "control.sock", None) is None
    thread.join()


def test_whoever_comes_while_as_many_as_can_be_served_are_there_waits_for_one_of_them_to_end(
    tmp_path: Path,
) -> None:
    path, ledger = tmp_path / "control.sock", tmp_path / "ledger.db"
    server = ControlServer(path, ledger, {"status": lambda request: {"asked": True}}, {})
    server.start()
    answers = []
    with ExitStack() as stack:
        stack.callback(server.stop)
        peers = [ControlClient.connect(path, ledger) for _ in range(MOST_PEERS)]
        for peer in peers:
            assert peer
            stack.callback(peer.close)
        with impatience(), pytest.raises(DaemonSilent):  # not None, which says that none runs
            ControlClient.connect(path, ledger)

        def ask() -> None:
            client = ControlClient.connect(path, ledger)
            assert client
            with closing(client):
                answers.append(client.ask("status"))

        one_more = threading.Thread(target=ask)
        one_more.start()
        assert peers[0]
        peers[0].close()
        one_more.join()
    assert answers == [{"asked": True}]


def test_a_path_of_any_bytes_is_told_as_it_is(tmp_path: Path) -> None:
    place, ledger = tmp_path / "control.sock", tmp_path / "ledger.db"
    server = ControlServer(place, ledger, {"retry": lambda request: {"path": text_of(request, "path")}}, {})
    server.start()
    client = ControlClient.connect(place, ledger)
    assert client
    with closing(client):
        for name in (b"a.jpg", b"\xff.jpg", b"\xc3\xa9\n.jpg", rb"back\xff.jpg", b"\x01.jpg"):
            path = os.fsdecode(name)
            assert client.ask("retry", path=path) == {"path": path}
    server.stop()


def test_a_command_ends_by_a_failure_of_the_daemons_as_by_its_own(tmp_path: Path) -> None:
    def cannot_read(request: Mapping[str, Any]) -> Answer:
        raise LedgerError("its disk fails")

    def cannot_read_on(request: Mapping[str, Any]) -> Iterator[Answer]:
        yield {}
        raise LedgerError("its disk fails")

    place, ledger = tmp_path / "control.sock", tmp_path / "ledger.db"
    server = ControlServer(place, ledger, {"why": cannot_read}, {"links": cannot_read_on})
    server.start()
    client = ControlClient.connect(place, ledger)
    assert client
    with closing(client):
        with pytest.raises(ControlError, match="its disk fails") as whole:
            client.ask("why")
        with pytest.raises(ControlError, match="its disk fails") as in_parts:
            list(client.ask_for_all("links", patience=30.0))
    server.stop()
    assert whole.value.exit_code == in_parts.value.exit_code == LedgerError.exit_code
