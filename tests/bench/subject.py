"""The daemon as it is measured: started in a folder of its own, awaited without taking time from it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from support.app import App

PATIENCE = 180.0
"""Seconds after which a measurement is given up."""


class Subject(App):
    """A daemon under measurement."""

    def start_timed(self) -> float:
        """Starts the daemon; seconds from there to its READY."""
        path = self.home / "notify"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(path))
            ready.settimeout(PATIENCE)
            began = time.monotonic()
            self.launch(NOTIFY_SOCKET=str(path))
            while b"READY=1" not in ready.recv(4096):
                pass
            return time.monotonic() - began

    @property
    def pid(self) -> int:
        assert self.process, "it is not running"
        return self.process.pid

    def await_log(self, words: str) -> None:
        """Waits until a line with these words has been logged."""
        with open(self.log, "rb") as log:
            seen = b""
            deadline = time.monotonic() + PATIENCE
            while words.encode() not in seen:
                if time.monotonic() > deadline or (self.process and self.process.poll() is not None):
                    raise RuntimeError(f"no {words!r} in the log: {seen[-2000:].decode()}")
                time.sleep(0.002)
                seen += log.read()

    def forget_log(self) -> None:
        self.log.unlink(missing_ok=True)


def random_file(path: Path, size: int) -> Path:
    """A file of random bytes: nothing of it can be compressed, or be a hole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        while size > 0:
            size -= file.write(os.urandom(min(size, 1 << 20)))
    return path


def timed(work: Callable[[], object]) -> float:
    """Seconds this takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began
