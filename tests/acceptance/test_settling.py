"""Programs that write their files the hard way: nothing is sent before it is whole, and nothing waits for ever."""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any

import pytest

from support.app import App, eventually
from support.faulty_store import FaultyStore
from support.files import jpeg, mp4, png, write

WHOLE = {
    "cut off.jpg": jpeg(60_000, seed=1),
    "cut off.png": png(60_000, seed=2),
    "cut off.mp4": mp4(60_000, seed=3),
    "laid out in advance.jpg": jpeg(60_000, seed=4),
    "download.mp4": mp4(60_000, seed=5),
    "download with late notes.mp4": mp4(60_000, seed=6),
    "reopened.mp4": mp4(60_000, seed=7),
}
PART = 20_000
"""Bytes of each that are there at first."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def settling(app: App, name: str) -> str | None:
    """Why this file waits; None if it does not."""
    done = app.command("why", "--json", str(app.inbox / name))
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    why: str | None = document["settling"]["why"] if document["settling"] else None
    return why


def wait_until_cut_off(app: App, name: str) -> None:
    eventually(lambda: settling(app, name), lambda why: why and "cut off" in why and "is given 60 s more" in why)


def test_files_that_are_written_the_hard_way_are_sent_once_and_whole(app: App, store: FaultyStore) -> None:
    """All at the same time: each is there in part, quiet and closed, long before it is complete."""
    app.configure(store.url)
    with app.running():
        for name in ("cut off.jpg", "cut off.png", "cut off.mp4"):
            write(app.inbox / name, WHOLE[name][:PART])
        planned = app.inbox / "laid out in advance.jpg"
        with open(planned, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, len(WHOLE[planned.name]))
            file.write(WHOLE[planned.name][:PART])
        notes = write(app.inbox / "download.mp4.aria2", b"")
        write(app.inbox / "download.mp4", WHOLE["download.mp4"])
        write(app.inbox / "download with late notes.mp4", b"\0" * len(WHOLE["download with late notes.mp4"]))
        late = write(app.inbox / "download with late notes.mp4.aria2", b"")

        reopened = WHOLE["reopened.mp4"]
        for start in range(0, len(reopened), PART // 2):
            with open(app.inbox / "reopened.mp4", "ab") as file:
                file.write(reopened[start : start + PART // 2])
            time.sleep(0.5)  # the pause of the writer, shorter than the quiet time
        eventually(app.counts, lambda counts: counts["published"] == 1)
        assert store.completed == {sha(reopened): 1}

        for name in ("cut off.jpg", "cut off.png", "cut off.mp4", planned.name):
            wait_until_cut_off(app, name)
        for name in ("download.mp4", "download with late notes.mp4"):
            assert settling(app, name) == f"{name}.aria2 beside it says that it is still being downloaded"
        assert store.completed == {sha(reopened): 1}

        for name in ("cut off.jpg", "cut off.png", "cut off.mp4"):
            with open(app.inbox / name, "ab") as file:
                file.write(WHOLE[name][PART:])
        for name in (planned.name, "download with late notes.mp4"):
            with open(app.inbox / name, "r+b") as file:
                file.write(WHOLE[name])
        notes.unlink()
        late.unlink()
        app.wait_for(published=len(WHOLE))
    assert store.completed == {sha(content): 1 for content in WHOLE.values()}
    assert "seems to be cut off" not in app.log.read_text()


@pytest.mark.soak
def test_a_picture_that_stays_cut_off_is_published_after_a_minute_with_a_warning(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    cut = jpeg(60_000, seed=1)[:PART]
    with app.running():
        write(app.inbox / "cut off.jpg", cut)
        began = time.monotonic()
        eventually(app.counts, lambda counts: counts["published"] == 1, patience=90.0)
        assert time.monotonic() - began > 60.0
    assert store.completed == {sha(cut): 1}
    [line] = [line for line in app.log.read_text().splitlines() if "seems to be cut off" in line]
    assert "cut off.jpg" in line
    assert "a JPEG picture without its end marker" in line
