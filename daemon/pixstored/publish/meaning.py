"""What a settled file means beside all that is known: it is new, changed, or another one under a new name."""

from __future__ import annotations

import errno
import os
from enum import Enum

from pixstored.model import BASELINE, HAS_A_LINK, Change, FileState, Known, Move, Remember, Skip, extension_of
from pixstored.publish.decide import Seen, decide
from pixstored.publish.recall import Records
from pixstored.publish.watched import Watched
from pixstored.slotted import dataclass

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR})
"""What a look says of a path that leads to no file. All else says that nobody can tell."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What is to be recorded, in order, and what that rests on: the record of the path, and of an earlier one."""

    changes: tuple[Change, ...] = ()
    known: Known | None = None
    moved: Known | None = None
    is_outdated: bool = False
    """It was moved since it was seen: to be looked at once more."""


def meaning_of(records: Records, watched: Watched, seen: Seen) -> Meaning:
    """What a settled file means; without changes if the ledger has it right. Records nothing."""
    known = records.look(seen.path)
    if known is None or known.state is FileState.GONE or known.stamp.inode != seen.stamp.inode:
        same = _known_elsewhere(records, seen)
        there = [_there(each, seen) for each in same]
        if _There.GONE in there:
            moved = same[there.index(_There.GONE)]
            return Meaning(_move(seen, moved), known, moved)
        if _There.LINKED in there and not (_is_where_seen(seen) and there == [_there(each, seen) for each in same]):
            return Meaning(is_outdated=True)
        if known is None and any(map(_may_be_private, same)):
            return Meaning((Skip(seen.path, seen.stamp, seen.watch, BASELINE),))
    change = decide(seen, known, watched.rule_for(seen.path, seen.stamp.size))
    if isinstance(change, Remember) and _is_displaced(records, seen):
        change = Skip(seen.path, seen.stamp, seen.watch, BASELINE)
    return Meaning((change,) if change else (), known)


def _known_elsewhere(records: Records, seen: Seen) -> list[Known]:
    """What is known of files with other paths that looked like this one, on its file system."""
    return [
        each
        for each in records.renamed_from(seen.stamp)
        if each.path != seen.path and _shares_disk(os.path.dirname(each.path), each.stamp.device, seen)
    ]


def _is_displaced(records: Records, seen: Seen) -> bool:
    """True if it was there before, under a name that another file has by now."""
    return any(_shares_disk(each.folder, each.device, seen) for each in records.displaced(seen.stamp))


def _may_be_private(known: Known) -> bool:
    """True if this file was there before and nobody may look there: what looks like it had better stay private."""
    if known.reason != BASELINE or known.state is not FileState.SKIPPED:
        return False
    try:
        os.lstat(known.path)
    except OSError as error:
        return error.errno not in _NOT_THERE
    return False


def _shares_disk(folder: str, device: int, seen: Seen) -> bool:
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


class _There(Enum):
    """What is at the path of a known file that looks like one seen elsewhere."""

    GONE = "gone"
    LINKED = "linked"
    """It itself besides being where it was seen: the two are hard links. So it is whatever it looks like by now: what
    changes it changes both."""
    OTHERWISE = "otherwise"
    """It, and what was seen is another file; or its path cannot be reached, and it is there for all anybody knows."""


def _there(known: Known, seen: Seen) -> _There:
    try:
        found = os.lstat(known.path)
    except OSError as error:
        return _There.GONE if error.errno in _NOT_THERE else _There.OTHERWISE
    if found.st_ino != seen.stamp.inode:
        return _There.GONE
    if found.st_dev != seen.stamp.device:
        return _There.OTHERWISE
    is_second = not _lead_to_one_name(known.path, seen.path) and is_spelled_so(known.path, seen.path)
    return _There.LINKED if is_second else _There.GONE


def _is_where_seen(seen: Seen) -> bool:
    """False if it has another path by now: it was moved back to where it is known, perhaps, and is no hard link."""
    try:
        return os.lstat(seen.path).st_ino == seen.stamp.inode
    except OSError as error:
        return error.errno not in _NOT_THERE


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


def _move(seen: Seen, known: Known) -> tuple[Change, ...]:
    """The record of a renamed file; one that was not sent under its old name is sent under the new one.

    One that was sent is hashed again, which finds its link, unless only a folder above it was renamed: with its name
    the ctime changes, and with that goes all that could tell it from another content of its size and mtime. One whose
    new content is kept back stays so.
    """
    move = Move(known.file_id, seen.path, seen.stamp, seen.watch)
    is_unsent = known.state in (FileState.GONE, FileState.PENDING)
    is_other_kind = known.state is FileState.REJECTED and extension_of(known.path) != extension_of(seen.path)
    is_unsure = known.state in HAS_A_LINK and not seen.stamp.unchanged(known.stamp) and not known.kept_back
    if is_unsent or is_other_kind or is_unsure:
        return move, Remember(seen.path, seen.stamp, seen.lane, seen.watch, seen.changed_at)
    return (move,)
