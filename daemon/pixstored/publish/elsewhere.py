"""What other paths tell of a settled file: whether a known one is still where it was, and whether it is this one."""

from __future__ import annotations

import errno
import os
from enum import Enum

from pixstored.model import Known
from pixstored.publish.decide import Seen

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR})
"""What a look says of a path that leads to no file. All else says that nobody can tell."""


def shares_disk(folder: str, device: int, seen: Seen) -> bool:
    """True if what was in this folder was on the file system of the seen file, as far as anybody knows.

    Devices are renumbered by each start of the machine; where its folder was, a path tells as long as anything is left
    of it.
    """
    if device == seen.stamp.device:
        return True
    while True:
        try:
            return os.stat(folder).st_dev == seen.stamp.device
        except OSError as error:
            if error.errno not in _NOT_THERE:
                return True
        folder = os.path.dirname(folder)


def is_gone(path: str) -> bool:
    """True if the path leads to nothing for sure."""
    return _trouble(path) in _NOT_THERE


def is_hidden(path: str) -> bool:
    """True if nobody may look there."""
    return _trouble(path) not in {None, *_NOT_THERE}


def _trouble(path: str) -> int | None:
    """With which errno a look at the path ends; None if it does not."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno
    return None


def is_still_there(known: Known, seen: Seen) -> bool:
    """True if a file of its size and mtime is where it was, and is not the seen one, as far as paths can tell."""
    try:
        found = os.lstat(known.path)
    except OSError:
        return False
    is_like = (found.st_size, found.st_mtime_ns) == (known.stamp.size, known.stamp.mtime_ns)
    return is_like and _is_another_path(known.path, seen.path)


class There(Enum):
    """What is at the path of a known file that looks like one seen elsewhere."""

    GONE = "gone"
    LINKED = "linked"
    """It itself besides being where it was seen: the two are hard links. So it is whatever it looks like by now: what
    changes it changes both."""
    OTHERWISE = "otherwise"
    """It, and what was seen is another file; or its path cannot be reached, and it is there for all anybody knows."""


def there(known: Known, seen: Seen) -> There:
    try:
        found = os.lstat(known.path)
    except OSError as error:
        return There.GONE if error.errno in _NOT_THERE else There.OTHERWISE
    if found.st_ino != seen.stamp.inode:
        return There.GONE
    if found.st_dev != seen.stamp.device:
        return There.OTHERWISE
    return There.LINKED if _is_another_path(known.path, seen.path) else There.GONE


def is_where_seen(seen: Seen) -> bool:
    """False if it has another path by now: it was moved back to where it is known, perhaps, and is no hard link."""
    try:
        return os.lstat(seen.path).st_ino == seen.stamp.inode
    except OSError as error:
        return error.errno not in _NOT_THERE


def _is_another_path(there: str, path: str) -> bool:
    """False if the two are only other ways to write one path."""
    return not _lead_to_one_name(there, path) and is_spelled_so(there, path)


def _lead_to_one_name(there: str, path: str) -> bool:
    """True if both paths are one name in one folder: a symlink was left where a folder above has moved away, say."""
    (above, name), (folder, seen_name) = os.path.split(there), os.path.split(path)
    return name == seen_name and os.path.realpath(above) == os.path.realpath(folder)


def is_spelled_so(there: str, path: str) -> bool:
    """True if a path that leads to a file is really spelled so, and not `path` by the grace of its file system.

    Where upper and lower case are one, a file is found by its old name after only the case of that was changed.
    """
    if there.casefold() != path.casefold():
        return True
    for depth, (old, new) in enumerate(zip(there.split("/"), path.split("/"), strict=False)):
        if old != new:
            above = "/".join(there.split("/")[:depth]) or "/"
            try:
                return old in os.listdir(above)
            except OSError:
                return True
    return True
