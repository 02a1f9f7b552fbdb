"""What file system a folder lies on, and what time it is there."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

from pixstored.errors import WatchError
from pixstored.model import NO_IDENTITY, NOTED_AT, parts_of_note
from pixstored.slotted import dataclass

_MOUNTS = "/proc/self/mountinfo"
_MOUNTS_REMEMBERED = 1024
"""Lines of it that need not be read anew for each folder."""
_UUIDS = "/dev/disk/by-uuid"
_WATCH_LIMITS = ("/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches")
"""The machine's limit, and that of the user namespace we are in (namespaces(7)): the lower one counts."""
_INSTANCE_LIMITS = ("/proc/sys/fs/inotify/max_user_instances", "/proc/sys/user/max_inotify_instances")
_OCTAL = re.compile(r"\\([0-7]{3})")
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre"})
"""File systems whose source names the server and what it exports, which stays the same from mount to mount."""
_EVENTLESS = _REMOTE | frozenset(
    {"9p", "afs", "autofs", "coda", "davfs", "fuse", "fuseblk", "gfs2", "gpfs", "ncpfs", "ocfs2", "orangefs"}
    | {"prl_fs", "vboxsf", "virtiofs", "vmhgfs"}
)
"""File systems that tell nobody of what other machines, or the program behind them, do."""
_WITHOUT_INODES = frozenset(
    {"9p", "cifs", "davfs", "exfat", "fuse", "fuseblk", "msdos", "prl_fs", "smb3", "smbfs"}
    | {"vboxsf", "vfat", "virtiofs", "vmhgfs"}
)
"""File systems that keep no inodes, or may not: they are made up as files are looked at, anew after each mount."""
_HAVE_A_UUID = frozenset({"bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "nilfs2", "xfs"})
"""File systems whose superblock holds a UUID that the kernel tells; others make one up at each mount (tmpfs)."""
_GET_UUID = 0x80111500
"""FS_IOC_GETFSUUID of linux/fs.h (Linux 6.9): asks a folder's file system for its UUID."""
_UUID_BYTES = 16
_NO_UUID = bytes(_UUID_BYTES)
_COARSE_CLOCK = 5
"""CLOCK_REALTIME_COARSE of clock_gettime(2), which `time` has no name for."""
_TICK = 0.001
"""Seconds between two looks at the coarse clock, which moves each 1 to 10 ms."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A mounted file system. `identity` is the same at each mount and boot; None where there is no such thing."""

    kind: str
    mount_point: str
    identity: str | None
    gives_events: bool
    mount_id: int
    """Another one at each mount, as long as this mount lasts."""
    keeps_inodes: bool = True
    """False: a file may have another inode after each mount."""

    @property
    def noted(self) -> str:
        """What the ledger is told of it: see `Adoption.filesystem`."""
        return f"{self.identity or NO_IDENTITY}{NOTED_AT}{self.mount_point}"

    def noted_after(self, noted: str | None) -> str:
        """The note to keep of it where another one was kept before: nothing that was known is lost."""
        identity, place = parts_of_note(noted)
        if len(self.mount_point) < len(place):
            return noted or ""
        return f"{self.identity or identity}{NOTED_AT}{self.mount_point}"

    def is_another_than(self, noted: str | None) -> bool:
        """True if it is known to be another one than the one noted; what cannot be told counts as the same."""
        before, _ = parts_of_note(noted)
        return before != NO_IDENTITY and self.identity is not None and self.identity != before

    def lies_under(self, noted: str | None) -> bool:
        """True if this is what comes to light when the file system that was noted is not mounted."""
        identity, place = parts_of_note(noted)
        if self.identity is not None and self.identity == identity:
            return False
        return len(self.mount_point) < len(place) and _is_beneath(place, self.mount_point)


@dataclass(frozen=True, slots=True)
class _Mount:
    """One line of /proc/self/mountinfo (proc(5))."""

    id: int
    device: int
    root: str
    """Which folder of the file system is to be seen there."""
    mount_point: str
    kind: str
    source: str


def filesystem_of(path: str) -> FileSystem:
    """The file system on which an existing path lies. Raises WatchError if that cannot be told."""
    try:
        number = mount_id(path)
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as lines:
            mounts = [_parsed(line) for line in lines]
    except (OSError, ValueError) as error:
        raise WatchError(f"its file system cannot be told: {error}") from error
    mount = next((m for m in mounts if m.id == number), None)
    if mount is None:
        raise WatchError(f"its file system cannot be told: {_MOUNTS} does not list it")
    kind = "fuse" if mount.kind.startswith("fuse.") else mount.kind
    identity = _identity(mount) or _told_uuid(mount, path)
    place = _own_place(mount, mounts)
    return FileSystem(mount.kind, place, identity, kind not in _EVENTLESS, number, kind not in _WITHOUT_INODES)


def is_mounted(found: FileSystem) -> bool:
    """True if a folder that lies there lies on something that was mounted: on another file system than `/`."""
    return found.mount_point != "/" and found.kind != "autofs"


def mounts_below(root: str) -> frozenset[tuple[str, int]]:
    """The mounts inside a folder, by their place and number. Empty if the kernel does not tell."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as lines:
            mounts = [_parsed(line) for line in lines]
    except (OSError, ValueError):
        return frozenset()
    return frozenset(
        (m.mount_point, m.id) for m in mounts if m.mount_point != root and _is_beneath(m.mount_point, root)
    )


def adoption_moment() -> int:
    """A moment (ns) between what is there already and what comes later, by the clock that stamps files.

    Everything changed before the call has a ctime not after it, everything changed after the return a later
    one. The kernel stamps a ctime with the time of its last tick, up to 10 ms ago, or, since Linux 6.13 and if
    somebody has just looked at the old one, with the exact time. So the exact time is taken, and the tick
    awaited that passes it. (File systems that keep whole seconds only, and servers whose clock is another, are
    beyond this: there an event must say that a file is new.)
    """
    moment = time.clock_gettime_ns(time.CLOCK_REALTIME)
    while time.clock_gettime_ns(_COARSE_CLOCK) <= moment:
        time.sleep(_TICK)
        # A clock that was set back in between never passes the old moment.
        moment = min(moment, time.clock_gettime_ns(time.CLOCK_REALTIME))
    return moment


def watch_limit() -> int | None:
    """How many folders one user may watch by inotify; None if the kernel does not say."""
    return _lowest(_WATCH_LIMITS)


def inotify_limits() -> tuple[int | None, int | None]:
    """How many folders one user may watch, and how many inotify instances they may have."""
    return _lowest(_WATCH_LIMITS), _lowest(_INSTANCE_LIMITS)


def _lowest(paths: Sequence[str]) -> int | None:
    limits = []
    for path in paths:
        try:
            with open(path, encoding="ascii") as file:
                limits.append(int(file.read()))
        except (OSError, ValueError):
            continue
    return min(limits, default=None)


def watch_limit_warning(folders: int) -> str | None:
    """What to do if so many folders are too many for the inotify limit; None if they are not."""
    limit = watch_limit()
    if limit is None or folders <= limit:
        return None
    return f"{folders} folders are more than inotify may watch ({limit}): {watch_limit_remedy(folders)}"


def watch_limit_remedy(folders: int) -> str:
    """The command that raises the limit for at least so many folders, as the end of a sentence."""
    wanted = 2 ** max(19, (2 * folders).bit_length())
    return (
        f"run `sysctl fs.inotify.max_user_watches={wanted}` as root, and put that line into /etc/sysctl.d/ to keep it"
    )


def mount_id(path: str) -> int:
    """The number of the mount on which an existing path lies. Raises OSError or ValueError.

    By a descriptor, not by the path's beginning: one mount may lie on top of another (proc(5), fdinfo).
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
            return next(int(line.removeprefix("mnt_id:")) for line in lines if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)


@lru_cache(_MOUNTS_REMEMBERED)
def _parsed(line: str) -> _Mount:
    fields = line.rstrip("\n").split(" ")
    after = fields.index("-", 6)
    major, minor = map(int, fields[2].split(":"))
    device = os.makedev(major, minor)
    root, mount_point, source = map(_unescaped, (fields[3], fields[4], fields[after + 2]))
    return _Mount(int(fields[0]), device, root, mount_point, fields[after + 1], source)


def _own_place(mount: _Mount, mounts: Sequence[_Mount]) -> str:
    """Where a file system is mounted, also for a part of it that is mounted once more in the very place it has there.

    A sandbox does that with a folder that its service may see or write to, and nothing was mounted by it for people.
    The file system itself may be hidden there by an empty tmpfs (ProtectHome= of systemd.exec(5)).
    """
    place = min((m.mount_point for m in mounts if m.device == mount.device and _shows_the_same(m, mount)), key=len)
    above = place.removesuffix(mount.root)
    is_hidden = place == mount.mount_point and any(m.mount_point == above and m.kind == "tmpfs" for m in mounts)
    return above if is_hidden and above != place else place


def _shows_the_same(whole: _Mount, part: _Mount) -> bool:
    """True if the part is in its place in the whole."""
    if not _is_beneath(part.mount_point, whole.mount_point):
        return False
    below = os.path.relpath(part.mount_point, whole.mount_point)
    return os.path.normpath(os.path.join(whole.root, below)) == part.root


def _unescaped(field: str) -> str:
    """Blanks, tabs, line feeds and backslashes stand there in octal."""
    return _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), field)


def _identity(mount: _Mount) -> str | None:
    if mount.kind in _REMOTE:
        return mount.source
    uuid = _uuid(mount.device) or _uuid(_device_number(mount.source))
    return f"UUID={uuid}" if uuid else None


def _told_uuid(mount: _Mount, path: str) -> str | None:
    """By the kernel itself, where nobody keeps links by UUID (in a container, for instance)."""
    if mount.kind not in _HAVE_A_UUID:
        return None
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            told = fcntl.ioctl(descriptor, _GET_UUID, bytes(1 + _UUID_BYTES))
        finally:
            os.close(descriptor)
        if told[0] == _UUID_BYTES and told[1:] != _NO_UUID:
            return f"UUID={uuid.UUID(bytes=told[1:])}"
    return None


def _is_beneath(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _device_number(source: str) -> int | None:
    """The number of a block device; btrfs mounts have a number of their own, and only their source names it."""
    if not source.startswith("/"):
        return None
    try:
        st = os.stat(source)
    except OSError:
        return None
    return st.st_rdev if stat.S_ISBLK(st.st_mode) else None


def _uuid(device: int | None) -> str | None:
    if device is None:
        return None
    try:
        with os.scandir(_UUIDS) as links:
            return next((link.name for link in links if os.stat(link.path).st_rdev == device), None)
    except OSError:
        return None
