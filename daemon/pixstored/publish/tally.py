"""How the uploads of this run ended: counts that only grow, for whoever watches many hosts."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter

from pixstored.errors import (
    Changed,
    Duplicate,
    Gone,
    NotTaken,
    Refused,
    Stopped,
    TurnedAway,
    Uncertain,
    Unreadable,
    UploadError,
    Waits,
)
from pixstored.model import Standing
from pixstored.slotted import dataclass

PUBLISHED = "published"
_NOT_SENT = "not_sent"

_OUTCOMES: dict[type[UploadError], str] = {
    Refused: "refused",
    NotTaken: "not_taken",
    Uncertain: "uncertain",
    Duplicate: "duplicate",
    Changed: "changed",
    Gone: "gone",
    Unreadable: "unreadable",
    Stopped: "stopped",
    TurnedAway: "turned_away",
}
"""One word for each way an upload ends without a link; any other `NotSent` is `not_sent`."""

OUTCOMES = (PUBLISHED, _NOT_SENT, *_OUTCOMES.values())

LIMITS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 86400.0)
"""Seconds from a file's last change to its link up to which it is counted, class by class: settling alone takes one,
an outage hours."""


@dataclass(frozen=True, slots=True)
class Sums:
    """The counts at one moment."""

    outcomes: dict[str, int]
    """Every outcome is a key."""
    sent: int
    """Bytes of files that left, whatever became of the upload."""
    linked: tuple[int, ...]
    """Fresh files that got their link, by `LIMITS`, and those that took longer."""
    seconds: float
    """What they took, all together."""


class Tally:
    """Counts for one run. Safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes = Counter(dict.fromkeys(OUTCOMES, 0))
        self._sent = 0
        self._linked = [0] * (len(LIMITS) + 1)
        self._seconds = 0.0

    def ended(self, failure: UploadError | None, sent: int) -> None:
        """One upload has ended, with so many bytes of the file sent."""
        word = PUBLISHED if failure is None else _word_for(failure)
        with self._lock:
            self._sent += sent
            if word:
                self._outcomes[word] += 1

    def linked(self, seconds: float) -> None:
        """A fresh file got its link that long after its last change."""
        with self._lock:
            self._linked[bisect_left(LIMITS, seconds)] += 1
            self._seconds += seconds

    def sums(self) -> Sums:
        """The counts as they are now."""
        with self._lock:
            return Sums(dict(self._outcomes), self._sent, tuple(self._linked), self._seconds)


def _word_for(failure: UploadError) -> str | None:
    """None for what has not ended: it comes again, after the one that is on its way, or when it may be sent."""
    gave_way = isinstance(failure, Duplicate) and failure.standing is Standing.IN_FLIGHT
    if gave_way or isinstance(failure, Waits):
        return None
    return _OUTCOMES.get(type(failure), _NOT_SENT)
