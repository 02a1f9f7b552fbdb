"""Every error raised on purpose, one tree; the class says what to do, and what a command ends with.

PixstoredError
├── ConfigError          the configuration is wrong: all faults at once
├── LedgerError          cannot record: stop sending, keep watching, try again
│   ├── LedgerUnusable   the ledger cannot be opened at all
│   └── LedgerBusy       another process holds it
├── WatchError           a folder cannot be watched or read: it is shown as that folder's state
└── UploadError          what happened to one upload
    ├── NotSent          the store cannot have it: try this file again
    │   ├── Stale        a reused connection was already dead: once more at once, on a new one
    │   ├── Stopped      we ended it ourselves, in mid-air
    │   └── StoreDown    it is the store, not this file: opens the breaker, spends no file's tries
    ├── Refused          the store said no to this file for good
    ├── NotTaken         the store has said no to such files: this one is not sent
    ├── Uncertain        all of it was sent, no answer that can be read came back
    ├── Duplicate        the ledger knows this content already: dropped unfinished
    ├── Waits            it may not be sent now, and its content is new: it stays queued
    ├── Changed          the file is not what it was: start over
    ├── Gone             the file is not there any more: forget it
    ├── Away             its folder is away, or does not answer: wait for it
    ├── TurnedAway       the rules of its watch, which have changed, do not take it: it is not sent
    └── Unreadable       the file is there, but we may not or cannot read it
"""

from __future__ import annotations

from collections.abc import Sequence

from pixstored.model import Standing, StoreState
from pixstored.slotted import dataclass


class PixstoredError(Exception):
    """The root: its text is one clear sentence for a person."""

    exit_code = 1
    """Of a command that this ends."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a configuration file. `line` is 1-based, None where the fault has no line."""

    key: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        what = f"{self.key}: " if self.key else ""
        return f"{where}{what}{self.message}"


class ConfigError(PixstoredError):
    """The configuration is wrong, or there is none. Carries every fault found."""

    exit_code = 78

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__("\n".join([message, *(f"  {fault}" for fault in faults)]))
        self.faults = tuple(faults)

    @property
    def in_one_line(self) -> str:
        """The same without line breaks."""
        return "; ".join(line.strip() for line in str(self).splitlines())


class LedgerError(PixstoredError):
    """Something could not be recorded or read: what cannot be recorded is not sent."""

    exit_code = 74


class LedgerUnusable(LedgerError):
    """The ledger is missing though known, corrupt, newer than the program, or cannot be opened."""


class LedgerBusy(LedgerError):
    """Another process holds the ledger's lock."""

    exit_code = 75


class WatchError(PixstoredError):
    """A folder cannot be watched or read."""


class UploadError(PixstoredError):
    """What happened to one upload, if it was not published."""


class NotSent(UploadError):
    """The store cannot have it: the request's last bytes were not released, or it said so itself."""


class Stale(NotSent):
    """A reused connection turned out to be closed before the last bytes were released."""


class Stopped(NotSent):
    """We dropped the request in mid-body, because the daemon stops."""


class StoreDown(NotSent):
    """The store's fault, not the file's. `retry_after` is in seconds, None where the store named none."""

    def __init__(self, message: str, state: StoreState, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.state = state
        self.retry_after = retry_after


class Refused(UploadError):
    """The store said no to this file for good. `status` is the HTTP or JSON status that said so."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def may_be_the_stores_fault(self) -> bool:
        """Not if it says what of the file it does not take: its size, or its kind."""
        return self.status not in (413, 415)


class NotTaken(UploadError):
    """The store does not take files of this kind or size, as others have found out: this one was not sent."""


class Uncertain(UploadError):
    """The store had all of it, and no answer that can be read came back. The store is `unreachable`."""


class Duplicate(UploadError):
    """The ledger knows this content: the request was dropped unfinished. `standing` says what is known."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(f"this content is already {standing.value}")
        self.standing = standing


class Waits(UploadError):
    """Nothing may be sent now, and the ledger does not know the file's content: that is all that could be found out."""


class Changed(UploadError):
    """The file changed since it had settled, or somebody has it open for writing: it settles again."""


class Gone(UploadError):
    """The file is not there any more."""


class Away(UploadError):
    """The file's folder is away, or does not answer: nobody can tell what is in it."""


class TurnedAway(UploadError):
    """The rules of the file's watch do not take it any more."""


class Unreadable(UploadError):
    """The file is there, but cannot be read (permission, or an error of the disk)."""
