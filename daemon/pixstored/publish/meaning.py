"""What a settled file means beside all that is known: it is new, changed, or another one under a new name."""

from __future__ import annotations

import os

from pixstored.model import BASELINE, HAS_A_LINK, Change, FileState, Known, Move, Remember, Restamp, Skip, extension_of
from pixstored.publish.decide import Seen, decide
from pixstored.publish.elsewhere import There, is_gone, is_hidden, is_still_there, is_where_seen, shares_disk, there
from pixstored.publish.recall import Records
from pixstored.publish.watched import Watched
from pixstored.slotted import dataclass


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
        found = [there(each, seen) for each in same]
        if There.GONE in found:
            moved = same[found.index(There.GONE)]
            return Meaning(_move(seen, moved), known, moved)
        if There.LINKED in found and not (is_where_seen(seen) and found == [there(each, seen) for each in same]):
            return Meaning(is_outdated=True)
        if known is None and any(map(_may_be_private, same)):
            return Meaning((Skip(seen.path, seen.stamp, seen.watch, BASELINE),))
    change = decide(seen, known, watched.rule_for(seen.path, seen.stamp.size))
    if isinstance(change, Remember):
        if not watched.keeps_inodes and (private := _private_like(records, seen)):
            return _as_private(seen, known, private)
        if _is_displaced(records, watched, seen):
            change = Skip(seen.path, seen.stamp, seen.watch, BASELINE)
    return Meaning((change,) if change else (), known)


def _known_elsewhere(records: Records, seen: Seen) -> list[Known]:
    """What is known of files with other paths that looked like this one, on its file system."""
    return [
        each
        for each in records.renamed_from(seen.stamp)
        if each.path != seen.path and shares_disk(os.path.dirname(each.path), each.stamp.device, seen)
    ]


def _is_displaced(records: Records, watched: Watched, seen: Seen) -> bool:
    """True if it was there before, under a name that another file has by now."""
    displaced = records.displaced if watched.keeps_inodes else records.displaced_like
    return any(shares_disk(each.folder, each.device, seen) for each in displaced(seen.stamp))


def _private_like(records: Records, seen: Seen) -> list[Known]:
    """What is known of private files that this one may be, where its inode says nothing: those of its size and mtime
    that were here, or are not where they were any more."""
    return [
        each
        for each in records.private_like(seen.stamp)
        if each.path == seen.path
        or (not is_still_there(each, seen) and shares_disk(os.path.dirname(each.path), each.stamp.device, seen))
    ]


def _as_private(seen: Seen, known: Known | None, private: list[Known]) -> Meaning:
    """One of these has the path now. Where nothing is left at its own, its record moves, and explains no other file."""
    if known in private:
        return Meaning((Restamp(seen.path, seen.stamp),), known)
    moved = next((each for each in private if is_gone(each.path)), None)
    if moved:
        return Meaning(_move(seen, moved), known, moved)
    return Meaning((Skip(seen.path, seen.stamp, seen.watch, BASELINE),), known)


def _may_be_private(known: Known) -> bool:
    """True if this file was there before and nobody may look there: what looks like it had better stay private."""
    return known.reason == BASELINE and known.state is FileState.SKIPPED and is_hidden(known.path)


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
