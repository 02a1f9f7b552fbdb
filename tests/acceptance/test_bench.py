"""`make bench` stays runnable: its rows do their work, however little, and say something of it. No time is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.catalogue import ROWS
from bench.figures import Figure, Goal, table
from bench.job import Effort, Job


@pytest.mark.parametrize("row", ["small_files", "known_files"])
def test_a_row_measures_the_daemon_beside_its_reference(row: str, tmp_path: Path) -> None:
    figures = list(ROWS[row](Job(tmp_path, Effort.TINY)))
    assert figures
    for figure in figures:
        assert figure.value is not None
        assert figure.value > 0
        assert figure.reference


def test_a_figure_is_judged_by_its_goal() -> None:
    speed = Goal(1.5, 2.3, "x")
    memory = Goal(50, 40, " MB", is_ceiling=True)
    assert [speed.verdict(value) for value in (1.4, 1.5, 2.3)] == ["MISSED", "met", "as hoped"]
    assert [memory.verdict(value) for value in (51, 50, 40)] == ["MISSED", "met", "as hoped"]


def test_the_table_shows_each_figure_beside_its_reference_and_its_goal() -> None:
    figure = Figure("speed", "20 files/s", "10 files/s (sample)", 2.0, Goal(1.5, 2.3, "x"))
    [_, _, line] = table([figure]).splitlines()
    assert line == "| speed | 20 files/s | 10 files/s (sample) | 2.00x | 1.5x     | 2.3x      | met     |"
