"""Watched folders with a ledger of their own, without a daemon around them: the test does what its main thread does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pixstored.config import Config, load_config
from pixstored.errors import LedgerError
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.model import FileState, Known, WatchState
from pixstored.service.folders import Folders
from pixstored.service.status import FolderReport

PATIENCE = 60.0
"""Seconds after which something that should have happened has not."""


class House:
    """One home folder, in which the watched ones lie."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ledger: SqliteLedger = open_ledger(home / "ledger.db", "shop")
        self.stopping = threading.Event()
        self.folders: Folders | None = None

    def config(self, watches: str, top: str = "") -> Config:
        """`watches` is YAML, the folders named relative to the house."""
        file = self.home / "config.yaml"
        file.write_text(f"store: {{url: embedded}}\nledger: {self.home}/ledger.db\n{top}\nwatch: {watches}\n")
        return load_config(file, {})

    def start(self, watches: str, top: str = "") -> Folders:
        """As after a start of the daemon: what was found before is only in the ledger."""
        self.rest()
        config = self.config(watches, top)
        self.stopping = threading.Event()
        self.folders = Folders(config, self.ledger, self.stopping)
        self.folders.start()
        return self.folders

    def reconfigure(self, watches: str, top: str = "") -> Folders:
        assert self.folders
        self.folders.reconfigure(self.config(watches, top))
        return self.folders

    def rest(self) -> None:
        """Ends the watching."""
        self.stopping.set()
        if self.folders:
            self.folders.stop()
            self.folders = None

    def close(self) -> None:
        self.rest()
        self.ledger.close()

    # --- what is seen

    def report(self, name: str) -> FolderReport:
        assert self.folders
        return next(report for report in self.folders.reports() if report.name == name)

    def state(self, name: str) -> WatchState:
        return self.report(name).state

    def known(self, file: str) -> Known | None:
        return self.ledger.look(str(self.home / file))

    def state_of(self, file: str) -> FileState | None:
        known = self.known(file)
        return known.state if known else None

    # --- waiting, as the main thread waits

    def until(self, is_so: Callable[[], object]) -> None:
        assert self.folders
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while not is_so():
            assert time.monotonic() < deadline, self.folders.reports()
            with suppress(LedgerError):
                self.folders.tick()
            pause.wait(0.02)

    def until_state(self, file: str, state: FileState) -> None:
        self.until(lambda: self.state_of(file) is state)

    def until_folder(self, name: str, state: WatchState) -> None:
        self.until(lambda: self.state(name) is state)

    def until_watching(self, *names: str) -> None:
        for name in names:
            self.until_folder(name, WatchState.WATCHING)

    # --- files

    def put(self, file: str, content: bytes = b"x") -> Path:
        path = self.home / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path
