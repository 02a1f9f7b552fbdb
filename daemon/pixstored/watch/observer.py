"""Live events of the watched folders, by watchdog: hints that a path is worth a look, and whether hints still come.

Events are hints, never the truth. watchdog stops seeing things in more ways than it says, so this module asks
what it can (`healthy`, `blind`), and whoever runs it throws an observer that does not see away, and scans.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
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
from watchdog.observers.api import BaseObserver, EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import CallbackId, InotifyFD, Mask, WatchCallback, WatchDescriptor

from pixstored.errors import WatchError
from pixstored.eventlog import EventLog
from pixstored.watch.mounts import watch_limit, watch_limit_remedy

log = EventLog("pixstored.observer")

_STOP_LIMIT = 5.0
"""Seconds to wait for watchdog's threads: its own `stop` waits without end."""
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
_UNWATCHED = WatchDescriptor(-1)
"""What watchdog's reader hands out for a folder it may not read, without an error."""


class HintKind(StrEnum):
    """What a hint asks for."""

    FILE = "file"
    """Look at this path: a file was made, closed, or moved here."""
    FOLDER = "folder"
    """Scan this folder and all below it: it was made or moved here, and may hold files that no event named."""
    GONE = "gone"
    """This path, a file or a folder with all below it, is not there any more."""
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
    enters: Callable[[str], bool] | None
    scheduled: ObservedWatch | None = None
    overflowed: bool = False
    limit_reached: bool = False


class FolderObserver:
    """Watches folders and tells hints, from threads of watchdog's; `on_hint` must not wait for anything.

    `start`, `add`, `remove` and `stop` belong to one thread. After `stop` an observer is done with: a new one
    takes its place.
    """

    def __init__(self, on_hint: Callable[[Hint], None]) -> None:
        self._on_hint = on_hint
        self._watches: dict[str, _Watch] = {}
        self._observer: _Observer | None = None

    def start(self) -> None:
        """Begins to watch. Raises WatchError if the kernel has no inotify instance left for this user."""
        try:
            self._observer = _Observer(self._trouble)
            self._observer.start()
        except OSError as error:
            raise WatchError(_no_instance(error)) from error

    def add(self, path: str, root: str, recursive: bool, enters: Callable[[str], bool] | None = None) -> None:
        """Watches the folder that users call `path` and that really lies at `root`.

        `enters` says of a folder below (relative) whether anything in it is wanted: hints from others are dropped.
        Raises WatchError if the folder cannot be watched, or not completely: then it is not watched at all.
        """
        if self._observer is None:
            raise RuntimeError("an observer is started before folders are added")
        self.remove(path)
        try:
            watch = _Watch(path, root, _identity(root), enters)
            self._watches[path] = watch
            handler = _Handler(watch, self._tell)
            watch.scheduled = self._observer.schedule(handler, root, recursive=recursive, event_filter=_EVENTS)
        except OSError as error:
            self._watches.pop(path, None)
            if error.errno == errno.ENOSPC:
                raise WatchError(_limit_reached()) from error
            raise WatchError(f"the folder cannot be watched: {error.strerror or error}") from error
        if watch.limit_reached:
            self.remove(path)
            raise WatchError(_limit_reached())

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

    def healthy(self) -> str | None:
        """None if hints of all folders still come as far as can be told; else why not, in words."""
        if self._observer is None:
            return "the observer is not running"
        return self._observer.dead() or next(filter(None, map(self._blind, list(self._watches.values()))), None)

    def blind(self, path: str) -> str | None:
        """As `healthy`, for what concerns one folder alone."""
        watch = self._watches.get(path)
        return "it is not watched" if watch is None else self._blind(watch)

    def directories(self, path: str) -> int:
        """How many directories are watched for this folder."""
        watch = self._watches.get(path)
        if watch is None or self._observer is None:
            return 0
        emitter = self._observer.emitter_of(watch.scheduled)
        return emitter.directories() if emitter else 0

    def _blind(self, watch: _Watch) -> str | None:
        if watch.overflowed:
            return "the kernel's event queue overflowed: events were lost"
        if watch.limit_reached:
            return _limit_reached()
        emitter = self._observer.emitter_of(watch.scheduled) if self._observer else None
        if emitter is None or not emitter.is_alive():
            return "watchdog's emitter thread has ended"
        try:
            same = _identity(watch.root) == watch.identity
        except OSError as error:
            return f"the folder cannot be reached: {error.strerror}"
        return None if same else "the folder is another one than when the watching began"

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
        if isinstance(event, DirMovedEvent | FileMovedEvent):
            self._hint(event.src_path, HintKind.GONE, event.is_directory)
            self._hint(event.dest_path, arrived, event.is_directory)
        elif isinstance(event, DirDeletedEvent | FileDeletedEvent):
            self._hint(event.src_path, HintKind.GONE, event.is_directory)
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
        if watch.enters is None or watch.enters(rel if is_directory else rel.rpartition("/")[0]):
            self._tell(Hint(f"{watch.path.rstrip('/')}/{rel}", kind, watch.path))


# --- watchdog, with what it gets wrong put right


class _Reader(InotifyFD):
    """watchdog's thread that reads from the kernel."""

    def _add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        # watchdog warns of a folder that is added twice, in kilobytes; after quick moves that is quite right.
        watch = self._get_or_create_watch(path, mask)
        watch.callbacks[id_] = callback
        return watch.wd


class _Group(InotifyWatchGroup):
    """The directories of one watched folder.

    watchdog 7.1 loses track when folders of one name come and go quickly, which ends its reader thread with a
    KeyError; swallows the watch limit; and answers a queue overflow by watching everything anew, which from
    about 17,000 folders on makes the queue overflow again.
    """

    def __init__(self, root: str, trouble: Callable[[str, bool], None], reader: InotifyFD, **options: object) -> None:
        self._root = root
        self._trouble = trouble
        super().__init__(reader, os.fsencode(root), **options)  # type: ignore[arg-type] # InotifyEmitter's own, passed on

    def on_queue_overflow(self) -> None:
        self._trouble(self._root, False)

    def directories(self) -> int:
        return len(self._active_callbacks_by_watch)

    def _add_callback(self, path: bytes) -> None:
        try:
            number = self._inotify_fd.add_callback(path, self.event_mask, self._callback, self._id)
        except OSError as error:
            if path == self.path:
                raise
            if error.errno == errno.ENOSPC:
                self._trouble(self._root, True)
            return
        if number != _UNWATCHED:
            self._remove_watch_internally(number)
            self._active_callbacks_by_path[path] = number
            self._active_callbacks_by_watch[number] = path
        elif path == self.path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _move_watches(self, move_src_path: bytes, move_dst_path: bytes) -> bool:
        """Where the reader lags behind, the watch it has for the old name may be that of the name's next folder.

        So the kernel is asked, which knows a folder by its inode: all that was moved is watched once more.
        """
        was_watched = super()._move_watches(move_src_path, move_dst_path)
        if was_watched:
            self._add_all_callbacks(move_dst_path)
        return was_watched

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]


class _Emitter(InotifyEmitter):
    """watchdog's emitter of one watched folder, with a group of ours."""

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        timeout: float,
        event_filter: list[type[FileSystemEvent]] | None,
        reader: InotifyFD,
        trouble: Callable[[str, bool], None],
    ) -> None:
        super().__init__(event_queue, watch, timeout=timeout, event_filter=event_filter, inotify_fd=reader)
        self._reader = reader
        self._trouble = trouble

    def on_thread_start(self) -> None:
        self._inotify = _Group(
            self.watch.path,
            self._trouble,
            self._reader,
            is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(),
        )

    def directories(self) -> int:
        group = self._inotify
        return group.directories() if isinstance(group, _Group) else 0


class _Observer(BaseObserver):
    """watchdog's dispatcher thread, with one inotify reader whose life can be asked about."""

    def __init__(self, trouble: Callable[[str, bool], None]) -> None:
        self._reader = _Reader()
        super().__init__(_Emitter, reader=self._reader, trouble=trouble)

    def start(self) -> None:
        self._reader.name = "inotify-reader"
        self.name = "inotify-dispatcher"
        self._reader.start()
        super().start()

    def emitter_of(self, scheduled: ObservedWatch | None) -> _Emitter | None:
        found = next((e for e in list(self.emitters) if e.watch is scheduled), None)
        return found if isinstance(found, _Emitter) else None

    def dead(self) -> str | None:
        """Which of the threads that all folders share has ended, in words."""
        if not self._reader.is_alive():
            return "watchdog's inotify thread has ended"
        return None if self.is_alive() else "watchdog's dispatcher thread has ended"

    def put_down(self) -> None:
        """Ends all threads; what does not end in time is left behind, a daemon thread that tells nobody."""
        threads = [self, *self.emitters, self._reader]
        ending = threading.Thread(target=self._end, name="observer-end", daemon=True)
        ending.start()
        ending.join(_STOP_LIMIT)
        left = [thread.name for thread in [ending, *threads] if thread.is_alive()]
        if left:
            log.warning("observer threads left behind", threads=",".join(left))

    def _end(self) -> None:
        for stop in (self.stop, self._reader.stop):
            try:
                stop()
            except Exception as error:  # noqa: BLE001 - logged; the other threads must be stopped too
                log.crashed("watchdog failed", error, doing="stop")
        for thread in (self, self._reader):
            thread.join()


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
