"""Uploaders that a disk or server does not let go: others send on, and nothing is sent twice when it answers again."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pixstored.config import Config, KeySource, load_config
from pixstored.ledger.sqlite import open_ledger
from pixstored.model import FileState, Lane, Remember, Stamp, WatchState
from pixstored.service.engine import Engine
from pixstored.service.folder import Folder
from support.app import eventually
from support.faults import Hang
from support.faulty_store import FaultyStore
from support.files import jpeg, write
from support.house import House
from support.mount_space import MountSpace
from support.mounting import unanswered_mount

STUCK_AFTER = 0.5
"""Seconds, in place of fifteen."""

LARGE = 4 * 1024 * 1024
"""Bytes: more than is read ahead."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixstored.watch.filework.STUCK_AFTER", STUCK_AFTER)


@pytest.fixture
def store() -> Iterator[FaultyStore]:
    with FaultyStore() as store:
        yield store


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def configuration(home: Path, url: str, workers: int) -> Config:
    file = home / "engine.yaml"
    file.write_text(
        f"ledger: ledger.db\nworkers: {workers}\nstore: {{url: '{url}', key: canary}}\nwatch: [{{path: unused}}]\n"
    )
    return load_config(file, {"HOME": str(home)})


def test_uploaders_stuck_in_one_folder_are_replaced_and_its_files_are_sent_once_when_it_answers(
    tmp_path: Path, store: FaultyStore
) -> None:
    house = House(tmp_path)
    contents = {f"{number}.jpg": jpeg(seed=number) for number in range(3)}
    other = jpeg(seed=10)
    config = configuration(tmp_path, store.url, workers=2)
    with ExitStack() as stack:
        stack.callback(house.close)
        folders = house.start("[{path: a, name: a, settle: 0s, create: true}, {path: b, settle: 0s, create: true}]")
        house.until_watching("a")
        for name, content in contents.items():
            house.put(f"a/x/{name}", content)
            house.until_state(f"a/x/{name}", FileState.PENDING)
        house.until_watching("a")
        with unanswered_mount(tmp_path / "a" / "x"):
            engine = Engine(
                config,
                KeySource.of(config.store, {}),
                house.ledger,
                above=folders.above,
                settle_again=folders.offer,
                held=folders.held,
            )
            engine.prepare(stack)
            stack.callback(engine.stop, 5.0)
            engine.start()
            house.put("b/other.jpg", other)

            def is_other_sent() -> bool:
                engine.tick()
                return store.stored[sha256_of(other)] == 1

            house.until(is_other_sent)
            assert house.state("a") is WatchState.ERROR
            assert "does not answer" in (house.report("a").error or "")
            assert not store.begun.keys() & contents.keys()

        def are_all_sent() -> bool:
            engine.tick()
            return all(store.stored[sha256_of(content)] for content in contents.values())

        house.until(are_all_sent)
        house.until_watching("a")
        assert {store.completed[sha256_of(content)] for content in contents.values()} == {1}


def test_an_uploader_stuck_in_the_midst_of_a_file_drops_it_when_it_gets_free(
    tmp_path: Path, store: FaultyStore, space: MountSpace
) -> None:
    back, at = tmp_path / "back", tmp_path / "at"
    at.mkdir()
    content, other = jpeg(LARGE, seed=1), jpeg(seed=2)
    write(back / "large.jpg", content)
    disk = space.fat_like(back, at)
    path = space.seen(at) / "large.jpg"
    config = configuration(tmp_path, store.url, workers=1)
    read_on = threading.Event()
    store.next(Hang(read_on, at=LARGE // 4))
    with ExitStack() as stack:
        ledger = open_ledger(config.ledger, config.store.id)
        stack.callback(ledger.close)
        ledger.apply([Remember(str(path), Stamp.of(os.stat(path)), Lane.FRESH, None, 0.0)])
        # The folder of this one has not answered since the start.
        disk_watch = Folder(replace(config.watches[0], path=path.parent)).watched_or_not_yet()
        ledger.apply([Remember(str(path.with_name("x.jpg")), Stamp(7, 7, 7, 7, 7), Lane.FRESH, "disk", 0.0)])
        engine = Engine(
            config,
            KeySource.of(config.store, {}),
            ledger,
            above=lambda path: disk_watch if path.endswith("x.jpg") else None,
            settle_again=lambda path, watch, lane: None,
            held=lambda path, thread: None,
        )
        engine.prepare(stack)
        stack.callback(engine.stop, 5.0)
        engine.start()
        store.wait_for(lambda store: store.begun["large.jpg"])
        disk.send_signal(signal.SIGSTOP)
        stack.callback(disk.send_signal, signal.SIGCONT)
        read_on.set()
        small = write(tmp_path / "other.jpg", other)
        ledger.apply([Remember(str(small), Stamp.of(os.stat(small)), Lane.FRESH, None, 0.0)])

        def are_sent(*contents: bytes) -> Callable[[], bool]:
            def look() -> bool:
                engine.tick()
                return all(store.stored[sha256_of(content)] for content in contents)

            return look

        eventually(are_sent(other), bool)
        assert store.begun["large.jpg"] == 1, "it is still held by who is stuck with it"
        disk.send_signal(signal.SIGCONT)
        eventually(are_sent(content), bool)
        assert store.begun["large.jpg"] == 2
        assert store.completed[sha256_of(content)] == 1
        known = ledger.look(str(path.with_name("x.jpg")))
        assert known and known.state is FileState.PENDING and known.parked
