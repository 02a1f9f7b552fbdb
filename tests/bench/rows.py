"""What is measured: each row is a function that does some work and yields figures beside their references."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench.memory import peak_memory, processor_time
from bench.sink import Drained, Sink
from bench.subject import PATIENCE, Subject, random_file, timed

MIB = 1 << 20
MB = 1_000_000

_TESTS = Path(__file__).parents[1]

_MOST_MEMORY = 60 * MB
"""What the daemon may have resident at most, whatever it sends."""


@dataclass(frozen=True)
class Figure:
    """One line of the table. `target` is empty where there is none; `met` is None then."""

    what: str
    measured: str
    reference: str
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Job:
    """Where to work (a folder of the row's own, removed afterwards), and whether to be quick about it."""

    folder: Path
    quick: bool

    def choose(self, thorough: int, quick: int) -> int:
        return quick if self.quick else thorough


Row = Callable[[Job], Iterator[Figure]]


# --- sending: the daemon beside the API's own sample, in turns, to the same sink


@dataclass(frozen=True)
class _Run:
    """One way through the work: what the sink saw, from the start of the program to its last answer, memory."""

    drained: Drained
    seconds: float
    memory: int


def _by_daemon(home: Path, files: Path, requests: int) -> _Run:
    with Sink() as sink, closing(Subject(home)) as subject:
        subject.inbox.rmdir()
        files.rename(subject.inbox)
        try:
            subject.configure(sink.url, watch="existing: publish")
            began = time.monotonic()
            subject.start_timed()
            drained = sink.wait_for(requests)
            subject.wait_for(published=requests)
            memory = peak_memory(subject.pid)
            subject.stop()
        finally:
            subject.inbox.rename(files)
        return _Run(drained, drained.last - began, memory)


def _by_sample(files: Path) -> _Run:
    with Sink() as sink:
        began = time.monotonic()
        environ = {**os.environ, "PYTHONPATH": str(_TESTS)}
        words = [sys.executable, "-m", "bench.sample", sink.url, str(files)]
        done = subprocess.run(words, env=environ, check=True, capture_output=True, text=True, timeout=PATIENCE)
        drained = sink.drained()
        return _Run(drained, drained.last - began, int(done.stdout))


def _in_turns(job: Job, files: Path, requests: int, rounds: int) -> tuple[list[_Run], list[_Run]]:
    ours, theirs = [], []
    for number in range(rounds):
        ours.append(_by_daemon(job.folder / f"run-{number}", files, requests))
        theirs.append(_by_sample(files))
    return ours, theirs


def _mid(runs: Sequence[_Run], figure: Callable[[_Run], float]) -> float:
    return median(figure(run) for run in runs)


def one_large_file(job: Job) -> Iterator[Figure]:
    """A video of 1 GiB: memory and throughput."""
    size = job.choose(1024, 128) * MIB
    video = random_file(job.folder / "files" / "video.mp4", size)
    ours, theirs = _in_turns(job, video.parent, 1, job.choose(3, 1))
    name = f"a video of {size // MIB} MiB"
    memory = max(run.memory for run in ours)
    yield Figure(
        f"{name}: peak memory",
        f"{memory / MB:.0f} MB",
        f"{_mid(theirs, lambda run: run.memory) / MB:,.0f} MB (sample)",
        f"at most {_MOST_MEMORY / MB:.0f} MB",
        memory <= _MOST_MEMORY,
    )
    yield _throughput(
        f"{name}: first byte to answer", ours, theirs, lambda run: size / MB / run.drained.seconds, "MB/s"
    )


def many_small_files(job: Job) -> Iterator[Figure]:
    """A card full of pictures that waits when the daemon starts."""
    count = job.choose(1500, 500)
    sizes = random.Random(1)
    for number in range(count):
        random_file(job.folder / "files" / f"{number % 10}" / f"{number}.jpg", sizes.randint(45_000, 55_000))
    time.sleep(1.1)  # until they have settled: how long that takes is not measured here
    ours, theirs = _in_turns(job, job.folder / "files", count, job.choose(5, 2))
    name = f"{count:,} pictures of 50 KB"
    yield _throughput(
        f"{name}: first byte to last answer", ours, theirs, lambda run: count / run.drained.seconds, "files/s"
    )
    yield _throughput(
        f"{name}: start of the program to last answer", ours, theirs, lambda run: count / run.seconds, "files/s"
    )
    memory = max(run.memory for run in ours)
    yield Figure(
        f"{name}: peak memory",
        f"{memory / MB:.0f} MB",
        f"{_mid(theirs, lambda run: run.memory) / MB:.0f} MB (sample)",
        f"at most {_MOST_MEMORY / MB:.0f} MB",
        memory <= _MOST_MEMORY,
    )


def _throughput(
    what: str, ours: Sequence[_Run], theirs: Sequence[_Run], speed: Callable[[_Run], float], unit: str
) -> Figure:
    mine, sample = _mid(ours, speed), _mid(theirs, speed)
    ratio = median(speed(our) / speed(their) for our, their in zip(ours, theirs, strict=True))
    return Figure(what, f"{mine:,.0f} {unit}", f"{sample:,.0f} {unit} (sample); ratio {ratio:.2f}")


# --- starting


def start_up(job: Job) -> Iterator[Figure]:
    """How long the commands take before they do anything, beside a Python that does nothing."""
    subject = Subject(job.folder)
    with closing(subject):
        subject.configure()
        subject.start_timed()
        subject.stop()
        commands = (("--version",), ("status", "--json"), ("links",), ("check", "--config-only"))
        measured: dict[str, list[float]] = {}
        for _ in range(job.choose(11, 5)):
            measured.setdefault("python -c pass", []).append(timed(_python))
            for words in commands:
                measured.setdefault(" ".join(words), []).append(timed(partial(subject.command, *words)))
            measured.setdefault("run, to READY", []).append(subject.start_timed())
            subject.stop()
    bare = median(measured.pop("python -c pass"))
    for name, times in measured.items():
        seconds = median(times)
        reference = f"{bare * 1000:.0f} ms (python -c pass); ratio {seconds / bare:.1f}"
        yield Figure(f"start of `{name}`", f"{seconds * 1000:.0f} ms", reference)


def _python() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


_WALK = """
import os, sys
def walk(folder):
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                walk(entry.path)
            else:
                entry.stat(follow_symlinks=False)
walk(sys.argv[1])
"""
"""What no scan can do without: reading every folder, and one stat a file."""


def restart_over_known_files(job: Job) -> Iterator[Figure]:
    """A start where everything is known already."""
    count = job.choose(20_000, 5_000)
    subject = Subject(job.folder)
    with closing(subject):
        for number in range(count):
            folder = subject.inbox / f"{number % (count // 100)}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.jpg").write_bytes(b"x")
        subject.configure(top="log: {level: debug}")
        subject.start_timed()
        subject.await_log("scanned path=")
        subject.stop()
        ready, scanned, used, bare = [], [], [], []
        for _ in range(job.choose(5, 2)):
            bare.append(timed(lambda: subprocess.run([sys.executable, "-c", _WALK, subject.inbox], check=True)))
            subject.forget_log()
            began = time.monotonic()
            ready.append(subject.start_timed())
            subject.await_log("scanned path=")
            scanned.append(time.monotonic() - began)
            used.append(processor_time(subject.pid))
            memory = peak_memory(subject.pid)
            subject.stop()
    name = f"restart over {count:,} known files"
    yield Figure(f"{name}: to READY", f"{median(ready) * 1000:.0f} ms", "")
    yield Figure(
        f"{name}: to the end of the scan",
        f"{median(scanned):.2f} s, {median(used):.2f} s of processor time, {memory / MB:.0f} MB",
        f"{median(bare):.2f} s (python: a bare walk); ratio {median(scanned) / median(bare):.1f}",
    )


ROWS: Sequence[Row] = (one_large_file, many_small_files, start_up, restart_over_known_files)
