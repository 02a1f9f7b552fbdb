"""Opens files whose names are untrusted: only regular ones, never through a symlink, never waiting for anything.

The messages of the errors raised here do not name the path: they are shown and recorded beside it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat

from pixstored.errors import Changed, Gone, Unreadable, WatchError

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

    No symlink is followed below `root`, nor `root` itself if it is one: each folder is opened from the one
    above it. Raises Gone, Unreadable, NotRegular, or Changed if a lease shows that somebody is using the file
    (a Samba client's, for instance).
    """
    folder, name = folder_beneath(root, rel)
    try:
        return open_in(folder, name)
    finally:
        os.close(folder)


def folder_beneath(root: str, rel: str) -> tuple[int, str]:
    """A descriptor of the folder that root/rel lies in, good for looking at names in it only, and the name there.

    Opened as `open_beneath` says, however long the path is. Raises Gone, Unreadable or NotRegular.
    """
    *folders, name = _names(rel)
    folder = _open(root, _LOOK | os.O_DIRECTORY)
    try:
        for each in folders:
            above, folder = folder, _open(each, _LOOK | os.O_DIRECTORY, folder)
            os.close(above)
    except BaseException:
        os.close(folder)
        raise
    return folder, name


def open_in(folder: int, name: str) -> int:
    """Opens a name in an open folder for reading once it is known to be a regular file.

    Raises Gone, Unreadable, NotRegular or Changed, as `open_beneath` does.
    """
    looked_at = _open(name, _LOOK, folder)
    try:
        kind = kind_of(stat_of(looked_at).st_mode)
        if kind is not None:
            raise NotRegular(kind)
        # Not by name again: it might have become something else meanwhile.
        return _open(f"/proc/self/fd/{looked_at}", _READ)
    finally:
        os.close(looked_at)


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
    except BlockingIOError:
        raise Changed("somebody is writing to it, or has asked to be told before anybody reads it") from None
    except OSError as error:
        if error.errno in _ABSENT:
            if flags & os.O_DIRECTORY and _is_symlink(name, folder):
                raise NotRegular("a path through a symlink") from None
            raise Gone("it is not there any more") from None
        raise Unreadable(f"it cannot be opened: {os.strerror(error.errno or 0)}") from error


def _is_symlink(name: str, folder: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False
