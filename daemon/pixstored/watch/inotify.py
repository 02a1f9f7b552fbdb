"""watchdog's observer for inotify, with what it gets wrong put right, and its life to be asked about.

Of watchdog only `observer` and this module know.
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

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
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

from pixstored.eventlog import EventLog

log = EventLog("pixstored.observer")

_STOP_LIMIT = 5.0
"""Seconds to wait for watchdog's threads: its own `stop` waits without end."""
_READER_STUCK_AFTER = 15.0
"""Seconds for what follows from one event: file I/O, at most."""
_ASKED_AGAIN_AT_ONCE = 200
"""Folders that may not be read of which is asked in one go whether they may be by now."""
_UNWATCHED = WatchDescriptor(-1)
"""What watchdog's reader hands out for a folder it may not read, without an error."""


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


class Group(InotifyWatchGroup):
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

    def is_behind(self) -> bool:
        return len(self._move_event_grouper._queue._queue) > 0

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


class Emitter(InotifyEmitter):
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
        self._inotify = Group(
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
    def group(self) -> Group | None:
        """None if the thread has ended."""
        return self._inotify if isinstance(self._inotify, Group) and self.is_alive() else None


class InotifyObserver(BaseObserver):
    """watchdog's dispatcher thread, with one inotify reader whose life can be asked about."""

    def __init__(self, trouble: Callable[[str, bool], None]) -> None:
        self._reader = _Reader()
        self.enters: dict[str, Callable[[str], bool]] = {}
        """By the real path of a folder that is scheduled after."""
        super().__init__(Emitter, reader=self._reader, trouble=trouble, enters=self.enters)

    def start(self) -> None:
        self._reader.name = "inotify-reader"
        self.name = "inotify-dispatcher"
        self._reader.start()
        super().start()

    def emitter_of(self, scheduled: ObservedWatch) -> Emitter | None:
        """The thread that tells of what is scheduled. Takes longer the more is."""
        found = next((e for e in list(self.emitters) if e.watch is scheduled), None)
        return found if isinstance(found, Emitter) else None

    def dead(self) -> str | None:
        """Which of the threads that all folders share has ended, or is stuck, in words."""
        if not self._reader.is_alive():
            return "watchdog's inotify thread has ended"
        if self._reader.is_stuck():
            return "watchdog's inotify thread is stuck"
        return None if self.is_alive() else "watchdog's dispatcher thread has ended"

    def is_behind(self, group: Group) -> bool:
        """True if events of this group are on their way: in the kernel, or in one of watchdog's queues."""
        return self._reader.is_behind() or group.is_behind() or self.event_queue.unfinished_tasks > 0

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
