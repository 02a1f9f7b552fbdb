"""Live events of the watched folders, by watchdog: hints that a path is worth a look, and whether hints still come.

Events are hints, never the truth. watchdog stops seeing things in more ways than it says, so this module asks
what it can (`dead`, `blind`), and whoever runs it throws an observer that does not see away, and scans.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
import threading
import time
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
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)
from watchdog.observers.inotify_move_event_grouper import GroupedInotifyEvent, PathedInotifyEvent

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
_READER_STUCK_AFTER = 15.0
"""Seconds for what follows from one event: file I/O, at most."""
_ASKED_AGAIN_AT_ONCE = 200
"""Folders that may not be read of which is asked in one go whether they may be by now."""
_UNWATCHED = WatchDescriptor(-1)
"""What watchdog's reader hands out for a folder it may not read, without an error."""


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
    emitter: _Emitter | None = None
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
        self._observer: _Observer | None = None

    def start(self) -> None:
        """Begins to watch. Raises LimitReached if the kernel has no inotify instance left for this user."""
        try:
            self._observer = _Observer(self._trouble)
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

    def is_behind(self) -> bool:
        """True if there are events that have not been told yet."""
        observer = self._observer  # once: it may be stopped at this moment
        return observer is not None and observer.is_behind()

    def now_readable(self, path: str) -> list[str]:
        """The folders below this one that could not be watched because they may not be read, and now are."""
        group = self._group(path)
        if group is None:
            return []
        return [f"{path.rstrip('/')}/{below}" for below in group.ask_again()]

    def _group(self, path: str) -> _Group | None:
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


# --- watchdog, with what it gets wrong put right


class _Reader(InotifyFD):
    """watchdog's thread that reads from the kernel."""

    def __init__(self) -> None:
        super().__init__()
        self._at_work_since: float | None = None

    def handle_event(self, event: InotifyEvent) -> None:
        self._at_work_since = time.monotonic()
        super().handle_event(event)
        self._at_work_since = None

    def is_stuck(self) -> bool:
        since = self._at_work_since
        return since is not None and time.monotonic() - since > _READER_STUCK_AFTER

    def is_behind(self) -> bool:
        """True if the kernel has events for it, or it is at work on one."""
        if self._at_work_since is not None:
            return True
        try:
            answer = fcntl.ioctl(self._inotify_fd, termios.FIONREAD, bytes(4))
        except OSError:
            return False
        waiting: int = struct.unpack("i", answer)[0]
        return waiting > 0

    def _add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        # watchdog warns of a folder that is added twice, in kilobytes; after quick moves that is quite right.
        watch = self._get_or_create_watch(path, mask)
        if watch.wd == _UNWATCHED:
            del self._watch_for_wd[watch.wd]
        else:
            watch.callbacks[id_] = callback
        return watch.wd


class _Group(InotifyWatchGroup):
    """The directories of one watched folder.

    watchdog 7.1 loses track when folders of one name come and go quickly, which ends its reader thread with a
    KeyError; goes on telling of folders that were moved out, by their old names; watches what nobody wants to know
    of; swallows the watch limit; and answers a queue overflow by watching everything anew, which from about 17,000
    folders on makes the queue overflow again.
    """

    def __init__(
        self,
        root: str,
        trouble: Callable[[str, bool], None],
        enters: Callable[[str], bool],
        reader: InotifyFD,
        event_mask: Mask,
        **options: object,
    ) -> None:
        self._root = root
        self._trouble = trouble
        self._enters = enters
        self._unreadable: dict[bytes, None] = {}
        event_mask = Mask(event_mask | InotifyConstants.IN_ONLYDIR)
        super().__init__(reader, os.fsencode(root), event_mask, **options)  # type: ignore[arg-type] # InotifyEmitter's own, passed on

    def on_queue_overflow(self) -> None:
        self._trouble(self._root, False)

    def on_event(self, event: InotifyEvent) -> None:
        if event.is_moved_from and event.is_directory:
            with self._lock:
                source = self._build_event_source_path(event)
                if source is not None:
                    self._unwatch_below(source)
        super().on_event(event)

    def directories(self) -> int:
        return len(self._active_callbacks_by_watch)

    def watches_root(self) -> bool:
        return self.path in self._active_callbacks_by_path

    def ask_again(self) -> list[str]:
        """Watches those that may be read by now of the folders that could not be; returns them, relative."""
        found = []
        for path in list(self._unreadable)[:_ASKED_AGAIN_AT_ONCE]:
            self._unreadable.pop(path, None)
            if os.access(path, os.R_OK | os.X_OK):
                with self._lock:
                    self._add_all_callbacks(path)
                found.append(self._relative(path))
            elif os.path.lexists(path):
                self._unreadable[path] = None  # at the end: the next ones come first
        return found

    def _relative(self, path: bytes) -> str:
        return os.fsdecode(path)[len(self._root) :].lstrip("/")

    def _recursive_simulate(self, src_path: bytes) -> list[InotifyEvent]:
        # The hint about a new folder stands for all that is in it.
        return []

    def _add_all_callbacks(self, path: bytes) -> None:
        """Watches a folder and all below it that the rules enter, each before it is read: nothing slips through."""
        to_come = [path]
        while to_come:
            folder = to_come.pop()
            if self._enters(self._relative(folder)) and self._watch(folder) and self.is_recursive:
                to_come.extend(_folders_in(folder))

    def _watch(self, path: bytes) -> bool:
        """False if it cannot be watched."""
        try:
            number = self._inotify_fd.add_callback(path, self.event_mask, self._callback, self._id)
        except OSError as error:
            if path == self.path:
                raise
            if error.errno == errno.ENOSPC:
                self._trouble(self._root, True)
            return False
        if number == _UNWATCHED:
            if path == self.path:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self._unreadable[path] = None
            return False
        self._unreadable.pop(path, None)
        self._remove_watch_internally(number)
        self._active_callbacks_by_path[path] = number
        self._active_callbacks_by_watch[number] = path
        return True

    def _unwatch_below(self, top: bytes) -> None:
        """Ends the watching of a folder that moves away: where it arrives, if it does, it is watched anew."""
        below = top + b"/"
        numbers = [
            number for number, path in self._active_callbacks_by_watch.items() if path == top or path.startswith(below)
        ]
        self._remove_callbacks(numbers)

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
        enters: dict[str, Callable[[str], bool]],
    ) -> None:
        super().__init__(event_queue, watch, timeout=timeout, event_filter=event_filter, inotify_fd=reader)
        self._reader = reader
        self._trouble = trouble
        self._enters = enters[watch.path]

    def on_thread_start(self) -> None:
        self._inotify = _Group(
            self.watch.path,
            self._trouble,
            self._enters,
            self._reader,
            self.get_event_mask_from_filter(),
            is_recursive=self.watch.is_recursive,
        )

    def build_and_queue_event(self, event: GroupedInotifyEvent, *, full_events: bool = False) -> None:
        # watchdog walks a folder that was moved here, to name all that is in it. The hint about the folder does.
        if not isinstance(event, PathedInotifyEvent):
            left, arrived = event
            moved = DirMovedEvent if arrived.ev.is_directory else FileMovedEvent
            self.queue_event(moved(os.fsdecode(left.path), os.fsdecode(arrived.path)))
        elif event.ev.is_moved_to:
            created = DirCreatedEvent if event.ev.is_directory else FileCreatedEvent
            self.queue_event(created(os.fsdecode(event.path)))
        else:
            super().build_and_queue_event(event, full_events=full_events)

    @property
    def group(self) -> _Group | None:
        """None if the thread has ended."""
        return self._inotify if isinstance(self._inotify, _Group) and self.is_alive() else None


class _Observer(BaseObserver):
    """watchdog's dispatcher thread, with one inotify reader whose life can be asked about."""

    def __init__(self, trouble: Callable[[str, bool], None]) -> None:
        self._reader = _Reader()
        self.enters: dict[str, Callable[[str], bool]] = {}
        """By the real path of a folder that is scheduled after."""
        super().__init__(_Emitter, reader=self._reader, trouble=trouble, enters=self.enters)

    def start(self) -> None:
        self._reader.name = "inotify-reader"
        self.name = "inotify-dispatcher"
        self._reader.start()
        super().start()

    def emitter_of(self, scheduled: ObservedWatch) -> _Emitter | None:
        """The thread that tells of what is scheduled. Takes longer the more is."""
        found = next((e for e in list(self.emitters) if e.watch is scheduled), None)
        return found if isinstance(found, _Emitter) else None

    def dead(self) -> str | None:
        """Which of the threads that all folders share has ended, or is stuck, in words."""
        if not self._reader.is_alive():
            return "watchdog's inotify thread has ended"
        if self._reader.is_stuck():
            return "watchdog's inotify thread is stuck"
        return None if self.is_alive() else "watchdog's dispatcher thread has ended"

    def is_behind(self) -> bool:
        return not self.event_queue.empty() or self._reader.is_behind()

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


def _folders_in(folder: bytes) -> list[bytes]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


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
