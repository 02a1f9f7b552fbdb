"""The values that travel between rooms: frozen, without behaviour of their own.

Paths are `str` as `os.fsdecode` gives them (surrogateescape), absolute. Sizes are bytes. Times of the
file system are integer nanoseconds since the epoch; times of our own are float seconds since the epoch (UTC).
"""

from __future__ import annotations

import os
from enum import IntEnum, StrEnum

from pixstored.slotted import dataclass


class FileState(StrEnum):
    """The states of a file, as users see them. `settling` and `uploading` are never in the ledger."""

    SETTLING = "settling"
    PENDING = "pending"
    UPLOADING = "uploading"
    PUBLISHED = "published"
    UNCERTAIN = "uncertain"
    REJECTED = "rejected"
    FAILED = "failed"
    SKIPPED = "skipped"
    GONE = "gone"
    WITHDRAWN = "withdrawn"


HAS_A_LINK = frozenset({FileState.PUBLISHED, FileState.UNCERTAIN, FileState.WITHDRAWN})
"""States of a path whose content was at the store, or may have been: a rule does not take that from the record."""


class StoreState(StrEnum):
    """How the store is doing, as far as the uploads tell."""

    OK = "ok"
    UNKNOWN = "unknown"
    UNREACHABLE = "unreachable"
    AUTH_FAILED = "auth_failed"
    RATE_LIMITED = "rate_limited"
    REFUSING = "refusing"
    MISCONFIGURED = "misconfigured"


class WatchState(StrEnum):
    """How a watched folder is doing."""

    WATCHING = "watching"
    POLLING = "polling"
    SCANNING = "scanning"
    OFFLINE = "offline"
    ERROR = "error"
    STOPPED = "stopped"


class Standing(StrEnum):
    """What the ledger knows of a content when somebody wants to send it."""

    CLEAR = "unknown"
    IN_FLIGHT = "on its way"
    PUBLISHED = "published"
    UNCERTAIN = "uncertain"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class Lane(IntEnum):
    """Which queue a file waits in: what events bring goes before what scans find."""

    FRESH = 0
    BACKLOG = 1


def extension_of(path: str) -> str:
    """The extension of a name in lower case, its dot included; empty if it has none.

    As `os.path.splitext` has it, at a third of its time (measured): every file is asked several times.
    """
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return dot + extension.lower() if stem.strip(".") else ""


BASELINE = "baseline"
"""The reason of a `skipped` file that was there when its folder was adopted."""

WATCH_REMOVED = "watch removed"
"""The reason of files that waited when their folder was not watched any more; the ledger's schema knows it too."""

KEPT_BACK = "it has changed since, and its new content is not sent: "
"""Begins the reason, or the last part of the reason, of a file that is not what was sent under its record any more."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file looked like when it was last seen; equal stamps mean an unchanged file."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, st: os.stat_result) -> Stamp:
        return cls(st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino, st.st_dev)

    def is_of(self, st: os.stat_result) -> bool:
        """True if the file that this tells of is `unchanged`."""
        return (
            self.size == st.st_size
            and self.mtime_ns == st.st_mtime_ns
            and self.ctime_ns == st.st_ctime_ns
            and self.inode == st.st_ino
        )

    def unchanged(self, other: Stamp) -> bool:
        """True if size, mtime, ctime and inode agree. Devices are renumbered by every boot: not compared."""
        return (
            self.size == other.size
            and self.mtime_ns == other.mtime_ns
            and self.ctime_ns == other.ctime_ns
            and self.inode == other.inode
        )

    def same_file(self, other: Stamp) -> bool:
        """True if this is the other one's file under a new name: a rename changes the ctime only."""
        return self.device == other.device and self.may_be_same_file(other)

    def may_be_same_file(self, other: Stamp) -> bool:
        """The same, for all that can be told after the machine was started again, which renumbers devices."""
        return self.inode == other.inode and self.size == other.size and self.mtime_ns == other.mtime_ns


Mark = tuple[int | str, int | str, int | str, int | str]
"""What an unchanged file is known by: size, mtime_ns, ctime_ns, inode, as a ledger gives them. A stamp for hundreds of
thousands of files that are not to be looked at; what cannot be had as a number is text, and is like no file."""


@dataclass(frozen=True, slots=True)
class Displaced:
    """Where a private file was before another one took its path."""

    folder: str
    device: int


@dataclass(frozen=True, slots=True)
class Span:
    """The names of a folder that come after one and not after the other, in the order of their bytes.

    Without the one they begin with the first, without the other they go on to the last.
    """

    after: str | None = None
    upto: str | None = None


WHOLE = Span()
"""All names."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of one path at the current store."""

    file_id: int
    path: str
    state: FileState
    stamp: Stamp
    reason: str | None
    sha256: bytes | None
    missing: bool
    """The path was seen missing since."""
    parked: bool = False
    """It changed while it was `pending`: out of the queue until it has settled again."""

    @property
    def kept_back(self) -> bool:
        """True if the file is not what was sent: it changed, and a rule keeps its new content from being sent."""
        return self.reason is not None and KEPT_BACK in self.reason


# --- what the intake tells the ledger, in batches


@dataclass(frozen=True, slots=True)
class Remember:
    """This path is settled, and its content is to be published: `pending`, whatever it was before.

    `changed_at` is when the file was last closed or changed.
    """

    path: str
    stamp: Stamp
    lane: Lane
    watch: str | None
    changed_at: float
    named: bool = False
    """Somebody asked for it by name: no rule of its watch turns it away while it is what it is now."""


@dataclass(frozen=True, slots=True)
class Skip:
    """This path matched, but a rule says no: `skipped`, with the reason."""

    path: str
    stamp: Stamp
    watch: str | None
    reason: str
    unless_known: bool = False
    """Not if anything is known by then of the path as it is: it was found without waiting for who looks at it."""


@dataclass(frozen=True, slots=True)
class Restamp:
    """This path keeps its state; only what it looks like is new. It is there (again)."""

    path: str
    stamp: Stamp
    reason: str | None = None
    """Its reason from now on; None: the one it has."""


@dataclass(frozen=True, slots=True)
class Move:
    """A known file has a new path, and keeps all the ledger knows of it. Replaces what was known of `path`."""

    file_id: int
    path: str
    stamp: Stamp
    watch: str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """This known path was looked for and is not there. A file not sent yet becomes `gone`."""

    path: str


Change = Remember | Skip | Restamp | Move | Missing


# --- what travels between the ledger and the workers


@dataclass(frozen=True, slots=True)
class Claim:
    """One file taken from the queue by one owner, for one attempt."""

    file_id: int
    path: str
    stamp: Stamp
    sha256: bytes | None
    """Known if an earlier attempt has hashed the file as it is now."""
    hash_first: bool
    """A content of this size is known or on its way: hash before sending."""
    lane: Lane
    watch: str | None
    tries: int
    """Tries spent so far."""
    changed_at: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """The store has it."""

    link: str
    id: str


@dataclass(frozen=True, slots=True)
class Lessons:
    """What the store has taught about files of one extension, and about sizes."""

    refused_kind: int
    """How often it refused the extension with 415 while it never took one."""
    refused_size: int | None
    """Bytes of the smallest file it refused with 413, and larger than all it took; None if there is none."""


NO_IDENTITY, NOTED_AT = "?", " at "
"""Of the note of a file system."""


def parts_of_note(noted: str | None) -> tuple[str, str]:
    """The identity, and where it was mounted: `?` and nothing if that is not known. What a server exports may have a
    name such as `Photos at home`, but each mount point begins with a slash."""
    identity, is_told, place = (noted or NO_IDENTITY).partition(f"{NOTED_AT}/")
    return identity, f"/{place}" if is_told else ""


@dataclass(frozen=True, slots=True)
class Adoption:
    """When a watched folder was first taken in at this store, by the clock of the file system (ns)."""

    root: str
    adopted_at_ns: int
    filesystem: str | None
    """The note of its file system, `UUID=… at /mnt`: its stable identity, `?` if it has none, and where it was mounted.
    Older notes are an identity alone."""

    @property
    def disk(self) -> str | None:
        """The identity of the note, None if there is none."""
        identity, _ = parts_of_note(self.filesystem)
        return None if identity == NO_IDENTITY else identity


@dataclass(frozen=True, slots=True)
class Pause:
    """Somebody has asked that nothing be sent, until a time (None: until they say so)."""

    since: float
    until: float | None


# --- what reading commands get from the ledger


@dataclass(frozen=True, slots=True)
class Link:
    """One published file. `superseded` if its path has other content by now."""

    path: str
    link: str
    id: str
    sha256: str
    size: int
    published_at: float
    watch: str | None
    comment: str | None
    store: str
    state: str
    """`published`, `superseded` or `withdrawn`."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a file and how it ended; `outcome` is a fixed word."""

    at: float
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Story:
    """All the ledger knows of one path at the current store."""

    known: Known
    watch: str | None
    seen_at: float
    changed_at: float
    tries: int
    next_try_at: float | None
    link: str | None
    id: str | None
    comment: str | None
    sent_at: float | None
    published_at: float | None
    attempts: tuple[Attempt, ...]
    superseded: tuple[Link, ...]
    """Links this path had before, newest first."""


@dataclass(frozen=True, slots=True)
class Census:
    """Counts of files by state, and of contents, at the current store."""

    files: dict[FileState, int]
    contents_published: int
    contents_uncertain: int
    oldest_unpublished: float | None
    """The earliest `changed_at` of the pending files."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from the last change of a fresh file to its link, of the last 24 hours."""

    p50: float | None
    p95: float | None
    n: int
