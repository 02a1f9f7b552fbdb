"""The daemon as it is measured: started in a folder of its own, awaited without taking time from it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.sink import PATIENCE
from support.app import App

TESTS = Path(__file__).parents[1]


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

    def start_scanned(self) -> float:
        """Starts the daemon (`log.level` must be `debug`); seconds from there to the end of its first scan."""
        self.forget_log()
        began = time.monotonic()
        self.launch()
        self.await_log("scanned path=")
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
                seen = seen[-len(words) :] + log.read()

    def forget_log(self) -> None:
        self.log.unlink(missing_ok=True)


def module(name: str, *arguments: str) -> list[str]:
    """The command line of a program of this folder, to be run with `environ`."""
    return [sys.executable, "-m", f"bench.{name}", *arguments]


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TESTS)}


def output_of(words: list[str]) -> str:
    """What a program writes that must end well."""
    done = subprocess.run(words, env=environ(), check=True, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout


def timed(work: Callable[[], object]) -> float:
    """Seconds this takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began
