"""One uploader: takes a turn after the other, and sends the file."""

from __future__ import annotations

import os
import threading
import time
from contextlib import AbstractContextManager
from typing import NoReturn

from pixstored.config.schema import FilenameRule, WatchConfig
from pixstored.errors import (
    Away,
    Duplicate,
    LedgerError,
    NotSent,
    NotTaken,
    Refused,
    Stale,
    Uncertain,
    UploadError,
    Waits,
)
from pixstored.eventlog import EventLog
from pixstored.model import Claim, Receipt, Standing, extension_of
from pixstored.publish.comment import comment_for, needs_hash
from pixstored.publish.dispatcher import Duty, Turn
from pixstored.publish.endings import Endings
from pixstored.publish.hashing import BLOCK, HashingAside, HashingInline, a_room
from pixstored.publish.learning import why_not_sent
from pixstored.publish.media import Media
from pixstored.publish.schedule import again_after_stale
from pixstored.publish.tools import Tools
from pixstored.publish.turnstile import Passage
from pixstored.slotted import dataclass
from pixstored.store.base import Store
from pixstored.store.health import Look
from pixstored.watch.filework import FileWork, Retired

log = EventLog("pixstored.publish")

_LARGE = 32 * 1024 * 1024
"""Bytes from which on a file that is sent alone is hashed in a thread of its own: its making must not count."""


@dataclass(frozen=True, slots=True)
class Progress:
    """An upload under way, for `status`: bytes, bytes a second, seconds since the epoch."""

    path: str
    size: int
    sent: int
    rate: float
    since: float


class Worker(threading.Thread):
    """An uploader thread with its own connection to the store."""

    def __init__(self, name: str, tools: Tools, store: Store, duty: Duty) -> None:
        super().__init__(name=name, daemon=True)
        self.duty = duty
        """Set by whoever supervises; the dispatcher is woken then."""
        self.work = FileWork()
        self._tools = tools
        self._store = store
        self._next_store: Store | None = None
        self._room = a_room()
        self._media: tuple[str, Media] | None = None
        self._turn: Turn | None = None
        self._endings = Endings(tools)
        self._passage = Passage(tools.turnstile)
        self._began_with = tools.settings()
        """What counted when the upload under way began."""

    def run(self) -> None:
        try:
            while turn := self._next_turn():
                self._turn = turn
                self._take_next_store()
                self.attempt(turn)
                self._turn = None
            self._endings.finish()
        except Retired:
            log.info("an uploader that was stuck has ended")
        finally:
            self._passage.go_out()
            self._store.close()

    def _next_turn(self) -> Turn | None:
        """Waits for a turn. What was answered and could not be recorded comes before any; None: stop."""
        while True:
            self._endings.see_to_riding()
            turn = self._tools.dispatcher.take(self.name, self._duty_now, self._before_waiting)
            if turn or not self._endings.is_unrecorded:
                return turn

    def _before_waiting(self) -> None:
        self._passage.go_out()
        self._tools.ledger.flush()

    def _duty_now(self) -> Duty:
        return Duty.NONE if self._endings.is_unrecorded else self.duty

    def give_back(self) -> bool:
        """After this thread has died of a fault of ours, or was given up and has got free: ends the turn it held.

        A link that it could not record is recorded. What it had noted as sent may be stored, so it is held; anything
        else goes back into the queue. False, or a LedgerError: that cannot be recorded yet, call it again.
        """
        if not self._endings.finish_for_the_dead():
            return False
        if self._turn:
            self._endings.abandoned(self._turn)
            self._turn = None
        return True

    def give_up(self) -> None:
        """A disk that does not answer holds this thread: it sends nothing more, and ends when it gets free.

        Nobody waits for its turn any longer; its file is nobody else's before `give_back`.
        """
        self.work.retire()
        self._passage.go_out()
        self.duty = Duty.NONE
        turn = self._turn  # once: it may end at this moment
        if turn:
            self._tools.ledger.set_aside(turn.claim)
            self._tools.dispatcher.done(turn)
            self._tools.ended(turn.claim, Away("its disk or server does not answer"))

    def use(self, store: Store) -> None:
        """From its next turn on, this worker sends by another connection; the upload under way is not disturbed."""
        self._next_store = store

    def drop(self) -> None:
        """Ends the request under way unless its last bytes are out, from another thread."""
        self._store.drop()

    def cut(self) -> None:
        """Ends the request under way, from another thread."""
        self._store.cut()

    def progress(self) -> Progress | None:
        """The upload under way, if there is one."""
        under_way = self._media  # once: it may end at this moment
        if under_way is None:
            return None
        path, media = under_way
        took = max(time.time() - media.since, 0.001)
        return Progress(path, media.size, media.sent, media.sent / took, media.since)

    def attempt(self, turn: Turn) -> None:
        """One file, from its claim to its recorded outcome."""
        failure: UploadError | None = None
        if turn.claim.stamp.size <= BLOCK:
            self._passage.come_in()
        else:
            self._passage.go_out()
        self._began_with = self._tools.settings()
        disk = self.work.inside(turn.claim.path)
        descriptor: int | None = None
        try:
            self._tools.processors.suit(turn.claim.stamp.size)
            with disk:
                descriptor, watch = self._tools.open(turn.claim)
            receipt, sha256 = self._send(turn, descriptor, watch, disk)
        except UploadError as error:
            failure = error
            self._passage.go_out()
            self._endings.not_published(turn, error)
        except LedgerError as error:
            failure = NotSent(str(error))
            self._passage.go_out()
            self._endings.not_noted(turn, error)
        else:
            if not turn.named:  # else its link is waited for
                self._passage.come_in()
            self._endings.published(turn, receipt, sha256)
        finally:
            sent, self._media = self._media[1].sent if self._media else 0, None
            if descriptor is not None:
                with disk:  # last: a dead server may hold this too, and what the store has answered is recorded by now
                    os.close(descriptor)
        self._tools.tally.ended(failure, sent)
        if failure:
            self._tools.ended(turn.claim, failure)

    def _take_next_store(self) -> None:
        store, self._next_store = self._next_store, None
        if store is not None:
            self._store.close()
            self._store = store

    def _send(
        self, turn: Turn, descriptor: int, watch: WatchConfig | None, disk: AbstractContextManager[None]
    ) -> tuple[Receipt, bytes]:
        claim = turn.claim
        aside = HashingAside() if claim.stamp.size >= _LARGE and self._tools.dispatcher.is_alone() else None
        try:
            media = Media(
                descriptor,
                claim,
                self._tools.ledger,
                note=self._note,
                filename=self._filename(claim.path),
                hashing=aside or HashingInline(self._room),
                disk=disk,
                has_read=self._passage.go_out,
                stopping=self._tools.stopping.is_set,
            )
            if claim.stamp.size > BLOCK:  # what is read at once is looked at once: before its last bytes go
                media.check_unchanged()
            if isinstance(turn.permit, Look):
                self._recheck(claim, media)
            sha256 = claim.sha256
            if claim.hash_first or sha256:
                sha256 = self._hash_first(claim, media)
            self._heed_lessons(claim)
            if watch and watch.comment is not None:
                if sha256 is None and needs_hash(watch):
                    sha256 = self._hash_first(claim, media)
                with disk:  # it may read the file
                    media.comment = comment_for(watch, claim, sha256, descriptor)
            self._media = claim.path, media
            return self._post(claim, media, sha256)
        finally:
            if aside:
                aside.close()

    def _note(self, claim: Claim, sha256: bytes, comment: str | None, now: float) -> Standing:
        """Notes what is about to be released, unless an answer of ours is not recorded: never two of them.

        Not so if another configuration, which came since this upload began, does not take the file.
        """
        if self._tools.settings() is not self._began_with:
            self._tools.judge(claim)
        standing = self._tools.ledger.sending(
            claim, sha256, comment, now, others_follow=self._tools.turnstile.is_somebody_inside()
        )
        if self._endings.is_unrecorded:
            raise LedgerError("a link is not recorded yet")
        return standing

    def _hash_first(self, claim: Claim, media: Media) -> bytes:
        sha256 = media.digest()
        standing = self._tools.ledger.hashed(claim, sha256)
        if standing is not Standing.CLEAR:
            raise Duplicate(standing)
        return sha256

    def _recheck(self, claim: Claim, media: Media) -> NoReturn:
        standing = self._tools.ledger.rechecked(claim, media.digest())
        raise Waits("its content is new") if standing is Standing.CLEAR else Duplicate(standing)

    def _heed_lessons(self, claim: Claim) -> None:
        extension = extension_of(claim.path)
        why = why_not_sent(self._tools.ledger.lessons(extension), extension, claim.stamp.size)
        if why:
            raise NotTaken(why)

    def _post(self, claim: Claim, media: Media, sha256: bytes | None) -> tuple[Receipt, bytes]:
        def send_again() -> Receipt:
            media.rewind()
            return self._store.send(media)

        try:
            try:
                receipt = self._store.send(media)
            except Stale:  # asking tenacity in any case took a tenth of a small upload (measured)
                receipt = again_after_stale(send_again)
        except Refused:
            if sha256 is None and media.sha256 is None:
                # Whose fault it is is told by how many contents were refused; and none of them is sent again.
                self._hash_first(claim, media)
            raise
        if media.sha256 is None:  # a store that takes a file without asking for its last bytes breaks its contract
            raise Uncertain("the store answered before the file's last bytes were noted")
        return receipt, media.sha256

    def _filename(self, path: str) -> str:
        if self._began_with.filename is FilenameRule.ORIGINAL:
            return path.rpartition(os.sep)[2]
        return "upload" + extension_of(path)
