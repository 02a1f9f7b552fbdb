"""What the ledger knows of files that are decided about together: asked for all of them at once, not file by file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from pixstored.ledger.base import LedgerReader
from pixstored.model import Displaced, Known, Stamp


class Records(Protocol):
    """What has to be asked about a settled file: see `LedgerReader`, which is one."""

    def look(self, path: str) -> Known | None: ...

    def renamed_from(self, stamp: Stamp) -> Sequence[Known]: ...

    def displaced(self, stamp: Stamp) -> Sequence[Displaced]: ...

    def private_like(self, stamp: Stamp) -> Sequence[Known]: ...

    def displaced_like(self, stamp: Stamp) -> Sequence[Displaced]: ...


class Recall:
    """The records of these paths and inodes, and of no others, as they were when this was made.

    Most of what is looked at is new: three statements for each file were a third of what it took to decide about it
    (measured), and two for all of them say so.
    """

    def __init__(self, ledger: LedgerReader, paths: Collection[str], inodes: Collection[int]) -> None:
        """Raises `LedgerError`."""
        self._ledger = ledger
        self._known = ledger.look_all(paths)
        self._inodes = ledger.inodes_known(inodes) if inodes else frozenset()

    def look(self, path: str) -> Known | None:
        return self._known.get(path)

    def renamed_from(self, stamp: Stamp) -> Sequence[Known]:
        return self._ledger.renamed_from(stamp) if stamp.inode in self._inodes else ()

    def displaced(self, stamp: Stamp) -> Sequence[Displaced]:
        return self._ledger.displaced(stamp) if stamp.inode in self._inodes else ()

    def private_like(self, stamp: Stamp) -> Sequence[Known]:
        return self._ledger.private_like(stamp)

    def displaced_like(self, stamp: Stamp) -> Sequence[Displaced]:
        return self._ledger.displaced_like(stamp)
