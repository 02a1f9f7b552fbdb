"""A link whose record rides in the next transaction of the ledger: what is told once that is durable, or is not."""

from __future__ import annotations

import threading

from pixstored.model import Claim, Receipt
from pixstored.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A file the store has taken, and when it said so (seconds since the epoch)."""

    claim: Claim
    receipt: Receipt
    sha256: bytes
    at: float


class Riding:
    """One record on its way, for the worker that waits for it at its end, and the writer that ends it."""

    def __init__(self, link: Published) -> None:
        self.link = link
        self._ended = threading.Lock()
        self._ended.acquire()

    def end(self) -> None:
        """It is durable, or known not to be recorded."""
        self._ended.release()

    @property
    def has_ended(self) -> bool:
        """It is known whether it is recorded."""
        return not self._ended.locked()

    def wait(self) -> None:
        """Waits for its end."""
        with self._ended:
            pass
