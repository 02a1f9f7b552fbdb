"""Live events, with the kernel's own inotify."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, WatchDescriptor

from pixstored.errors import WatchError
from pixstored.watch.filters import Rules
from pixstored.watch.mounts import watch_limit
from pixstored.watch.observer import FolderObserver, Hint, HintKind

PATIENCE = 20.0
"""Seconds after which a hint that has not come will not come."""
CONFIGURED = "/as/configured"


class Heard:
    """The hints that have come, and a way to wait for one."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self._came = threading.Condition()

    def __call__(self, hint: Hint) -> None:
        with self._came:
            self.hints.append(hint)
            self._came.notify_all()

    def wait_for(self, kind: HintKind, rel: str) -> None:
        wanted = Hint(f"{CONFIGURED}/{rel}" if rel else CONFIGURED, kind, CONFIGURED)
        with self._came:
            came = self._came.wait_for(lambda: wanted in self.hints, PATIENCE)
        assert came, f"{wanted} has not come; there were {self.hints}"

    def kinds_of(self, rel: str) -> set[HintKind]:
        return {hint.kind for hint in self.hints if hint.path == f"{CONFIGURED}/{rel}"}


def everywhere(folder: str) -> bool:
    """No rule keeps a folder out."""
    return True


def wrong_with(observer: FolderObserver) -> str | None:
    """Why hints of the observed folder may not come; None if they do."""
    return observer.dead() or observer.blind(CONFIGURED)


def eventually(is_so: Callable[[], bool]) -> bool:
    """Waits for something that nobody announces: the end of a thread, mostly."""
    tick = threading.Event()
    return any(is_so() or tick.wait(0.02) for _ in range(int(PATIENCE / 0.02)))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert eventually(lambda: set(threading.enumerate()) <= before), threading.enumerate()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def observer(root: Path, heard: Heard) -> Iterator[FolderObserver]:
    observer = FolderObserver(heard)
    observer.start()
    observer.add(CONFIGURED, str(root), True, everywhere)
    yield observer
    observer.stop()


def marked(root: Path, heard: Heard, name: str = "mark.jpg") -> None:
    """All that happened before has been told when this returns."""
    (root / name).write_bytes(b"x")
    heard.wait_for(HintKind.FILE, name)


@pytest.mark.usefixtures("observer")
def test_a_file_that_is_written_is_named_by_its_configured_path(root: Path, heard: Heard) -> None:
    (root / "a.jpg").write_bytes(b"x")
    heard.wait_for(HintKind.FILE, "a.jpg")


@pytest.mark.usefixtures("observer")
def test_the_end_of_a_long_write_is_told_again(root: Path, heard: Heard) -> None:
    with (root / "a.jpg").open("wb") as file:
        heard.wait_for(HintKind.FILE, "a.jpg")
        heard.hints.clear()
        file.write(b"x")
    heard.wait_for(HintKind.FILE, "a.jpg")


@pytest.mark.usefixtures("observer")
def test_a_rename_into_place_is_told_as_gone_and_as_a_file(root: Path, heard: Heard) -> None:
    (root / "a.jpg.part").write_bytes(b"x")
    (root / "a.jpg.part").rename(root / "a.jpg")
    heard.wait_for(HintKind.GONE, "a.jpg.part")
    heard.wait_for(HintKind.FILE, "a.jpg")


@pytest.mark.usefixtures("observer")
def test_files_moved_in_moved_out_and_deleted_are_told(root: Path, heard: Heard, tmp_path: Path) -> None:
    (tmp_path / "outside.jpg").write_bytes(b"x")
    (tmp_path / "outside.jpg").rename(root / "in.jpg")
    heard.wait_for(HintKind.FILE, "in.jpg")
    (root / "in.jpg").rename(tmp_path / "out.jpg")
    heard.wait_for(HintKind.GONE, "in.jpg")
    (root / "b.jpg").write_bytes(b"x")
    (root / "b.jpg").unlink()
    heard.wait_for(HintKind.GONE, "b.jpg")


@pytest.mark.usefixtures("observer")
def test_a_new_folder_is_to_be_scanned_and_files_in_it_are_told(root: Path, heard: Heard) -> None:
    (root / "x" / "y").mkdir(parents=True)
    heard.wait_for(HintKind.FOLDER, "x")
    marked(root, heard)  # "y" is watched by then, together with "x" or after a hint of its own
    (root / "x" / "y" / "a.jpg").write_bytes(b"x")
    heard.wait_for(HintKind.FILE, "x/y/a.jpg")


@pytest.mark.usefixtures("observer")
def test_a_folder_moved_in_stands_for_its_files(root: Path, heard: Heard, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    for number in range(50):
        (tmp_path / "job" / f"{number}.jpg").write_bytes(b"x")
    (tmp_path / "job").rename(root / "job")
    heard.wait_for(HintKind.FOLDER, "job")
    marked(root, heard)
    assert not heard.kinds_of("job/7.jpg")
    (root / "job" / "new.jpg").write_bytes(b"x")
    heard.wait_for(HintKind.FILE, "job/new.jpg")


@pytest.mark.usefixtures("observer")
def test_a_folder_renamed_or_deleted_is_gone_where_it_was(root: Path, heard: Heard) -> None:
    (root / "a").mkdir()
    heard.wait_for(HintKind.FOLDER, "a")
    (root / "a").rename(root / "b")
    heard.wait_for(HintKind.FOLDER_GONE, "a")
    heard.wait_for(HintKind.FOLDER, "b")
    (root / "b" / "1.jpg").write_bytes(b"x")
    heard.wait_for(HintKind.FILE, "b/1.jpg")
    shutil.rmtree(root / "b")
    heard.wait_for(HintKind.FOLDER_GONE, "b")


@pytest.mark.usefixtures("observer")
def test_names_that_are_not_utf8_come_as_the_system_gives_them(root: Path, heard: Heard) -> None:
    (root / os.fsdecode(b"\xff\n.jpg")).write_bytes(b"x")
    heard.wait_for(HintKind.FILE, "\udcff\n.jpg")


def test_an_excluded_folder_is_not_watched_and_what_happens_in_it_not_told(
    root: Path, heard: Heard, observer: FolderObserver
) -> None:
    (root / "@eaDir" / "x").mkdir(parents=True)
    observer.add(CONFIGURED, str(root), True, Rules(("@media",), ()).enters)
    heard.hints.clear()
    (root / "@eaDir" / "a.jpg").write_bytes(b"x")
    (root / ".hidden").mkdir()
    marked(root, heard)
    assert {hint.path for hint in heard.hints} == {f"{CONFIGURED}/mark.jpg"}
    (root / "seen").mkdir()
    heard.wait_for(HintKind.FOLDER, "seen")
    assert observer.directories(CONFIGURED) == 2
    (root / "seen").rename(root / ".hidden" / "x")
    assert eventually(lambda: observer.directories(CONFIGURED) == 1)
    (root / ".hidden" / "x").rename(root / "seen")
    assert eventually(lambda: observer.directories(CONFIGURED) == 2)
    (root / "seen" / "a.jpg").write_bytes(b"x")
    heard.wait_for(HintKind.FILE, "seen/a.jpg")


def test_a_watch_that_is_not_recursive_hears_nothing_from_below(root: Path, heard: Heard) -> None:
    (root / "x").mkdir()
    observer = FolderObserver(heard)
    observer.start()
    try:
        observer.add(CONFIGURED, str(root), False, everywhere)
        (root / "x" / "a.jpg").write_bytes(b"x")
        marked(root, heard)
        assert not heard.kinds_of("x/a.jpg")
        assert observer.directories(CONFIGURED) == 1
    finally:
        observer.stop()


def test_a_hint_that_fails_does_not_end_the_hints(root: Path) -> None:
    heard = Heard()

    def failing(hint: Hint) -> None:
        heard(hint)
        raise ValueError("a fault of ours")

    observer = FolderObserver(failing)
    observer.start()
    try:
        observer.add(CONFIGURED, str(root), True, everywhere)
        marked(root, heard, "a.jpg")
        marked(root, heard, "b.jpg")
        assert wrong_with(observer) is None
    finally:
        observer.stop()


def test_one_folder_can_be_removed_while_another_is_watched_on(
    root: Path, heard: Heard, tmp_path: Path, observer: FolderObserver
) -> None:
    (tmp_path / "other").mkdir()
    observer.add("/other", str(tmp_path / "other"), True, everywhere)
    observer.remove("/other")
    (tmp_path / "other" / "a.jpg").write_bytes(b"x")
    marked(root, heard)
    assert {hint.watch for hint in heard.hints} == {CONFIGURED}
    assert observer.blind("/other") is not None
    assert wrong_with(observer) is None


def test_the_watched_directories_are_counted(root: Path, heard: Heard, observer: FolderObserver) -> None:
    (root / "x" / "y").mkdir(parents=True)
    assert eventually(lambda: observer.directories(CONFIGURED) == 3)
    shutil.rmtree(root / "x")
    assert eventually(lambda: observer.directories(CONFIGURED) == 1)


# --- blindness


def test_folders_of_one_name_that_come_and_go_do_not_end_the_watching(
    root: Path, heard: Heard, tmp_path: Path, observer: FolderObserver
) -> None:
    (root / "job").mkdir()
    heard.wait_for(HintKind.FOLDER, "job")
    for _ in range(20):
        (root / "job").rename(tmp_path / "job")
        (root / "job").mkdir()
        (root / "job").rmdir()
        (tmp_path / "job").rmdir()
        (root / "job").mkdir()
    marked(root, heard)
    assert wrong_with(observer) is None


def test_a_folder_moved_out_is_watched_no_more(
    root: Path, heard: Heard, tmp_path: Path, observer: FolderObserver
) -> None:
    (root / "job" / "x").mkdir(parents=True)
    assert eventually(lambda: observer.directories(CONFIGURED) == 3)
    (root / "job").rename(tmp_path / "job")
    heard.wait_for(HintKind.FOLDER_GONE, "job")
    assert observer.directories(CONFIGURED) == 1
    (tmp_path / "job" / "a.jpg").write_bytes(b"x")
    marked(root, heard)
    assert not heard.kinds_of("job/a.jpg")


def test_a_reader_that_lags_behind_still_watches_each_of_the_folders_that_had_one_name(
    root: Path, heard: Heard, observer: FolderObserver
) -> None:
    kept = [f"kept {number}" for number in range(3)]
    with reader(observer)._lock:
        for name in kept:
            (root / "job").mkdir()
            (root / "job").rename(root / name)
        (root / "job").mkdir()
    marked(root, heard)
    for name in (*kept, "job"):
        (root / name / "a.jpg").write_bytes(b"x")
        heard.wait_for(HintKind.FILE, f"{name}/a.jpg")


def test_a_folder_made_again_under_its_name_is_noticed(root: Path, observer: FolderObserver) -> None:
    assert wrong_with(observer) is None
    root.rename(root.with_name("old"))
    assert wrong_with(observer) == "the folder cannot be reached: No such file or directory"
    root.mkdir()
    assert wrong_with(observer) == "the folder is another one than when the watching began"
    assert observer.blind(CONFIGURED) == wrong_with(observer)
    observer.add(CONFIGURED, str(root), True, everywhere)
    assert wrong_with(observer) is None


def test_a_deleted_folder_is_noticed_and_asks_for_a_scan(root: Path, heard: Heard, observer: FolderObserver) -> None:
    root.rmdir()
    heard.wait_for(HintKind.RESCAN, "")
    assert wrong_with(observer) is not None


def test_an_overflow_asks_for_a_scan_and_leaves_the_observer_unhealthy(heard: Heard, observer: FolderObserver) -> None:
    overflow = InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b"")
    reader(observer).handle_event(overflow)
    heard.wait_for(HintKind.RESCAN, "")
    assert wrong_with(observer) == "the kernel's event queue overflowed: events were lost"
    reader(observer).handle_event(overflow)
    assert len([hint for hint in heard.hints if hint.kind is HintKind.RESCAN]) == 1


def test_a_dead_inotify_thread_is_noticed_and_the_rest_still_stops(heard: Heard, observer: FolderObserver) -> None:
    reader(observer).stop()
    assert eventually(lambda: wrong_with(observer) == "watchdog's inotify thread has ended")


def test_an_observer_that_was_not_started_or_was_stopped_is_not_healthy(observer: FolderObserver) -> None:
    assert wrong_with(FolderObserver(Heard())) is not None
    observer.stop()
    assert wrong_with(observer) is not None
    observer.stop()


def test_stopping_does_not_wait_for_a_hint_that_does_not_end(
    root: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixstored.watch.inotify._STOP_LIMIT", 0.1)
    release = threading.Event()

    def stuck(hint: Hint) -> None:
        heard(hint)
        release.wait(PATIENCE)

    observer = FolderObserver(stuck)
    observer.start()
    observer.add(CONFIGURED, str(root), True, everywhere)
    marked(root, heard)
    observer.stop()
    assert not release.is_set()
    release.set()


# --- refusals


def test_a_folder_that_is_not_there_cannot_be_watched(tmp_path: Path, observer: FolderObserver) -> None:
    with pytest.raises(WatchError, match="No such file"):
        observer.add("/none", str(tmp_path / "none"), True, everywhere)
    assert wrong_with(observer) is None


def with_a_limit(name: str, limit: int, code: str, *arguments: str) -> str:
    """What a program prints in a user namespace of its own, which has this limit.

    The limits below /proc/sys/user are the namespace's; those below /proc/sys/fs/inotify are the machine's, and
    no test may touch them. Nothing is written unless the namespace really is another one.
    """
    outside = os.readlink("/proc/self/ns/user")
    script = (
        f'test "$(readlink /proc/self/ns/user)" != "{outside}" && echo {limit} > /proc/sys/user/{name} && exec "$@"'
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


REFUSED = """
import sys
from pixstored.errors import WatchError
from pixstored.watch.observer import FolderObserver
observer = FolderObserver(print)
try:
    observer.start()
    observer.add(sys.argv[1], sys.argv[1], True, lambda folder: True)
    print("watched", observer.directories(sys.argv[1]))
except WatchError as error:
    print(error, "| left:", observer.directories(sys.argv[1]))
observer.stop()
"""


def test_a_limit_that_is_reached_is_told_with_the_way_out_and_nothing_is_half_watched(root: Path) -> None:
    for number in range(10):
        (root / str(number)).mkdir()
    before = watch_limit()
    told = with_a_limit("max_inotify_watches", 5, REFUSED, str(root))
    assert "limit of 5 is reached: run `sysctl fs.inotify.max_user_watches=" in told
    assert "left: 0" in told
    told = with_a_limit("max_inotify_instances", 0, REFUSED, str(root))
    assert "run `sysctl fs.inotify.max_user_instances=" in told
    assert watch_limit() == before


def test_the_names_in_watchdog_that_are_overridden_are_still_there() -> None:
    ours = {
        InotifyWatchGroup: ("on_queue_overflow", "on_event", "_add_all_callbacks", "_recursive_simulate"),
        InotifyFD: ("handle_event", "_add_callback", "_get_or_create_watch"),
        InotifyEmitter: ("on_thread_start", "build_and_queue_event", "get_event_mask_from_filter"),
    }
    ours[InotifyWatchGroup] += ("_remove_watch_internally", "_remove_callbacks", "_build_event_source_path")
    for theirs, names in ours.items():
        for name in names:
            assert callable(getattr(theirs, name)), (theirs, name)


def reader(observer: FolderObserver) -> InotifyFD:
    """The thread of watchdog's that reads from the kernel."""
    found = [thread for thread in threading.enumerate() if isinstance(thread, InotifyFD)]
    assert len(found) == 1
    assert observer is not None
    return found[0]
