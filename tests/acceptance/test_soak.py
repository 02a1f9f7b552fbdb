"""Kills, faults and file operations at random, for as long as one likes: the promises hold at the end.

`make soak` runs this for PIXSTORED_SOAK_SECONDS (120 by default). The seed is printed; PIXSTORED_SOAK_SEED draws the
same operations, faults and kills again.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.model import FileState, Known
from support.app import App, eventually
from support.faults import Afterwards, Answer, Drop, DropAnswer, Early, Fault, Hang, Slow, says
from support.faulty_store import Asked, FaultyStore
from support.files import jpeg, mp4, write

SECONDS = float(os.environ.get("PIXSTORED_SOAK_SECONDS") or 120)

PATIENCE = 180.0
"""Seconds for what is left when the kills are over."""

STORE = "the store"

TOP = "stop_timeout: 2s\nretry: {first: 50ms, longest: 500ms, tries: 1000}"

ENDED = {FileState.PUBLISHED, FileState.UNCERTAIN, FileState.FAILED, FileState.GONE}

_BUSY = says(503, 503, error="busy")


class Moods:
    """A store that fails in all the ways it knows, each request by its number and the seed alone."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.let_go = threading.Event()

    def __call__(self, asked: Asked) -> Fault | None:
        draw = random.Random(f"{self._seed} {asked.number} {asked.sha256 is None}")
        if asked.sha256 is not None:
            return draw.choices([None, DropAnswer(stored=True), DropAnswer(stored=False)], [98, 1, 1])[0]
        at = draw.randrange(1, 300_000)
        faults: dict[Fault | None, int] = {
            None: 70,
            Answer(_BUSY): 4,
            Answer(says(500, 500, error="again")): 3,
            Early(_BUSY, at=at, afterwards=draw.choice([Afterwards.CLOSE, Afterwards.DRAIN, Afterwards.RESET])): 5,
            Drop(at=at, reset=draw.random() < 0.5): 4,
            Slow(16_384, 0.01): 10,
            Hang(self.let_go, at=at): 2,
            Hang(self.let_go, stored=draw.random() < 0.5): 2,
        }
        return draw.choices([*faults], [*faults.values()])[0]

    def next_run(self) -> None:
        """What hangs, hangs no more."""
        self.let_go.set()
        self.let_go = threading.Event()


class Photographer:
    """Does to a folder what people and programs do to one. `now` is what lies there, `ever` what ever did."""

    def __init__(self, inbox: Path, seed: int) -> None:
        self.now: dict[Path, str] = {}
        self.ever: dict[str, bytes] = {}
        self.done: Counter[str] = Counter()
        self._inbox = inbox
        self._random = random.Random(seed)
        self._number = 0

    def do_something(self) -> None:
        doings = [(self._shoot, 60), (self._copy, 10), (self._change, 8), (self._rename, 8), (self._delete, 8)]
        (doing,) = self._random.choices([each for each, _ in doings], [weight for _, weight in doings])
        if doing == self._shoot or self.now:
            doing()
            self.done[doing.__name__.strip("_")] += 1

    def _shoot(self) -> None:
        self._write(self._new_place(), self._content())

    def _copy(self) -> None:
        self._write(self._new_place(), self.ever[self.now[self._any()]])

    def _change(self) -> None:
        path = self._any()
        self._write(path, self._content())

    def _rename(self) -> None:
        old, new = self._any(), self._new_place()
        new.parent.mkdir(exist_ok=True)
        old.rename(new)
        self.now[new] = self.now.pop(old)

    def _delete(self) -> None:
        path = self._any()
        path.unlink()
        del self.now[path]

    def _write(self, path: Path, content: bytes) -> None:
        if self._random.random() < 0.5:
            write(path, content)
        else:
            write(path.with_suffix(".part"), content).rename(path)
        digest = hashlib.sha256(content).hexdigest()
        self.now[path] = digest
        self.ever[digest] = content

    def _content(self) -> bytes:
        self._number += 1
        size = self._random.choice([2_000, 40_000, self._random.randint(1_000, 900_000)])
        return (mp4 if self._random.random() < 0.2 else jpeg)(size, seed=self._number)

    def _new_place(self) -> Path:
        self._number += 1
        return self._inbox / f"day {self._number // 40}" / f"{self._number}.jpg"

    def _any(self) -> Path:
        return self._random.choice([*self.now])


def known_of(app: App) -> dict[Path, Known]:
    """All that the ledger has on record, by path."""
    ledger = read_ledger(app.home / "state" / "ledger.db", STORE)
    assert ledger
    with ledger:
        folders = ledger.folders_known(str(app.inbox))
        return {Path(known.path): known for folder in folders for known in ledger.known_in(folder).values()}


def live_through_it(app: App, store: FaultyStore, seed: int) -> Counter[str]:
    """`SECONDS` of operations, with kills and stops between them; what was done."""
    moments = random.Random(seed)
    moods, photographer = Moods(seed + 1), Photographer(app.inbox, seed + 2)
    store.decide(moods)
    app.start()  # once the folder is adopted, all that comes is to be published
    app.kill()
    done = Counter[str]()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        is_killed = moments.random() < 0.8
        if is_killed:
            app.launch()  # and perhaps killed before it is ready
        else:
            app.start()
        for _ in range(moments.randrange(1, 60)):
            photographer.do_something()
            time.sleep(moments.uniform(0, 0.03))
        time.sleep(moments.choice([0, 0.1, 0.6, 1.5]))
        assert app.process and app.process.poll() is None, app.log.read_text()
        if is_killed:
            app.kill()
        else:
            assert app.stop(moments.choice([signal.SIGTERM, signal.SIGINT])) == 0
        done["kills" if is_killed else "stops"] += 1
        moods.next_run()
    store.heal()
    with app.running():
        eventually(lambda: unfinished(app, photographer), lambda left: not left, patience=PATIENCE)
        check(app, store, photographer)
    return done + photographer.done + Counter(files=len(photographer.now), requests=len(store.requests))


def unfinished(app: App, photographer: Photographer) -> list[str]:
    """What lies in the folder and has not come to its end, as it is now."""
    known = known_of(app)
    return [
        f"{path}: {known[path].state.value if path in known else 'unknown'}"
        for path, digest in photographer.now.items()
        if path not in known or known[path].state not in ENDED or not is_of(known[path], digest)
    ]


def is_of(known: Known, digest: str) -> bool:
    return known.sha256 is not None and known.sha256.hex() == digest


def check(app: App, store: FaultyStore, photographer: Photographer) -> None:
    """Nothing twice, nothing lost, nothing mixed, no doubt without cause."""
    known, links = known_of(app), {Path(link["path"]): link for link in app.links()}
    assert all(count == 1 for count in store.stored.values()), "something was stored twice"
    assert store.stored.keys() <= photographer.ever.keys(), "something was stored that never was a file's content"
    for path, digest in photographer.now.items():
        state = known[path].state
        assert state in (FileState.PUBLISHED, FileState.UNCERTAIN), f"{path} is {state.value}"
        if state is FileState.PUBLISHED:
            assert links[path]["sha256"] == digest
            assert store.ids[links[path]["id"]] == digest, "a link that leads to another file"
    everything = app.links("--all")
    recorded = {link["sha256"] for link in everything}
    doubted = {each.sha256.hex() for each in known.values() if each.state is FileState.UNCERTAIN and each.sha256}
    for digest in store.stored.keys() - recorded - doubted:
        assert digest not in photographer.now.values(), f"the store holds {digest}, and nobody knows"
    assert doubted.isdisjoint(recorded), "published, and uncertain too"


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 3 * PATIENCE)
def test_a_long_life_with_kills_and_faults_keeps_the_promises(app: App, store: FaultyStore) -> None:
    seed = int(os.environ.get("PIXSTORED_SOAK_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"to see it again: PIXSTORED_SOAK_SEED={seed} PIXSTORED_SOAK_SECONDS={SECONDS:g}")
    app.configure(store.url, watch="settle: 100ms", top=TOP, store=f"id: {STORE}")
    done = live_through_it(app, store, seed)
    uncertain = sum(known.state is FileState.UNCERTAIN for known in known_of(app).values())
    print(", ".join(f"{count} {name}" for name, count in sorted((done + Counter(uncertain=uncertain)).items())))
