"""The watched folders of a running daemon, without its sending: what becomes of files, and what folders are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixstored.config import Config, load_config
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.model import FileState, WatchState
from pixstored.service.folders import Folders
from pixstored.service.status import FolderReport

PATIENCE = 30.0
"""Seconds after which something that should have happened has not."""


class House:
    """Folders with a ledger of their own; whoever waits for something does what the daemon's main thread does."""

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
        config = self.config(watches, top)
        self.folders = Folders(config.watches, config.rescan_every, self.ledger, self.stopping)
        self.folders.start()
        return self.folders

    def reconfigure(self, watches: str, top: str = "") -> None:
        assert self.folders
        config = self.config(watches, top)
        self.folders.reconfigure(config.watches, config.rescan_every)

    def stop(self) -> None:
        self.stopping.set()
        if self.folders:
            self.folders.stop()
        self.ledger.close()

    def report(self, name: str) -> FolderReport:
        assert self.folders
        return next(report for report in self.folders.reports() if report.name == name)

    def state(self, name: str) -> WatchState:
        return self.report(name).state

    def state_of(self, file: str) -> FileState | None:
        known = self.ledger.look(str(self.home / file))
        return known.state if known else None

    def until(self, is_so: Callable[[], object]) -> None:
        """Waits, as the main thread waits, until it is so."""
        assert self.folders
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while not is_so():
            assert time.monotonic() < deadline, self.folders.reports()
            self.folders.tick()
            pause.wait(0.02)

    def until_watching(self, *names: str) -> None:
        self.until(lambda: all(self.state(name) is WatchState.WATCHING for name in names))

    def until_state(self, file: str, state: FileState) -> None:
        self.until(lambda: self.state_of(file) is state)

    def put(self, file: str, content: bytes = b"x") -> Path:
        path = self.home / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.stop()


# --- other folders while it runs


def test_folders_come_change_and_go_while_the_others_are_left_alone(house: House) -> None:
    for name in ("stays", "changes", "goes", "comes"):
        (house.home / name).mkdir()
    stays = "{path: stays, name: s, settle: 0s}"
    folders = house.start(f"[{stays}, {{path: changes, name: c, settle: 0s}}, {{path: goes, name: g, settle: 60s}}]")
    house.until_watching("s", "c", "g")
    house.put("goes/late.jpg")
    house.until(lambda: folders.intake.settling() == 1)
    scans = threading.active_count()

    house.reconfigure(
        f"[{stays}, {{path: changes, name: d, settle: 0s, include: ['*.txt']}}, {{path: comes, name: n}}]"
    )
    assert [report.name for report in folders.reports()] == ["s", "d", "n"]
    assert house.ledger.adoption(str(house.home / "comes")) is not None
    assert folders.intake.settling() == 0
    assert threading.active_count() == scans
    house.until_watching("s", "d", "n")
    for file in ("stays/a.jpg", "changes/a.jpg", "changes/a.txt", "goes/a.jpg", "comes/a.jpg"):
        house.put(file)
    for file in ("stays/a.jpg", "changes/a.txt", "comes/a.jpg"):
        house.until_state(file, FileState.PENDING)
    assert house.state_of("changes/a.jpg") is None
    assert house.state_of("goes/a.jpg") is None
    assert house.state_of("goes/late.jpg") is None


def test_what_waits_in_a_folder_that_is_watched_no_more_is_skipped(house: House) -> None:
    house.start("[{path: a, create: true, settle: 0s}, {path: b, create: true}]")
    house.put("a/1.jpg")
    house.until_state("a/1.jpg", FileState.PENDING)
    house.reconfigure("[{path: b, create: true}]")
    assert house.state_of("a/1.jpg") is FileState.SKIPPED
    house.reconfigure("[{path: b, create: true}, {path: a, settle: 0s}]")
    assert house.state_of("a/1.jpg") is FileState.PENDING
    assert os.listdir(house.home / "b") == []
