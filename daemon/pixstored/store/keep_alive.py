"""Whether a store keeps its connections open: what one uploader finds out counts for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable


class KeepAlive:
    """What is known of one store. For any thread."""

    def __init__(self) -> None:
        self.is_proven = False
        """It keeps them open, as far as is known."""
        self._proving = threading.Lock()

    def prove(self, stays_open: Callable[[], bool]) -> bool | None:
        """What a watch over one connection tells, which takes a moment. None: another one is watched just now, and
        nobody need wait for that: a new connection is good in any case."""
        if not self._proving.acquire(blocking=False):
            return None
        try:
            self.is_proven = self.is_proven or stays_open()
            return self.is_proven
        finally:
            self._proving.release()

    def disprove(self) -> None:
        """It has closed one: that has to be proven anew."""
        self.is_proven = False
