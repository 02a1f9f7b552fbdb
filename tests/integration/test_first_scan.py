"""A folder that was just adopted: what is moved there while it is scanned for the first time is not taken for old."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixstored.config import load_config
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.model import BASELINE, FileState, Lane, Remember, Skip, Stamp
from pixstored.publish.intake import Intake
from pixstored.publish.reconcile import Outcome, Reconciler, Request, Requests
from pixstored.publish.watched import Watched
from pixstored.watch.filters import Rules
from support.app import eventually
from support.files import write

SECONDS = 30.0


class Room:
    """A watched folder, adopted after all that is in it, and who looks at it. Nobody tells of events but the test."""

    def __init__(self, home: Path, settle: str, adopted_at_ns: int = 2**62) -> None:
        text = f"watch: [{{path: {home}/in, settle: {settle}}}]\nstore: {{url: embedded}}\n"
        [config] = load_config(write(home / "config.yaml", text.encode()), {}).watches
        self.folder = home / "in"
        self.folder.mkdir()
        self.path = str(self.folder)
        self.ledger: SqliteLedger = open_ledger(home / "ledger.db", "shop")
        self.stopping = threading.Event()
        self.requests = Requests()
        self.is_behind: Callable[[], bool] = lambda: False
        watched = Watched(config, Rules.of(config), adopted_at_ns)

        def find(path: str) -> Watched | None:
            return watched if path == self.path else None

        self.intake = Intake(self.ledger, find, missed=lambda watch: None, unreached=lambda watch, path: None)
        self.scanner = Reconciler(
            self.ledger, self.intake, find, self.requests, lambda path: self.is_behind(), self.stopping
        )

    def start(self) -> None:
        self.intake.start()
        self.scanner.start()

    def end(self) -> None:
        self.stopping.set()
        self.requests.close()
        self.intake.stop()
        for thread in (self.scanner, self.intake):
            if thread.is_alive():
                thread.join(SECONDS)
        self.ledger.close()

    def scan(self, since: float = math.inf) -> Outcome:
        """All of it, as for the first time, asked for at this moment (seconds since the epoch)."""
        ended: list[Outcome] = []
        self.requests.add(Request(self.path, self.path, finished=ended.append, since=since))
        eventually(lambda: ended, bool)
        return ended[0]

    def folder_came(self, name: str) -> None:
        """An event tells of a folder that was moved here."""
        request = Request(self.path, str(self.folder / name), lane=Lane.FRESH, announced=True, urgent=True)
        self.requests.add(request)

    def state(self, name: str) -> str | None:
        known = self.ledger.look(str(self.folder / name))
        return None if known is None else known.reason or known.state.value


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Callable[..., Room]]:
    made: list[Room] = []

    def make(settle: str, adopted_at_ns: int = 2**62) -> Room:
        made.append(Room(tmp_path, settle, adopted_at_ns))
        return made[0]

    yield make
    for room in made:
        room.end()


def test_a_folder_that_came_is_new_though_a_scan_finds_it_before_its_event_has_reached_us(
    rooms: Callable[..., Room],
) -> None:
    room = rooms("0s")
    write(room.folder / "card" / "deep" / "1.jpg", b"1")
    write(room.folder / "there.jpg", b"2")
    on_its_way = iter([True, True])

    def is_behind() -> bool:
        if next(on_its_way, False):
            return True
        room.folder_came("card")
        return False

    room.is_behind = is_behind
    room.start()
    room.scan()
    eventually(lambda: room.state("card/deep/1.jpg"), lambda state: state == FileState.PENDING)
    assert room.state("there.jpg") == BASELINE


def test_what_an_event_has_told_of_and_is_not_quiet_yet_is_new_to_a_scan_too(rooms: Callable[..., Room]) -> None:
    room = rooms("1h")
    write(room.folder / "card" / "1.jpg", b"1")
    write(room.folder / "card" / "2.jpg", b"2")
    room.intake.offer(str(room.folder / "card" / "1.jpg"), room.path, Lane.FRESH, announced=True)
    room.start()
    assert room.scan().baseline == 1
    assert (room.state("card/1.jpg"), room.state("card/2.jpg")) == (None, BASELINE)


def test_events_without_end_do_not_keep_a_scan(rooms: Callable[..., Room]) -> None:
    room = rooms("0s")
    write(room.folder / "there.jpg", b"1")
    room.is_behind = lambda: True
    room.start()
    assert room.scan().baseline == 1


def test_a_file_that_was_recorded_meanwhile_is_not_made_private_by_a_scan(rooms: Callable[..., Room]) -> None:
    room = rooms("0s")
    path = write(room.folder / "a.jpg", b"1")
    stamp = Stamp.of(path.stat())
    room.ledger.apply([Remember(str(path), stamp, Lane.FRESH, "in", 1.0)])
    room.ledger.apply([Skip(str(path), stamp, "in", BASELINE, unless_known=True)])
    assert room.state("a.jpg") == FileState.PENDING
    room.ledger.apply([Skip(str(path), stamp, "in", BASELINE)])
    assert room.state("a.jpg") == BASELINE


def test_what_came_after_a_scan_was_asked_for_is_fresh_though_the_scan_finds_it_before_its_event_is_told(
    rooms: Callable[..., Room],
) -> None:
    room = rooms("0s", adopted_at_ns=0)
    before, after = write(room.folder / "before.jpg", b"1"), room.folder / "after.jpg"
    asked = time.time()
    eventually(lambda: write(after, b"2").stat().st_ctime > asked, bool)  # the file system's clock has its ticks
    room.start()
    room.scan(asked)
    eventually(lambda: {room.state("before.jpg"), room.state("after.jpg")}, lambda states: states == {"pending"})
    claims = {claim.path: claim.lane for _ in range(2) if (claim := room.ledger.claim("test", time.time()))}
    assert claims == {str(before): Lane.BACKLOG, str(after): Lane.FRESH}


def test_a_file_that_is_back_while_a_scan_waits_is_not_said_to_be_missing(rooms: Callable[..., Room]) -> None:
    room = rooms("0s")
    write(room.folder / "there.jpg", b"1")
    path = room.folder / "away.jpg"
    room.ledger.apply([Remember(str(path), Stamp.of(write(path, b"2").stat()), Lane.FRESH, "in", 1.0)])
    path.unlink()

    def is_behind() -> bool:  # asked while the scan waits for events
        write(path, b"3")
        room.ledger.apply([Remember(str(path), Stamp.of(path.stat()), Lane.FRESH, "in", 2.0)])
        return False

    room.is_behind = is_behind
    room.start()
    assert room.scan().baseline == 1
    assert room.state("away.jpg") == FileState.PENDING
