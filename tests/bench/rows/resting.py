"""What is noticed of the daemon when nothing, or little, is to be done: idling, one shot at a time, commands."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from bench.figures import Figure, Goal
from bench.job import Job
from bench.library import STORE, make_tree, random_file
from bench.process import run_time, wake_ups
from bench.sink import Sink
from bench.subject import Subject, environ, module, timed

_AT_MOST = Goal(8, 5, "x", is_ceiling=True)

_CALM_DOWN = 3.0
"""Seconds after the first scan until the daemon counts as idle."""

_BETWEEN_SHOTS = 0.06
"""Seconds between two files: longer than one takes."""

_SMALLEST = 50_000
"""Bytes of the first file; each has one more than that before, so that its request is known by its length."""


def idle(job: Job) -> Iterator[Figure]:
    """Nothing happens in a thousand watched folders."""
    folders, seconds = job.choose(1_000, 1_000, 3), job.choose(60, 15, 1)
    with Sink() as sink, closing(Subject(job.folder / "home")) as subject:
        make_tree(subject.inbox, folders, folders)
        subject.configure(sink.url, store=f"id: {STORE}", top="log: {level: debug}")
        subject.start_scanned()
        time.sleep(_CALM_DOWN)
        used, woken = run_time(subject.pid), wake_ups(subject.pid)
        time.sleep(seconds)
        busy = (run_time(subject.pid) - used) / seconds * 100
        rate = (wake_ups(subject.pid) - woken) / seconds
        subject.stop()
    name = f"idle, {folders:,} folders watched, {seconds} s"
    yield Figure(f"{name}: CPU", f"{busy:.3f} %", "", busy, Goal(0.1, 0.1, " %", is_ceiling=True))
    yield Figure(f"{name}: wake-ups", f"{rate:.2f}/s", "", rate, Goal(2, 0, "/s", is_ceiling=True))


# --- from the close of a file to the request at the store


def one_shot(job: Job) -> Iterator[Figure]:
    """A camera that writes a picture now and then, beside the plainest watchdog and http.client program."""
    shots = job.choose(60, 30, 5)
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    for number in range(job.rounds):
        ours.append(_by_daemon(job.folder / f"ours-{number}", shots))
        theirs.append(_by_plain_watcher(job.folder / f"theirs-{number}", shots))
    ranks: dict[str, Callable[[list[float]], float]] = {"median": median, "95th percentile": _p95}
    for name, rank in ranks.items():
        mine, other = median(map(rank, ours)), median(map(rank, theirs))
        yield Figure(
            f"close of a file to the request at the store, `settle: 0s`: {name}",
            f"{mine * 1000:.2f} ms",
            f"{other * 1000:.2f} ms (watchdog and http.client)",
            median(rank(our) / rank(their) for our, their in zip(ours, theirs, strict=True)),
            Goal(4, 2, "x", is_ceiling=True),
        )


def _p95(delays: list[float]) -> float:
    return quantiles(delays, n=20, method="inclusive")[-1]


def _by_daemon(home: Path, shots: int) -> list[float]:
    with Sink() as sink, closing(Subject(home)) as subject:
        subject.configure(sink.url, store=f"id: {STORE}", watch="settle: 0s", top="log: {level: debug}")
        subject.start_scanned()
        delays = _shoot(subject.inbox, sink, shots)
        subject.stop()
    return delays


def _by_plain_watcher(folder: Path, shots: int) -> list[float]:
    folder.mkdir()
    with (
        Sink() as sink,
        subprocess.Popen(
            module("plain_watcher", str(sink.port), str(folder)),
            env=environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as watcher,
    ):
        assert watcher.stdout
        watcher.stdout.readline()
        delays = _shoot(folder, sink, shots)
        watcher.communicate()
    return delays


def _shoot(folder: Path, sink: Sink, shots: int) -> list[float]:
    """Seconds from the close of each file to the first bytes of its request; the first shots only warm up."""
    warming = max(shots // 10, 1)
    closed = []
    for number in range(warming + shots):
        random_file(folder / f"{number:03}.jpg", _SMALLEST + number)
        closed.append(time.monotonic())
        time.sleep(_BETWEEN_SHOTS)
    sink.wait_for(len(closed))
    delays = [came - went for came, went in zip(sink.arrivals(), closed, strict=True)]
    return delays[warming:]


# --- commands


def commands(job: Job) -> Iterator[Figure]:
    """How long the commands take before they do anything, beside a Python that does nothing."""
    judged = {"status": _AT_MOST, "links": _AT_MOST}
    with closing(Subject(job.folder / "home")) as subject:
        subject.configure()
        subject.start_timed()
        subject.stop()
        works: dict[str, Callable[[], object]] = {"python -c pass": partial(_python, subject)}
        for words in (("status",), ("links",), ("why", str(subject.inbox)), ("check", "--config-only"), ("--version",)):
            works[words[0]] = partial(subject.command, *words)
        measured: dict[str, list[float]] = {}
        for _ in range(job.choose(15, 5, 1)):
            for name, work in works.items():
                measured.setdefault(name, []).append(timed(work))
            measured.setdefault("run, to READY", []).append(subject.start_timed())
            measured.setdefault("status, daemon running", []).append(timed(works["status"]))
            subject.stop()
    judged["status, daemon running"] = _AT_MOST
    bare = measured.pop("python -c pass")
    for name, times in measured.items():
        yield Figure(
            f"start of `{name}`",
            f"{median(times) * 1000:.0f} ms",
            f"{median(bare) * 1000:.0f} ms (python -c pass)",
            median(ours / theirs for ours, theirs in zip(times, bare, strict=True)),
            judged.get(name),
        )


def _python(subject: Subject) -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True, env=subject.environ, capture_output=True)
