"""The installed command as a black box: a configuration, folders, and the daemon as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pixstored.cli.status import status_of
from pixstored.config import load_config
from pixstored.errors import ConfigError
from support.dying import DIES_WITH_US

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which something that should have happened has not."""


def eventually(look: Callable[[], T], is_so: Callable[[T], object], patience: float = PATIENCE) -> T:
    """Looks again and again until it is so; fails with the last look."""
    deadline = time.monotonic() + patience
    while not is_so(seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {patience} s: {seen!r}")
        time.sleep(0.05)
    return seen


class App:
    """One configuration in a folder of its own, and what a user does with it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.inbox = home / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.file = home / "config.yaml"
        self.log = home / "daemon.log"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PIXSTORED_KEY": "canary-key-never-shown",
        }
        self.before: list[str] = []
        """What stands before the daemon's command: a program that takes privileges from it, for instance."""
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, store_url: str = "embedded", watch: str = "", top: str = "", store: str = "") -> None:
        """Writes the configuration: `top`, `store` and `watch` are YAML lines for those places."""
        embedded = f"  embedded: {{dir: {self.home}/media, listen: 127.0.0.1:0}}\n" if store_url == "embedded" else ""
        self.file.write_text(
            f"ledger: {self.home}/state/ledger.db\n"
            + _block(top, 0)
            + f"store:\n  url: {store_url}\n"
            + embedded
            + _block(store, 2)
            + f"watch:\n  - path: {self.inbox}\n"
            + _block(watch, 4)
        )

    # --- the daemon

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the daemon and waits for its READY."""
        with _notify_socket(self.home) as (address, ready):
            process = self.launch(NOTIFY_SOCKET=address)
            eventually(ready, lambda is_ready: is_ready or self._died())
        return process

    def launch(self, **environ: str) -> subprocess.Popen[bytes]:
        """Starts the daemon and waits for nothing."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*DIES_WITH_US, *self.before, sys.executable, "-m", "pixstored", "-c", str(self.file), "run"],
                env={**self.environ, **environ},
                stderr=log,
                stdout=log,
            )
        return self.process

    def _died(self) -> bool:
        if self.process and self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}: {self.log.read_text()}")
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stops the daemon, and returns its exit code."""
        assert self.process
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self.process = None
        return code

    def kill(self) -> None:
        """kill -9."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.process = None

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            if self.process:
                self.stop()

    def close(self) -> None:
        if self.process:
            self.kill()

    # --- the commands

    def command(self, *arguments: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Runs `pixstored -c FILE …` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "pixstored", "-c", str(self.file), *arguments],
            env=self.environ,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            **kwargs,
        )

    def status(self) -> dict[str, Any]:
        done = self.command("status", "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def glance(self) -> dict[str, Any]:
        """What `status` tells, without a process of its own for it: to look again and again."""
        try:
            config = load_config(self.file, self.environ)
        except ConfigError:  # the command asks the daemon, which has another one
            return self.status()
        return status_of(config)

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.glance()["counts"]
        return counts

    def links(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.command("links", "--format", "json", *arguments)
        assert done.returncode == 0, done.stderr
        links: list[dict[str, Any]] = json.loads(done.stdout)
        return links

    def wait_for(self, **counts: int) -> dict[str, int]:
        """Waits until `status` counts just so many files in these states, and none in flight."""
        return eventually(
            self.counts,
            lambda now: (
                all(now[state] == count for state, count in counts.items())
                and all(now[state] == counts.get(state, 0) for state in ("settling", "pending", "uploading"))
            ),
        )


def _block(text: str, indent: int) -> str:
    return "".join(" " * indent + line + "\n" for line in text.splitlines())


@contextmanager
def _notify_socket(folder: Path) -> Iterator[tuple[str, Callable[[], bool]]]:
    path = folder / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(0.05)

        def ready() -> bool:
            try:
                return b"READY=1" in server.recv(4096)
            except TimeoutError:
                return False

        yield str(path), ready
