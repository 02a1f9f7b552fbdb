"""When a file is quiet enough to be read: a table of the paths that somebody named, with time as an argument.

`now` is monotonic seconds, `wall` seconds since the epoch. A file is quiet when for long enough there was no
event, its stamp stayed the same, and nobody held it open for writing. Not safe for threads by itself.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from functools import cache

from pixstored.model import Lane, Stamp
from pixstored.slotted import dataclass

QUIET_ASKED = 1.0
"""Seconds of quiet with `auto` where the kernel says that nobody is writing (docs/configuration.md, `settle`)."""
QUIET_BLIND = 10.0
"""Seconds of quiet with `auto` where the kernel cannot be asked about writers."""
CUT_OFF_EXTRA = 60.0
"""Seconds more of quiet with `auto` for a file that is plainly cut off (docs/configuration.md, `settle`)."""
_QUIET_AT_LEAST_BLIND = 1.0
"""Seconds that stand in for "as soon as the writer closes it" where nobody can say whether it did."""
_BUSY_FIRST = 0.5
"""Seconds until a file that somebody writes to is looked at again; its closing event comes sooner if there is one."""
_BUSY_LONGEST = 5.0
"""Seconds to which that time doubles."""
_BETWEEN_LOOKS = 1.0
"""Seconds between two looks that are to be equal: the time that coarse file systems keep is in whole seconds."""
_SHORTEST = 0.01
"""Seconds between two looks at least: the file system's clock and ours differ by a tick (4 ms)."""
_UNLOOKED = 5.0
"""Seconds after which a path given out by `due` is given out again if nobody has looked at it."""
_CLOCK_JUMP = 2.0
"""Seconds the wall clock must gain on the monotonic one to be said to have jumped."""
WRITER = "somebody has it open for writing"
"""What is known of who writes to a file, where the kernel told."""
_STALE_AT_MOST = 1000
"""Places that a lane keeps beyond two a file that waits. Files that settle at once leave theirs behind until it would
have come due: without a limit that were 30,000 of 200 bytes each in a fast scan (measured)."""
_NEVER = -math.inf
_NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Waiting:
    """The file is not quiet yet. `since` (wall) is its latest change, None before the first look."""

    path: str
    watch: str
    lane: Lane
    since: float | None
    why: str
    announced: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """The file is quiet, and has left the table. `changed_at` (wall) is when it was last closed or changed."""

    path: str
    stamp: Stamp
    lane: Lane
    watch: str
    changed_at: float
    announced: bool = False
    """An event brought it (or a folder it came in), not a scan alone."""
    missed: bool = False
    """Only a scan brought it, though an event should have."""
    cut_off: str | None = None
    """What is missing of it, in words, though it was given more time."""


@dataclass(frozen=True, slots=True)
class Unjudged:
    """The file is quiet, and `judge` is to be told whether it is cut off. Else this is what was seen, and when."""

    path: str
    stamp: Stamp
    busy: bool | None
    changed_at: float
    at: float


@dataclass(frozen=True, slots=True)
class Vanished:
    """The file is not there, and has left the table."""

    path: str
    quiet_for: float = math.inf
    """Seconds since an event last named it; infinite if none has."""


_Place = tuple[float, int, str]
"""When a path is due, a number that tells it from its other places, and the path."""


class _Entry:
    """What is known of one path that is not quiet yet. Times are monotonic unless they say otherwise."""

    __slots__ = (
        "announced",
        "busy_pause",
        "changed_wall",
        "cut_off",
        "disturbed_at",
        "due",
        "event_at",
        "expected",
        "judged",
        "lane",
        "path",
        "same_since",
        "scheduled",
        "settle",
        "stamp",
        "two_looks",
        "watch",
        "why",
    )

    def __init__(self, path: str, watch: str, lane: Lane, settle: float | None, two_looks: bool) -> None:
        self.path = path
        self.watch = watch
        self.lane = lane
        self.settle = settle
        self.two_looks = two_looks
        self.announced = False
        self.expected = False
        self.event_at: float | None = None
        self.disturbed_at = _NEVER
        self.stamp: Stamp | None = None
        self.same_since = 0.0
        self.busy_pause = _BUSY_FIRST
        self.changed_wall: float | None = None
        self.due = 0.0
        self.scheduled: _Place | None = None
        self.judged: Stamp | None = None
        self.cut_off: str | None = None
        self.why = "not looked at yet"

    def quiet_time(self, busy: bool | None) -> float:
        """How long it must be quiet, in seconds."""
        if self.settle is None:
            return QUIET_BLIND if busy is None else QUIET_ASKED
        return max(self.settle, _QUIET_AT_LEAST_BLIND) if busy is None else self.settle

    def is_judged(self, stamp: Stamp) -> bool:
        """True if it is known whether the file as it is now is cut off."""
        return self.judged is not None and stamp.unchanged(self.judged)

    def see(self, stamp: Stamp, busy: bool | None, now: float, wall: float) -> float:
        """Takes in one look; returns when the file was changed or closed last (wall), never in the future."""
        if self.stamp is None or not stamp.unchanged(self.stamp):
            self.stamp, self.same_since = stamp, now
        if busy:
            self.disturbed_at = now
        event_wall = wall - (now - self.event_at) if self.event_at is not None else _NEVER
        self.changed_wall = min(wall, max(stamp.ctime_ns / _NANOSECONDS, event_wall))
        return self.changed_wall

    def still_for(self, stamp: Stamp, now: float, wall: float, clock_jumped_at: float) -> float:
        """For how many seconds the stamp it has now is known to have been the same."""
        watched = now - self.same_since
        newest = max(stamp.ctime_ns, stamp.mtime_ns) / _NANOSECONDS
        if newest > wall:
            return watched
        # A clock set forward makes a file look older than it is.
        return max(watched, min(wall - newest, now - clock_jumped_at))


class SettleTable:
    """The files that are not quiet yet. Hints put them in; a look that settles them takes them out.

    Each operation but `forget_watch` and `oldest` takes logarithmic time, however many files wait.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._heaps: dict[Lane, list[_Place]] = {lane: [] for lane in sorted(Lane)}
        self._pushed = 0
        self._offset: float | None = None
        self._clock_jumped_at = _NEVER

    def hint(
        self,
        path: str,
        *,
        settle: float | None,
        lane: Lane,
        watch: str,
        now: float,
        two_looks: bool = False,
        announced: bool = False,
        expected: bool = False,
        at_once: bool = False,
    ) -> bool:
        """Somebody named the path. `settle` is seconds, None for `auto`.

        FRESH without `two_looks` is an event: the quiet time starts again, and the lane stays FRESH. Any other
        hint is a scan's, which says nothing about a file that waits already. `two_looks` (a folder that is
        polled) demands two equal looks, some time apart, however old the file is. `announced`: an event told of
        it; `expected`: an event should have, and it counts as missed if none does before it has settled.

        True: it was a scan's hint of a new path, to be given out `at_once`; it is, as if by `due`.
        """
        entry = self._entries.get(path)
        is_new = entry is None
        if entry is None:
            entry = _Entry(path, watch, lane, settle, two_looks)
            self._entries[path] = entry
        entry.watch, entry.settle, entry.two_looks = watch, settle, two_looks
        entry.announced |= announced
        entry.expected |= expected and is_new
        if lane < entry.lane:
            entry.lane, entry.scheduled = lane, None
        if lane is Lane.FRESH and not two_looks:
            entry.event_at = entry.disturbed_at = now
            entry.busy_pause = _BUSY_FIRST
            self._schedule(entry, now + (QUIET_ASKED if settle is None else settle))
        elif is_new:
            self._schedule(entry, now + _UNLOOKED if at_once else now)
            return at_once
        elif entry.scheduled is None:
            self._schedule(entry, entry.due)
        return False

    def postpone(self, path: str, lane: Lane, until: float) -> None:
        """A path that was hinted at keeps its lane, and is looked at no sooner than `until` unless an event comes."""
        entry = self._entries.get(path)
        if entry is not None:
            entry.lane, entry.scheduled = lane, None
            self._schedule(entry, until)

    def due(self, now: float, limit: int | None = None) -> list[str]:
        """The paths to look at now, those that events brought first; at most `limit` of them."""
        found: list[str] = []
        for heap in self._heaps.values():
            while heap and heap[0][0] <= now and (limit is None or len(found) < limit):
                entry = self._popped(heap)
                if entry is None:
                    continue
                if entry.due <= now:
                    found.append(entry.path)
                    self._schedule(entry, now + _UNLOOKED)
                else:
                    self._schedule(entry, entry.due)
        return found

    def give_again(self, paths: Iterable[str], now: float) -> None:
        """These were given out by `due`, and nobody has come to look at them: the next time it gives them again."""
        for path in paths:
            entry = self._entries.get(path)
            if entry is not None:
                self._schedule(entry, now)

    def next_due(self) -> float | None:
        """The monotonic time at which `due` has something; None if nothing waits."""
        times = [time for time in map(self._first, self._heaps.values()) if time is not None]
        return min(times, default=None)

    def look(
        self,
        path: str,
        stamp: Stamp | None,
        busy: bool | None,
        now: float,
        wall: float,
        *,
        writer: str = WRITER,
    ) -> Settled | Waiting | Unjudged | Vanished:
        """Takes in what the file looks like (`stamp` None: it is not there) and says what that means.

        `busy`: True if somebody writes to it, None if the kernel could not be asked; `writer` says what is known
        of who does. Raises KeyError for a path that is not in the table.
        """
        entry = self._entries[path]
        self._compare_clocks(now, wall)
        if stamp is None:
            self.forget(path)
            return Vanished(path, now - entry.disturbed_at)
        changed_at = entry.see(stamp, busy, now, wall)
        wait = self._busy(entry, writer) if busy else self._quiet(entry, stamp, busy, now, wall)
        if wait <= 0 and entry.settle is None and not entry.is_judged(stamp):
            self._schedule(entry, now + _UNLOOKED)
            return Unjudged(path, stamp, busy, changed_at, now)
        if wait <= 0:
            return self._settled(entry, stamp, changed_at)
        self._schedule(entry, now + max(wait, _SHORTEST))
        return _shown(entry)

    def judge(
        self, unjudged: Unjudged, cut_off: str | None, now: float, wall: float
    ) -> Settled | Waiting | Unjudged | Vanished:
        """Takes in what is missing of the file, in words, None if nothing is; and says what that means.

        Raises KeyError if its path is not in the table any more.
        """
        entry, stamp = self._entries[unjudged.path], unjudged.stamp
        entry.judged, entry.cut_off = stamp, cut_off
        if cut_off is None and entry.disturbed_at <= unjudged.at:
            return self._settled(entry, stamp, unjudged.changed_at)
        return self.look(unjudged.path, stamp, unjudged.busy, now, wall)

    def _settled(self, entry: _Entry, stamp: Stamp, changed_at: float) -> Settled:
        path, announced = entry.path, entry.announced
        self.forget(path)
        missed = entry.expected and not announced
        return Settled(path, stamp, entry.lane, entry.watch, changed_at, announced, missed, entry.cut_off)

    def forget(self, path: str) -> None:
        """Takes a path out, if it is there."""
        self._entries.pop(path, None)

    def forget_watch(self, watch: str, but: Callable[[str], bool]) -> None:
        """Takes out all that was named in this watch, but those paths."""
        for path in [path for path, entry in self._entries.items() if entry.watch == watch and not but(path)]:
            del self._entries[path]

    def get(self, path: str) -> Waiting | None:
        """Why this path still waits; None if it does not."""
        entry = self._entries.get(path)
        return _shown(entry) if entry else None

    def named(self, path: str) -> tuple[str, Lane, bool] | None:
        """In which watch this path waits, in which lane, and whether an event told of it; None if it does not wait."""
        entry = self._entries.get(path)
        return (entry.watch, entry.lane, entry.announced) if entry else None

    def oldest(self) -> float | None:
        """The earliest of the latest changes (wall) of the files looked at so far; None if there is none."""
        changes = (e.changed_wall for e in self._entries.values() if e.changed_wall is not None)
        return min(changes, default=None)

    def __contains__(self, path: object) -> bool:
        return path in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def _busy(self, entry: _Entry, writer: str) -> float:
        """Seconds until the next look at a file that somebody writes to."""
        pause, entry.busy_pause = entry.busy_pause, min(entry.busy_pause * 2, _BUSY_LONGEST)
        entry.why = writer
        return pause

    def _quiet(self, entry: _Entry, stamp: Stamp, busy: bool | None, now: float, wall: float) -> float:
        """Seconds until the next look at a file that nobody is seen to write to; none if it is quiet."""
        entry.busy_pause = _BUSY_FIRST
        quiet = entry.quiet_time(busy)
        quiet_for = min(now - entry.disturbed_at, entry.still_for(stamp, now, wall, self._clock_jumped_at))
        once_more = _BETWEEN_LOOKS - (now - entry.same_since) if entry.two_looks else 0.0
        if quiet_for < quiet:
            entry.why = _must_be_quiet(quiet, busy is None)
        elif once_more > 0:
            entry.why = "it must look the same once more, because its folder is polled"
        elif entry.settle is None and entry.cut_off and entry.is_judged(stamp):
            quiet += CUT_OFF_EXTRA
            entry.why = f"it seems to be cut off ({entry.cut_off}), and is given {CUT_OFF_EXTRA:g} s more"
        return max(quiet - quiet_for, once_more)

    def _compare_clocks(self, now: float, wall: float) -> None:
        offset = wall - now
        if self._offset is not None and offset - self._offset > _CLOCK_JUMP:
            self._clock_jumped_at = now
        self._offset = offset

    # A path has one valid place in the heaps, at or before its `due`: later times are only noted in the entry,
    # so that a file with a million events does not have a million places.

    def _schedule(self, entry: _Entry, due: float) -> None:
        entry.due = due
        if entry.scheduled is not None and entry.scheduled[0] <= due:
            return
        heap = self._heaps[entry.lane]
        if len(heap) > 2 * len(self._entries) + _STALE_AT_MOST:
            self._tidy(heap)
        self._pushed += 1
        entry.scheduled = (due, self._pushed, entry.path)
        heapq.heappush(heap, entry.scheduled)

    def _tidy(self, heap: list[_Place]) -> None:
        """Leaves the valid places in a heap: at most every other one is, so it costs each of them a moment."""
        heap[:] = [place for place in heap if self._entry_at(place)]
        heapq.heapify(heap)

    def _entry_at(self, place: _Place) -> _Entry | None:
        """Whose place this is; None if it is not valid any more."""
        entry = self._entries.get(place[2])
        return entry if entry is not None and entry.scheduled is place else None

    def _popped(self, heap: list[_Place]) -> _Entry | None:
        """Takes the first place off a heap; None if it is not valid any more."""
        place = heapq.heappop(heap)
        entry = self._entry_at(place)
        if entry is None:
            return None
        entry.scheduled = None
        return entry

    def _first(self, heap: list[_Place]) -> float | None:
        """When the first valid place of a heap is due."""
        while heap:
            due = heap[0][0]
            entry = self._entry_at(heap[0])
            if entry is not None and entry.due <= due:
                return due
            entry = self._popped(heap)
            if entry is not None:
                self._schedule(entry, entry.due)
        return None


@cache  # thousands of files wait for the same reason: one text for all of them
def _must_be_quiet(seconds: float, is_blind: bool) -> str:
    blind = ", because the kernel cannot be asked whether somebody writes to it" if is_blind else ""
    return f"it must be quiet for {seconds:g} s{blind}"


def _shown(entry: _Entry) -> Waiting:
    return Waiting(entry.path, entry.watch, entry.lane, entry.changed_wall, entry.why, entry.announced)
