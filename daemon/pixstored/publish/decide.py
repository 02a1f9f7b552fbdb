"""What a settled file means: one pure decision from what is seen, what is known and what the rules say."""

from __future__ import annotations

from collections.abc import Callable

from pixstored.config.schema import Existing, WhenChanged
from pixstored.model import (
    BASELINE,
    HAS_A_LINK,
    KEPT_BACK,
    WATCH_REMOVED,
    Change,
    FileState,
    Known,
    Lane,
    Remember,
    Restamp,
    Skip,
    Stamp,
)
from pixstored.slotted import dataclass

IGNORED = "`changed` is `ignore`"

_NOT_BY_SIZE = frozenset({BASELINE, WATCH_REMOVED})
"""Reasons to skip a regular file that stay when the rules of its watch change."""


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
    changed: WhenChanged
    adopted_at_ns: int
    refusal: str | None
    """Why its size or the length of its path is refused; None if they are not."""
    latest_ns: int | None = None
    """What has a later ctime did not come after the adoption: its clock was behind, and has been set right since, or
    will be. None if that does not count."""


def decide(seen: Seen, known: Known | None, rule: Rule) -> Change | None:
    """What is to be recorded; None: nothing, the ledger has it right."""
    if known is None or known.state is FileState.GONE:
        was_there = is_baseline(seen, rule) and (known is None or _is_of_another(seen, known))
        return _skip_or_remember(seen, rule, is_baseline=was_there)
    if seen.stamp.unchanged(known.stamp):
        return _unchanged(seen, known, rule)
    if known.reason == BASELINE and known.state is FileState.SKIPPED:
        # Retagged or replaced at once, or back again: what was private stays private. A new file has been seen
        # missing before, and is not as old as what was there: that is on another card, mounted in the same place.
        is_new = known.missing and not seen.stamp.may_be_same_file(known.stamp) and not is_baseline(seen, rule)
        return _skip_or_remember(seen, rule) if is_new else Restamp(seen.path, seen.stamp)
    if is_baseline(seen, rule) and _is_of_another(seen, known):
        return Skip(seen.path, seen.stamp, seen.watch, BASELINE)
    # Here too, a new file where one was seen missing is no change of it.
    ignored = rule.changed is WhenChanged.IGNORE and not known.missing
    kept_back = rule.refusal or (IGNORED if ignored else None)
    if kept_back and known.state in HAS_A_LINK:
        return Restamp(seen.path, seen.stamp, _reason(seen.stamp, known, kept_back))
    return _skip_or_remember(seen, rule)


def can_be_baseline(existing: Existing, *, announced: bool) -> bool:
    """False: whatever its times say, the file was not there before."""
    return existing is Existing.IGNORE and not announced


def is_baseline(seen: Seen, rule: Rule) -> bool:
    """True if a path not known yet was there before its folder was adopted, as far as anybody can tell."""
    if not can_be_baseline(rule.existing, announced=seen.announced):
        return False
    ctime_ns = seen.stamp.ctime_ns
    return ctime_ns <= rule.adopted_at_ns or (rule.latest_ns is not None and ctime_ns > rule.latest_ns)


def _is_of_another(seen: Seen, known: Known) -> bool:
    """True if what is known of the path of a file that was there before the adoption is of another file system: of one
    that was adopted before this one was, or that was mounted inside the folder meanwhile.

    A record that was made from the links file alone has no ctime: its file is looked at as if it had changed.
    """
    return known.stamp.ctime_ns > 0 and not seen.stamp.same_file(known.stamp)


def needs_a_look(known: Known | None, stamp: Stamp, refusal: Callable[[], str | None]) -> bool:
    """True if a scan that finds this file must hand it on. `refusal` tells why its rules refuse it now."""
    return (
        known is None
        or known.missing
        or known.parked
        or known.state is FileState.GONE
        or not stamp.unchanged(known.stamp)
        or (_was_refused(known) and refusal() != known.reason)
    )


def _was_refused(known: Known) -> bool:
    return known.state is FileState.SKIPPED and known.reason not in _NOT_BY_SIZE


def _unchanged(seen: Seen, known: Known, rule: Rule) -> Change | None:
    if known.parked:
        return Remember(seen.path, seen.stamp, seen.lane, seen.watch, seen.changed_at)
    if _was_refused(known) and rule.refusal != known.reason:
        return _skip_or_remember(seen, rule)
    return Restamp(seen.path, seen.stamp) if known.missing else None


def _reason(now: Stamp, known: Known, kept_back: str) -> str | None:
    """The reason of a file whose new content is not sent; None if its content is the one that was, by its times."""
    if now.size == known.stamp.size and now.mtime_ns == known.stamp.mtime_ns:
        return None
    before = (known.reason or "").partition(KEPT_BACK)[0].removesuffix("; ")
    return f"{before}; {KEPT_BACK}{kept_back}" if before else KEPT_BACK + kept_back


def _skip_or_remember(seen: Seen, rule: Rule, *, is_baseline: bool = False) -> Change:
    if is_baseline:
        return Skip(seen.path, seen.stamp, seen.watch, BASELINE)
    if rule.refusal:
        return Skip(seen.path, seen.stamp, seen.watch, rule.refusal)
    return Remember(seen.path, seen.stamp, seen.lane, seen.watch, seen.changed_at)
