"""Who holds which file right now, and which content they are about to send: in memory, as the lock is the lease."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass

from pixstored.model import Claim


@dataclass(slots=True)
class Live:
    """A claim that lasts."""

    claim: Claim
    owner: str
    sha256: bytes | None
    """The content it has announced, by hashing it or by being about to send it."""
    noted: bytes | None = None
    """The content the ledger has durably noted as sent for it."""


class Claims:
    """The live claims, in the order they were taken.

    `lock` is held by whoever reads the queue and takes from it in one go; every method takes it itself. A claim
    is ended only after what ended it is committed, so that nobody takes the row as it was before.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._live: dict[int, Live] = {}
        self._waited_for: set[int] = set()

    def take(self, owner: str, claim: Claim) -> None:
        with self.lock:
            self._live[claim.file_id] = Live(claim, owner, claim.sha256)

    def find(self, claim: Claim) -> Live | None:
        """The claim if it still lasts."""
        with self.lock:
            live = self._live.get(claim.file_id)
            return live if live and live.claim is claim else None

    def end(self, claim: Claim) -> None:
        with self.lock:
            if self.find(claim):
                del self._live[claim.file_id]
                if not self.has_size(claim.stamp.size):
                    self._waited_for.discard(claim.stamp.size)

    def holds(self, file_id: int) -> bool:
        return file_id in self._live

    def has_size(self, size: int) -> bool:
        """True if a file of this size is held."""
        with self.lock:
            return any(live.claim.stamp.size == size for live in self._live.values())

    def blocks(self, size: int, sha256: bytes) -> bool:
        """True if a file of this content must wait: it is announced, or may be what streams without a hash yet."""
        with self.lock:
            return any(self._may_be(live, size, sha256) for live in self._live.values())

    def announce(self, claim: Claim, sha256: bytes, *, heed_streams: bool) -> bool:
        """Says that this claim has this content. False: another one has it, and this one may not go on.

        With `heed_streams`, a claim of the same size without a hash that was taken *before* counts as having
        it: two claims never wait for each other.
        """
        with self.lock:
            others = [live for live in self._live.values() if live.claim is not claim]
            if any(live.sha256 == sha256 for live in others):
                return False
            before = itertools.takewhile(lambda live: live.claim is not claim, self._live.values())
            if heed_streams and any(self._may_be(live, claim.stamp.size, sha256) for live in before):
                return False
            self._live[claim.file_id].sha256 = sha256
            return True

    def unblocked(self, size: int) -> bool:
        """True, once, if somebody was made to wait for the hash of a file of this size."""
        with self.lock:
            waited = size in self._waited_for
            self._waited_for.discard(size)
            return waited

    def _may_be(self, live: Live, size: int, sha256: bytes) -> bool:
        if live.sha256 is not None:
            return live.sha256 == sha256
        if live.claim.stamp.size != size:
            return False
        self._waited_for.add(size)
        return True
