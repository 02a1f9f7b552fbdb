"""What a reconciliation would do with a file, without doing it: the daemon's own decisions, told in words."""

from __future__ import annotations

import os
from enum import StrEnum

from pixstored.ledger.base import LedgerReader
from pixstored.model import BASELINE, FileState, Known, Lane, Remember, Restamp, Skip, Stamp
from pixstored.publish.compare import Comparison, baseline_record
from pixstored.publish.decide import Seen
from pixstored.publish.glance import UNFINISHED
from pixstored.publish.meaning import meaning_of
from pixstored.publish.watched import Watched
from pixstored.slotted import dataclass
from pixstored.watch.scan import Listing

PRIVATE = "it was there before its folder was adopted"
"""What `baseline` means, for people."""


class Action(StrEnum):
    """What would become of a file."""

    PUBLISH = "publish"
    """Nothing is on record of it: hashed, and sent unless its content is published."""
    CHANGED = "changed"
    """It is not what it was: hashed, and sent if its content is new."""
    RENAMED = "renamed"
    """It keeps what is on record of it, and its link."""
    PRIVATE = "private"
    """Baseline."""
    SKIP = "skip"
    """A rule, or the kind of file, says no."""
    UNFINISHED = "unfinished"
    """A sibling says that it is still being downloaded."""
    MISSING = "missing"
    """It is on record, and not there any more."""
    KNOWN = "known"
    """On record as it is."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of one file, and why. `state` is what is on record of it, None if nothing is."""

    path: str
    action: Action
    reason: str | None = None
    state: FileState | None = None
    moved_from: str | None = None


def preview_of(ledger: LedgerReader, watched: Watched, path: str, stamp: Stamp, known: Known | None) -> Preview:
    """What would become of a regular file that the rules take, once it is quiet."""
    if known is None and baseline_record(ledger, watched, path, stamp):
        return Preview(path, Action.PRIVATE, PRIVATE)
    seen = Seen(path, stamp, Lane.BACKLOG, watched.config.name, 0.0, announced=False)
    state = known.state if known else None
    meaning = meaning_of(ledger, watched, seen)
    if meaning.moved:
        return Preview(path, Action.RENAMED, None, meaning.moved.state, meaning.moved.path)
    match meaning.changes:
        case [Skip(reason=reason)] if reason == BASELINE:
            return Preview(path, Action.PRIVATE, PRIVATE, state)
        case [Skip(reason=reason)]:
            return Preview(path, Action.SKIP, reason, state)
        case [Restamp(reason=str(reason))]:
            return Preview(path, Action.SKIP, reason, state)
        case [Remember()] if state is None or state in (FileState.GONE, FileState.SKIPPED):
            return Preview(path, Action.PUBLISH, None, state)
        case [Remember()]:
            return Preview(path, Action.CHANGED, None, state)
    return recorded(known) if known else Preview(path, Action.KNOWN)


def recorded(known: Known) -> Preview:
    """A file that stays what it is on record."""
    if known.state is FileState.SKIPPED and known.reason == BASELINE:
        return Preview(known.path, Action.KNOWN, PRIVATE, known.state)
    return Preview(known.path, Action.KNOWN, known.reason, known.state)


def previews(ledger: LedgerReader, watched: Watched, folder: str, listing: Listing, found: Comparison) -> list[Preview]:
    """What would become of the files of one folder, by name; what is missing is not among them."""
    told = [Preview(skip.path, Action.PRIVATE, PRIVATE) for skip in found.baseline]
    told += [preview_of(ledger, watched, each.path, each.stamp, each.known) for each in found.differing]
    told += [recorded(known) for known in found.unchanged]
    for path in found.others:
        told.append(Preview(path, Action.SKIP, f"{listing.others[os.path.basename(path)]}, not a regular file"))
    for name in listing.unfinished:
        told.append(Preview(os.path.join(folder, name), Action.UNFINISHED, UNFINISHED.format(name)))
    return sorted(told, key=lambda preview: preview.path)
