"""Live events of the watched folders, by watchdog: hints that a path is worth a look, and whether hints still come.

Events are hints, never the truth. watchdog stops seeing things in more ways than it says, so this module asks
what it can (`dead`, `blind`), and whoever runs it throws an observer that does not see away, and scans.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from enum import StrEnum

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import ObservedWatch

from pixstored.errors import WatchError
from pixstored.eventlog import EventLog
from pixstored.slotted import dataclass
from pixstored.watch.inotify import Emitter, Group, InotifyObserver
from pixstored.watch.mounts import watch_limit, watch_limit_remedy

log = EventLog("pixstored.observer")

_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
"""What the kernel is asked to tell: not each write and each reading, which would fill its queue."""

OVERFLOWED = "the kernel's event queue overflowed: events were lost"
"""What `FolderObserver.dead` says then."""


class LimitReached(WatchError):
    """The kernel has no watch, or no inotify instance, left for this user: that may change. Says how to raise it."""


class HintKind(StrEnum):
    """What a hint asks for."""

    FILE = "file"
    """Look at this path: a file was made, closed, or moved here."""
    FOLDER = "folder"
    """Scan this folder and all below it: it was made or moved here, and may hold files that no event named."""
    GONE = "gone"
    """This file is not there any more."""
    FOLDER_GONE = "folder gone"
    """This folder, with all below it, is not there any more."""
    RESCAN = "rescan"
    """Scan the whole watched folder: events were lost."""


@dataclass(frozen=True, slots=True)
class Hint:
    """One hint. `path` and `watch` (the watched folder's path) are in their configured form."""

    path: str
    kind: HintKind
    watch: str


@dataclass(slots=True)
class _Watch:
    """One watched folder, its identity when the watching began, and what went wrong since."""

    path: str
    root: str
    identity: tuple[int, int]
    enters: Callable[[str], bool]
    scheduled: ObservedWatch | None = None
    emitter: Emitter | None = None
    overflowed: bool = False
    limit_reached: bool = False


class FolderObserver:
    """Watches folders and tells hints, from threads of watchdog's; `on_hint` must not wait for anything.

    A folder below that the rules do not enter is not watched, and what happens in it not told. `start`, `add`,
    `remove` and `stop` belong to one thread. After `stop` an observer is done with: a new one takes its place.
    """

    def __init__(self, on_hint: Callable[[Hint], None]) -> None:
        self._on_hint = on_hint
        self._watches: dict[str, _Watch] = {}
        self._observer: InotifyObserver | None = None

    def start(self) -> None:
        """Begins to watch. Raises LimitReached if the kernel has no inotify instance left for this user."""
        try:
            self._observer = InotifyObserver(self._trouble)
            self._observer.start()
        except OSError as error:
            raise (LimitReached if error.errno == errno.EMFILE else WatchError)(_no_instance(error)) from error

    def add(self, path: str, root: str, recursive: bool, enters: Callable[[str], bool]) -> None:
        """Watches the folder that users call `path` and that really lies at `root`.

        `enters` says of a folder below (relative, "" for the folder itself) whether anything in it is wanted; it is
        asked of each before it is read, and what it raises ends the adding. Raises WatchError if the folder cannot
        be watched, or LimitReached if not completely: then it is not watched at all.
        """
        if self._observer is None:
            raise RuntimeError("an observer is started before folders are added")
        self.remove(path)
        try:
            watch = _Watch(path, root, _identity(root), enters)
            self._watches[path] = watch
            handler = _Handler(watch, self._tell)
            self._observer.enters[root] = enters
            watch.scheduled = self._observer.schedule(handler, root, recursive=recursive, event_filter=_EVENTS)
            watch.emitter = self._observer.emitter_of(watch.scheduled)
        except OSError as error:
            self._watches.pop(path, None)
            if error.errno == errno.ENOSPC:
                raise LimitReached(_limit_reached()) from error
            raise WatchError(f"the folder cannot be watched: {error.strerror or error}") from error
        if watch.limit_reached:
            self.remove(path)
            raise LimitReached(_limit_reached())

    def paths(self) -> set[str]:
        """The folders that are watched, by their paths."""
        return set(self._watches)

    def remove(self, path: str) -> None:
        """Ends the watching of one folder; hints of it that are on their way may still come."""
        watch = self._watches.pop(path, None)
        if watch is None or watch.scheduled is None or self._observer is None:
            return
        try:
            self._observer.unschedule(watch.scheduled)
        except Exception as error:  # noqa: BLE001 - whatever watchdog raises: the folder is no longer ours to watch
            log.crashed("watchdog failed", error, doing="unschedule", path=path)

    def stop(self) -> None:
        """Ends all watching within a few seconds, whatever state watchdog is in."""
        observer, self._observer = self._observer, None
        self._watches.clear()
        if observer is not None:
            observer.put_down()

    def dead(self) -> str | None:
        """None if what all folders share still works, as far as can be told; else what does not, in words."""
        if self._observer is None:
            return "the observer is not running"
        if any(watch.overflowed for watch in list(self._watches.values())):
            return OVERFLOWED
        return self._observer.dead()

    def blind(self, path: str) -> str | None:
        """None if hints of this folder still come, if the observer is not dead; else why not, in words."""
        watch = self._watches.get(path)
        return "it is not watched" if watch is None else self._blind(watch)

    def limit_reached(self, path: str) -> str | None:
        """That since the folder was added there were more folders in it than could be watched, in words."""
        watch = self._watches.get(path)
        return _limit_reached() if watch and watch.limit_reached else None

    def directories(self, path: str) -> int:
        """How many directories are watched for this folder."""
        group = self._group(path)
        return group.directories() if group else 0

    def is_behind(self, path: str) -> bool:
        """True if there are events in this watched folder that have not been told yet."""
        observer, group = self._observer, self._group(path)  # once: they may be stopped at this moment
        return observer is not None and group is not None and observer.is_behind(group)

    def now_readable(self, path: str) -> list[str]:
        """The folders below this one that could not be watched because they may not be read, and now are."""
        group = self._group(path)
        if group is None:
            return []
        return [f"{path.rstrip('/')}/{below}" for below in group.ask_again()]

    def _group(self, path: str) -> Group | None:
        watch = self._watches.get(path)
        return watch.emitter.group if watch and watch.emitter else None

    def _blind(self, watch: _Watch) -> str | None:
        group = self._group(watch.path)
        if group is None:
            return "watchdog's emitter thread has ended"
        try:
            same = _identity(watch.root) == watch.identity
        except OSError as error:
            return f"the folder cannot be reached: {error.strerror}"
        if not same:
            return "the folder is another one than when the watching began"
        return None if group.watches_root() else "the kernel has ended its watch"

    def _trouble(self, root: str, limit_reached: bool) -> None:
        """Some of what happens below `root` is not told from now on; called once for each folder or overflow."""
        for watch in list(self._watches.values()):
            if watch.root != root or watch.overflowed or watch.limit_reached:
                continue
            watch.limit_reached, watch.overflowed = limit_reached, not limit_reached
            if watch.scheduled is not None:
                self._tell(Hint(watch.path, HintKind.RESCAN, watch.path))

    def _tell(self, hint: Hint) -> None:
        """Never raises: an exception would end watchdog's thread, and with it all hints, for good."""
        try:
            self._on_hint(hint)
        except Exception as error:  # noqa: BLE001 - logged; the thread must go on
            log.crashed("hint lost", error, path=hint.path, kind=hint.kind)


class _Handler(FileSystemEventHandler):
    """Translates watchdog's events of one watched folder."""

    def __init__(self, watch: _Watch, tell: Callable[[Hint], None]) -> None:
        self._watch = watch
        self._tell = tell

    def dispatch(self, event: FileSystemEvent) -> None:
        # Files that came or moved along with a folder: the hint about the folder stands for them.
        if event.is_synthetic:
            return
        arrived = HintKind.FOLDER if event.is_directory else HintKind.FILE
        left = HintKind.FOLDER_GONE if event.is_directory else HintKind.GONE
        if isinstance(event, DirMovedEvent | FileMovedEvent):
            self._hint(event.src_path, left, event.is_directory)
            self._hint(event.dest_path, arrived, event.is_directory)
        elif isinstance(event, DirDeletedEvent | FileDeletedEvent):
            self._hint(event.src_path, left, event.is_directory)
        else:
            self._hint(event.src_path, arrived, event.is_directory)

    def _hint(self, at: bytes | str, kind: HintKind, is_directory: bool) -> None:
        watch = self._watch
        found = os.fsdecode(at)
        if not found:
            return
        rel = found[len(watch.root) :].lstrip("/")
        if not rel:
            self._tell(Hint(watch.path, HintKind.RESCAN, watch.path))
            return
        if watch.enters(rel if is_directory else rel.rpartition("/")[0]):
            self._tell(Hint(f"{watch.path.rstrip('/')}/{rel}", kind, watch.path))


def _identity(root: str) -> tuple[int, int]:
    st = os.stat(root)
    return st.st_dev, st.st_ino


def _limit_reached() -> str:
    limit = watch_limit() or 0
    return f"not all its folders can be watched, inotify's limit of {limit} is reached: {watch_limit_remedy(limit)}"


def _no_instance(error: OSError) -> str:
    if error.errno != errno.EMFILE:
        return f"inotify cannot be used: {error.strerror or error}"
    setting = "fs.inotify.max_user_instances=1024"
    return (
        "inotify cannot be used, too many programs of this user do: "
        f"run `sysctl {setting}` as root, and write `{setting}` into /etc/sysctl.d/60-inotify.conf to keep it"
    )
