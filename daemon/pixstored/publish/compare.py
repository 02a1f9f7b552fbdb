"""How a folder differs from what the ledger knows of it: one comparison for the reconciler and for `scan`."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from functools import partial

from pixstored.ledger.base import LedgerReader
from pixstored.model import BASELINE, FileState, Known, Lane, Missing, Skip, Stamp
from pixstored.publish.decide import Seen, can_be_baseline, is_baseline, needs_a_look
from pixstored.publish.elsewhere import is_gone
from pixstored.publish.recall import Recall, Records
from pixstored.publish.watched import Watched
from pixstored.slotted import dataclass
from pixstored.watch.scan import Listing


@dataclass(frozen=True, slots=True)
class Differing:
    """A file to be looked at: nothing is known of it, or it is not what it was."""

    path: str
    stamp: Stamp
    known: Known | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one folder, or a part of it, holds, beside what is known of it."""

    baseline: tuple[Skip, ...]
    """Files that were there before their folder was adopted, and are not on record yet."""
    differing: tuple[Differing, ...]
    others: tuple[str, ...]
    """Paths of what is no regular file, and not on record yet."""
    unchanged: tuple[Known, ...]
    """What is on record and stays as it is there."""
    missing: tuple[Missing, ...]


def compare(
    ledger: LedgerReader, watched: Watched, folder: str, listing: Listing, *, announced: bool = False
) -> Comparison:
    """Compares the listing of `folder` (its path as configured) with the ledger; changes nothing.

    `announced`: an event told of the folder, so what is in it is new.
    """
    known_in = ledger.known_in(folder, listing.span)
    records = Recall(ledger, (), [stamp.inode for name, stamp in listing.files.items() if name not in known_in])
    baseline: list[Skip] = []
    differing: list[Differing] = []
    unchanged = [known_in[name] for name in listing.others if name in known_in]
    for name, stamp in listing.files.items():
        known = known_in.get(name)
        if known is not None and not needs_a_look(known, stamp, partial(watched.refusal, known.path, stamp.size)):
            unchanged.append(known)
            continue
        path = os.path.join(folder, name)
        skip = None if known else baseline_record(records, watched, path, stamp, announced=announced)
        if skip:
            baseline.append(skip)
        else:
            differing.append(Differing(path, stamp, known))
    return Comparison(
        tuple(baseline),
        tuple(differing),
        tuple(os.path.join(folder, name) for name in listing.others if name not in known_in),
        tuple(unchanged),
        _missing_in(folder, known_in, listing.names),
    )


def baseline_record(
    records: Records, watched: Watched, path: str, stamp: Stamp, *, announced: bool = False
) -> Skip | None:
    """The record of an unknown file that was there before its folder was adopted; None if it is to be looked at."""
    if not can_be_baseline(watched.config.existing, announced=announced):
        return None
    seen = Seen(path, stamp, Lane.BACKLOG, watched.config.name, 0.0, announced=announced)
    if not is_baseline(seen, watched.rule_for(path, stamp.size)):
        return None
    if any(known.path != path for known in records.renamed_from(stamp)):
        return None
    return Skip(path, stamp, watched.config.name, BASELINE, unless_known=True)


def missing_below(ledger: LedgerReader, top: str, visited: Container[str]) -> Iterator[tuple[Missing, ...]]:
    """Known files that are gone with their folders, some at a time: of those folders that the walk has not come to."""
    for folder in ledger.folders_known(top):
        if folder not in visited:
            for known_in in ledger.known_by_parts(folder):
                yield _missing_in(folder, known_in, ())


def _missing_in(folder: str, known_in: Mapping[str, Known], names: Container[str]) -> tuple[Missing, ...]:
    """Known files that are not there any more; what the rules turn away by now is still there."""
    return tuple(
        Missing(path)
        for name, known in known_in.items()
        if not known.missing
        and known.state is not FileState.GONE
        and name not in names
        and is_gone(path := os.path.join(folder, name))
    )
