"""Measures pixstored and writes docs/benchmarks.md: `python tests/bench/bench.py [--quick] [ROW…]`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.rows import Figure

_TESTS = Path(__file__).parents[1]
_DOCUMENT = _TESTS.parent / "docs" / "benchmarks.md"

_LONGEST = 600
"""Seconds after which a whole run is given up."""
_LONGEST_QUICK = 90
"""The same with --quick."""


def main() -> None:
    sys.path[0] = str(_TESTS)  # where `bench` and `support` are found; not this folder, where `bench` is this file
    from bench.machine import facts
    from bench.rows import ROWS

    options = _options([row.__name__ for row in ROWS])
    _be_bounded(_LONGEST_QUICK if options.quick else _LONGEST)
    chosen = [row for row in ROWS if not options.rows or row.__name__ in options.rows]
    figures: list[Figure] = []
    for row in chosen:
        print(f"… {row.__name__.replace('_', ' ')}", file=sys.stderr, flush=True)
        figures += _measure(row, options.quick)
    table = _table(figures)
    print(table)
    if not options.quick and len(chosen) == len(ROWS):
        _DOCUMENT.write_text(_document(table, facts()))
        print(f"written to {_DOCUMENT}", file=sys.stderr)
    if any(figure.met is False for figure in figures):
        sys.exit(1)


def _options(rows: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller work, fewer rounds; docs/benchmarks.md stays")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these of: " + ", ".join(rows))
    options = parser.parse_args()
    if unknown := set(options.rows) - set(rows):
        parser.error(f"no such row: {', '.join(unknown)} (there are {', '.join(rows)})")
    return options


def _measure(row: object, quick: bool) -> list[Figure]:
    from bench.rows import Job

    assert callable(row)
    with tempfile.TemporaryDirectory(prefix="pixstored-bench-") as folder:
        return list(row(Job(Path(folder), quick)))


def _be_bounded(seconds: int) -> None:
    """A run that is stopped, or takes too long, tidies up like one that ends."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit("given up: it took too long" if number == signal.SIGALRM else "stopped")

    signal.signal(signal.SIGALRM, end)
    signal.signal(signal.SIGTERM, end)
    signal.alarm(seconds)


def _table(figures: Sequence[Figure]) -> str:
    head = ("what", "measured", "reference", "target")
    rows = [head, *((f.what, f.measured, f.reference, _target(f)) for f in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _target(figure: Figure) -> str:
    if figure.met is None:
        return ""
    return f"{figure.target}: {'met' if figure.met else 'MISSED'}"


def _document(table: str, facts: dict[str, str]) -> str:
    on = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return f"""# Benchmarks

Written by `make bench` (`python tests/bench/bench.py`), which measures the installed program on this machine, over
loopback: the daemon sends to a process that drains what comes and keeps nothing. Figures are medians of several rounds;
memory is the highest of them. The reference "sample" is the STORE documentation's own Python sample
(`requests.post(files=…)`, one process), which sends the same files to the same sink, in turns with the daemon.
Another machine has other times; the ratios travel better.

{table}

Measured on {datetime.now(UTC):%Y-%m-%d}:

{on}

What the daemon does that the sample does not: it looks for the files, waits until they are quiet, hashes them, notes
each on disk before its last bytes go out (`synchronous=FULL`), and its link once that has come.
"""


if __name__ == "__main__":
    main()
