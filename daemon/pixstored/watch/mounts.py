"""What file system a folder lies on, and what time it is there."""

from __future__ import annotations

import os
import re
import stat
import time
from dataclasses import dataclass

from pixstored.errors import WatchError

_MOUNTS = "/proc/self/mountinfo"
_UUIDS = "/dev/disk/by-uuid"
_WATCH_LIMITS = ("/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches")
"""The machine's limit, and that of the user namespace we are in (namespaces(7)): the lower one counts."""
_OCTAL = re.compile(r"\\([0-7]{3})")
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre"})
"""File systems whose source names the server and what it exports, which stays the same from mount to mount."""
_EVENTLESS = _REMOTE | frozenset(
    {"9p", "afs", "autofs", "coda", "davfs", "fuse", "fuseblk", "gfs2", "gpfs", "ncpfs", "ocfs2", "orangefs"}
    | {"prl_fs", "vboxsf", "virtiofs", "vmhgfs"}
)
"""File systems that tell nobody of what other machines, or the program behind them, do."""
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


@dataclass(frozen=True, slots=True)
class _Mount:
    """One line of /proc/self/mountinfo (proc(5))."""

    id: int
    device: int
    mount_point: str
    kind: str
    source: str


def filesystem_of(path: str) -> FileSystem:
    """The file system on which an existing path lies. Raises WatchError if that cannot be told."""
    try:
        number = _mount_id(path)
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as lines:
            mount = next((m for m in map(_parsed, lines) if m.id == number), None)
    except (OSError, ValueError) as error:
        raise WatchError(f"its file system cannot be told: {error}") from error
    if mount is None:
        raise WatchError(f"its file system cannot be told: {_MOUNTS} does not list it")
    gives_events = mount.kind not in _EVENTLESS and not mount.kind.startswith("fuse.")
    return FileSystem(mount.kind, mount.mount_point, _identity(mount), gives_events)


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
    limits = []
    for path in _WATCH_LIMITS:
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


def _mount_id(path: str) -> int:
    """By a descriptor, not by the path's beginning: one mount may lie on top of another (proc(5), fdinfo)."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
            return next(int(line.removeprefix("mnt_id:")) for line in lines if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)


def _parsed(line: str) -> _Mount:
    fields = line.rstrip("\n").split(" ")
    after = fields.index("-", 6)
    major, minor = map(int, fields[2].split(":"))
    device = os.makedev(major, minor)
    return _Mount(int(fields[0]), device, _unescaped(fields[4]), fields[after + 1], _unescaped(fields[after + 2]))


def _unescaped(field: str) -> str:
    """Blanks, tabs, line feeds and backslashes stand there in octal."""
    return _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), field)


def _identity(mount: _Mount) -> str | None:
    if mount.kind in _REMOTE:
        return mount.source
    uuid = _uuid(mount.device) or _uuid(_device_number(mount.source))
    return f"UUID={uuid}" if uuid else None


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
