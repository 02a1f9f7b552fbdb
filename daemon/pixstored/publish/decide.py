"""What a settled file means: one pure decision from what is seen, what is known and what the rules say."""

from __future__ import annotations

from dataclasses import dataclass

from pixstored.config.schema import Existing
from pixstored.model import BASELINE, Change, FileState, Known, Lane, Remember, Restamp, Skip, Stamp

_HAS_A_LINK = frozenset({FileState.PUBLISHED, FileState.UNCERTAIN, FileState.WITHDRAWN})
"""States of a path whose content has been at the store: a rule on size does not take that from the record."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A settled file, as it was found."""

    path: str
    stamp: Stamp
    lane: Lane
    watch: str
    changed_at: float
    announced: bool
    """An event brought it (or a folder it came in), not a scan alone."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the watch says of this file."""

    existing: Existing
    adopted_at_ns: int
    refusal: str | None
    """Why its size is refused; None if it is not."""


def decide(seen: Seen, known: Known | None, rule: Rule) -> Change | None:
    """What is to be recorded; None: nothing, the ledger has it right."""
    if known is None or known.state is FileState.GONE:
        return _skip_or_remember(seen, rule, is_baseline=known is None and is_baseline(seen, rule))
    if seen.stamp.unchanged(known.stamp):
        return _unchanged(seen, known)
    if known.reason == BASELINE and known.state is FileState.SKIPPED:
        # Retagged or replaced at once: what was private stays private. A new file has been seen missing before.
        return _skip_or_remember(seen, rule) if known.missing else Restamp(seen.path, seen.stamp)
    if rule.refusal and known.state in _HAS_A_LINK:
        return Restamp(seen.path, seen.stamp)
    return _skip_or_remember(seen, rule)


def is_baseline(seen: Seen, rule: Rule) -> bool:
    """True if a path not known yet was there before its folder was adopted, as far as anybody can tell."""
    return rule.existing is Existing.IGNORE and not seen.announced and seen.stamp.ctime_ns <= rule.adopted_at_ns


def needs_a_look(known: Known | None, stamp: Stamp) -> bool:
    """True if a scan that finds this file must hand it on."""
    return (
        known is None
        or known.missing
        or known.parked
        or known.state is FileState.GONE
        or not stamp.unchanged(known.stamp)
    )


def _unchanged(seen: Seen, known: Known) -> Change | None:
    if known.parked:
        return Remember(seen.path, seen.stamp, seen.lane, seen.watch, seen.changed_at)
    return Restamp(seen.path, seen.stamp) if known.missing else None


def _skip_or_remember(seen: Seen, rule: Rule, *, is_baseline: bool = False) -> Change:
    if is_baseline:
        return Skip(seen.path, seen.stamp, seen.watch, BASELINE)
    if rule.refusal:
        return Skip(seen.path, seen.stamp, seen.watch, rule.refusal)
    return Remember(seen.path, seen.stamp, seen.lane, seen.watch, seen.changed_at)
