"""kill -9 at any moment loses nothing, publishes nothing twice, and leaves uncertain what cannot be known."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import threading
import time
from pathlib import Path

import pytest

from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.model import FileState, Known
from support.app import App, eventually
from support.faults import SUCCESS, Answer, Fault, Hang, Slow
from support.faulty_store import Asked, FaultyStore
from support.files import jpeg, mp4, write

KILLS = 10

VIDEO = mp4(30_000_000, seed=1)
"""More than the buffers of a connection hold: a store that stops reading leaves it half sent."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def known_of(app: App, path: Path) -> Known | None:
    """What the ledger has on record of this file."""
    ledger = read_ledger(app.home / "state" / "ledger.db", store_id(app))
    assert ledger, "there is no ledger"
    with ledger:
        return ledger.look(str(path))


def store_id(app: App) -> str:
    identity: str = app.status()["store"]["id"]
    return identity


def kill(app: App) -> None:
    """kill -9 of a daemon that has not ended by itself."""
    assert app.process and app.process.poll() is None, app.log.read_text()
    app.kill()


class Camera(threading.Thread):
    """Puts files into a folder until it is told to stop, in the ways programs do; `made` is what is there."""

    def __init__(self, inbox: Path, seed: int) -> None:
        super().__init__(name="camera")
        self.made: dict[Path, str] = {}
        self.off = threading.Event()
        self._inbox = inbox
        self._random = random.Random(seed)

    def run(self) -> None:
        for number in itertools.count():
            if self.off.wait(self._random.uniform(0, 0.12)):
                return
            self._shoot(number)

    def _shoot(self, number: int) -> None:
        content = self._content(number)
        extension = "mp4" if content[4:8] == b"ftyp" else "jpg"
        path = self._inbox / f"day {number // 20}" / f"{number}.{extension}"
        if self._random.random() < 0.5:
            write(path, content)
        else:
            temporary = write(path.with_suffix(".part"), content)
            temporary.rename(path)
        self.made[path] = sha(content)

    def _content(self, number: int) -> bytes:
        kind = self._random.random()
        if kind < 0.15 and number:  # one that has been there before, under another name
            return jpeg(40_000, seed=self._random.randrange(number))
        if kind < 0.3:
            return mp4(self._random.randint(300_000, 2_000_000), seed=number)
        return jpeg(40_000 if kind < 0.6 else self._random.randint(1_000, 400_000), seed=number)


class Moods:
    """A store that is quick at times, slow at others, and now and then does not answer before the next kill."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.killed = threading.Event()

    def __call__(self, asked: Asked) -> Fault | None:
        with self._lock:
            mood = self._random.random()
        if asked.sha256 is not None:  # the body is complete
            return None
        if mood < 0.1:
            return Hang(self.killed, stored=mood < 0.07)
        if mood < 0.2:
            return Hang(self.killed, at=5_000)
        if mood < 0.5:
            return Slow(64 * 1024, 0.02, then=Answer(SUCCESS, stored=True))
        return None

    def next_run(self) -> None:
        self.killed.set()
        self.killed = threading.Event()


@pytest.mark.timeout(300)
def test_ten_kills_lose_nothing_and_publish_nothing_twice(app: App, store: FaultyStore) -> None:
    seed = int(os.environ.get("PIXSTORED_TEST_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"to see it again: PIXSTORED_TEST_SEED={seed}")
    moments, moods = random.Random(seed), Moods(seed + 1)
    store.decide(moods)
    app.configure(store.url, watch="settle: 200ms", top="retry: {first: 100ms, longest: 1s}")
    app.start()  # once the folder is adopted, all that comes is to be published
    camera = Camera(app.inbox, seed + 2)
    camera.start()
    try:
        for _ in range(KILLS):
            camera.off.wait(moments.uniform(0, moments.choice((0.05, 0.6, 2.0))))
            kill(app)
            moods.next_run()
            app.launch()
    finally:
        camera.off.set()
        camera.join()
    kill(app)
    moods.next_run()
    store.heal()
    with app.running():
        counts = eventually(
            app.counts, lambda counts: counts["published"] + counts["uncertain"] == len(camera.made), patience=90
        )
        published = {Path(link["path"]): link["sha256"] for link in app.links()}
    print(f"{len(camera.made)} files, {counts['uncertain']} of them uncertain")

    assert set(store.stored.values()) == {1}, "something was stored twice"
    assert set(store.completed.values()) == {1}, "something was sent to its end twice"
    assert published.items() <= camera.made.items()
    assert len(published) == counts["published"]
    assert set(published.values()) <= store.stored.keys()
    unknown = camera.made.keys() - published.keys()
    for path in unknown:
        known = known_of(app, path)
        assert known, f"{path} is lost"
        assert known.state is FileState.UNCERTAIN
        assert known.reason
    assert {camera.made[path] for path in unknown}.isdisjoint(published.values())


def test_killed_with_the_body_half_sent_it_is_published_once_at_the_next_start(app: App, store: FaultyStore) -> None:
    release = threading.Event()
    store.next(Hang(release, at=100_000))
    app.configure(store.url)
    app.start()
    write(app.inbox / "half.mp4", VIDEO)
    store.wait_for(lambda s: s.requests and s.requests[0].received >= 100_000)
    kill(app)
    release.set()
    with app.running():
        app.wait_for(published=1)
    assert store.completed == {sha(VIDEO): 1}
    assert store.stored == {sha(VIDEO): 1}


@pytest.mark.parametrize("content", [VIDEO, jpeg(50_000, seed=2)], ids=["a large file", "a file of one block"])
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not stored"])
def test_killed_before_the_answer_to_a_complete_body_it_is_uncertain_and_never_repeated(
    app: App, store: FaultyStore, content: bytes, stored: bool
) -> None:
    never = threading.Event()
    store.next(Hang(never, stored=stored))
    app.configure(store.url)
    app.start()
    held = write(app.inbox / "held.mp4", content)
    store.wait_for(lambda s: s.completed)
    kill(app)
    assert app.counts()["pending"] == 1, "nobody has looked yet at what the dead daemon left"
    for start in range(1, 3):
        with app.running():
            app.wait_for(uncertain=start, published=start - 1)
            write(app.inbox / f"copy {start}.mp4", content)
            write(app.inbox / f"other {start}.jpg", jpeg(seed=start + 10))
            app.wait_for(uncertain=1 + start, published=start)
            assert app.status()["needs_you"] == 1 + start
    assert store.completed.pop(sha(content)) == 1
    assert sorted(store.completed.values()) == [1, 1]
    known = known_of(app, held)
    assert known and known.state is FileState.UNCERTAIN and known.reason
    assert "uncertain" in app.log.read_text()


def test_killed_while_it_starts_settles_and_scans_nothing_is_lost(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    app.start()
    for number in range(50):
        write(app.inbox / "card" / f"{number}.jpg", jpeg(seed=number))
    kill(app)  # while they settle
    for tenths in (1, 2, 3, 4, 5, 6):
        app.launch()
        write(app.inbox / f"{tenths}.jpg", jpeg(seed=100 + tenths))
        time.sleep(tenths / 10)  # a moment of its life that nothing tells of
        kill(app)
    with app.running():
        # A kill may have come between a file's last bytes and the record of its answer.
        eventually(app.counts, lambda counts: counts["published"] + counts["uncertain"] == 56)
        published = {link["sha256"] for link in app.links()}
    assert published <= store.stored.keys()
    assert set(store.completed.values()) == {1}
