"""One look at a file that may be settling: what it looks like, who writes to it, and what is missing of it."""

from __future__ import annotations

import os

from pixstored.errors import Changed, Gone, Unreadable
from pixstored.model import Stamp
from pixstored.publish.cutoff import cut_off
from pixstored.publish.watched import Watched
from pixstored.slotted import dataclass
from pixstored.watch.filters import UNFINISHED_SUFFIX
from pixstored.watch.opening import LastFolder, NotRegular, being_written, open_and_look
from pixstored.watch.settle import WRITER

UNFINISHED = "{}" + UNFINISHED_SUFFIX + " beside it says that it is still being downloaded"
"""What a sibling tells of the file of this name."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What was seen. The descriptor, if there is one, is open until `close`."""

    stamp: Stamp | None = None
    """None: it is not there, or `hidden`."""
    busy: bool | None = None
    """True if somebody writes to it, None if the kernel could not be asked."""
    writer: str = WRITER
    """What is known of who does."""
    hidden: bool = False
    """Its folder is away or cannot be entered, or the disk fails: a scan finds it again when that is well."""
    no_file: str | None = None
    """What it is instead, in words, if it is no regular file."""
    descriptor: int | None = None

    def missing(self) -> str | None:
        """What is missing of it if it is plainly cut off, in words."""
        descriptor = self.descriptor
        if descriptor is None or self.stamp is None:
            return None
        return cut_off(lambda offset, length: os.pread(descriptor, length, offset), self.stamp.size)

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)


def glance(watched: Watched, path: str, last: LastFolder) -> Glance:
    """Looks at a file of a watch without following symlinks below it, however long its path is.

    Whoever has seen enough calls `close`.
    """
    try:
        folder, name = last.beneath(watched.root, watched.relative(path))
    except (Gone, NotRegular):  # a folder that became a symlink: what lies behind that is not in the watch
        return _gone(watched)
    except Unreadable:
        return Glance(hidden=True)
    try:
        descriptor, opened = open_and_look(folder, name)
    except Gone:
        return _gone(watched)
    except NotRegular as error:
        return _unopened(watched, folder, name, None, no_file=str(error))
    except Unreadable:
        return _unopened(watched, folder, name, None)
    except Changed:  # a lease: some program is about to write
        return _unopened(watched, folder, name, True)
    stamp = Stamp.of(opened)
    if _has_name(folder, name + UNFINISHED_SUFFIX):
        return Glance(stamp, True, UNFINISHED.format(name), descriptor=descriptor)
    return Glance(stamp, being_written(descriptor), descriptor=descriptor)


def _gone(watched: Watched) -> Glance:
    """It is not there, as far as that can be told: its watched folder may be away."""
    return Glance(hidden=not watched.is_itself())


def _unopened(watched: Watched, folder: int, name: str, busy: bool | None, *, no_file: str | None = None) -> Glance:
    try:
        stamp = Stamp.of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return _gone(watched)
    except OSError:
        return Glance(hidden=True)
    return Glance(stamp, busy, no_file=no_file)


def _has_name(folder: int, name: str) -> bool:
    # A look at what is not there costs three times as much: an exception is made of it (measured).
    return os.access(name, os.F_OK, dir_fd=folder, follow_symlinks=False)
