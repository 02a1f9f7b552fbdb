"""The lock that lets only one process write a ledger: flock on a file of its own, `NAME.lock`.

Not on the ledger itself: closing any descriptor of that file would drop the locks SQLite holds on it. The
file is never removed, so two processes never lock two files of one name. It says who holds it. It lies beside the
ledger itself, where a symlink leads there: by whatever name that is opened, there is one lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from pixstored.errors import LedgerBusy, LedgerUnusable
from pixstored.ledger.places import lock_file, make_folder
from pixstored.slotted import dataclass

DAEMON = "daemon"
"""The role that is not waited for: it may hold the lock for months."""

COMMAND = "command"
"""The role of whatever writes a little and ends."""

_MODE = 0o640
_LOOK_AGAIN = 0.05
"""Seconds between two looks at a lock another process holds."""

_NOTE_BYTES = 100
"""More than a pid and a role ever take."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a ledger. `pid` is None in the moment before it has said who it is."""

    pid: int | None
    role: str

    def __str__(self) -> str:
        return f"a pixstored {self.role}" if self.pid is None else f"a pixstored {self.role} (pid {self.pid})"


class LedgerLock:
    """The right to write the ledger at `path`. Not for several threads."""

    def __init__(self, path: Path) -> None:
        self._ledger = path
        self._path = lock_file(Path(os.path.realpath(path)))
        self._fd: int | None = None

    def acquire(self, role: str, wait: float = 0.0) -> None:
        """Takes the lock as `daemon` or `command`; it lasts until `release`, or the process's end.

        A command that holds it is waited for, up to `wait` seconds; a daemon is not. Raises `LedgerBusy`
        naming the holder, `LedgerUnusable` if the lock's file cannot be made.
        """
        if self._fd is not None:
            raise LedgerBusy(f"this process holds the ledger {self._ledger} already")
        make_folder(self._ledger)
        descriptor = self._open(os.O_RDWR | os.O_CREAT)
        try:
            self._wait_for(descriptor, wait)
        except OSError as error:
            os.close(descriptor)
            raise LedgerUnusable(f"the lock {self._path} cannot be taken: {error.strerror}") from error
        except BaseException:
            os.close(descriptor)
            raise
        self._fd = descriptor
        with contextlib.suppress(OSError):  # on a full disk the lock is as good without its note
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {role}\n".encode(), 0)

    def release(self) -> None:
        """Gives the lock back; nothing happens if it is not held."""
        if self._fd is not None:
            descriptor, self._fd = self._fd, None
            os.close(descriptor)

    def holder(self) -> Holder | None:
        """Who holds the lock now, this process included; None if nobody does. Raises `LedgerUnusable`."""
        try:
            descriptor = self._open(os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return self._held_by(descriptor)
        finally:
            os.close(descriptor)

    def _open(self, flags: int) -> int:
        try:
            return os.open(self._path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not flags & os.O_CREAT:
                raise
            raise LedgerUnusable(
                f"the lock {self._path} of the ledger cannot be opened: {error.strerror}; "
                "run this as the user the ledger belongs to"
            ) from error

    def _wait_for(self, descriptor: int, wait: float) -> None:
        deadline = time.monotonic() + wait
        while not _locked(descriptor, fcntl.LOCK_EX):
            holder = self._held_by(descriptor)
            # Nobody holds it: somebody had only asked who does, in that very moment.
            if holder and (holder.role != COMMAND or time.monotonic() >= deadline):
                raise LedgerBusy(f"the ledger {self._ledger} is in use by {holder}")
            time.sleep(_LOOK_AGAIN)

    def _held_by(self, descriptor: int) -> Holder | None:
        if _locked(descriptor, fcntl.LOCK_SH):  # those who only ask do not stand in each other's way
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            return None
        pid, _, role = os.pread(descriptor, _NOTE_BYTES, 0).decode("ascii", "replace").strip().partition(" ")
        return Holder(int(pid) if pid.isdecimal() else None, role or COMMAND)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
