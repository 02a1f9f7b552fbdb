"""What becomes of a path that is renamed, edited, replaced, deleted and made again; and what `why` tells of it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from pixstored.ledger.sqlite_reader import read_ledger
from support.app import App, eventually
from support.faults import Hang
from support.faulty_store import FaultyStore
from support.files import jpeg, mp4, write

LARGE = 16_000_000
"""Bytes of a file that no buffer on its way takes in whole."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def why(app: App, path: Path) -> dict[str, Any]:
    done = app.command("why", "--json", str(path))
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def says(app: App, path: Path) -> str:
    said: str = why(app, path)["says"]
    return said


def until_said(app: App, path: Path, part: str) -> dict[str, Any]:
    """The story of a file once it says so."""
    return eventually(lambda: why(app, path), lambda story: part in story["says"])


def until_missing(app: App, path: Path) -> None:
    """Waits until it is on record that this file is not there."""
    ledger = read_ledger(app.home / "state" / "ledger.db", app.status()["store"]["id"])
    assert ledger
    with ledger:
        eventually(lambda: ledger.look(str(path)), lambda known: known and known.missing)


def links(app: App) -> dict[str, str]:
    """The link of each published path, by its name below the home."""
    return {os.path.relpath(link["path"], app.home): link["link"] for link in app.links()}


@pytest.fixture
def archive(app: App, store: FaultyStore) -> Path:
    """A second watched folder, in which changes are ignored."""
    app.configure(store.url, watch="settle: 300ms")
    archive = app.home / "archive"
    archive.mkdir()
    more = f"  - path: {archive}\n    settle: 300ms\n    changed: ignore\n    max_size: 100KB\n"
    app.file.write_text(app.file.read_text() + more)
    return archive


def test_where_changes_are_ignored_the_first_link_stays_until_somebody_asks(
    app: App, store: FaultyStore, archive: Path
) -> None:
    with app.running():
        picture = write(archive / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        before = links(app)
        write(picture, jpeg(seed=2))
        story = until_said(app, picture, "its new content is not sent")
        assert (story["state"], story["link"]) == ("published", before["archive/a.jpg"])
        assert "`changed` is `ignore`" in story["says"]
        assert ["publish" in way["command"] for way in story["can_do"]] == [True]
        os.utime(picture)
        write(archive / "b.jpg", jpeg(seed=3))
        app.wait_for(published=2)
        assert links(app)["archive/a.jpg"] == before["archive/a.jpg"]
        assert app.command("publish", str(picture)).returncode == 0
        after = until_said(app, picture, "it is published as")
        assert (after["reason"], [old["link"] for old in after["before"]]) == (None, [before["archive/a.jpg"]])
    with app.running():
        app.wait_for(published=2)
    write(picture, jpeg(seed=4))  # of which nobody knows yet
    story = why(app, picture)
    assert (story["state"], "its new content is not sent" in story["says"]) == ("published", True)
    assert ["publish" in way["command"] for way in story["can_do"]] == [True]
    assert set(store.stored.values()) == {1}
    assert len(store.stored) == 3


def test_a_path_keeps_its_story_through_renames_swaps_and_links(app: App, store: FaultyStore, archive: Path) -> None:
    inbox = app.inbox
    with app.running():
        for number, name in enumerate(("a.JPG", "b.jpg", "day/c.jpg", "d.jpg", "e.jpg", "f.jpg")):
            write(inbox / name, jpeg(seed=number))
        app.wait_for(published=6)
        before = links(app)

        (inbox / "a.JPG").rename(inbox / "a.jpg")  # its case alone
        (inbox / "b.jpg").rename(archive / "b.jpg")  # into another watched folder
        (inbox / "day").rename(archive / "night")  # with its folder
        (inbox / "d.jpg").rename(inbox / "swap")  # two change places
        (inbox / "e.jpg").rename(inbox / "d.jpg")
        (inbox / "swap").rename(inbox / "e.jpg")
        os.link(inbox / "f.jpg", archive / "g.jpg")  # one file by two names
        now = {
            "inbox/a.jpg": before["inbox/a.JPG"],
            "archive/b.jpg": before["inbox/b.jpg"],
            "archive/night/c.jpg": before["inbox/day/c.jpg"],
            "inbox/d.jpg": before["inbox/e.jpg"],
            "inbox/e.jpg": before["inbox/d.jpg"],
            "inbox/f.jpg": before["inbox/f.jpg"],
            "archive/g.jpg": before["inbox/f.jpg"],
        }
        eventually(lambda: links(app), lambda found: found == now)
        assert why(app, archive / "night" / "c.jpg")["watch"]["path"] == str(archive)
        done = app.command("why", str(inbox / "a.JPG"))
        assert done.returncode == 1
        assert "is not there, and nothing is on record of it" in done.stderr

        (inbox / "a.jpg").unlink()
        assert "it is not there any more" in until_said(app, inbox / "a.jpg", "not there any more")["says"]
        write(inbox / "a.jpg", jpeg(seed=0))  # the same content again
        until_said(app, inbox / "a.jpg", now["inbox/a.jpg"])
        eventually(lambda: links(app), lambda found: found == now)

        (inbox / "f.jpg").rename(app.home / "f.jpg")
        (inbox / "f.jpg").symlink_to(app.home / "f.jpg")  # as git-annex does, or who makes room on this disk
        write(inbox / "last.jpg", jpeg(seed=7))
        now["inbox/last.jpg"] = until_said(app, inbox / "last.jpg", "it is published as")["link"]
        assert links(app) == now
    with app.running():
        app.wait_for(published=8)
        assert links(app) == now
    assert set(store.completed.values()) == {1}
    assert len(store.completed) == 7


def test_what_was_only_touched_or_renamed_keeps_its_link_while_nothing_may_be_sent(
    app: App, store: FaultyStore
) -> None:
    app.configure(store.url, watch="settle: 100ms", top="retry: {first: 10m}")

    def handle(touched: str, locked: str, renamed: str, anew: str) -> None:
        os.utime(app.inbox / touched, (1, 1))
        (app.inbox / locked).chmod(0o600)
        (app.inbox / renamed).rename(app.inbox / anew)

    with app.running():
        for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg", "d.jpg")):
            write(app.inbox / name, jpeg(5_000, seed=number))
        app.wait_for(published=4)
        before, requests = links(app), len(store.requests)
        first = {"inbox/a.jpg": before["inbox/a.jpg"], "inbox/b.jpg": before["inbox/b.jpg"]}

        assert app.command("pause").returncode == 0
        handle("a.jpg", "b.jpg", "c.jpg", "e.jpg")
        write(app.inbox / "d.jpg", jpeg(5_000, seed=99))
        eventually(lambda: links(app), lambda now: now == first | {"inbox/e.jpg": before["inbox/c.jpg"]})
        assert app.counts()["pending"] == 1
        assert len(store.requests) == requests
        assert app.status()["paused"] is True

        store.stop()
        assert app.command("resume").returncode == 0
        eventually(lambda: app.status()["store"]["state"], lambda state: state == "unreachable")
        handle("b.jpg", "a.jpg", "e.jpg", "c.jpg")
        eventually(lambda: links(app), lambda now: now == first | {"inbox/c.jpg": before["inbox/c.jpg"]})
        assert app.counts()["pending"] == 1
        assert app.status()["store"]["state"] == "unreachable"
    assert set(store.completed.values()) == {1}


def test_private_files_stay_private_whatever_becomes_of_their_names(app: App, store: FaultyStore) -> None:
    names = ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg", "day/g.jpg")
    private = {name: write(app.inbox / name, jpeg(seed=number)) for number, name in enumerate(names)}
    app.configure(store.url, watch="settle: 0s")
    with app.running():
        app.wait_for(skipped=7)
        for _ in range(3):  # two change places, more than once
            private["a.jpg"].rename(app.inbox / "swap")
            private["b.jpg"].rename(private["a.jpg"])
            (app.inbox / "swap").rename(private["b.jpg"])
        private["c.jpg"].rename(app.inbox / "C.JPG")
        write(app.home / "tagged", jpeg(seed=50))
        private["d.jpg"].rename(app.inbox / "d.jpg_original")  # as exiftool does
        (app.home / "tagged").rename(private["d.jpg"])
        private["e.jpg"].rename(app.home / "e.jpg")  # taken away
        until_missing(app, private["e.jpg"])
        (app.home / "e.jpg").rename(private["e.jpg"])  # and put back
        private["f.jpg"].unlink()
        until_missing(app, private["f.jpg"])
        new = write(private["f.jpg"], jpeg(seed=51))  # another file, where one was seen missing
        until_said(app, new, "it is published as")
        (app.inbox / "day").rename(app.inbox / "night")
        (app.inbox / "day").symlink_to("night")  # by which the old path still leads to it
        write(app.inbox / "last.jpg", jpeg(seed=52))
        app.wait_for(published=2, skipped=6)
        for name in ("a.jpg", "b.jpg", "C.JPG", "d.jpg", "e.jpg", "night/g.jpg"):
            assert "stays private" in says(app, app.inbox / name), name
    with app.running():
        app.wait_for(published=2, skipped=6)
    assert store.completed == {sha(jpeg(seed=51)): 1, sha(jpeg(seed=52)): 1}


def test_a_file_that_is_replaced_while_it_is_sent_is_sent_as_it_is_then(app: App, store: FaultyStore) -> None:
    release = threading.Event()
    ways = ("renamed over", "written over", "appended to", "deleted")
    store.next(*[Hang(release, at=200_000) for _ in ways])
    app.configure(store.url, watch="settle: 300ms")
    with app.running():
        for number, name in enumerate(ways):
            write(app.inbox / f"{name}.mp4", mp4(LARGE + number, seed=number))  # files of one size wait for each other
        store.wait_for(lambda s: s.in_flight == len(ways))
        write(app.home / "new.mp4", mp4(LARGE, seed=10)).rename(app.inbox / "renamed over.mp4")
        write(app.inbox / "written over.mp4", mp4(LARGE // 2, seed=11))
        with open(app.inbox / "appended to.mp4", "ab") as file:
            file.write(b"\0" * 4096)
        (app.inbox / "deleted.mp4").unlink()
        release.set()
        app.wait_for(published=3, gone=1)
        assert says(app, app.inbox / "deleted.mp4") == "it vanished before it was sent"
        write(app.inbox / "deleted.mp4", mp4(LARGE, seed=3))
        app.wait_for(published=4)
    now = [sha((app.inbox / f"{name}.mp4").read_bytes()) for name in ways]
    assert store.stored == dict.fromkeys(now, 1)


def test_a_file_that_vanishes_before_its_turn_is_gone_and_settles_again_when_it_is_back(
    app: App, store: FaultyStore
) -> None:
    app.configure(store.url, watch="settle: 300ms")
    with app.running():
        assert app.command("pause").returncode == 0
        picture = write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(pending=1)
        picture.rename(app.home / "a.jpg")
        app.wait_for(gone=1)
        assert says(app, picture) == "it vanished before it was sent"
        (app.home / "a.jpg").rename(picture)
        app.wait_for(pending=1, gone=0)
        write(picture, jpeg(seed=2))  # and changes while it waits
        eventually(lambda: why(app, picture)["size"], lambda size: size == len(jpeg(seed=2)))
        app.wait_for(pending=1)
        assert app.command("resume").returncode == 0
        app.wait_for(published=1)
    assert store.stored == {sha(jpeg(seed=2)): 1}
