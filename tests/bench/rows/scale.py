"""Many files: queued, and known already when the daemon starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median

from bench.figures import Figure, Goal
from bench.job import Job
from bench.library import STORE, make_known, make_tree, wait_until_settled
from bench.process import peak_memory, processor_time
from bench.rows.sending import MB, MEMORY
from bench.sink import PATIENCE, Sink
from bench.subject import Subject, timed
from support.app import eventually

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

_FAR_AWAY = 0.1
"""Seconds each upload takes while the files are queued."""


def queued_files(job: Job) -> Iterator[Figure]:
    """A backlog that is queued much faster than it can be sent."""
    count, folders = job.choose(100_000, 10_000, 20), job.choose(1_000, 100, 2)
    with Sink(_FAR_AWAY) as sink, closing(Subject(job.folder / "home")) as subject:
        make_tree(subject.inbox, folders, count)
        wait_until_settled()
        subject.configure(sink.url, store=f"id: {STORE}", watch="existing: publish")
        subject.launch()
        eventually(
            subject.counts,
            lambda now: now["pending"] + now["uploading"] + now["published"] >= count and not now["settling"],
            PATIENCE,
        )
        memory = peak_memory(subject.pid) / MB
        subject.stop()
    yield Figure(f"{count:,} files queued: peak memory", f"{memory:.0f} MB", "", memory, MEMORY)


def known_files(job: Job) -> Iterator[Figure]:
    """A start over an archive that is published already, beside a bare walk of the same folders."""
    count, folders = job.choose(100_000, 10_000, 20), job.choose(1_000, 100, 2)
    with closing(_archive(job.folder / "home", folders, count)) as subject:
        subject.start_scanned()
        subject.await_log("links file mended")
        subject.stop()
        scanned, used, bare, memory = [], [], [], []
        for _ in range(job.rounds):
            bare.append(timed(lambda: _walk(subject.inbox)))
            scanned.append(subject.start_scanned())
            used.append(processor_time(subject.pid))
            memory.append(peak_memory(subject.pid) / MB)
            subject.stop()
    yield Figure(
        f"restart over {count:,} known files in {folders:,} folders: process start to `watching`",
        f"{median(scanned):.2f} s ({median(used):.2f} s of CPU, {max(memory):.0f} MB)",
        f"{median(bare):.2f} s (os.scandir and stat)",
        median(ours / theirs for ours, theirs in zip(scanned, bare, strict=True)),
        Goal(3, 1.5, "x", is_ceiling=True),
    )


def million_files(job: Job) -> Iterator[Figure]:
    """The same with as many as an archive of decades has."""
    count, folders = job.choose(1_000_000, 20_000, 20), job.choose(10_000, 200, 2)
    with closing(_archive(job.folder / "home", folders, count)) as subject:
        size = (subject.home / "state" / "ledger.db").stat().st_size / MB
        seconds = subject.start_scanned()
        memory = peak_memory(subject.pid) / MB
        subject.stop()
    name = f"restart over {count:,} known files in {folders:,} folders"
    yield Figure(f"{name}: peak memory", f"{memory:.0f} MB", f"{seconds:.1f} s", memory, Goal(80, 80, " MB", True))
    yield Figure(f"{name}: the ledger", f"{size:.0f} MB", "", size, Goal(350, 350, " MB", True))


def _archive(home: Path, folders: int, files: int) -> Subject:
    """A subject that knows all its files."""
    subject = Subject(home)
    subject.configure("http://127.0.0.1:1/store", store=f"id: {STORE}", top="log: {level: debug}")
    make_tree(subject.inbox, folders, files)
    make_known(subject.inbox, subject.inbox, home / "state" / "ledger.db")
    return subject


def _walk(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", _WALK, folder], check=True)
