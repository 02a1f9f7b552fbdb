"""What the intake has decided and the ledger has not been told yet."""

from __future__ import annotations

from pixstored.model import Lane
from pixstored.publish.meaning import Meaning
from pixstored.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Named:
    """Somebody named a path of a watch. `announced`: an event told of it; `expected`: an event should have."""

    path: str
    watch: str
    lane: Lane
    announced: bool
    expected: bool

    def joined(self, other: Named | None) -> Named:
        """The same path, named twice."""
        if other is None:
            return self
        lane, announced = min(self.lane, other.lane), self.announced or other.announced
        return Named(self.path, self.watch, lane, announced, self.expected and other.expected)


class Batch:
    """Decisions that are recorded together, unless one rests on what another one changes."""

    def __init__(self) -> None:
        self._decided: list[tuple[Named, Meaning]] = []
        self._paths: set[str] = set()
        self._files: set[int] = set()

    def add(self, named: Named, meaning: Meaning) -> None:
        """The path is kept with what was decided: it is looked at again if that cannot be recorded."""
        if not meaning.changes:
            return
        self._decided.append((named, meaning))
        self._paths.add(named.path)
        for known in (meaning.known, meaning.moved):
            if known:
                self._paths.add(known.path)
                self._files.add(known.file_id)

    def changes_what(self, path: str, meaning: Meaning) -> bool:
        """True if this decision rests on records that the batch will have changed."""
        rests_on = {known.file_id for known in (meaning.known, meaning.moved) if known}
        return path in self._paths or not self._files.isdisjoint(rests_on)

    def taken(self) -> list[tuple[Named, Meaning]]:
        """All decisions, in order; the batch is empty again."""
        decided, self._decided = self._decided, []
        self._paths, self._files = set(), set()
        return decided
