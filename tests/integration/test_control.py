"""Who asks a daemon that does not answer, or is about to end, is told which of these it is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pixstored.service.control import ControlClient, DaemonSilent


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixstored.service.control.PATIENCE", 0.2)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        yield listener


def test_a_daemon_that_says_nothing_is_not_taken_for_one_that_does_not_run(
    tmp_path: Path, listener: socket.socket
) -> None:
    with pytest.raises(DaemonSilent, match="does not answer"):
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
