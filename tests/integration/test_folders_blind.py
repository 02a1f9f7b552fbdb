"""Watched folders whose events do not come, or not all of them: seen within seconds, mended, and shown."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, WatchDescriptor

from pixstored.model import FileState, WatchState
from support.house import House
from support.mounting import mount, unmounted_after

WATCH = "[{path: a, name: a, create: true, settle: 0s}]"


def reader() -> InotifyFD:
    """The thread of watchdog's that reads from the kernel."""
    (found,) = [thread for thread in threading.enumerate() if isinstance(thread, InotifyFD)]
    return found


def overflow() -> None:
    reader().handle_event(InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b""))


def test_a_reader_that_died_is_replaced_and_what_came_meanwhile_is_found(house: House) -> None:
    house.start(WATCH)
    house.until_watching("a")
    first = reader()
    first.stop()
    first.join()
    house.put("a/meanwhile.jpg")
    house.until_state("a/meanwhile.jpg", FileState.PENDING)
    house.until_watching("a")
    assert reader() is not first
    house.put("a/after.jpg")
    house.until_state("a/after.jpg", FileState.PENDING)


def test_after_an_overflow_the_folder_is_scanned_and_after_another_it_is_polled_for_a_while(house: House) -> None:
    house.start(WATCH)
    house.until_watching("a")
    first = reader()
    overflow()
    house.until(lambda: not first.is_alive())
    house.until_watching("a")
    overflow()
    house.until_folder("a", WatchState.POLLING)
    report = house.report("a")
    assert (report.method, report.error) == (
        "poll",
        "the kernel's event queue overflowed: events were lost; it is polled for a while",
    )
    house.until_watching("a")
    assert (house.report("a").method, house.report("a").error) == ("native", None)
    house.put("a/after.jpg")
    house.until_state("a/after.jpg", FileState.PENDING)


def test_what_scans_alone_find_is_counted_and_a_folder_where_that_keeps_happening_is_polled(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An overlay tells nothing of what is done behind its back to the folders it shows."""
    for name in ("lower", "upper", "work", "a"):
        (tmp_path / name).mkdir()
    with unmounted_after(tmp_path / "a"):
        layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
        mount("overlay", tmp_path / "a", "-t", "overlay", "-o", layers)
        house.start("[{path: a, name: a, settle: 0s, poll_every: 300ms}]", top="rescan_every: 500ms")
        house.until_watching("a")
        house.put("a/announced.jpg", b"announced")
        house.until_state("a/announced.jpg", FileState.PENDING)
        monkeypatch.setattr("pixstored.publish.reconcile._EVENT_GRACE", 0.0)
        for number in range(1, 4):
            assert house.report("a").method == "native"
            house.put(f"upper/{number}.jpg", b"%d" % number)
            house.until_state(f"a/{number}.jpg", FileState.PENDING)
            assert house.report("a").missed_events == number
        house.until_folder("a", WatchState.POLLING)
        report = house.report("a")
        assert report.method == "poll"
        assert "does not tell of all that happens in it (3 files" in (report.error or "")
        house.put("upper/polled.jpg", b"polled")
        house.until_state("a/polled.jpg", FileState.PENDING)
        assert house.report("a").missed_events == 3


def test_a_polled_folder_is_looked_at_again_and_again_and_what_is_new_in_it_goes_first(house: House) -> None:
    house.put("a/old.jpg")
    house.start("[{path: a, name: a, method: poll, poll_every: 300ms, settle: 0s}]")
    house.until_folder("a", WatchState.POLLING)
    assert (house.report("a").method, house.report("a").error) == ("poll", None)
    assert house.state_of("a/old.jpg") is FileState.SKIPPED
    assert not [thread for thread in threading.enumerate() if isinstance(thread, InotifyFD)]
    house.put("a/new/x.jpg")
    house.until_state("a/new/x.jpg", FileState.PENDING)
    claim = house.ledger.claim("worker", time.time())
    assert claim and claim.lane.name == "FRESH"
    house.until(lambda: house.report("a").directories == 2)
    (house.home / "a" / "new" / "x.jpg").unlink()
    house.ledger.release(claim)
    house.until_state("a/new/x.jpg", FileState.GONE)


# --- limits


LIMITED = """
import sys, time
from pathlib import Path
from pixstored.model import FileState, WatchState
from support.house import House

house = House(Path(sys.argv[1]))
for number in range(10):
    (house.home / "great" / str(number)).mkdir(parents=True)
house.start("[{path: small, name: small, create: true, settle: 0s},"
            " {path: great, name: great, settle: 0s, poll_every: 300ms}]")
house.until_watching("small")
house.until_folder("great", WatchState.POLLING)
report = house.report("great")
assert report.method == "poll" and "limit of 6 is reached: run `sysctl fs.inotify.max_user_watches=" in report.error
house.put("great/5/a.jpg")
house.until_state("great/5/a.jpg", FileState.PENDING)
house.put("small/a.jpg")
house.until_state("small/a.jpg", FileState.PENDING)
Path("/proc/sys/user/max_inotify_watches").write_text("1000")
house.until_watching("great")
assert (house.report("great").method, house.report("great").error) == ("native", None)
house.put("great/5/b.jpg")
house.until_state("great/5/b.jpg", FileState.PENDING)
house.close()
print("well")
"""


def test_at_the_limit_of_watches_a_folder_is_polled_until_the_limit_is_raised(tmp_path: Path) -> None:
    outside = os.readlink("/proc/self/ns/user")
    script = (
        f'test "$(readlink /proc/self/ns/user)" != "{outside}" && '
        'echo 6 > /proc/sys/user/max_inotify_watches && exec "$@"'
    )
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", sys.executable, "-c", LIMITED, tmp_path],
        env={**os.environ, "PYTHONPATH": os.fspath(tests)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "well\n", done.stderr


CLOSED = """
import os, sys
from pathlib import Path
from pixstored.model import FileState, WatchState
from support.house import House

house = House(Path(sys.argv[1]))
closed = house.home / "a" / "closed"
(closed / "below").mkdir(parents=True)
closed.chmod(0)
house.start("[{path: a, name: a, settle: 0s}]")
house.until_folder("a", WatchState.ERROR)
assert "closed: Permission denied" in house.report("a").error
house.put("a/x.jpg")
house.until_state("a/x.jpg", FileState.PENDING)
closed.chmod(0o700)
house.put("a/closed/below/y.jpg")
house.until_state("a/closed/below/y.jpg", FileState.PENDING)
house.until_watching("a")
assert house.report("a").directories == 3
house.put("a/closed/below/z.jpg")
house.until_state("a/closed/below/z.jpg", FileState.PENDING)
house.close()
print("well")
"""


def test_a_folder_that_may_not_be_read_is_shown_and_watched_once_it_may_be(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLOSED, os.fspath(tmp_path)]
    if os.geteuid() == 0:  # root may read everything, but for these
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "well\n", done.stderr
    assert done.stderr.count("folder not read") == 1
