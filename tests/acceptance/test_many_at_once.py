"""Thousands of files through an unreliable store, sixteen workers at once: the counts are exact at the end."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.app import App, eventually
from support.faults import Answer, DropAnswer, Early, Fault, Slow, says
from support.faulty_store import Asked, FaultyStore
from support.files import jpeg, write

SEED = 20_240

WORKERS = 16

PATIENCE = 1_200.0
"""Seconds for ten thousand files on a busy machine."""


@dataclass
class Unreliable:
    """What a store does to requests: most go well. `lost` has the number of the request that got no answer, by hash."""

    seed: int
    loses_answers: bool
    lost: dict[str, int] = field(default_factory=dict)

    def __call__(self, asked: Asked) -> Fault | None:
        moment = random.Random(f"{self.seed} {asked.number} {asked.sha256 is None}").random()
        if asked.sha256 is not None:
            if self.loses_answers and moment < 0.01:
                self.lost[asked.sha256] = asked.number
                return DropAnswer(stored=moment < 0.005)
            return None
        return next((fault for share, fault in _SHARES if moment < share), None)


_BUSY = says(503, 503, error="busy")

_SHARES: list[tuple[float, Fault]] = [
    (0.010, Answer(_BUSY)),
    (0.020, Answer(says(500, 500, error="try again"))),
    (0.030, Answer(says(503, error="busy, said in a 200"))),
    (0.040, Early(_BUSY, at=300)),
    (0.070, Slow(4_096, 0.005)),
]
"""The sum of the shares so far, and the fault. Each of them is known to have stored nothing."""


def fill(app: App, count: int) -> dict[Path, str]:
    """So many files in some folders, one in ten of a content that is there already; their hashes."""
    made = {}
    for number in range(count):
        seed = number - 7 if number % 10 == 9 else number
        content = jpeg(700 + seed % 5_000, seed=seed)
        path = write(app.inbox / f"day {number // 500}" / f"{number}.jpg", content)
        made[path] = hashlib.sha256(content).hexdigest()
    return made


def run(app: App, store: FaultyStore, count: int, *, loses_answers: bool) -> None:
    unreliable = Unreliable(SEED, loses_answers)
    store.decide(unreliable)
    app.configure(
        store.url,
        watch="settle: 0s\nexisting: publish",
        top=f"workers: {WORKERS}\nretry: {{first: 10ms, longest: 50ms, tries: 50}}",
    )
    made = fill(app, count)
    with app.running():
        counts = eventually(app.counts, lambda now: now["published"] + now["uncertain"] == count, patience=PATIENCE)
        links = {Path(link["path"]): link for link in app.links()}
    print(f"{count} files, {len(store.requests)} requests, {len(unreliable.lost)} answers lost, {counts}")

    held = {path for path, digest in made.items() if digest in unreliable.lost}
    assert bool(held) is loses_answers
    assert counts["uncertain"] == len(held)
    assert links.keys() == made.keys() - held
    for path, link in links.items():
        assert link["sha256"] == made[path]
        assert store.ids[link["id"]] == made[path], "a link that leads to another file"
    assert set(store.stored.values()) == {1}, "something was stored twice"
    assert store.stored.keys() - unreliable.lost.keys() == {made[path] for path in links}
    again = [seen for seen in store.requests if seen.number > unreliable.lost.get(seen.sha256 or "", seen.number)]
    assert not again, "something uncertain was sent again"
    assert store.peak <= WORKERS


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("loses_answers", [False, True], ids=["no answer is lost", "some answers are lost"])
def test_two_thousand_files_through_an_unreliable_store(app: App, store: FaultyStore, loses_answers: bool) -> None:
    run(app, store, 2_000, loses_answers=loses_answers)


@pytest.mark.soak
@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("loses_answers", [False, True], ids=["no answer is lost", "some answers are lost"])
def test_ten_thousand_files_through_an_unreliable_store(app: App, store: FaultyStore, loses_answers: bool) -> None:
    run(app, store, 10_000, loses_answers=loses_answers)
