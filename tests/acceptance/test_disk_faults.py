"""A full, read-only or lost disk under the ledger stops the sending: nothing is lost, and nothing published twice."""

from __future__ import annotations

import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app import App, eventually
from support.faults import Hang
from support.faulty_store import FaultyStore
from support.files import jpeg, write
from support.mounting import small_disk


@pytest.fixture
def disk(app: App) -> Iterator[Path]:
    with small_disk(app.home / "state", "16m") as disk:
        yield disk
        app.close()


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with pytest.raises(OSError), ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                if size == 1:
                    raise
    return ballast


def copies(store: FaultyStore) -> set[int]:
    return set(store.stored.values())


def test_a_full_disk_stops_the_sending_and_it_goes_on_by_itself(app: App, store: FaultyStore, disk: Path) -> None:
    app.configure(store.url)
    with app.running():
        write(app.inbox / "before.jpg", jpeg(seed=0))
        app.wait_for(published=1)
        ballast = fill(disk)
        for seed in range(1, 300):
            write(app.inbox / f"{seed}.jpg", jpeg(seed=seed))
        status = eventually(app.glance, lambda status: status["ledger"]["state"] == "full")
        assert status["needs_you"] >= 1
        assert status["watches"][0]["state"] == "watching"
        assert len(store.stored) < 300
        eventually(app.log.read_text, lambda log: "ledger state=full" in log)
        ballast.unlink()
        app.wait_for(published=300)
        assert app.status()["ledger"]["state"] == "ok"
    assert len(store.stored) == 300
    assert copies(store) == {1}
    log = app.log.read_text()
    assert log.count("ledger state=full") == log.count("ledger state=ok") == 1
    assert "Traceback" not in log


def test_a_link_that_cannot_be_recorded_is_told_with_the_line_that_records_it(
    app: App, store: FaultyStore, disk: Path
) -> None:
    release = threading.Event()
    store.next(Hang(release, stored=True))
    app.configure(store.url)
    app.start()
    picture = write(app.inbox / "two words.jpg", jpeg(seed=1))
    store.wait_for(lambda s: s.stored)
    aside = app.home / "aside"
    (disk / "ledger.db").rename(disk / "ledger.aside")
    release.set()
    eventually(app.log.read_text, lambda log: "link not recorded" in log)
    app.kill()
    (disk / "ledger.aside").rename(disk / "ledger.db")
    assert not aside.exists()
    [line] = [line for line in app.log.read_text().splitlines() if "link not recorded" in line]
    assert "crit" in line
    found = re.search(r"run=(pixstored .*)$", line)
    assert found
    words = shlex.split(found[1])
    assert words[:5] == ["pixstored", "-c", str(app.file), "adopt", str(picture)]
    with app.running():
        app.wait_for(uncertain=1)
        assert app.command(*words[3:]).returncode == 0
        app.wait_for(published=1)
    assert app.links()[0]["link"] == words[5]
    assert copies(store) == {1}


def test_a_ledger_that_is_moved_away_stops_the_sending_until_it_is_back(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    ledger = app.home / "state" / "ledger.db"
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        ledger.rename(ledger.with_name("away"))
        write(app.inbox / "b.jpg", jpeg(seed=2))
        eventually(app.glance, lambda status: status["ledger"]["state"] == "error")
        told = eventually(app.log.read_text, lambda log: "ledger state=error" in log)
        assert re.search(r"ledger state=error .* reason=.* was moved away .*`pixstored ledger restore`", told)
        assert len(store.stored) == 1
        ledger.with_name("away").rename(ledger)
        app.wait_for(published=2)
        assert app.status()["ledger"]["state"] == "ok"
    assert copies(store) == {1}


def test_a_link_that_could_not_be_recorded_is_recorded_once_that_is_possible(app: App, store: FaultyStore) -> None:
    release = threading.Event()
    store.next(Hang(release, stored=True))
    app.configure(store.url)
    ledger = app.home / "state" / "ledger.db"
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        store.wait_for(lambda s: s.stored)
        ledger.rename(ledger.with_name("away"))
        release.set()
        eventually(app.log.read_text, lambda log: "link not recorded" in log)
        ledger.with_name("away").rename(ledger)
        app.wait_for(published=1)
        assert app.links()[0]["link"]
    assert copies(store) == {1}


def test_a_ledger_on_a_read_only_disk_is_refused_and_goes_on_when_it_can_be_written(
    app: App, store: FaultyStore, disk: Path
) -> None:
    app.configure(store.url)
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    refused = app.launch().wait(30)
    assert refused == 74
    assert "read-only" in app.log.read_text().lower()
    assert len(app.links()) == 1, "what is recorded can be read"
    for command in (["pause"], ["forget", "--yes", str(app.inbox / "a.jpg")]):
        done = app.command(*command)
        assert done.returncode == 74, done.stderr
        assert "Traceback" not in done.stderr
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    write(app.inbox / "b.jpg", jpeg(seed=2))
    with app.running():
        app.wait_for(published=2)
    assert copies(store) == {1}


def test_a_links_file_that_cannot_be_written_stops_no_upload_and_is_mended_at_the_next_start(
    app: App, store: FaultyStore
) -> None:
    app.configure(store.url)
    links = app.home / "state" / "ledger.links.jsonl"
    with app.running():
        pass
    links.unlink(missing_ok=True)
    links.mkdir()
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
    assert "links file not written" in app.log.read_text()
    links.rmdir()
    with app.running():
        eventually(links.exists, bool)
        eventually(links.read_text, lambda text: text.count("\n") == 1)
