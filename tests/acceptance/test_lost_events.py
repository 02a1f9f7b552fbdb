"""Events that never come: the kernel's queue overflows, its watches run out, whole trees arrive at once.

What no event told, a scan finds at once: each of these daemons would scan by itself only after half an hour.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from support.app import App, eventually
from support.faulty_store import FaultyStore
from support.files import jpeg, write

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")

BURST = 10_000
"""Files of a burst."""

FOLDERS = 17_500
"""Folders from which on watchdog's own way to heal an overflow makes the next one."""


def overflow(app: App) -> None:
    """Lets more happen in the watched folder than the kernel keeps for a daemon that does not read."""
    assert app.process
    app.process.send_signal(signal.SIGSTOP)
    one, other = app.inbox / "one.tmp", app.inbox / "other.tmp"
    one.touch()
    for _ in range(int(QUEUE.read_text()) // 2):  # each of them is two events
        one.rename(other)
        other.rename(one)


def go_on(app: App) -> None:
    assert app.process
    app.process.send_signal(signal.SIGCONT)


def replacements(app: App) -> int:
    """How often the daemon has taken a new observer."""
    return app.log.read_text().count("observer replaced")


def cpu_seconds(app: App) -> float:
    """What the daemon has used of the processor so far."""
    assert app.process
    fields = Path(f"/proc/{app.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_an_overflow_has_swallowed_is_published_without_waiting_for_the_next_scan(
    app: App, store: FaultyStore
) -> None:
    app.configure(store.url, watch="settle: 300ms")
    with app.running():
        write(app.inbox / "old" / "before.jpg", jpeg(seed=0))
        app.wait_for(published=1)
        overflow(app)
        write(app.inbox / "new" / "lost.jpg", jpeg(seed=1))
        write(app.inbox / "old" / "lost too.jpg", jpeg(seed=2))
        go_on(app)
        app.wait_for(published=3)
        write(app.inbox / "new" / "told.jpg", jpeg(seed=3))
        app.wait_for(published=4)
        eventually(lambda: replacements(app), lambda count: count == 1)
    assert set(store.completed.values()) == {1}


LOW = 20
"""Folders that may be watched in the daemon's namespace."""


def test_at_the_limit_of_watches_the_rest_is_polled_and_the_way_out_is_told(app: App, store: FaultyStore) -> None:
    low = f'echo {LOW} > /proc/sys/user/max_inotify_watches && exec "$@"'
    app.before = ["unshare", "--user", "--map-root-user", "sh", "-c", low, "sh"]
    app.configure(store.url, watch="settle: 300ms\npoll_every: 1s")
    folders = [app.inbox / str(number) for number in range(2 * LOW)]
    for folder in folders[: LOW // 2]:
        folder.mkdir()
    with app.running():
        write(folders[0] / "a.jpg", jpeg(seed=0))
        app.wait_for(published=1)
        for number, folder in enumerate(folders[LOW // 2 :], 1):
            write(folder / "a.jpg", jpeg(seed=number))
        app.wait_for(published=1 + len(folders) - LOW // 2)
        told = eventually(lambda: app.status()["watches"][0], lambda watch: watch["error"])
        assert "sysctl fs.inotify.max_user_watches=" in told["error"]
        for number, folder in enumerate(folders):
            write(folder / "later.jpg", jpeg(seed=1000 + number))
        app.wait_for(published=1 + 3 * LOW + LOW // 2)
        assert app.log.read_text().count("sysctl") < 4, "it is said once, not with each scan"
    assert set(store.completed.values()) == {1}


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_ten_thousand_files_at_once_are_all_published(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    with app.running():
        for number in range(BURST):
            write(app.inbox / f"{number // 500}" / f"{number}.jpg", jpeg(1_000, seed=number))
        eventually(app.counts, lambda counts: counts["published"] == BURST, patience=200)
        print(f"{BURST} files, missed by events: {app.status()['watches'][0]['missed_events']}")
    assert len(store.completed) == BURST
    assert set(store.completed.values()) == {1}


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_an_overflow_of_a_great_tree_is_healed_once(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    for number in range(FOLDERS):
        (app.inbox / str(number % 100) / str(number)).mkdir(parents=True)
    with app.running():
        write(app.inbox / "7" / "7" / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        overflow(app)
        write(app.inbox / "99" / "17499" / "b.jpg", jpeg(seed=2))
        go_on(app)
        began = time.monotonic()
        app.wait_for(published=2)
        print(f"{FOLDERS} folders: found {time.monotonic() - began:.1f} s after the overflow")
        eventually(lambda: replacements(app), lambda count: count == 1)
        eventually(lambda: app.status()["watches"][0]["state"], lambda state: state == "watching")
        before = cpu_seconds(app)
        time.sleep(5)  # nothing happens, which is what is to be seen
        assert cpu_seconds(app) - before < 0.5
        assert replacements(app) == 1
        write(app.inbox / "99" / "17499" / "c.jpg", jpeg(seed=3))
        app.wait_for(published=3)
