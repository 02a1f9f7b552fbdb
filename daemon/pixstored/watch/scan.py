"""The scan: walks a watched folder and tells, folder by folder, which files the rules take and how they look.

Each folder is opened from the one above it, so that no symlink is ever entered and no path is too long. Names
are filtered before anything is asked about them. Memory holds one folder's files, and the names of the folders
still to come on the way down.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field

from pixstored.errors import WatchError
from pixstored.model import Mark, Stamp
from pixstored.watch.filters import Rules, unfinished_sibling
from pixstored.watch.opening import kind_of

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What opening a folder says if it went, or became something else, since its name was read."""
_STOP_EVERY = 256
"""Names between two questions whether to stop: on a slow server one stat takes a millisecond."""


@dataclass(slots=True)
class Listing:
    """What one folder holds. `folder` is relative to the watched folder, "" for itself."""

    folder: str
    files: dict[str, Stamp] = field(default_factory=dict)
    """The regular files that the rules take."""
    others: dict[str, str] = field(default_factory=dict)
    """What the rules would take by its name if it were a regular file, and what it is, in words."""
    unfinished: set[str] = field(default_factory=set)
    """Files that the rules take, but that a sibling says are still being downloaded."""
    names: set[str] = field(default_factory=set)
    """All names in the folder, whatever they are: what is not among them is not there."""
    turned_away: int = 0
    """Files whose names the rules do not take."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Their extensions (with the dot, lower case, "" for none), if they were to be counted."""
    at_rest: int = 0
    """Files that look as they are known to: nothing else is told of them."""
    is_short: bool = False
    """Some of the files that are known to be at rest are not there."""
    error: str | None = None
    """Why the folder could not be read to its end, in words: what is missing here may be there."""


def nothing_at_rest(folder: str) -> Mapping[str, Mark]:
    """For a walk that tells of every file."""
    return {}


def walk(
    watch_root: str,
    recursive: bool,
    rules: Rules,
    stop: Callable[[], bool],
    *,
    below: str = "",
    count_unknown: bool = False,
    at_rest: Callable[[str], Mapping[str, Mark]] = nothing_at_rest,
) -> Generator[Listing]:
    """Walks the watched folder, or only `below` (relative) and what lies below that; each folder before its own.

    A folder that vanishes meanwhile is left out, one that cannot be read is told and left. `stop` ends the walk
    between two folders or in the midst of one, which is then not told. Raises WatchError if the watched folder
    itself is not there or cannot be opened. What is mounted inside is walked too. `at_rest` tells which files of a
    folder (relative) need not be told of, and by what they are known: no rule is asked about them, which takes longer
    than all the rest.
    """
    if not rules.enters(below) or (below and not recursive):
        return
    top = _open_top(watch_root)
    try:
        start = _open_below(top, below)
    except OSError as error:
        if error.errno not in _VANISHED:
            yield Listing(below, error=_words(error))
        return
    trail = [_Step(start, below)]
    try:
        yield from _Walk(rules, stop, count_unknown, at_rest).run(trail, recursive)
    finally:
        for step in trail:
            os.close(step.descriptor)


def count_folders(root: str) -> int:
    """How many folders a recursive watch of `root` takes: itself, and all below it, excluded ones too."""
    return 1 + sum(len([d for d in names if not os.path.islink(f"{top}/{d}")]) for top, names, _ in os.walk(root))


class _Step:
    """One folder on the way from the watched folder to where the walk is."""

    __slots__ = ("descriptor", "folder", "identity", "to_come")

    def __init__(self, descriptor: int, folder: str) -> None:
        self.descriptor = descriptor
        self.folder = folder
        st = os.fstat(descriptor)
        self.identity = (st.st_dev, st.st_ino)
        self.to_come: list[str] = []


class _Walk:
    """One walk: what does not change from folder to folder."""

    def __init__(
        self,
        rules: Rules,
        stop: Callable[[], bool],
        count_unknown: bool,
        at_rest: Callable[[str], Mapping[str, Mark]],
    ) -> None:
        self._rules = rules
        self._stop = stop
        self._count_unknown = count_unknown
        self._at_rest = at_rest

    def run(self, trail: list[_Step], recursive: bool) -> Iterator[Listing]:
        """Goes down and up again, with one open folder a level; what is left on `trail` the caller closes."""
        listing = self._list(trail[-1], recursive)
        while listing is not None:
            yield listing
            listing = None
            while trail and listing is None:
                if self._stop():
                    return
                step = trail[-1]
                if step.to_come:
                    listing = self._enter(trail, step, step.to_come.pop())
                else:
                    os.close(trail.pop().descriptor)

    def _enter(self, trail: list[_Step], above: _Step, name: str) -> Listing | None:
        """Lists a folder below and makes it the end of the trail; None if it has vanished or the walk stops."""
        folder = f"{above.folder}/{name}" if above.folder else name
        try:
            step = _Step(os.open(name, _FOLDER, dir_fd=above.descriptor), folder)
        except OSError as error:
            return None if error.errno in _VANISHED else Listing(folder, error=_words(error))
        if any(step.identity == other.identity for other in trail):
            os.close(step.descriptor)
            return Listing(folder, error="it is a folder above itself, mounted again")
        trail.append(step)
        return self._list(step, True)

    def _list(self, step: _Step, recursive: bool) -> Listing | None:
        """Reads one folder; None if the walk is to stop."""
        listing = Listing(step.folder)
        folders: list[str] = []
        marks = self._at_rest(step.folder)
        try:
            with os.scandir(step.descriptor) as entries:
                for number, entry in enumerate(entries):
                    if number % _STOP_EVERY == 0 and self._stop():
                        return None
                    name = entry.name
                    listing.names.add(name)
                    if name in marks and _mark_of(entry) == marks[name]:
                        listing.at_rest += 1
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    elif self._rules.takes_in(step.folder, name):
                        _put(listing, entry)
                    else:
                        self._turn_away(listing, name)
        except OSError as error:
            listing.error = _words(error)
        listing.is_short = not listing.names.issuperset(marks)
        for name in [n for n in listing.files if unfinished_sibling(listing.names, n)]:
            del listing.files[name]
            listing.unfinished.add(name)
        if recursive:
            prefix = f"{step.folder}/" if step.folder else ""
            step.to_come = sorted((n for n in folders if self._rules.enters(prefix + n)), reverse=True)
        return listing

    def _turn_away(self, listing: Listing, name: str) -> None:
        listing.turned_away += 1
        if self._count_unknown:
            listing.unknown[os.path.splitext(name)[1].lower()] += 1


def _mark_of(entry: os.DirEntry[str]) -> Mark | None:
    """What the file looks like; None if it has vanished meanwhile."""
    try:
        st = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino


def _put(listing: Listing, entry: os.DirEntry[str]) -> None:
    """Looks at one name that the rules take; one that has vanished meanwhile is left out."""
    try:
        st = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        listing.names.discard(entry.name)
        return
    kind = kind_of(st.st_mode)
    if kind is None:
        listing.files[entry.name] = Stamp.of(st)
    else:
        listing.others[entry.name] = kind


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


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
