"""The power fails at any moment: what the store holds is known to the ledger's files as they are on the disk then."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pixstored.errors import LedgerError
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.ledger.sqlite_writer import Writer
from pixstored.model import Claim, Lane, Receipt, Remember, Stamp, Standing

STORE = "a store"
ROOT = "/photos"
CUTS = 40
UPLOADERS = 4
MOST_WAITING = 60


def hash_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def arrival(number: int) -> Remember:
    stamp = Stamp(size=1_000 + number, mtime_ns=number, ctime_ns=number, inode=number, device=1)
    return Remember(f"{ROOT}/{number}.jpg", stamp, Lane.FRESH, "photos", 0.0)


class Power:
    """A load of uploads on a ledger, and what the store got of them, until the power fails."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger = ledger
        self._off = threading.Event()
        self.released: set[bytes] = set()
        """Contents whose last bytes have gone out: the store may hold them. Grows only."""
        self.answered: set[bytes] = set()
        """Contents whose link has been recorded, as the ledger said. Grows only."""

    def off(self) -> None:
        self._off.set()

    def camera(self) -> None:
        made = 0
        while not self._off.wait(0.002):
            if made - len(self.released) < MOST_WAITING:
                self._ledger.apply([arrival(number) for number in range(made, made + 20)])
                made += 20

    def upload(self, name: str) -> None:
        while not self._off.is_set():
            claim = self._ledger.claim(name, time.time())
            if claim is None:
                time.sleep(0.001)
                continue
            sha256 = hash_of(claim.stamp.mtime_ns)
            assert self._ledger.sending(claim, sha256, None, time.time()) is Standing.CLEAR
            self.released.add(sha256)
            fate = claim.stamp.mtime_ns % 10
            if fate == 0:
                self._ledger.hold(claim, "no answer", time.time())
            elif fate == 1:
                self._ledger.refuse(claim, "no", time.time())
            else:
                self._publish(claim, sha256, waits=fate % 2 == 0)

    def _publish(self, claim: Claim, sha256: bytes, *, waits: bool) -> None:
        """The store has it. Who does not wait for the record is told of it."""
        number = claim.stamp.mtime_ns
        receipt = Receipt(f"http://store/{number}.jpg", f"{number}.jpg")

        def recorded(error: LedgerError | None) -> None:
            if error is None:
                self.answered.add(sha256)

        if waits:
            self._ledger.published(claim, receipt, time.time())
            recorded(None)
        else:
            self._ledger.answered(claim, receipt, time.time(), recorded)


def cut(ledger: Path, place: Path) -> Path:
    """The files as a power cut leaves them: the database, the log as long as it is then, no shared memory.

    A page that a checkpoint writes meanwhile is in the log still. If the log has begun anew meanwhile, the two are
    a mixture that no disk ever holds, and the copy is made over.
    """
    place.mkdir()
    while True:
        before = _log_head(ledger)
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{ledger}{suffix}", place / f"{ledger.name}{suffix}")
        if _log_head(ledger) == before:
            return place / ledger.name


def _log_head(ledger: Path) -> bytes:
    """The log's header: its salts change when it starts again from its beginning after a checkpoint."""
    with open(f"{ledger}-wal", "rb") as log:
        return log.read(32)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with closing(open_ledger(tmp_path / "ledger.db", STORE)) as ledger:
        yield ledger


def test_whatever_the_store_holds_is_known_to_the_ledger_that_a_power_cut_leaves(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    moments = random.Random(7)
    power = Power(ledger)
    lost_acks = 0
    with ThreadPoolExecutor(UPLOADERS + 1) as threads:
        running = [threads.submit(power.camera)]
        running += [threads.submit(power.upload, f"upload-{number}") for number in range(UPLOADERS)]
        try:
            for number in range(CUTS):
                time.sleep(moments.uniform(0, 0.05))  # a moment that nothing tells of
                released, answered = power.released.copy(), power.answered.copy()
                copy = cut(ledger.path, tmp_path / str(number))
                lost_acks += check_what_is_left(copy, released, answered)
        finally:
            power.off()
    for thread in running:
        thread.result()
    assert lost_acks, "no cut came between a note and its outcome"
    assert len(power.answered) > CUTS


def check_what_is_left(copy: Path, released: set[bytes], answered: set[bytes]) -> int:
    """Opens what a power cut has left, as the next start does; how many uploads it found without an outcome."""
    with closing(open_ledger(copy, STORE)) as ledger:
        uncertain = ledger.recover(time.time())
        assert uncertain <= UPLOADERS, "more than one upload each is without a record"
        assert ledger.recover(time.time()) == 0
        published = {bytes.fromhex(link.sha256) for link in ledger.links()}
        assert answered <= published, "a link was recorded, and forgotten"
        waiting = set()
        while claim := ledger.claim("next start", time.time()):
            waiting.add(hash_of(claim.stamp.mtime_ns))
        assert waiting.isdisjoint(released), "what the store may hold would be sent again"
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return uncertain


def test_each_commit_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that make it so, on the connection that writes, as it is handed to the thread that writes."""
    written_by = []
    make = Writer.__init__

    def seen(writer: Writer, connection: sqlite3.Connection, path: Path) -> None:
        written_by.append(connection)
        make(writer, connection, path)

    monkeypatch.setattr(Writer, "__init__", seen)
    with closing(open_ledger(tmp_path / "ledger.db", STORE)):
        (connection,) = written_by
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "2 is FULL"


def test_only_what_the_next_scan_finds_again_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    def syncs(connection: sqlite3.Connection) -> int:
        mode: int = connection.execute("PRAGMA synchronous").fetchone()[0]
        return mode

    with closing(open_ledger(tmp_path / "ledger.db", STORE)):
        pass
    writer = Writer(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False), tmp_path)
    try:
        assert writer.run(syncs) == 2, "2 is FULL"
        assert writer.run(syncs, is_lasting=False) == 1, "1 is NORMAL: the log is not synced by each commit"
        assert writer.run(syncs) == 2
    finally:
        writer.close()
