"""`pixstored publish`: files and folders by hand, with and without a daemon, through the same ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app import App, eventually
from support.faults import DropAnswer, Early, Hang, page, says
from support.faulty_store import FaultyStore
from support.files import jpeg, mp4, png, write

OTHER_UID = 12_345


@pytest.fixture(params=["daemon", "alone"])
def either(request: pytest.FixtureRequest, app: App, store: FaultyStore) -> Iterator[App]:
    """A configured app, its daemon running or not: what is published must not depend on it."""
    app.configure(store.url)
    if request.param == "daemon":
        with app.running():
            yield app
    else:
        yield app


def test_links_come_one_a_line_in_the_order_of_the_arguments(either: App, store: FaultyStore) -> None:
    paths = [str(write(either.home / f"{seed}.jpg", jpeg(seed=seed))) for seed in range(40)]
    done = either.command("publish", *reversed(paths))
    assert done.returncode == 0, done.stderr
    by_path = {link["path"]: link["link"] for link in either.links()}
    assert done.stdout.splitlines() == [by_path[path] for path in reversed(paths)]
    assert set(store.stored.values()) == {1}
    assert done.stderr == ""


def test_a_file_outside_any_watch_has_no_watch(either: App) -> None:
    picture = write(either.home / "elsewhere" / "a.jpg", jpeg(seed=1))
    assert either.command("publish", str(picture)).returncode == 0
    [link] = either.links()
    assert link["path"] == str(picture)
    assert link["watch"] is None
    assert link["comment"] is None


def test_what_is_published_already_gives_its_link_without_a_request(either: App, store: FaultyStore) -> None:
    picture = str(write(either.home / "a.jpg", jpeg(seed=1)))
    copy = str(write(either.home / "copy.jpg", jpeg(seed=1)))
    first = either.command("publish", picture)
    again = either.command("publish", picture, copy, picture)
    assert again.stdout == first.stdout * 3
    assert len(store.requests) == 1


def test_a_named_file_needs_no_rules_consent(either: App) -> None:
    text = write(either.inbox / "notes.txt", b"not a picture")
    done = either.command("publish", str(text))
    assert done.returncode == 0, done.stderr
    assert [link["watch"] for link in either.links()] == [str(either.inbox)]


def test_a_folder_follows_its_watchs_rules_and_takes_its_baseline_too(app: App, store: FaultyStore) -> None:
    for name in ("old.jpg", "sub/old.png", "notes.txt", ".hidden.jpg"):
        write(app.inbox / name, (png if name.endswith("png") else jpeg)(seed=len(name)))
    app.configure(store.url)
    with app.running():
        app.wait_for(skipped=2)
        done = app.command("publish", str(app.inbox))
        assert done.returncode == 0, done.stderr
        app.wait_for(published=2)
    assert len(done.stdout.splitlines()) == 2


def test_a_folder_outside_any_watch_follows_the_default_rules(either: App) -> None:
    for name in ("a.jpg", "deep/b.mp4", "c.txt", "d.jpg.part"):
        write(either.home / "card" / name, jpeg(seed=len(name)))
    done = either.command("publish", str(either.home / "card"))
    assert done.returncode == 0, done.stderr
    assert {Path(link["path"]).name for link in either.links()} == {"a.jpg", "b.mp4"}


def test_a_folder_with_nothing_to_publish_says_so(either: App) -> None:
    (either.home / "empty").mkdir()
    done = either.command("publish", str(either.home / "empty"))
    assert "no file in it is taken by the rules" in done.stderr


def test_a_thousand_pictures_in_a_folder(either: App, store: FaultyStore) -> None:
    for seed in range(1000):
        write(either.home / "card" / f"{seed}.jpg", jpeg(seed=seed))
    done = either.command("publish", str(either.home / "card"))
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.splitlines())) == 1000
    assert set(store.stored.values()) == {1}


def test_what_cannot_be_published_is_told_with_its_reason_and_the_rest_is_published(either: App) -> None:
    good = write(either.home / "good.jpg", jpeg(seed=1))
    empty = write(either.home / "empty.jpg", b"")
    link = either.home / "link.jpg"
    link.symlink_to(good)
    fifo = either.home / "pipe.jpg"
    os.mkfifo(fifo)
    missing = either.home / "missing.jpg"
    done = either.command("publish", str(empty), str(link), str(good), str(fifo), str(missing))
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    complaints = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in complaints] == [str(empty), str(link), str(fifo), str(missing)]
    for word, line in zip(("empty", "symlink", "named pipe", "no such file"), complaints, strict=True):
        assert word in line


def test_a_file_still_being_written_is_refused(either: App) -> None:
    path = either.home / "a.jpg"
    with open(path, "wb") as file:
        file.write(jpeg(seed=1))
        file.flush()
        done = either.command("publish", str(path))
    assert done.returncode == 1
    assert "open for writing" in done.stderr
    assert either.command("publish", str(path)).returncode == 0


def test_a_store_that_is_down_is_told_and_the_file_stays_queued(either: App, store: FaultyStore) -> None:
    picture = str(write(either.inbox / "a.jpg", jpeg(seed=1)))
    store.always(Early(page(503), at=0))
    done = either.command("publish", picture)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "it stays queued" in done.stderr
    counts = either.counts()
    assert counts["pending"] + counts["uploading"] == 1
    store.heal()
    assert either.command("publish", picture).returncode == 0


def test_one_attempt_is_made_and_a_refusal_is_told(either: App, store: FaultyStore) -> None:
    picture = str(write(either.home / "a.jpg", jpeg(seed=1)))
    store.next(Early(says(415, 415, error="format not supported"), at=0))
    done = either.command("publish", picture)
    assert done.returncode == 1
    assert "format not supported" in done.stderr
    assert either.counts()["rejected"] == 1
    assert len(store.requests) == 1


def test_an_uncertain_upload_is_told_and_not_repeated_by_asking_again(either: App, store: FaultyStore) -> None:
    picture = str(write(either.home / "a.jpg", jpeg(seed=1)))
    store.next(DropAnswer(stored=True))
    assert either.command("publish", picture).returncode == 1
    again = either.command("publish", picture)
    assert again.returncode == 1
    assert "pixstored why" in again.stderr
    assert sum(store.stored.values()) == 1


def test_without_a_key_nothing_is_tried(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    del app.environ["PIXSTORED_KEY"]
    done = app.command("publish", str(write(app.home / "a.jpg", jpeg(seed=1))))
    assert done.returncode == 78
    assert "no API key" in done.stderr
    assert not store.requests


def test_ctrl_c_in_the_middle_ends_at_once_and_loses_nothing(app: App, store: FaultyStore) -> None:
    release = threading.Event()
    store.always(Hang(release, at=500))
    app.configure(store.url)
    paths = [str(write(app.inbox / f"{seed}.mp4", mp4(20_000_000, seed=seed))) for seed in range(3)]
    with subprocess.Popen(
        [sys.executable, "-m", "pixstored", "-c", str(app.file), "publish", *paths],
        env=app.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as command:
        store.wait_for(lambda s: s.in_flight >= 1 and s.requests[0].received >= 500)
        command.send_signal(signal.SIGINT)
        _, complaints = command.communicate(timeout=20)
    assert command.returncode == 130
    assert b"Traceback" not in complaints
    release.set()
    store.heal()
    with app.running():
        eventually(app.counts, lambda counts: counts["published"] >= 1 and not counts["uncertain"])
        assert app.command("publish", *paths).returncode == 0
    assert set(store.stored.values()) == {1}


def test_json_tells_state_link_and_error_of_each(either: App) -> None:
    good, missing = str(write(either.home / "a.jpg", jpeg(seed=1))), str(either.home / "missing.jpg")
    done = either.command("publish", "--json", good, missing)
    assert done.returncode == 1
    first, second = json.loads(done.stdout)
    assert (first["path"], first["state"], first["error"]) == (good, "published", None)
    assert (second["path"], second["link"], second["error"]) == (missing, None, "there is no such file")


def test_an_escaped_path_is_the_file_that_other_commands_show(either: App) -> None:
    path = os.fsdecode(os.fsencode(either.home) + b"/\xff.jpg")
    Path(path).write_bytes(jpeg(seed=1))
    done = either.command("publish", "--escaped", f"{either.home}/\\xff.jpg")
    assert done.returncode == 0, done.stderr
    assert [link["path"] for link in either.links()] == [f"{either.home}/\\xff.jpg"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be a user whose files another may not read")
def test_a_file_that_only_the_caller_can_read_is_handed_over(app: App, store: FaultyStore) -> None:
    for folder in (app.home, *app.home.parents[:3]):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(0o755)
    secret = write(app.home / "private" / "a.jpg", jpeg(seed=1))
    secret.parent.chmod(0o700)
    app.configure(store.url)
    app.file.chmod(0o644)
    (app.home / "state").mkdir()
    os.chown(app.home / "state", OTHER_UID, OTHER_UID)
    done = app.command("publish", str(secret))
    assert done.returncode == 0, done.stderr
    assert all(file.stat().st_uid == OTHER_UID for file in (app.home / "state").iterdir())
    assert set(store.stored.values()) == {1}
