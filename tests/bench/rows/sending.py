"""Sending: the daemon beside the API's own sample, in turns, to the same kind of sink."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.figures import Figure, Goal
from bench.job import Job
from bench.library import STORE, random_file, wait_until_settled
from bench.process import available_memory, peak_memory, processor_time
from bench.sink import Drained, Sink
from bench.subject import Subject, module, output_of

MB = 1_000_000
GB = 1_000 * MB

MEMORY = Goal(50, 40, " MB", is_ceiling=True)

_CPU_SMALL = Goal(0.9, 0.55, "x", is_ceiling=True)
_CPU_GB = Goal(0.35, 0.2, "x", is_ceiling=True)

_SHA_BLOCK = bytes(1 << 20)
_SHA_BLOCKS = 512

_SAMPLE_TAKES = 3
"""How many times a file's size the sample has in memory at once, and some more (measured: 2.1)."""


@dataclass(frozen=True)
class Run:
    """One way through the work. `seconds`: from the start of the program to the last answer."""

    drained: Drained
    seconds: float
    memory: int
    processor: float


@dataclass(frozen=True)
class Turns:
    """The same work by the daemon and by the sample, as often, one after the other."""

    ours: Sequence[Run]
    theirs: Sequence[Run]

    def ratio(self, figure: Callable[[Run], float]) -> float:
        return median(figure(our) / figure(their) for our, their in zip(self.ours, self.theirs, strict=True))

    def mine(self, figure: Callable[[Run], float]) -> float:
        return median(map(figure, self.ours))

    def samples(self, figure: Callable[[Run], float]) -> float:
        return median(map(figure, self.theirs))

    def speed(self, what: str, speed: Callable[[Run], float], unit: str, goal: Goal) -> Figure:
        return Figure(
            what,
            f"{self.mine(speed):,.0f} {unit}",
            f"{self.samples(speed):,.0f} {unit} (sample)",
            self.ratio(speed),
            goal,
        )

    def processor(self, what: str, units: float, goal: Goal) -> Figure:
        """Seconds of processor time for each of so many units."""
        mine, sample = self.mine(_processor) / units, self.samples(_processor) / units
        return Figure(what, f"{mine:.2f} s", f"{sample:.2f} s (sample)", self.ratio(_processor), goal)

    def memory(self, what: str) -> Figure:
        highest = max(run.memory for run in self.ours) / MB
        sample = self.samples(lambda run: run.memory) / MB
        return Figure(what, f"{highest:.0f} MB", f"{sample:,.0f} MB (sample)", highest, MEMORY)


def _processor(run: Run) -> float:
    return run.processor


def by_daemon(
    home: Path,
    files: Path,
    requests: int,
    *,
    delay: float = 0.0,
    top: str = "",
    environ: Mapping[str, str] | None = None,
) -> Run:
    """The daemon publishes what is in the folder `files`, which waits for it when it starts."""
    with Sink(delay) as sink, closing(Subject(home)) as subject:
        subject.inbox.rmdir()
        files.rename(subject.inbox)
        try:
            subject.configure(sink.url, store=f"id: {STORE}", top=top, watch="existing: publish")
            began = time.monotonic()
            subject.launch(**(environ or {}))
            drained = sink.wait_for(requests)
            subject.wait_for(published=requests)
            memory, processor = peak_memory(subject.pid), processor_time(subject.pid)
            subject.stop()
        finally:
            subject.inbox.rename(files)
        return Run(drained, drained.last - began, memory, processor)


def by_sample(files: Path) -> Run:
    """The sample does."""
    with Sink() as sink:
        began = time.monotonic()
        took = json.loads(output_of(module("sample", sink.url, str(files))))
        drained = sink.drained()
        return Run(drained, drained.last - began, took["memory"], took["processor"])


def _in_turns(job: Job, files: Path, requests: int) -> Turns:
    wait_until_settled()
    ours, theirs = [], []
    for number in range(job.rounds):
        ours.append(by_daemon(job.folder / f"run-{number}", files, requests))
        theirs.append(by_sample(files))
    return Turns(ours, theirs)


def small_files(job: Job) -> Iterator[Figure]:
    """A card full of pictures that waits when the daemon starts."""
    count = job.choose(1500, 500, 10)
    sizes = random.Random(1)
    for number in range(count):
        random_file(job.folder / "files" / f"{number % 10}" / f"{number}.jpg", sizes.randint(45_000, 55_000))
    turns = _in_turns(job, job.folder / "files", count)
    name = f"{count:,} files of 50 KB"
    yield turns.speed(
        f"{name}: process start to last answer", lambda run: count / run.seconds, "files/s", Goal(1.5, 2.3, "x")
    )
    yield turns.processor(f"{name}: CPU seconds per 1,000 files", count / 1000, _CPU_SMALL)
    yield turns.memory(f"{name}: peak memory")


def medium_files(job: Job) -> Iterator[Figure]:
    """Pictures as cameras make them."""
    count = job.choose(300, 60, 3)
    sizes = random.Random(2)
    total = 0
    for number in range(count):
        size = sizes.randint(4_500_000, 5_500_000)
        total += size
        random_file(job.folder / "files" / f"{number % 10}" / f"{number}.jpg", size)
    turns = _in_turns(job, job.folder / "files", count)
    name = f"{count} files of 5 MB, 4 workers"
    yield turns.speed(
        f"{name}: process start to last answer", lambda run: total / MB / run.seconds, "MB/s", Goal(2.5, 3.4, "x")
    )
    yield turns.processor(f"{name}: CPU seconds per GB", total / GB, _CPU_GB)
    yield turns.memory(f"{name}: peak memory")


def large_file(job: Job) -> Iterator[Figure]:
    """A video."""
    size = min(job.choose(2_000 * MB, 300 * MB, 3 * MB), available_memory() // _SAMPLE_TAKES)
    random_file(job.folder / "files" / "video.mp4", size)
    hashing = median(_hashing_speed() for _ in range(job.rounds))
    turns = _in_turns(job, job.folder / "files", 1)
    name = f"one file of {size / GB:.1f} GB"

    def speed(run: Run) -> float:
        return size / MB / run.seconds

    yield turns.speed(f"{name}: process start to answer", speed, "MB/s", Goal(2.5, 2.5, "x"))
    yield Figure(
        f"{name}: head of the request to answer",
        f"{turns.mine(lambda run: size / MB / run.drained.seconds):,.0f} MB/s",
        f"{hashing:,.0f} MB/s (SHA-256 alone)",
        turns.mine(lambda run: size / MB / run.drained.seconds) / hashing,
        Goal(0.0, 0.85, "x"),
    )
    yield turns.processor(f"{name}: CPU seconds per GB", size / GB, _CPU_GB)
    yield turns.memory(f"{name}: peak memory")


def _hashing_speed() -> float:
    """MB a second of SHA-256, of memory that is in the processor's cache."""
    hashed = hashlib.sha256()
    began = time.monotonic()
    for _ in range(_SHA_BLOCKS):
        hashed.update(_SHA_BLOCK)
    return _SHA_BLOCKS * len(_SHA_BLOCK) / MB / (time.monotonic() - began)


def sinks_ceiling(job: Job) -> Iterator[Figure]:
    """What the sink takes from a sender that does nothing but send: no figure above comes near what it can."""
    count, size = job.choose(20_000, 5_000, 40), job.choose(4_000 * MB, 400 * MB, 4 * MB)
    small, large = [], []
    for _ in range(job.rounds):
        small.append(count / _loaded(4, count, 50_000))
        large.append(size / MB / _loaded(1, 1, size))
    yield Figure("the sink's own ceiling, requests of 50 KB, 4 connections", f"{median(small):,.0f} requests/s")
    yield Figure("the sink's own ceiling, one large request", f"{median(large):,.0f} MB/s")


def _loaded(connections: int, requests: int, size: int) -> float:
    """Seconds the sink took for these requests."""
    with Sink() as sink:
        output_of(module("loader", str(sink.port), str(connections), str(requests), str(size)))
        return sink.drained().seconds
