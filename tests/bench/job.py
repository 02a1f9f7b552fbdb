"""What a row is told: where to work, and how thorough to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bench.figures import Figure


class Effort(Enum):
    """How much work is done for a figure."""

    THOROUGH = "the sizes that the targets are about, five rounds and more"
    QUICK = "smaller, two rounds: a minute's look"
    TINY = "as little as shows that it runs: the figures mean nothing"


@dataclass(frozen=True)
class Job:
    """`folder` is the row's own, and removed afterwards."""

    folder: Path
    effort: Effort

    def choose(self, thorough: int, quick: int, tiny: int) -> int:
        return {Effort.THOROUGH: thorough, Effort.QUICK: quick, Effort.TINY: tiny}[self.effort]

    @property
    def rounds(self) -> int:
        """How often a program and its reference are run, in turns."""
        return self.choose(5, 2, 1)


Row = Callable[[Job], Iterator[Figure]]
"""Does some work, and yields figures beside their references."""
