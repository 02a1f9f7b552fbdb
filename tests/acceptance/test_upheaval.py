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

import pytest

from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.model import FileState, Known
from support.app import App, eventually
from support.faults import Fault, Slow
from support.faulty_store import Asked, FaultyStore
from support.upheaval import Upheaval, wanted_in

STEPS = int(os.environ.get("PIXSTORED_UPHEAVAL_STEPS") or 3_000)
RUNS = int(os.environ.get("PIXSTORED_UPHEAVAL_RUNS") or 10)
SEED = int(os.environ.get("PIXSTORED_UPHEAVAL_SEED") or random.SystemRandom().randrange(1_000_000))

FEW, FEW_SEED = 400, 1

PATIENCE = 60.0
"""Seconds for what is left when the operations are over."""

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


def turn_upside_down(app: App, store: FaultyStore, seed: int, steps: int) -> Counter[str]:
    """`steps` operations under a running daemon, and all that must be so in the end; what was done."""
    print(f"to see it again: PIXSTORED_UPHEAVAL_SEED={seed} PIXSTORED_UPHEAVAL_STEPS={steps}")
    outside = app.home / "outside"
    outside.mkdir()
    upheaval, moments = Upheaval(app.inbox, outside, seed), random.Random(seed + 1)
    store.decide(sometimes_slow(seed))
    app.configure(store.url, watch="settle: 100ms", top=TOP, store=f"id: {STORE}")
    with app.running():
        for _ in range(steps):
            upheaval.step()
            time.sleep(moments.choices([0, 0.002, 0.02, 0.3], [60, 30, 9, 1])[0])
        upheaval.end()
        store.heal()
        wanted = wanted_in(app.inbox)
        told = {path: sha for path, sha in wanted.items() if os.stat(path).st_ino not in upheaval.untold}
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


@pytest.mark.timeout(120)
def test_a_folder_turned_upside_down_is_published_just_as_it_is_in_the_end(
    unprivileged: App, store: FaultyStore
) -> None:
    turn_upside_down(unprivileged, store, seed=FEW_SEED, steps=FEW)


@pytest.mark.soak
@pytest.mark.timeout(4 * PATIENCE + STEPS * 0.1)
@pytest.mark.parametrize("number", range(RUNS))
def test_thousands_of_operations_leave_just_what_lies_there_published(
    unprivileged: App, store: FaultyStore, number: int
) -> None:
    done = turn_upside_down(unprivileged, store, SEED + number, STEPS)
    print(", ".join(f"{count} {name}" for name, count in sorted(done.items())))
