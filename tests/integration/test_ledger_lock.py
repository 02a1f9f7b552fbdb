"""The lock that lets one process write: real processes, real locks."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pixstored.errors import LedgerBusy, LedgerUnusable
from pixstored.ledger.lock import COMMAND, DAEMON, Holder, LedgerLock
from pixstored.ledger.places import lock_file

HOLDING = """
import sys
from pathlib import Path
from pixstored.ledger.lock import LedgerLock
LedgerLock(Path(sys.argv[1])).acquire(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""

LONG = 60.0
"""Seconds nobody waits in these tests, unless something is wrong."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@contextmanager
def held_by(path: Path, role: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is told to end."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDING, os.fspath(path), role]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as child:
        assert child.stdout and child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            if child.stdin and not child.stdin.closed:
                child.stdin.close()


def test_a_second_daemon_is_told_at_once_who_is_there(path: Path) -> None:
    with held_by(path, DAEMON) as other, pytest.raises(LedgerBusy, match=rf"daemon \(pid {other.pid}\)"):
        LedgerLock(path).acquire(DAEMON, wait=LONG)


def test_a_command_that_does_not_want_to_wait_is_told_who_is_there(path: Path) -> None:
    with held_by(path, COMMAND) as other, pytest.raises(LedgerBusy, match=rf"command \(pid {other.pid}\)"):
        LedgerLock(path).acquire(COMMAND)


def test_a_mere_command_is_waited_for(path: Path) -> None:
    lock = LedgerLock(path)
    with held_by(path, COMMAND) as other, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lock.acquire, DAEMON, LONG)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        assert other.stdin
        other.stdin.close()
        waiting.result(timeout=LONG)
    assert lock.holder() == Holder(os.getpid(), DAEMON)
    lock.release()


def test_a_killed_process_holds_nothing(path: Path) -> None:
    with held_by(path, DAEMON) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        lock = LedgerLock(path)
        assert lock.holder() is None
        lock.acquire(DAEMON)
        lock.release()


def test_the_holder_is_told_without_taking_the_lock(path: Path) -> None:
    lock = LedgerLock(path)
    assert lock.holder() is None
    assert not path.parent.exists(), "asking makes no file"
    with held_by(path, DAEMON) as other:
        assert lock.holder() == Holder(other.pid, DAEMON)
    assert lock.holder() is None


def test_asking_who_holds_it_keeps_nobody_from_taking_it(path: Path) -> None:
    LedgerLock(path).holder()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            LedgerLock(path).holder()

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            for _ in range(50):
                lock = LedgerLock(path)
                lock.acquire(COMMAND)
                lock.release()
        finally:
            done.set()
        assert [each.result() for each in asking] == [None, None, None]


def test_the_file_stays_and_is_not_for_everybody(path: Path) -> None:
    lock = LedgerLock(path)
    lock.acquire(DAEMON)
    lock.release()
    assert stat.S_IMODE(lock_file(path).stat().st_mode) & 0o137 == 0
    lock.acquire(COMMAND)
    assert lock.holder() == Holder(os.getpid(), COMMAND)
    lock.release()
    lock.release()


def test_one_process_does_not_take_it_twice(path: Path) -> None:
    lock = LedgerLock(path)
    lock.acquire(DAEMON)
    with pytest.raises(LedgerBusy, match="already"):
        lock.acquire(DAEMON)
    with pytest.raises(LedgerBusy, match=str(os.getpid())):
        LedgerLock(path).acquire(DAEMON)
    lock.release()


def test_a_ledger_has_one_lock_by_whatever_name_it_is_opened(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    other_name = path.with_name("other.db")
    other_name.symlink_to(path)
    lock = LedgerLock(path)
    lock.acquire(DAEMON)
    with pytest.raises(LedgerBusy, match=str(os.getpid())):
        LedgerLock(other_name).acquire(DAEMON)
    lock.release()


def test_the_note_of_an_earlier_holder_is_not_mixed_with_the_next(path: Path) -> None:
    lock = LedgerLock(path)
    lock.acquire("a-very-long-role-indeed")
    lock.release()
    lock.acquire(COMMAND)
    assert lock.holder() == Holder(os.getpid(), COMMAND)
    lock.release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerUnusable, match="file/state"):
        LedgerLock(tmp_path / "file" / "state" / "ledger.db").acquire(DAEMON)


def test_a_symlink_in_the_locks_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    target = tmp_path / "target"
    target.write_text("precious")
    lock_file(path).symlink_to(target)
    with pytest.raises(LedgerUnusable, match=r"ledger\.lock"):
        LedgerLock(path).acquire(DAEMON)
    assert target.read_text() == "precious"
