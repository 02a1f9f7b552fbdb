"""What systemd is told, from the first moment to the last."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from support.app import App, eventually
from support.files import jpeg, write


class Ear:
    """Stands where systemd listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def all(self) -> list[str]:
        """Every assignment so far."""
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    ear = Ear(tmp_path / "ear")
    yield ear
    ear.close()


def test_systemd_hears_of_ready_the_figures_reloads_and_the_end(app: App, ear: Ear) -> None:
    app.configure(watch="settle: 0s")
    process = app.launch(NOTIFY_SOCKET=str(ear.path), WATCHDOG_USEC="300000")
    eventually(ear.all, lambda heard: "READY=1" in heard)
    assert len(os.sched_getaffinity(process.pid)) == 1, "its threads share a processor from the start"
    write(app.inbox / "a.jpg", jpeg())
    eventually(ear.all, lambda heard: "STATUS=1 watching, 1 published, store ok" in heard)
    eventually(ear.all, lambda heard: heard.count("WATCHDOG=1") >= 2)

    process.send_signal(signal.SIGHUP)
    heard = eventually(ear.all, lambda heard: heard.count("READY=1") == 2)
    assert "RELOADING=1" in heard
    [moment] = [word for word in heard if word.startswith("MONOTONIC_USEC=")]
    assert int(moment.partition("=")[2]) > 0
    assert heard.index("READY=1") < heard.index("RELOADING=1")

    app.file.write_text(app.file.read_text() + "wokrers: 1\n")
    process.send_signal(signal.SIGHUP)
    eventually(ear.all, lambda heard: any(word.endswith("configuration faulty") for word in heard))
    assert app.stop() == 0
    assert "STOPPING=1" in ear.all()
    statuses = [word for word in ear.heard if word.startswith("STATUS=")]
    assert all(before != after for before, after in pairwise(statuses)), "told when it has changed, and not else"
