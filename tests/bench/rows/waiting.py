"""Where the store or the disk makes the daemon wait: what is far away, and what writes slowly."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.figures import Figure, Goal
from bench.job import Job
from bench.library import random_file, wait_until_settled
from bench.rows.sending import by_daemon

_DELAYS = (0.020, 0.100)
_WORKERS = (4, 16, 64)
_FSYNC_MS = 10

_SHIM = Path(__file__).parents[1] / "slow_fsync.c"


def distant_store(job: Job) -> Iterator[Figure]:
    """A store that answers late: at best every worker gets one answer each time the delay has passed."""
    milliseconds, most = job.choose(5_000, 1_000, 200), job.choose(6_400, 1_280, 128)
    pool = job.folder / "pool"
    for number in range(most):
        random_file(pool / f"{number}.jpg", 45_000 + number)
    for delay in _DELAYS:
        for workers in _WORKERS:
            count = min(workers * round(milliseconds / 1000 / delay), most)
            rates, ideals = [], []
            for number in range(job.rounds):
                files = job.folder / "files"
                files.mkdir()
                for name in sorted(os.listdir(pool))[:count]:
                    os.link(pool / name, files / name)
                home = job.folder / f"{workers}-{delay}-{number}"
                run = by_daemon(home, files, count, delay=delay, top=f"workers: {workers}")
                rates.append(count / run.drained.seconds)
                ideals.append(workers / run.drained.latency)
                shutil.rmtree(files)
            yield Figure(
                f"a store {delay * 1000:.0f} ms away, {workers} workers",
                f"{median(rates):,.0f} files/s",
                f"{median(ideals):,.0f} files/s (workers / latency)",
                median(rate / ideal for rate, ideal in zip(rates, ideals, strict=True)),
                Goal(0.85, 0.95, "x"),
            )


def slow_disk(job: Job) -> Iterator[Figure]:
    """A disk whose fsync takes long, as an SD card's does: a library put before libc's makes it so."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    name = f"a disk whose fsync takes {_FSYNC_MS} ms (fsync and fdatasync delayed by LD_PRELOAD)"
    if compiler is None:
        yield Figure(name, "not measured: there is no C compiler")
        return
    shim = job.folder / "slow_fsync.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", shim, _SHIM, "-ldl"], check=True)
    count = job.choose(600, 200, 5)
    for number in range(count):
        random_file(job.folder / "files" / f"{number}.jpg", 45_000 + number)
    wait_until_settled()
    rates = []
    for number in range(job.rounds):
        environ = {"LD_PRELOAD": str(shim), "SLOW_FSYNC_MS": str(_FSYNC_MS)}
        run = by_daemon(job.folder / f"run-{number}", job.folder / "files", count, environ=environ)
        rates.append(count / run.drained.seconds)
    yield Figure(name, f"{median(rates):,.0f} files/s", "", median(rates), Goal(140, 400, "/s"))
