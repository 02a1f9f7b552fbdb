"""Figures, what was hoped of them, and the table they are shown in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """What a figure should be at least, and what is hoped for; at most, if `is_ceiling`."""

    at_least: float
    hoped: float
    unit: str
    is_ceiling: bool = False

    def verdict(self, value: float) -> str:
        if self._holds(value, self.hoped):
            return "as hoped"
        return "met" if self._holds(value, self.at_least) else "MISSED"

    def shown(self, value: float) -> str:
        return f"{'≤ ' if self.is_ceiling else ''}{value:g}{self.unit}"

    def _holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.is_ceiling else value >= bound


@dataclass(frozen=True)
class Figure:
    """One line of the table. `value` is what is judged, in the goal's unit; None where there is no goal."""

    what: str
    measured: str
    reference: str = ""
    value: float | None = None
    goal: Goal | None = None

    @property
    def missed(self) -> bool:
        return self.goal is not None and self.value is not None and self.goal.verdict(self.value) == "MISSED"

    def cells(self) -> tuple[str, ...]:
        if self.value is None:
            return self.what, self.measured, self.reference, "", "", "", ""
        if self.goal is None:
            return self.what, self.measured, self.reference, f"{self.value:.2f}x", "", "", ""
        goal, value = self.goal, self.value
        is_so = f"{value:.2f}{goal.unit}" if abs(value) < _SHORT else f"{value:,.0f}{goal.unit}"
        return (
            self.what,
            self.measured,
            self.reference,
            is_so,
            goal.shown(goal.at_least),
            goal.shown(goal.hoped),
            goal.verdict(value),
        )


_SHORT = 10
"""Figures below it are shown with two decimals."""

_HEAD = ("what", "measured", "reference", "is", "at least", "hoped for", "verdict")


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table that can be read as it stands, too."""
    rows = [_HEAD, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
