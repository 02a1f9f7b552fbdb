"""Killed at every durable step and at every boundary of a request: nothing twice, nothing lost, no needless doubt.

The daemon is the real one; `support.crashing` makes it kill itself. A first run lists all the points that a scenario
crosses and how often; then each crossing gets a run of its own that dies there, and a second start that must bring
everything to its end. `make soak` dies at every crossing of every scenario; `make test` once at each point of the
first scenario, and in the others once at each point of a file's way, or from its note to its record.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

import pytest

from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.model import FileState, Known
from support.app import App
from support.faults import Answer, Drop, DropAnswer, Early, Fault, raw, says
from support.faulty_store import Asked, FaultyStore
from support.files import jpeg, mp4, write
from support.nursery import Nursery

LEDGER = "state/ledger.db"

STORE = "the store"
"""Its name in the ledger: the port is another in each run."""

PATIENCE = 40.0
"""Seconds for a few files on a busy machine."""

LAST_WORD = 1.0
"""Seconds in which a daemon that has published everything still reaches its last crossings."""

LANES = 3

QUIET = {FileState.PUBLISHED, FileState.UNCERTAIN, FileState.REJECTED}

NOTES = "ledger sending"
NOTED = f"{NOTES}, committed"
BEFORE_COMMIT = "before its commit"

ENDS_THE_DOUBT = {
    f"ledger {verb}"
    for verb in ("answered", "published", "hold", "refuse", "take_back", "release", "postpone", "give_up", "abandon")
}

AT_THE_START = (
    "schema",
    "start",
    "scan",
    "intake",
    "links file: mend",
    *(f"ledger {verb}" for verb in ("recover", "retry_failed", "watched", "adopt", "apply")),
)
"""How the points begin that are crossed alike whatever becomes of the files."""

FROM_NOTE_TO_RECORD = ("release", "answer", "outcome", "ledger sending", "ledger answered")
"""How the points begin at which several workers may have left something in doubt: never more than one upload each."""

PHOTO, VIDEO = jpeg(20_000, seed=1), mp4(700_000, seed=2)
UNWELL = Answer(says(503, 503, error="maintenance"))
LOST = DropAnswer(stored=True)
REFUSED = Answer(says(415, 415, error="not a picture"))


@dataclass(frozen=True)
class Scenario:
    """Files that lie in a folder, what the store does to their requests, and what is to become of them.

    `once` are the faults of a file's first requests, `always` is that of all; without one it goes well.
    """

    name: str
    files: Mapping[str, bytes]
    once: Mapping[str, tuple[Fault, ...]] = field(default_factory=dict)
    always: Mapping[str, Fault] = field(default_factory=dict)
    ends: Mapping[str, FileState] = field(default_factory=dict)
    workers: int = 1
    hesitates: bool = False
    """The daemon waits for the store's word before the last bytes go: it sees what came early."""

    def decide(self, well: Path) -> Faults:
        return Faults({name: iter(faults) for name, faults in self.once.items()}, self.always, well)


@dataclass(frozen=True)
class Faults:
    """A scenario's faults for one store, as they are used up."""

    once: Mapping[str, Iterator[Fault]]
    always: Mapping[str, Fault]
    well: Path
    """Gets an empty file for each name with which all goes well from now on."""

    def __call__(self, asked: Asked) -> Fault | None:
        if asked.sha256 is not None or asked.filename is None:
            return None
        fault = next(self.once.get(asked.filename, iter(())), self.always.get(asked.filename))
        if fault is None:
            write(self.well / asked.filename, b"")
        return fault


SCENARIOS = [
    Scenario(
        "all goes well",
        {"photo.jpg": PHOTO, "video.mp4": VIDEO, "copy.jpg": PHOTO, "same size.jpg": jpeg(20_000, seed=3)},
    ),
    Scenario(
        "refused and left without an answer",
        {
            "no.jpg": PHOTO,
            "no copy.jpg": PHOTO,
            "lost.mp4": VIDEO,
            "lost copy.mp4": VIDEO,
            "mumbled.png": b"\x89PNG" * 9,
        },
        always={
            "no.jpg": REFUSED,
            "no copy.jpg": REFUSED,
            "lost.mp4": LOST,
            "lost copy.mp4": LOST,
            "mumbled.png": Answer(raw(b'{"status": 2'), stored=True),
        },
        ends={
            "no.jpg": FileState.REJECTED,
            "no copy.jpg": FileState.REJECTED,
            "lost.mp4": FileState.UNCERTAIN,
            "lost copy.mp4": FileState.UNCERTAIN,
            "mumbled.png": FileState.UNCERTAIN,
        },
    ),
    Scenario(
        "unwell, then well",
        {"later.jpg": PHOTO, "video.mp4": VIDEO},
        once={
            "later.jpg": (UNWELL, Answer(says(500, 500, error="once more"))),
            "video.mp4": (Early(says(503, 503, error="busy"), at=100_000), UNWELL),
        },
    ),
    Scenario(
        "answered or hung up before the last bytes",
        {"early.jpg": PHOTO, "cut.mp4": VIDEO},
        once={
            "early.jpg": (Early(says(503, 503, error="busy"), at=10_000), Drop(at=10_000)),
            "cut.mp4": (
                Drop(at=600_000),
                Drop(at=100_000, reset=False),
                Early(says(503, 503, error="busy"), at=600_000),
            ),
        },
        hesitates=True,
    ),
    Scenario(
        "several at once, one after the other",
        {f"{number}.jpg": jpeg(20_000 + number, seed=10 + number) for number in range(9)},
        workers=3,
    ),
]


class Run:
    """One home, one store, one daemon after the other."""

    def __init__(self, home: Path, scenario: Scenario, nursery: Nursery, store: FaultyStore) -> None:
        self._app = App(home)
        self._scenario = scenario
        self._nursery = nursery
        self._store = store
        self._trace = home / "trace"
        self._well = home / "well"
        store.decide(scenario.decide(self._well))
        self._app.configure(
            store.url,
            watch="settle: 0s\nexisting: publish",
            top=f"workers: {scenario.workers}\nretry: {{first: 10ms, longest: 20ms}}",
            store=f"id: {STORE}",
        )
        for name, content in scenario.files.items():
            write(self._app.inbox / name, content)

    def start(self, kill_at: tuple[str, int] | None = None) -> None:
        self._nursery.start(
            self._app.file,
            self._app.environ,
            log=self._app.log,
            trace=self._trace,
            kill_at=kill_at,
            hesitates=self._well if self._scenario.hesitates else None,
        )

    def crossings(self) -> list[str]:
        """The points that were crossed so far, in order."""
        return self._trace.read_text().splitlines() if self._trace.exists() else []

    def known(self) -> dict[str, Known]:
        """What the ledger has on record of the files, by their names."""
        ledger = read_ledger(self._app.home / LEDGER, STORE)
        if ledger is None:
            return {}
        with ledger:
            return dict(ledger.known_in(str(self._app.inbox)))

    def links(self) -> dict[str, str]:
        """The links on record, by the files' names."""
        ledger = read_ledger(self._app.home / LEDGER, STORE)
        assert ledger
        with ledger:
            return {Path(link.path).name: link.link for link in ledger.links()}

    def is_quiet(self) -> bool:
        known = self.known()
        return known.keys() == self._scenario.files.keys() and all(each.state in QUIET for each in known.values())

    def wait_until_quiet(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.is_quiet():
            assert time.monotonic() < deadline, f"{self.known()}\n{self.log()}"
            code = self._nursery.ended(within=0.01)
            assert code is None, f"it has ended with {code}: {self.log()}"

    def dies(self) -> bool:
        """Waits until it has killed itself; False if it has brought everything to its end without."""
        code = None
        deadline = time.monotonic() + PATIENCE
        while code is None and not self.is_quiet():
            assert time.monotonic() < deadline, f"{self.known()}\n{self.log()}"
            code = self._nursery.ended(within=0.01)
        code = self._nursery.ended(within=LAST_WORD) if code is None else code
        assert code in (None, -9), f"it has ended with {code}: {self.log()}"
        return code is not None

    def stop(self) -> None:
        self._nursery.kill()

    def log(self) -> str:
        return self._app.log.read_text()

    def check(self, in_doubt: int) -> None:
        """The end of it all, `in_doubt`: uploads that were noted as sent when the daemon died, their outcome not."""
        needless = Counter[bytes]()
        links = self.links()
        for name, known in self.known().items():
            expected = self._scenario.ends.get(name, FileState.PUBLISHED)
            content = self._scenario.files[name]
            if known.state is not expected:
                assert known.state is FileState.UNCERTAIN, f"{name} is {known.state.value}, not {expected.value}"
                needless[content] += 1
            if known.state is FileState.PUBLISHED:
                digest = hashlib.sha256(content).hexdigest()
                assert self._store.ids[links[name].rpartition("/")[2]] == digest
                assert self._store.stored[digest] == 1
        assert all(count == 1 for count in self._store.stored.values()), "something was stored twice"
        assert len(needless) <= in_doubt, f"{len(needless)} contents are uncertain, and need not be"


def doubt_at(crossings: list[str]) -> bool:
    """True if an upload was noted as sent, and what came of it was not recorded yet. (By one worker.)

    What is written in one transaction is on record together, from the first moment after its commit. If another thread
    died while that was being made, it may be on record or not.
    """
    doubt = False
    group: list[str] = []
    for point in crossings:
        verb, _, moment = point.partition(", ")
        if moment == "before its transaction":
            group = []
        elif moment == BEFORE_COMMIT:
            group.append(verb)
        elif moment == "committed":
            for written in group:
                doubt = written == NOTES or (doubt and written not in ENDS_THE_DOUBT)
            group = []
    return doubt or (NOTES in group and not crossings[-1].endswith(BEFORE_COMMIT))


def points_of(home: Path, scenario: Scenario, nursery: Nursery) -> list[str]:
    """All the crossings of a run in which nothing is killed; it ends as it should, too."""
    with FaultyStore() as store:
        run = Run(home, scenario, nursery, store)
        run.start()
        run.wait_until_quiet()
        assert not run.dies()
        run.stop()
        run.check(in_doubt=0)
        return run.crossings()


def killed_at(home: Path, scenario: Scenario, nursery: Nursery, kill_at: tuple[str, int]) -> bool:
    """One run that dies at this crossing, and the next start. False if it did not come to that crossing."""
    with FaultyStore() as store:
        run = Run(home, scenario, nursery, store)
        run.start(kill_at)
        died = run.dies()
        if not died:
            run.stop()
        doubt = doubt_at(run.crossings())
        run.start()
        run.wait_until_quiet()
        run.stop()
        run.check(in_doubt=scenario.workers if died and (doubt or scenario.workers > 1) else 0)
        return died


def try_all(home: Path, scenario: Scenario, moments: list[tuple[str, int]]) -> None:
    """A run for each of these moments, in some lanes at once: most of the time of a run is waiting."""
    with ThreadPoolExecutor(LANES) as lanes:
        shares = [moments[lane::LANES] for lane in range(LANES)]
        homes = [home / str(lane) for lane in range(LANES)]
        missed = [*chain.from_iterable(lanes.map(try_some, homes, repeat(scenario), shares))]
    print(f"{scenario.name}: {len(moments)} crossings, {len(moments) - len(missed)} kills, not come to: {missed}")
    assert len(missed) <= len(moments) / 10, f"threads take turns, but not so many: {missed}"


def try_some(home: Path, scenario: Scenario, moments: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Those that were not come to."""
    missed = []
    with Nursery() as nursery:
        for number, moment in enumerate(moments):
            try:
                if not killed_at(home / str(number), scenario, nursery, moment):
                    missed.append(moment)
            except AssertionError as error:
                raise AssertionError(f"killed at crossing {moment[1]} of {moment[0]!r}: {error}") from error
    return missed


def every_crossing(home: Path, scenario: Scenario) -> dict[str, int]:
    with Nursery() as nursery:
        return Counter(points_of(home, scenario, nursery))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_each_point_nothing_is_stored_twice_nor_lost_nor_doubted_without_need(
    tmp_path: Path, scenario: Scenario
) -> None:
    crossings = every_crossing(tmp_path / "all", scenario)
    if scenario is not SCENARIOS[0]:
        crossings = {point: count for point, count in crossings.items() if not point.startswith(AT_THE_START)}
    if scenario.workers > 1:
        crossings = {point: count for point, count in crossings.items() if point.startswith(FROM_NOTE_TO_RECORD)}
    moments = [(point, (count + 1) // 2) for point, count in crossings.items()]
    try_all(tmp_path, scenario, moments)


@pytest.mark.timeout(300)
def test_killed_again_at_each_point_of_the_start_that_recovers_the_doubt_stays_on_record(tmp_path: Path) -> None:
    scenario = SCENARIOS[0]
    with Nursery() as nursery:
        crossings = Counter(killed_and_killed_again(tmp_path / "all", scenario, nursery, None))
        points = [point for point in crossings if point.startswith(AT_THE_START)]
        assert "ledger recover, before its commit" in points
        for number, point in enumerate(points):
            killed_and_killed_again(tmp_path / str(number), scenario, nursery, (point, 1))


def killed_and_killed_again(
    home: Path, scenario: Scenario, nursery: Nursery, again_at: tuple[str, int] | None
) -> list[str]:
    """Dies with an upload in doubt, then at this point of the next start; what that one has crossed."""
    with FaultyStore() as store:
        run = Run(home, scenario, nursery, store)
        run.start((NOTED, 1))
        assert run.dies()
        before = len(run.crossings())
        run.start(again_at)
        if again_at is None or not run.dies():
            run.wait_until_quiet()
            run.stop()
        crossings = run.crossings()[before:]
        run.start()
        run.wait_until_quiet()
        run.stop()
        run.check(in_doubt=1)
        uncertain = [known for known in run.known().values() if known.state is FileState.UNCERTAIN]
        assert uncertain, f"killed again at {again_at}, nobody knows of the doubt any more"
        return crossings


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_every_crossing_nothing_is_stored_twice_nor_lost_nor_doubted_without_need(
    tmp_path: Path, scenario: Scenario
) -> None:
    crossings = every_crossing(tmp_path / "all", scenario)
    moments = [(point, number + 1) for point, count in crossings.items() for number in range(count)]
    try_all(tmp_path, scenario, moments)
