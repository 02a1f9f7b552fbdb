"""Trees as people have them: deep, wide, full of odd things; all is found, nothing twice, and memory stays small."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from support.app import App, eventually
from support.faults import Hang
from support.faulty_store import FaultyStore
from support.files import jpeg, mp4, write

LEVELS = 100

LARGE = 2_000_000
"""Bytes of a file that the worker kept for shots does not take from a backlog."""

MEGABYTE = 1024
"""In the units of /proc/PID/status: KiB."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def most_memory(app: App) -> float:
    """The most memory the daemon has had so far, in MiB."""
    assert app.process
    lines = Path(f"/proc/{app.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / MEGABYTE


def make_tree(top: Path, seed: int) -> list[bytes]:
    """A deep branch with a picture at every tenth level, and one of everything that is no picture beside each."""
    contents = []
    folder = top
    for level in range(LEVELS):
        folder = folder / "n"
        folder.mkdir(parents=True)
        if level % 10:
            continue
        contents.append(jpeg(seed=seed + level))
        write(folder / "a.jpg", contents[-1])
        (folder / "loop").symlink_to(".")
        (folder / "up").symlink_to("..")
        (folder / "link.jpg").symlink_to("a.jpg")
        os.mkfifo(folder / "pipe.jpg")
        (folder / "folder.jpg").mkdir()
    handle = os.open(folder, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{handle}/socket.jpg")  # the address of a socket is short
    os.close(handle)
    return contents


def test_a_deep_tree_is_found_before_the_start_and_while_it_runs_whatever_lies_in_it(
    app: App, store: FaultyStore
) -> None:
    app.configure(store.url, watch="existing: publish\nsettle: 300ms")
    contents = make_tree(app.inbox / "before", 0)
    with app.running():
        app.wait_for(published=len(contents))
        contents += make_tree(app.inbox / "within", 1000)
        app.wait_for(published=len(contents))
        contents += make_tree(app.home / "outside", 2000)
        (app.home / "outside").rename(app.inbox / "moved")
        app.wait_for(published=len(contents))
        deepest = app.inbox / "moved" / Path(*["n"] * LEVELS)
        for number in range(300):  # gone before anybody could look
            write(deepest / f"{number}.jpg", jpeg(seed=3000 + number)).unlink()
        contents.append(jpeg(seed=4000))
        write(deepest / "last.jpg", contents[-1])
        app.wait_for(published=len(contents), failed=0, gone=0)
    assert store.completed == {sha(content): 1 for content in contents}
    assert {Path(link["path"]).name for link in app.links()} == {"a.jpg", "last.jpg"}


def test_a_shot_does_not_wait_for_a_backlog(app: App, store: FaultyStore) -> None:
    """One worker of two is kept for it, though that would have enough to do."""
    release = threading.Event()
    for number in range(5):
        write(app.inbox / f"old {number}.mp4", mp4(LARGE + number, seed=number))
    app.configure(store.url, top="workers: 2", watch="existing: publish\nsettle: 300ms")
    store.next(Hang(release, at=LARGE // 2))
    with app.running():
        store.wait_for(lambda s: s.in_flight == 1)
        app.wait_for(uploading=1, pending=4)
        write(app.inbox / "shot.jpg", jpeg(seed=10))
        eventually(app.counts, lambda counts: counts["published"] == 1)
        assert store.completed == {sha(jpeg(seed=10)): 1}
        release.set()
        app.wait_for(published=6)
    assert set(store.completed.values()) == {1}


@pytest.mark.soak
def test_a_hundred_thousand_files_in_one_folder_and_twenty_thousand_folders_take_little_memory(
    app: App, store: FaultyStore
) -> None:
    app.configure(store.url, watch="existing: publish")
    picture = jpeg()
    for number in range(100_000):
        write(app.inbox / "full" / f"IMG_{number:06}.jpg", picture)
    for number in range(20_000):
        (app.inbox / "wide" / f"{number % 100:02}" / f"{number:05}").mkdir(parents=True)
    with app.running():
        assert app.command("pause").returncode == 0
        eventually(app.counts, lambda counts: counts["published"] + counts["pending"] == 100_000, patience=300.0)
        eventually(app.glance, lambda status: status["watches"][0]["state"] == "watching", patience=60.0)
        assert most_memory(app) < 90.0
        began = time.monotonic()
        write(app.inbox / "wide" / "07" / "00007" / "shot.jpg", jpeg(seed=1))
        eventually(app.counts, lambda counts: counts["published"] + counts["pending"] == 100_001)
        assert time.monotonic() - began < 10.0
