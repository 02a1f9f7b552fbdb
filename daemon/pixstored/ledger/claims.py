"""Who holds which file right now, and which content they are about to send: in memory, as the lock is the lease."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping

from pixstored.model import Claim
from pixstored.slotted import dataclass


@dataclass(slots=True, eq=False)
class Live:
    """A claim that lasts."""

    claim: Claim
    owner: str
    row: Mapping[str, object]
    """What the ledger tells the file's row by."""
    sha256: bytes | None
    """The content it has announced, by hashing it or by being about to send it."""
    noted: bytes | None = None
    """The content the ledger has durably noted as sent for it."""


class Claims:
    """The live claims, in the order they were taken.

    `lock` is held by whoever reads the queue and takes from it in one go; the methods take it themselves, but for a
    single look-up. A claim is ended only after what ended it is committed, so that nobody takes the row as it was
    before.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._live: dict[int, Live] = {}
        self._of_size: dict[int, list[Live]] = {}
        """The same by the size of the file, each list in the order they were taken."""
        self._of_content: dict[bytes, Live] = {}
        """Who has announced a content."""
        self._waited_for: set[int] = set()

    def take(self, owner: str, claim: Claim, row: Mapping[str, object]) -> None:
        with self.lock:
            live = Live(claim, owner, row, claim.sha256)
            self._live[claim.file_id] = live
            self._of_size.setdefault(claim.stamp.size, []).append(live)
            if claim.sha256 is not None:
                self._of_content[claim.sha256] = live

    def find(self, claim: Claim) -> Live | None:
        """The claim if it still lasts."""
        live = self._live.get(claim.file_id)
        return live if live and live.claim is claim else None

    def end(self, claim: Claim) -> None:
        with self.lock:
            live = self.find(claim)
            if live is None:
                return
            del self._live[claim.file_id]
            self._announced(live, None)
            self._waited_for_no_more(live)

    def set_aside(self, claim: Claim) -> None:
        """The claim lasts, but nobody waits for the content that it may have, unless that is noted."""
        with self.lock:
            live = self.find(claim)
            if live is None or live.noted is not None:
                return
            self._announced(live, None)
            self._waited_for_no_more(live)

    def holds(self, file_id: int) -> bool:
        return file_id in self._live

    def has_size(self, size: int) -> bool:
        """True if a file of this size is held."""
        return size in self._of_size

    def blocks(self, size: int, sha256: bytes) -> bool:
        """True if a file of this content must wait: it is announced, or may be what streams without a hash yet."""
        with self.lock:
            if sha256 in self._of_content:
                return True
            return self._streams(size, self._of_size.get(size, ()))

    def announce(self, claim: Claim, sha256: bytes, *, heed_streams: bool) -> bool:
        """Says that this claim has this content. False: another one has it, and this one may not go on.

        With `heed_streams`, a claim of the same size without a hash that was taken *before* counts as having
        it: two claims never wait for each other.
        """
        with self.lock:
            live, size = self._live[claim.file_id], claim.stamp.size
            if self._of_content.get(sha256, live) is not live:
                return False
            before = itertools.takewhile(lambda each: each is not live, self._of_size.get(size, ()))
            if heed_streams and self._streams(size, before):
                return False
            self._announced(live, sha256)
            return True

    def unblocked(self, size: int) -> bool:
        """True, once, if somebody was made to wait for the hash of a file of this size."""
        with self.lock:
            waited = size in self._waited_for
            self._waited_for.discard(size)
            return waited

    def _announced(self, live: Live, sha256: bytes | None) -> None:
        if live.sha256 is not None and self._of_content.get(live.sha256) is live:
            del self._of_content[live.sha256]
        live.sha256 = sha256
        if sha256 is not None:
            self._of_content[sha256] = live

    def _waited_for_no_more(self, live: Live) -> None:
        """Its size is not held by it any more."""
        size = live.claim.stamp.size
        same_size = [each for each in self._of_size.pop(size, ()) if each is not live]
        if same_size:
            self._of_size[size] = same_size
        else:
            self._waited_for.discard(size)

    def _streams(self, size: int, claims: Iterable[Live]) -> bool:
        """True if one of these, all of this size, has no hash yet; somebody waits for that then."""
        if all(live.sha256 is not None for live in claims):
            return False
        self._waited_for.add(size)
        return True
