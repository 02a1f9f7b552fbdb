"""Measures pixstored beside its references and writes docs/benchmarks.md: `make bench [BENCH_ARGS="--quick ROW…"]`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.figures import Figure
    from bench.job import Effort, Row

_TESTS = Path(__file__).parents[1]
_DOCUMENT = _TESTS.parent / "docs" / "benchmarks.md"

_LONGEST = 1500
"""Seconds after which a whole run is given up."""
_NOT_QUICK = frozenset({"million_files"})
"""Rows that --quick leaves out unless they are named."""


def main() -> None:
    sys.path[0] = str(_TESTS)  # where `bench` and `support` are found; not this folder, where `bench` is this file
    from bench.catalogue import ROWS
    from bench.figures import table
    from bench.job import Effort
    from bench.machine import facts

    options = _options(ROWS)
    _be_bounded(_LONGEST)
    effort = Effort.QUICK if options.quick else Effort.THOROUGH
    names = options.rows or [name for name in ROWS if not options.quick or name not in _NOT_QUICK]
    began = time.monotonic()
    figures = [figure for name in names for figure in _measure(name, ROWS[name], effort)]
    shown = table(figures)
    print(shown)
    if not options.quick and not options.rows:
        _DOCUMENT.write_text(_document(shown, facts(), time.monotonic() - began))
        print(f"written to {_DOCUMENT}", file=sys.stderr)
    if any(figure.missed for figure in figures):
        sys.exit(1)


def _options(rows: Mapping[str, Row]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller work, fewer rounds; docs/benchmarks.md stays")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these of: " + ", ".join(rows))
    options = parser.parse_args()
    if unknown := set(options.rows) - set(rows):
        parser.error(f"no such row: {', '.join(unknown)} (there are {', '.join(rows)})")
    return options


def _measure(name: str, row: Row, effort: Effort) -> Iterator[Figure]:
    from bench.job import Job

    began = time.monotonic()
    print(f"… {name.replace('_', ' ')}", file=sys.stderr, end="", flush=True)
    with tempfile.TemporaryDirectory(prefix="pixstored-bench-") as folder:
        yield from row(Job(Path(folder), effort))
    print(f" ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)


def _be_bounded(seconds: int) -> None:
    """A run that is stopped, or takes too long, tidies up like one that ends."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit("given up: it took too long" if number == signal.SIGALRM else "stopped")

    signal.signal(signal.SIGALRM, end)
    signal.signal(signal.SIGTERM, end)
    signal.alarm(seconds)


def _document(shown: str, facts: dict[str, str], took: float) -> str:
    on = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return f"""# Benchmarks

Written by `make bench`, which measures the installed program on this machine, over loopback, beside references measured
in the same run: a program and its reference take turns, and what is shown are medians of at least five rounds, for
memory the highest. A ratio is the median of the rounds' ratios. Another machine has other times; the ratios travel
better. `make bench BENCH_ARGS=--quick` takes a minute; names of rows (`--help` lists them) measure those alone.

{shown}

Measured on {datetime.now(UTC):%Y-%m-%d}, in {took / 60:.0f} minutes, on:

{on}

## What is compared

- "sample" is the STORE documentation's own Python sample, `requests.post(files=…)` a file, in one process. What the
  daemon does that the sample does not: it looks for the files, waits until they are quiet, hashes them, notes each on
  disk before its last bytes go out (`synchronous=FULL`), and its link once that has come. Times run from the start of
  the process; CPU and memory are those of the whole process until all links are recorded.
- The sink answers at once (or after the delay a row names), and lets the kernel drop the bodies uncopied. It is a
  process of its own on the same cores, so it takes part of what both programs could have had; its ceiling is a row.
- A restart ends when `status` says `watching`: all folders have been compared with the ledger. The walk beside it is
  one `os.scandir` a folder and one `stat` a file, in a Python of its own.
- "watchdog and http.client" is the shortest program that sends a closed file (`tests/bench/plain_watcher.py`).
- "workers / latency" is what no program could exceed: each worker has one request under way at a time. Latency is what
  the sink kept in fact, from a request's last byte to its answer: a busy machine lets it oversleep by up to 4 %. What
  is measured beside it, and for the slow disk, runs from the head of the first request to the last answer.
- CPU and wake-ups while idle are those of all threads, as `/proc/PID/task/*/schedstat` and `status` (voluntary context
  switches) tell them.
"""


if __name__ == "__main__":
    main()
