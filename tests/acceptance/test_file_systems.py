"""Real file systems that are mounted, pulled and brought back: nothing is lost, sent twice, or said to be gone.

All of it happens in a mount namespace of its own, which takes it along when it ends.
"""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path

from support.app import App, eventually
from support.disks import KINDS, Disks
from support.faults import Slow
from support.faulty_store import FaultyStore
from support.files import jpeg, write
from support.mount_space import MountSpace
from support.mounting import ext4_image

TOP = "retry: {first: 100ms, longest: 1s, tries: 1000}"

STEP = 2.5
"""Seconds after which the time of the FAT-like file system has moved on."""

LOST = ("gone", "failed", "rejected", "uncertain")
"""States that no file may be in."""


def configure(app: App, store: FaultyStore, disks: Disks) -> None:
    app.configure(store.url, top=TOP, watch="mount: true")
    watches = "".join(
        f"  - {{path: {folder}, name: {kind}, mount: true, settle: 300ms, poll_every: 1s}}\n"
        for kind, folder in disks.folders.items()
    )
    app.file.write_text(app.file.read_text().partition("watch:\n")[0] + "watch:\n" + watches)


def states(app: App) -> dict[str, str]:
    return {watch["name"]: watch["state"] for watch in app.status()["watches"]}


def become(app: App, *allowed: str, only: tuple[str, ...] = KINDS) -> None:
    """Waits until the state of each of these watches is one of those."""
    eventually(lambda: states(app), lambda now: all(now[kind] in allowed for kind in only))


def published(app: App, count: int) -> None:
    """Waits until so many files are published; none may have been lost on the way."""
    counts = app.wait_for(published=count)
    assert {state: counts[state] for state in LOST} == dict.fromkeys(LOST, 0)


def test_disks_that_are_pulled_and_come_back_lose_nothing_and_repeat_nothing(
    app: App, store: FaultyStore, disks: Disks
) -> None:
    write(app.home / "lower" / "old.jpg", jpeg(seed=1_000))
    for kind in ("tmpfs", "ext4", "overlay"):
        write(disks.folders[kind] / "below.jpg", jpeg(seed=1_001))  # where nothing is mounted: not the disk's
    configure(app, store, disks)
    with app.running():
        become(app, "offline")
        disks.mount(*KINDS)
        become(app, "watching", "polling")
        assert states(app)["fuse"] == "polling"
        first = [disks.put(kind, "day/first.jpg") for kind in KINDS if kind != "fuse"]
        published(app, len(first))
        disks.put("fuse", "day/first.jpg")
        published(app, len(KINDS))

        disks.pull("tmpfs", "ext4", "overlay")
        disks.kill_fuse()
        become(app, "offline", only=("tmpfs", "ext4", "overlay"))
        become(app, "offline", "error", only=("fuse",))
        published(app, len(KINDS))
        disks.pull("fuse")
        become(app, "offline")
        for kind in ("ext4", "overlay"):
            disks.write_elsewhere(kind, "while away.jpg")

        disks.mount(*KINDS)
        become(app, "watching", "polling")
        for kind in KINDS:
            disks.put(kind, "second.jpg")
        published(app, 2 * len(KINDS) + 2)
        app.wait_for()
    assert set(store.completed.values()) == {1}
    assert len(store.completed) == 2 * len(KINDS) + 2
    assert names(app) == {"first.jpg", "second.jpg", "while away.jpg"}


def test_another_disk_under_the_same_path_is_adopted_for_itself(app: App, store: FaultyStore, disks: Disks) -> None:
    """What lies on it is as private as what lay on the first one; and that is known again when it comes back."""
    first, second = disks.image, ext4_image(app.home / "other.img")
    disks.write_elsewhere("ext4", "old.jpg")
    disks.image = second
    disks.write_elsewhere("ext4", "private.jpg")
    configure(app, store, disks)
    with app.running():
        for number, disk in enumerate((first, second, first, second), 1):
            disks.image = disk
            disks.mount("ext4")
            become(app, "watching", only=("ext4",))
            disks.put("ext4", f"new {number}.jpg")
            published(app, number)
            disks.pull("ext4")
            become(app, "offline", only=("ext4",))
    assert names(app) == {f"new {number}.jpg" for number in (1, 2, 3, 4)}
    assert set(store.completed.values()) == {1}
    assert len(store.completed) == 4


def test_two_disks_that_take_turns_under_one_path_and_number_their_pictures_alike_are_not_mixed_up(
    app: App, store: FaultyStore, disks: Disks
) -> None:
    """What was on each when it came first is private, what came later is new: also while the other one was in."""
    first, second = disks.image, ext4_image(app.home / "other.img")

    def insert(image: Path) -> None:
        disks.image = image
        disks.mount("ext4")
        become(app, "watching", only=("ext4",))

    def take_out() -> None:
        disks.pull("ext4")
        become(app, "offline", only=("ext4",))

    disks.write_elsewhere("ext4", "0.jpg")
    disks.write_elsewhere("ext4", "1.jpg")
    disks.image = second
    disks.write_elsewhere("ext4", "0.jpg")  # which has the same inode there
    disks.write_elsewhere("ext4", "2.jpg")
    configure(app, store, disks)
    with app.running():
        insert(first)
        disks.put("ext4", "0.jpg")  # as who turns it: it stays private
        disks.put("ext4", "3.jpg")
        published(app, 1)
        take_out()
        disks.write_elsewhere("ext4", "2.jpg")
        insert(second)
        for name in ("1.jpg", "3.jpg"):
            disks.put("ext4", name)
        store.wait_for(lambda store: len(store.completed) == 3)
        take_out()
        insert(first)
        store.wait_for(lambda store: len(store.completed) == 4)
        take_out()
        insert(second)
        disks.put("ext4", "4.jpg")
        store.wait_for(lambda store: len(store.completed) == 5)
        app.wait_for()
    new = {sha256(jpeg(seed=number)).hexdigest() for number in (6, 7, 8, 9, 10)}
    assert store.completed == dict.fromkeys(new, 1)


def test_a_disk_that_may_only_be_read_is_watched_like_any_other(
    app: App, store: FaultyStore, disks: Disks, space: MountSpace
) -> None:
    configure(app, store, disks)
    with app.running():
        disks.mount("ext4")
        become(app, "watching", only=("ext4",))
        disks.put("ext4", "first.jpg")
        published(app, 1)
        space.run("mount", "-o", "remount,ro", disks.folders["ext4"])
        become(app, "watching", only=("ext4",))
    with app.running():
        become(app, "watching", only=("ext4",))
        published(app, 1)
        space.run("mount", "-o", "remount,rw", disks.folders["ext4"])
        disks.put("ext4", "second.jpg")
        published(app, 2)
    assert set(store.completed.values()) == {1}


def test_a_disk_that_dies_in_the_middle_of_an_upload_is_waited_for(app: App, store: FaultyStore, disks: Disks) -> None:
    """Its program is killed: the file cannot be read to its end, and after that not even be looked at."""
    configure(app, store, disks)
    store.next(Slow(16_384, 0.05))
    with app.running():
        disks.mount("fuse")
        become(app, "polling", only=("fuse",))
        disks.put("fuse", "large.mp4", 3_000_000)
        store.wait_for(lambda store: store.in_flight == 1)
        disks.kill_fuse()
        become(app, "offline", "error", only=("fuse",))
        store.wait_for(lambda store: store.in_flight == 0)
        assert {state: app.counts()[state] for state in LOST} == dict.fromkeys(LOST, 0)
        disks.pull("fuse")
        disks.mount("fuse")
        published(app, 1)
    assert list(store.completed.values()) == [1]


def test_files_whose_inodes_and_times_are_made_up_are_known_again(app: App, store: FaultyStore, disks: Disks) -> None:
    """As on a card with FAT: each mount numbers its files anew, and a file changes twice within one step of time."""
    configure(app, store, disks)
    with app.running():
        disks.mount("fuse")
        become(app, "polling", only=("fuse",))
        time.sleep(STEP)  # what comes now can be told from what was there before
        for number in range(10):
            disks.put("fuse", f"{number}.jpg")
        published(app, 10)
    for _ in range(2):
        disks.pull("fuse")
        disks.mount("fuse")
        with app.running():
            become(app, "polling", only=("fuse",))
            published(app, 10)
    assert set(store.completed.values()) == {1}
    assert len(store.completed) == 10


def names(app: App) -> set[str]:
    """The names of what is published."""
    return {Path(link["path"]).name for link in app.links()}
