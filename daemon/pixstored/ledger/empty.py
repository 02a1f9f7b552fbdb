"""The ledger of somebody who has none yet: nothing is known, and everything can be asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Any

from pixstored.model import (
    WHOLE,
    Adoption,
    Census,
    Displaced,
    FileState,
    Known,
    Latency,
    Link,
    Mark,
    Pause,
    Span,
    Stamp,
    Story,
)


class EmptyLedger:
    """Implements `LedgerReader`."""

    def look(self, path: str) -> Known | None:
        """See `LedgerReader.look`."""
        return None

    def look_all(self, paths: Collection[str]) -> Mapping[str, Known]:
        """See `LedgerReader.look_all`."""
        return {}

    def inodes_known(self, inodes: Collection[int]) -> Set[int]:
        """See `LedgerReader.inodes_known`."""
        return frozenset()

    def known_in(self, folder: str, span: Span = WHOLE) -> Mapping[str, Known]:
        """See `LedgerReader.known_in`."""
        return {}

    def known_by_parts(self, folder: str) -> Iterator[Mapping[str, Known]]:
        """See `LedgerReader.known_by_parts`."""
        return iter(())

    def at_rest_in(self, folder: str, span: Span = WHOLE) -> Mapping[str, Mark]:
        """See `LedgerReader.at_rest_in`."""
        return {}

    def folders_known(self, root: str) -> Sequence[str]:
        """See `LedgerReader.folders_known`."""
        return ()

    def renamed_from(self, stamp: Stamp) -> Sequence[Known]:
        """See `LedgerReader.renamed_from`."""
        return ()

    def displaced(self, stamp: Stamp) -> Sequence[Displaced]:
        """See `LedgerReader.displaced`."""
        return ()

    def private_like(self, stamp: Stamp) -> Sequence[Known]:
        """See `LedgerReader.private_like`."""
        return ()

    def displaced_like(self, stamp: Stamp) -> Sequence[Displaced]:
        """See `LedgerReader.displaced_like`."""
        return ()

    def adoption(self, root: str) -> Adoption | None:
        """See `LedgerReader.adoption`."""
        return None

    def adopted_on(self, root: str, disk: str) -> int | None:
        """See `LedgerReader.adopted_on`."""
        return None

    def census(self) -> Census:
        """See `LedgerReader.census`."""
        return Census(dict.fromkeys(FileState, 0), 0, 0, None)

    def latency(self, since: float) -> Latency:
        """See `LedgerReader.latency`."""
        return Latency(None, None, 0)

    def links(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        watch: str | None = None,
        everything: bool = False,
        all_stores: bool = False,
    ) -> Iterator[Link]:
        """See `LedgerReader.links`."""
        return iter(())

    def story(self, path: str) -> Story | None:
        """See `LedgerReader.story`."""
        return None

    def records(self) -> Iterator[Mapping[str, Any]]:
        """See `LedgerReader.records`."""
        return iter(())

    def paused(self, now: float) -> Pause | None:
        """See `LedgerReader.paused`."""
        return None

    def close(self) -> None:
        """See `LedgerReader.close`."""
