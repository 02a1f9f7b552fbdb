"""Random operations on a watched folder: in the end what is published is just what lies there, and nothing twice.

`make test` does a few hundred, the same each time; `make soak` does PIXSTORED_UPHEAVAL_STEPS (3,000) for each of
PIXSTORED_UPHEAVAL_RUNS (10) seeds, drawn anew. The seed is printed; PIXSTORED_UPHEAVAL_SEED draws the same operations
again (the threads' turns are the machine's own).
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.model import FileState, Known
from support.app import App, eventually
from support.disks import KINDS, Disks
from support.faults import Fault, Slow
from support.faulty_store import Asked, FaultyStore
from support.files import write
from support.mount_space import MountSpace
from support.upheaval import Of, Upheaval, wanted_in
from support.writers import sha_of

STEPS = int(os.environ.get("PIXSTORED_UPHEAVAL_STEPS") or 3_000)
RUNS = int(os.environ.get("PIXSTORED_UPHEAVAL_RUNS") or 10)
SEED = int(os.environ.get("PIXSTORED_UPHEAVAL_SEED") or random.SystemRandom().randrange(1_000_000))

FEW, FEW_SEED = 400, 1

PATIENCE = 60.0
"""Seconds for what is left when the operations are over."""

PULL_EVERY = 300
"""Operations after which a disk is pulled."""

PRIVATE = 50
"""Files that were there before."""

REST_EVERY = 150
"""Operations after which the daemon is stopped, for a fifth as many more."""

MOMENT = 2.5
"""Seconds in which all that has happened is known, and the time of every file system moves on."""

STORE = "the store"

TOP = "retry: {first: 50ms, longest: 500ms, tries: 1000}"


def known_of(app: App) -> dict[str, Known]:
    """All that the ledger has on record, by path."""
    ledger = read_ledger(app.home / "state" / "ledger.db", STORE)
    assert ledger
    with ledger:
        folders = ledger.folders_known(str(app.inbox))
        return {known.path: known for folder in folders for known in ledger.known_in(folder).values()}


def not_published(app: App, wanted: dict[str, str]) -> list[str]:
    """What lies there and is not published as it is."""
    known = known_of(app)
    return [
        f"{path}: {known[path].state.value if path in known else 'unknown'}"
        for path, digest in wanted.items()
        if path not in known or known[path].state is not FileState.PUBLISHED or not is_of(known[path], digest)
    ]


def is_of(known: Known, digest: str) -> bool:
    return known.sha256 is not None and known.sha256.hex() == digest


def sometimes_slow(seed: int) -> Callable[[Asked], Fault | None]:
    """A store that takes its time over some, so that what is sent can change meanwhile."""

    def decide(asked: Asked) -> Fault | None:
        return Slow(4_096, 0.02) if random.Random(f"{seed} {asked.number}").random() < 0.2 else None

    return decide


class Place:
    """Where it all happens: a folder beside the watched one, as the daemon and as this process see it."""

    def __init__(self, app: App, seen: Callable[[Path], Path] = lambda path: path) -> None:
        self.inbox = seen(app.inbox)
        self.outside = seen(app.inbox.with_name("outside"))
        self._from, self._to = str(self.inbox), str(app.inbox)
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.outside.mkdir()

    def wanted(self) -> dict[str, str]:
        """What is to be published, by its path as the daemon knows it."""
        return {self._to + path.removeprefix(self._from): sha for path, sha in wanted_in(self.inbox).items()}

    def inode(self, path: str) -> int:
        return os.stat(self._from + path.removeprefix(self._to)).st_ino


def turn_upside_down(
    app: App,
    store: FaultyStore,
    upheaval: Upheaval,
    place: Place,
    *,
    seed: int,
    steps: int,
    meanwhile: Callable[[int], None] = lambda step: None,
) -> Counter[str]:
    """`steps` operations under a running daemon, and all that must be so in the end; what was done."""
    print(f"to see it again: PIXSTORED_UPHEAVAL_SEED={seed} PIXSTORED_UPHEAVAL_STEPS={steps}")
    moments = random.Random(seed + 1)
    store.decide(sometimes_slow(seed))
    with app.running():
        for step in range(steps):
            meanwhile(step)
            upheaval.step()
            time.sleep(moments.choices([0, 0.002, 0.02, 0.3], [60, 30, 9, 1])[0])
        upheaval.end()
        store.heal()
        wanted = place.wanted()
        told = {path: sha for path, sha in wanted.items() if place.inode(path) not in upheaval.untold}
        eventually(lambda: not_published(app, told), lambda left: not left, PATIENCE)
        missed = app.status()["watches"][0]["missed_events"]
    with app.running():
        eventually(lambda: not_published(app, wanted), lambda left: not left, PATIENCE)
        eventually(app.counts, lambda counts: not (counts["settling"] or counts["pending"] or counts["uploading"]))
        links = {link["path"]: link["sha256"] for link in app.links()}
    assert {path: links.get(path) for path in wanted} == wanted
    assert set(store.stored.values()) == {1}, "something was stored twice"
    assert store.completed.keys() <= upheaval.ever, "something was sent that never was a whole file"
    return upheaval.done + Counter(steps=steps, files=len(wanted), requests=len(store.requests), missed=missed)


def configure(app: App, store: FaultyStore, watch: str = "") -> None:
    app.configure(store.url, watch=f"settle: 100ms\n{watch}", top=TOP, store=f"id: {STORE}")


def told(done: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(done.items()))


@pytest.mark.timeout(120)
def test_a_folder_turned_upside_down_is_published_just_as_it_is_in_the_end(
    unprivileged: App, store: FaultyStore
) -> None:
    place = Place(unprivileged)
    configure(unprivileged, store)
    upheaval = Upheaval(place.inbox, place.outside, FEW_SEED)
    turn_upside_down(unprivileged, store, upheaval, place, seed=FEW_SEED, steps=FEW)


@pytest.mark.soak
@pytest.mark.timeout(4 * PATIENCE + STEPS * 0.1)
@pytest.mark.parametrize("number", range(RUNS))
def test_thousands_of_operations_leave_just_what_lies_there_published(
    unprivileged: App, store: FaultyStore, number: int
) -> None:
    place, seed = Place(unprivileged), SEED + number
    configure(unprivileged, store)
    upheaval = Upheaval(place.inbox, place.outside, seed)
    print(told(turn_upside_down(unprivileged, store, upheaval, place, seed=seed, steps=STEPS)))


@pytest.mark.soak
@pytest.mark.timeout(4 * PATIENCE + STEPS * 0.2)
@pytest.mark.parametrize("kind", KINDS)
def test_so_they_do_on_every_kind_of_file_system_though_it_is_pulled_now_and_then(
    unprivileged: App, store: FaultyStore, disks: Disks, space: MountSpace, kind: str
) -> None:
    app, moments, pulls = unprivileged, random.Random(SEED), Counter[str]()
    disks.mount(kind)
    app.inbox = disks.folders[kind] / "inbox"
    place = Place(app, space.seen)
    upheaval = Upheaval(place.inbox, place.outside, SEED, coarse=kind == "fuse")
    configure(app, store, watch="mount: true\npoll_every: 1s")

    def pull(step: int) -> None:
        if step == 0:
            time.sleep(MOMENT)
        if step == 0 or step % PULL_EVERY or kind == "tmpfs":
            return  # what is in memory is gone when it is pulled
        upheaval.close()
        disks.pull(kind)
        time.sleep(moments.choice([0, 0.1, 1, 3]))
        disks.mount(kind)
        pulls["pulls"] += 1

    print(told(pulls + turn_upside_down(app, store, upheaval, place, seed=SEED, steps=STEPS, meanwhile=pull)))


@pytest.mark.soak
@pytest.mark.timeout(4 * PATIENCE + STEPS * 0.2)
def test_so_they_do_though_the_daemon_is_stopped_now_and_then(unprivileged: App, store: FaultyStore) -> None:
    app = unprivileged
    place = Place(app)
    configure(app, store)
    upheaval = Upheaval(place.inbox, place.outside, SEED)

    def rest(step: int) -> None:
        """It does not run while some more is done."""
        if step % REST_EVERY == REST_EVERY - 1:
            assert app.stop() == 0
            for _ in range(REST_EVERY // 5):
                upheaval.step()
            app.start()

    print(told(turn_upside_down(app, store, upheaval, place, seed=SEED, steps=STEPS, meanwhile=rest)))


def juggle_private(
    app: App,
    store: FaultyStore,
    upheaval: Upheaval,
    place: Place,
    *,
    seed: int,
    before_a_stop: Callable[[], None] = lambda: None,
) -> Counter[str]:
    """Operations on files that were there before, and stops in between: only what comes later is sent."""
    print(f"to see it again: PIXSTORED_UPHEAVAL_SEED={seed} PIXSTORED_UPHEAVAL_STEPS={STEPS}")
    moments = random.Random(seed + 1)
    upheaval.fill(PRIVATE)
    with app.running():
        eventually(app.counts, lambda counts: counts["skipped"] >= PRIVATE)
        for step in range(STEPS // 3):
            upheaval.step()
            time.sleep(moments.choices([0, 0.02, 0.3], [70, 25, 5])[0])
            if step % REST_EVERY == REST_EVERY - 1:
                before_a_stop()
                assert app.stop() == 0  # whatever has not settled yet
                for _ in range(REST_EVERY // 10):
                    upheaval.step()
                app.start()  # and on it goes while the scan is under way
        upheaval.end()
        new = write(place.inbox / "new.jpg", b"what comes later is new")
        wanted = {path: sha for path, sha in place.wanted().items() if path.endswith(new.name)}
        eventually(lambda: not_published(app, wanted), lambda left: not left)
    with app.running():
        eventually(lambda: app.glance()["watches"][0]["state"], lambda state: state in ("watching", "polling"))
        app.wait_for(published=1)
    assert list(store.completed) == [sha_of(new)]
    return upheaval.done


@pytest.mark.soak
@pytest.mark.timeout(4 * PATIENCE + STEPS * 0.2)
@pytest.mark.parametrize("number", range(RUNS))
@pytest.mark.parametrize("only", Of)
def test_what_was_there_before_stays_private_whatever_it_is_called_and_however_it_is_changed(
    unprivileged: App, store: FaultyStore, only: Of, number: int
) -> None:
    place, seed = Place(unprivileged), SEED + number
    configure(unprivileged, store)
    upheaval = Upheaval(place.inbox, place.outside, seed, only=only)
    print(told(juggle_private(unprivileged, store, upheaval, place, seed=seed)))


@pytest.mark.soak
@pytest.mark.timeout(4 * PATIENCE + STEPS * 0.2)
@pytest.mark.parametrize("kind", KINDS)
def test_so_it_stays_private_on_every_kind_of_file_system_though_it_is_pulled_now_and_then(
    unprivileged: App, store: FaultyStore, disks: Disks, space: MountSpace, kind: str
) -> None:
    app, moments = unprivileged, random.Random(SEED)
    disks.mount(kind)
    app.inbox = disks.folders[kind] / "inbox"
    place = Place(app, space.seen)
    upheaval = Upheaval(place.inbox, place.outside, SEED, coarse=kind == "fuse", only=Of.NAMES)
    configure(app, store, watch="mount: true\npoll_every: 1s")

    def pull() -> None:
        if kind != "tmpfs":  # what is in memory is gone when it is pulled
            disks.pull(kind)
            time.sleep(moments.choice([0, 0.1, 1]))
            disks.mount(kind)

    print(told(juggle_private(app, store, upheaval, place, seed=SEED, before_a_stop=pull)))
