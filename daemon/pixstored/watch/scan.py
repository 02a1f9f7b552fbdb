"""The scan: walks a watched folder and tells, folder by folder, which files the rules take and how they look.

Each folder is opened from the one above it, so that no symlink is ever entered and no path is too long. Names
are filtered before anything is asked about them. Memory holds one folder's names, what two thousand of its files look
like and are known to, and the names of the folders still to come on the way down.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import field

from pixstored.errors import WatchError
from pixstored.model import WHOLE, Mark, Span, Stamp, extension_of
from pixstored.slotted import dataclass
from pixstored.watch.filters import UNFINISHED_SUFFIX, Rules, unfinished_sibling
from pixstored.watch.opening import kind_of

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What opening a folder says if it went, or became something else, since its name was read."""
_STOP_EVERY = 256
"""Names between two questions whether to stop: on a slow server one stat takes a millisecond."""
_PART = 2000
"""Names of a folder that are compared at once: what is known of 100,000 would take as much memory as all the rest."""
_UNFINISHED = os.fsencode(UNFINISHED_SUFFIX)
_MOST_OPEN = 32
"""Folders kept open on the way down; a program may have a thousand files open, and trees can be deeper than that."""

AtRest = Callable[[str, Span], Mapping[str, Mark]]
"""Tells by what the files of a folder (relative) are known that need not be told of, of those with names in a span."""


@dataclass(slots=True)
class Listing:
    """What one folder holds, or those of its names that lie in `span`.

    `folder` is relative to the watched folder, "" for itself.
    """

    folder: str
    files: dict[str, Stamp] = field(default_factory=dict)
    """The regular files that the rules take."""
    others: dict[str, str] = field(default_factory=dict)
    """What the rules would take by its name if it were a regular file, and what it is, in words."""
    unfinished: set[str] = field(default_factory=set)
    """Files that the rules take, but that a sibling says are still being downloaded."""
    names: set[str] = field(default_factory=set)
    """All names in the folder, whatever they are: what is not among them is not there. Of a part: without folders."""
    turned_away: int = 0
    """Files whose names the rules do not take."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Their extensions (with the dot, lower case, "" for none), if they were to be counted."""
    at_rest: int = 0
    """Files that look as they are known to: nothing else is told of them."""
    is_short: bool = False
    """Some of the files that are known to be at rest are not there, or nobody told of any."""
    span: Span = WHOLE
    is_first: bool = True
    """False: some of this folder has been told already."""
    error: str | None = None
    """Why the folder could not be read to its end, in words: what is missing here may be there."""


def path_below(top: str, folder: str) -> str:
    """The path of a listing's folder, if the watched one is called `top`."""
    return os.path.join(top, folder) if folder else top


def walk(
    watch_root: str,
    recursive: bool,
    rules: Rules,
    stop: Callable[[], bool],
    *,
    below: str = "",
    count_unknown: bool = False,
    at_rest: AtRest | None = None,
) -> Generator[Listing]:
    """Walks the watched folder, or only `below` (relative) and what lies below that; each folder before its own.

    A folder that vanishes meanwhile is left out, one that cannot be read is told and left. `stop` ends the walk
    between two folders or in the midst of one, which is then not told to its end. Raises WatchError if the watched
    folder itself is not there or cannot be opened. What is mounted inside is walked too. No rule is asked about
    files that are `at_rest`, which takes longer than all the rest. A large folder is told in parts, in the order of
    its names.
    """
    if not rules.enters(below) or (below and not recursive):
        return
    top = _open_top(watch_root)
    try:
        trail = [_Step(_open_below(top, below), below)]
    except OSError as error:
        if error.errno not in _VANISHED:
            yield Listing(below, error=_words(error))
        return
    try:
        yield from _Walk(rules, stop, count_unknown, at_rest).run(trail, recursive)
    finally:
        for step in trail:
            step.close()


@dataclass(slots=True)
class _Reading:
    """What has been read of one folder."""

    listing: Listing
    first: list[os.DirEntry[str]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    """Files that are to be told of."""
    folders: list[str] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    """All but folders, if it is large: as bytes, which are a fifth smaller."""
    is_large: bool = False


class _Step:
    """One folder on the way from the watched folder to where the walk is. Those far above have no descriptor."""

    __slots__ = ("descriptor", "folder", "identity", "to_come")

    def __init__(self, descriptor: int, folder: str) -> None:
        """Takes the descriptor over; closes it if it raises OSError."""
        try:
            self.identity = _identity(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self.descriptor: int | None = descriptor
        self.folder = folder
        self.to_come: list[str] = []

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def reopen(self, below: _Step, top: _Step) -> bool:
        """Opens it again, from the folder below it or by its way from the top; False if it is there no more."""
        return self._takes(self._above(below)) or self._takes(self._beneath(top))

    def _takes(self, found: int | None) -> bool:
        """True if this is the folder, open again; else it is closed."""
        if found is None:
            return False
        try:
            is_it = _identity(found) == self.identity
        except OSError:
            is_it = False
        if is_it:
            self.descriptor = found
        else:
            os.close(found)
        return is_it

    def _above(self, below: _Step) -> int | None:
        try:
            return None if below.descriptor is None else os.open("..", _FOLDER, dir_fd=below.descriptor)
        except OSError:
            return None

    def _beneath(self, top: _Step) -> int | None:
        rel = self.folder[len(top.folder) :].lstrip("/")
        try:
            return None if top.descriptor is None else _open_below(os.dup(top.descriptor), rel)
        except OSError:
            return None


class _Walk:
    """One walk: what does not change from folder to folder."""

    def __init__(
        self,
        rules: Rules,
        stop: Callable[[], bool],
        count_unknown: bool,
        at_rest: AtRest | None,
    ) -> None:
        self._rules = rules
        self._stop = stop
        self._count_unknown = count_unknown
        self._at_rest = at_rest

    def run(self, trail: list[_Step], recursive: bool) -> Iterator[Listing]:
        """Goes down and up again; what is left on `trail` the caller closes."""
        yield from self._list(trail[-1], recursive)
        while trail and not self._stop():
            step = trail[-1]
            if step.to_come:
                yield from self._enter(trail, step, step.to_come.pop())
            else:
                yield from self._leave(trail)

    def _enter(self, trail: list[_Step], above: _Step, name: str) -> Iterator[Listing]:
        """Makes a folder below the end of the trail, and lists it."""
        folder = f"{above.folder}/{name}" if above.folder else name
        try:
            step = _Step(os.open(name, _FOLDER, dir_fd=above.descriptor), folder)
        except OSError as error:
            if error.errno not in _VANISHED:
                yield Listing(folder, error=_words(error))
            return
        if any(step.identity == other.identity for other in trail):
            step.close()
            yield Listing(folder, error="it is a folder above itself, mounted again")
            return
        trail.append(step)
        if len(trail) > _MOST_OPEN:
            trail[max(1, len(trail) - _MOST_OPEN)].close()
        yield from self._list(step, True)

    def _leave(self, trail: list[_Step]) -> Iterator[Listing]:
        """Goes up to the folder above, which may have to be opened again."""
        step = trail.pop()
        above = trail[-1] if trail else None
        found = above is None or above.descriptor is not None or above.reopen(step, trail[0])
        step.close()
        if above and not found and above.to_come:
            above.to_come = []
            yield Listing(above.folder, error="it was moved while it was looked through")

    def _list(self, step: _Step, recursive: bool) -> Iterator[Listing]:
        """Reads one folder, and tells of it; of nothing any more if the walk is to stop."""
        reading = _Reading(Listing(step.folder))
        try:
            with os.scandir(step.descriptor) as entries:
                reading.first.extend(itertools.islice(entries, _PART))
                reading.is_large = len(reading.first) == _PART
                if not (self._read_many(reading, entries) if reading.is_large else self._read(step, reading)):
                    return
        except OSError as error:
            reading.listing.error = _words(error)
        reading.first.clear()
        if recursive:
            prefix = f"{step.folder}/" if step.folder else ""
            step.to_come = sorted((n for n in reading.folders if self._rules.enters(prefix + n)), reverse=True)
        yield from (self._in_parts(step, reading) if reading.is_large else self._in_one(step, reading))

    def _read(self, step: _Step, reading: _Reading) -> bool:
        """Takes in what a folder holds: files that are to be told of, and folders. False: stop."""
        listing, taken, folders = reading.listing, reading.taken, reading.folders
        marks = self._at_rest(step.folder, WHOLE) if self._at_rest else {}
        try:
            for number, entry in enumerate(reading.first):
                if number % _STOP_EVERY == 0 and self._stop():
                    return False
                name = entry.name
                listing.names.add(name)
                if name in marks and _mark_of(entry) == marks[name]:
                    listing.at_rest += 1
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif self._rules.takes_in(step.folder, name):
                    taken.append(name)
                else:
                    self._turn_away(listing, name)
        finally:
            listing.is_short = self._at_rest is None or not listing.names.issuperset(marks)
        return True

    def _in_one(self, step: _Step, reading: _Reading) -> Iterator[Listing]:
        """Tells of a folder that has been taken in."""
        listing = reading.listing
        listing.unfinished = {name for name in reading.taken if unfinished_sibling(listing.names, name)}
        for number, name in enumerate(name for name in reading.taken if name not in listing.unfinished):
            if number % _STOP_EVERY == 0 and self._stop():
                return
            _put(listing, step, name)
        yield listing

    # --- a large folder

    def _read_many(self, reading: _Reading, entries: Iterator[os.DirEntry[str]]) -> bool:
        """Takes in no more than the names of a folder. False: stop."""
        for number, entry in enumerate(itertools.chain(reading.first, entries)):
            if number % _STOP_EVERY == 0 and self._stop():
                return False
            if entry.is_dir(follow_symlinks=False):
                reading.folders.append(entry.name)
            else:
                reading.names.append(os.fsencode(entry.name))
        return True

    def _in_parts(self, step: _Step, reading: _Reading) -> Iterator[Listing]:
        """Tells of a folder a part at a time, and asks what is known of it in the same parts."""
        names, error, after = reading.names, reading.listing.error, None
        names.sort()
        markers = {os.fsdecode(name) for name in names if name.endswith(_UNFINISHED)}
        for start in range(0, max(len(names), 1), _PART):
            part = [os.fsdecode(name) for name in names[start : start + _PART]]
            upto = part[-1] if start + _PART < len(names) else None
            listing = Listing(step.folder, names=set(part), span=Span(after, upto), is_first=not start, error=error)
            if not self._compare(step, listing, part, markers):
                return
            yield listing
            after, error = upto, None

    def _compare(self, step: _Step, listing: Listing, part: list[str], markers: set[str]) -> bool:
        """Finds out what is to be told of a part. False: stop."""
        marks = self._at_rest(step.folder, listing.span) if self._at_rest else {}
        for number, name in enumerate(part):
            if number % _STOP_EVERY == 0 and self._stop():
                return False
            if name in marks and _mark_at(step, name) == marks[name]:
                listing.at_rest += 1
            elif not self._rules.takes_in(step.folder, name):
                self._turn_away(listing, name)
            elif unfinished_sibling(markers, name):
                listing.unfinished.add(name)
            else:
                _put(listing, step, name)
        listing.is_short = self._at_rest is None or not listing.names.issuperset(marks)
        return True

    def _turn_away(self, listing: Listing, name: str) -> None:
        listing.turned_away += 1
        if self._count_unknown:
            listing.unknown[extension_of(name)] += 1


def _mark_of(entry: os.DirEntry[str]) -> Mark | None:
    """What the file looks like; None if it has vanished meanwhile."""
    try:
        st = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino


def _mark_at(step: _Step, name: str) -> Mark | None:
    """The same of a name; None if nobody can tell."""
    try:
        st = os.stat(name, dir_fd=step.descriptor, follow_symlinks=False)
    except OSError:
        return None
    return st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino


def _put(listing: Listing, step: _Step, name: str) -> None:
    """Looks at one name that the rules take; one that has vanished meanwhile is left out."""
    try:
        st = os.stat(name, dir_fd=step.descriptor, follow_symlinks=False)
    except FileNotFoundError:
        listing.names.discard(name)
        return
    except OSError as error:
        listing.error = _words(error)
        return
    kind = kind_of(st.st_mode)
    if kind is None:
        listing.files[name] = Stamp.of(st)
    else:
        listing.others[name] = kind


def _open_top(watch_root: str) -> int:
    try:
        return os.open(watch_root, _FOLDER)
    except OSError as error:
        raise WatchError(f"the folder cannot be read: {_words(error)}") from error


def _open_below(descriptor: int, below: str) -> int:
    """The folder `below` the one that is open, which is closed."""
    for name in below.split("/") if below else ():
        above = descriptor
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=above)
        finally:
            os.close(above)
    return descriptor


def _identity(descriptor: int) -> tuple[int, int]:
    st = os.fstat(descriptor)
    return st.st_dev, st.st_ino


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
