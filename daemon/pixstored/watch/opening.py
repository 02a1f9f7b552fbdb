"""Opens files whose names are untrusted: only regular ones, never through a symlink, never waiting for anything.

The messages of the errors raised here do not name the path: they are shown and recorded beside it.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import signal
import stat
import struct
from collections.abc import Callable
from typing import Self

from pixstored.errors import Changed, Gone, Unreadable, UploadError, WatchError

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
"""Opens a name without touching what it names: no FIFO waits, no device wakes (open(2), O_PATH)."""
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symlink",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})

_OPENAT2 = 437
"""The number of openat2(2), which Python has no function for (Linux 5.6; the same for all architectures since 5.1)."""
_AT_FDCWD = -100
_NO_SYMLINKS = 0x04
"""RESOLVE_NO_SYMLINKS of openat2(2): nothing on the way may be one."""


class NotRegular(WatchError):
    """The name is there, but it is no regular file. `kind` says in words what it is."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind}, not a regular file")
        self.kind = kind


def kind_of(mode: int) -> str | None:
    """What a file with this `st_mode` is, in words; None if it is a regular file."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "a special file")


def open_beneath(root: str, rel: str) -> int:
    """Opens root/rel for reading and returns the descriptor (closed on exec, never blocking).

    No symlink is followed below `root`, nor `root` itself if it is one. The caller has seen that it is a regular
    file: what it has become since is opened, at most, and closed again. Raises Gone, Unreadable, NotRegular, or Changed
    if a lease shows that somebody is using the file (a Samba client's, for instance).
    """
    _names(rel)
    descriptor = _open_at_once(f"{root}/{rel}", _READ)
    if descriptor is not None:
        if _is_regular(descriptor):
            return descriptor
        os.close(descriptor)
    folder, name = folder_beneath(root, rel)
    try:
        return open_in(folder, name)
    finally:
        os.close(folder)


def folder_beneath(root: str, rel: str) -> tuple[int, str]:
    """A descriptor of the folder that root/rel lies in, good for looking at names in it only, and the name there.

    Each folder is opened from the one above it unless all can be at once, however long the path is. Raises Gone,
    Unreadable or NotRegular.
    """
    *folders, name = _names(rel)
    if folders:
        descriptor = _open_at_once("/".join((root, *folders)), _LOOK | os.O_DIRECTORY)
        if descriptor is not None:
            return descriptor, name
    folder = _open(root, _LOOK | os.O_DIRECTORY)
    try:
        for each in folders:
            above, folder = folder, _open(each, _LOOK | os.O_DIRECTORY, folder)
            os.close(above)
    except BaseException:
        os.close(folder)
        raise
    return folder, name


class LastFolder:
    """The folder of the file that was asked for last, kept open for the next one: files come folder by folder.

    For a moment only: what is in its place by then is not seen.
    """

    def __init__(self) -> None:
        self._place: tuple[str, str] | None = None
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def beneath(self, root: str, rel: str) -> tuple[int, str]:
        """As `folder_beneath`; the descriptor is not for the caller to close."""
        below, _, name = rel.rpartition("/")
        place = root, below
        if place == self._place:
            _names(name)
        else:
            self._close()
            self._descriptor, name = folder_beneath(root, rel)
            self._place = place
        return self._descriptor, name

    def _close(self) -> None:
        if self._place is not None:
            self._place = None
            os.close(self._descriptor)


def open_in(folder: int, name: str) -> int:
    """Opens a name in an open folder for reading once it is known to be a regular file.

    Raises Gone, Unreadable, NotRegular or Changed, as `open_beneath` does.
    """
    descriptor, _ = open_and_look(folder, name)
    return descriptor


def open_and_look(folder: int, name: str) -> tuple[int, os.stat_result]:
    """The same, and what the open file is.

    No named pipe is waited for and no device woken, unless the name becomes one between the look at it and its opening:
    then it is opened, at most, and closed again. Without that, two system calls more were needed for each file.
    """
    _raise_unless_regular(_look_at(name, folder))
    descriptor = _open(name, _READ | os.O_NOFOLLOW, folder)
    try:
        opened = stat_of(descriptor)
        _raise_unless_regular(opened)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, opened


def open_named(path: str) -> int:
    """As `open_beneath`, for an absolute path that a person named: only the last name must not be a symlink."""
    folder, name = os.path.split(path)
    _names(name)
    above = _open(folder, (_LOOK | os.O_DIRECTORY) & ~os.O_NOFOLLOW)
    try:
        return open_in(above, name)
    finally:
        os.close(above)


def stat_of(descriptor: int) -> os.stat_result:
    """What an open file is. Raises Unreadable where its server or disk does not tell."""
    try:
        return os.fstat(descriptor)
    except OSError as error:
        raise Unreadable(f"it cannot be looked at: {os.strerror(error.errno or 0)}") from error


def being_written(descriptor: int) -> bool | None:
    """True if somebody has the file open for writing, False if nobody, None if the kernel cannot be asked.

    A read lease is granted only on a file that nobody has open for writing (fcntl(2), F_SETLEASE). It is given
    back at once: one that is held would make a writer wait, and the kernel send us SIGIO. Not every file can be
    asked about: it must be our own, or we need CAP_LEASE, and few network file systems have leases.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:  # while this process was stopped the kernel took it back, for somebody who wants to write
        return True
    return False


def ignore_lease_signals() -> None:
    """Makes SIGIO harmless, whose default is to end the process; only the main thread may call this.

    A writer that opens the file between the two calls of `being_written` makes the kernel send it.
    """
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def _names(rel: str) -> list[str]:
    names = rel.split("/")
    if "\0" in rel or any(name in ("", ".", "..") for name in names):
        raise Gone("no file can have this name")
    return names


def _open(name: str, flags: int, folder: int | None = None) -> int:
    """os.open, with errors of ours."""
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in _ABSENT and flags & os.O_DIRECTORY and _is_symlink(name, folder):
            raise NotRegular("a path through a symlink") from None
        raise _named(error) from error


def _named(error: OSError) -> UploadError:
    """Why a file could not be opened, as an error of ours."""
    if isinstance(error, BlockingIOError):
        return Changed("somebody is writing to it, or has asked to be told before anybody reads it")
    if error.errno in _ABSENT:
        return Gone("it is not there any more")
    return Unreadable(f"it cannot be opened: {os.strerror(error.errno or 0)}")


def _open_at_once(path: str, flags: int) -> int | None:
    """openat2(2), which follows no symlink on the whole way; None if it fails, for whatever reason: going step by step
    tells which, and does without that call.

    One system call in place of seven for a file two folders down: each lets go of the interpreter, and has to get it
    back while others are at work (measured: 3 % of a small upload).
    """
    how = struct.pack("QQQ", flags, 0, _NO_SYMLINKS)
    descriptor = _system_call()(_OPENAT2, _AT_FDCWD, os.fsencode(path), how, len(how))
    return descriptor if descriptor >= 0 else None


@functools.cache
def _system_call() -> Callable[..., int]:
    """The C library's syscall(2), with openat2's arguments. It lets go of the interpreter."""
    import ctypes

    syscall = ctypes.CDLL(None).syscall
    syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
    syscall.restype = ctypes.c_long
    return syscall


def _look_at(name: str, folder: int) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        raise _named(error) from error


def _raise_unless_regular(looked_at: os.stat_result) -> None:
    kind = kind_of(looked_at.st_mode)
    if kind is not None:
        raise NotRegular(kind)


def _is_regular(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _is_symlink(name: str, folder: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False
