"""One uploader: takes a turn, sends the file, and tells ledger and dispatcher how it ended."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NoReturn

from pixstored.config.schema import Doubt, FilenameRule, WatchConfig
from pixstored.errors import (
    Away,
    Changed,
    Duplicate,
    Gone,
    LedgerError,
    NotSent,
    NotTaken,
    Refused,
    Stopped,
    StoreDown,
    TurnedAway,
    Uncertain,
    Unreadable,
    UploadError,
    Waits,
)
from pixstored.eventlog import EventLog
from pixstored.frozen import dataclass
from pixstored.ledger.base import Ledger
from pixstored.model import Claim, FileState, Lane, Receipt, Standing, extension_of
from pixstored.publish.comment import comment_for, needs_hash
from pixstored.publish.dispatcher import Dispatcher, Duty, Turn
from pixstored.publish.hashing import BLOCK, HashingAside, HashingInline, a_room
from pixstored.publish.learning import why_not_sent
from pixstored.publish.media import Media
from pixstored.publish.processors import Processors
from pixstored.publish.riding import Published, Riding
from pixstored.publish.schedule import Schedule, at_once_if_stale
from pixstored.publish.tally import Tally
from pixstored.shown import command_line
from pixstored.store.base import Store
from pixstored.store.health import Look
from pixstored.watch.filework import FileWork, Retired

log = EventLog("pixstored.publish")

_LARGE = 32 * 1024 * 1024
"""Bytes from which on a file that is sent alone is hashed in a thread of its own: its making must not count."""

_RECORD_PAUSE = 1.0
"""Seconds between two tries to record an outcome: the worker does nothing else meanwhile."""


@dataclass(frozen=True, slots=True)
class Progress:
    """An upload under way, for `status`: bytes, bytes a second, seconds since the epoch."""

    path: str
    size: int
    sent: int
    rate: float
    since: float


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says of each upload; another one may count from the next look on."""

    schedule: Schedule
    filename: FilenameRule
    doubt: Doubt


@dataclass(frozen=True, slots=True)
class Tools:
    """What every worker works with."""

    ledger: Ledger
    dispatcher: Dispatcher
    settings: Callable[[], Settings]
    tally: Tally
    processors: Processors
    config_file: str
    """For command lines that are told."""
    watch_of: Callable[[Claim], WatchConfig | None]
    """The watch whose comment a claimed file carries; None for a file outside any watch."""
    open: Callable[[Claim], int]
    """Opens a claimed file for reading; raises `Gone`, `Away`, `Unreadable` or `Changed`."""
    judge: Callable[[Claim], object]
    """Raises `TurnedAway` if no watch takes the claimed file any more."""
    settle_again: Callable[[Claim], None]
    """The claimed file has changed: look at it again when it is quiet."""
    ended: Callable[[Claim, UploadError | None], None]
    """Told of each claim when its outcome is recorded, and of what went wrong."""
    stopping: threading.Event


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
        self._riding: Riding | None = None
        self._began_with = tools.settings()
        """What counted when the upload under way began."""

    def run(self) -> None:
        try:
            while turn := self._next_turn():
                self._turn = turn
                self._take_next_store()
                self.attempt(turn)
                self._turn = None
            self._end_riding()
        except Retired:
            log.info("an uploader that was stuck has ended")
        finally:
            self._store.close()

    def _next_turn(self) -> Turn | None:
        """Waits for a turn. What was answered and could not be recorded comes before any; None: stop."""
        while True:
            self._see_to_riding()
            turn = self._tools.dispatcher.take(self.name, self._duty_now, self._tools.ledger.flush)
            if turn or not self._is_unrecorded():
                return turn

    def _duty_now(self) -> Duty:
        return Duty.NONE if self._is_unrecorded() else self.duty

    def _is_unrecorded(self) -> bool:
        """The last answer could not be recorded."""
        return self._riding is not None and self._riding.failed

    def give_back(self) -> bool:
        """After this thread has died of a fault of ours, or was given up and has got free: ends the turn it held.

        A link that it could not record is recorded. What it had noted as sent may be stored, so it is held; anything
        else goes back into the queue. False, or a LedgerError: that cannot be recorded yet, call it again.
        """
        if self._riding:
            if not self._riding.has_ended:
                self._tools.ledger.flush()
                return False
            if self._riding.failed:
                self._publish(self._riding.link)
            self._riding = None
        turn = self._turn
        if turn:
            why = "the uploader ended by a fault of the program (see the log)"
            self._tools.ledger.abandon(turn.claim, why, time.time())
            self._turn = None
            self._tools.dispatcher.done(turn)
        return True

    def give_up(self) -> None:
        """A disk that does not answer holds this thread: it sends nothing more, and ends when it gets free.

        Nobody waits for its turn any longer; its file is nobody else's before `give_back`.
        """
        self.work.retire()
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
        self._began_with = self._tools.settings()
        disk = self.work.inside(turn.claim.path)
        descriptor: int | None = None
        try:
            self._tools.processors.suit(turn.claim.stamp.size)
            with disk:
                descriptor = self._tools.open(turn.claim)
            receipt, sha256 = self._send(turn, descriptor, disk)
        except UploadError as error:
            failure = error
            self._ended(turn, error)
        except LedgerError as error:
            failure = NotSent(str(error))
            self._tools.dispatcher.ledger_failed(error)
            self._end(turn, lambda: self._tools.ledger.release(turn.claim))
        else:
            self._published(turn, receipt, sha256)
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

    def _send(self, turn: Turn, descriptor: int, disk: AbstractContextManager[None]) -> tuple[Receipt, bytes]:
        claim = turn.claim
        watch = self._tools.watch_of(claim)
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
            if sha256 is None and watch and needs_hash(watch):
                sha256 = self._hash_first(claim, media)
            if watch:
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
        standing = self._tools.ledger.sending(claim, sha256, comment, now)
        if self._is_unrecorded():
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
        def send() -> Receipt:
            media.rewind()
            return self._store.send(media)

        try:
            receipt = at_once_if_stale(send)
        except Refused as error:
            if error.may_be_the_stores_fault and sha256 is None and media.sha256 is None:
                self._hash_first(claim, media)  # whose fault it is is told by how many contents were refused
            raise
        if media.sha256 is None:  # a store that takes a file without asking for its last bytes breaks its contract
            raise Uncertain("the store answered before the file's last bytes were noted")
        return receipt, media.sha256

    def _filename(self, path: str) -> str:
        name = os.path.basename(path)
        if self._tools.settings().filename is FilenameRule.ORIGINAL:
            return name
        return "upload" + extension_of(name)

    # --- how it ended

    def _published(self, turn: Turn, receipt: Receipt, sha256: bytes) -> None:
        """The store has it. That is recorded together with the next upload's note, without waiting for it: a commit
        less for each file. By the order of the ledger's steps, no second answer of ours is ever unrecorded."""
        link = Published(turn.claim, receipt, sha256, time.time())
        if turn.named:
            self._record(lambda: self._publish(link), turn.claim, receipt)
        else:
            self._ride(link)
        self._tools.dispatcher.succeeded(turn)  # after that: by it, the next refusals are known to be the files' own

    def _ride(self, link: Published) -> None:
        self._riding = riding = Riding(link)
        try:
            self._tools.ledger.answered(link.claim, link.receipt, link.at, lambda error: self._ridden(riding, error))
        except LedgerError as error:
            self._ridden(riding, error)

    def _ridden(self, riding: Riding, error: LedgerError | None) -> None:
        """From the thread that writes the ledger: what rode there is recorded, or is not."""
        riding.end(error)
        if error is None:
            self._tell(riding.link)
        else:
            self._tell_unrecorded(riding.link.claim, riding.link.receipt, error)
            self._tools.dispatcher.ledger_failed(error)

    def _see_to_riding(self) -> None:
        """Records what could not ride, before anything else is sent."""
        riding = self._riding
        if riding is None or not riding.failed:
            return
        self._record(lambda: self._publish(riding.link), riding.link.claim)
        self._riding = None

    def _publish(self, link: Published) -> None:
        """Records a link, and waits for that. Raises LedgerError."""
        self._tools.ledger.published(link.claim, link.receipt, link.at)
        self._tell(link)

    def _end_riding(self) -> None:
        """Nothing rides any more when this worker ends."""
        if self._riding:
            self._tools.ledger.flush()
            self._riding.wait()
            self._see_to_riding()

    def _tell(self, link: Published) -> None:
        claim = link.claim
        seconds = max(link.at - claim.changed_at, 0.0)
        if claim.lane is Lane.FRESH:
            self._tools.tally.linked(seconds)
        log.info(
            "published",
            path=claim.path,
            link=link.receipt.link,
            size=claim.stamp.size,
            sha256=link.sha256.hex(),
            seconds=round(seconds, 3),
        )
        self._tools.ended(claim, None)

    def _tell_unrecorded(self, claim: Claim, receipt: Receipt, error: LedgerError) -> None:
        adopt = command_line(["adopt", claim.path, receipt.link], self._tools.config_file)
        log.critical("link not recorded", path=claim.path, link=receipt.link, reason=str(error), run=adopt)

    def _ended(self, turn: Turn, error: UploadError) -> None:
        """Chooses what to do for each name of failure; the place that saw it has named it."""
        claim, ledger, why = turn.claim, self._tools.ledger, str(error)
        now = time.time()
        match error:
            case Duplicate():
                self._end(turn, lambda: None)
                self._log_duplicate(claim, error)
            case Waits():
                self._end(turn, lambda: None)
            case Changed() | Unreadable() if claim.watch is None:
                # No scan comes to a file outside the watches, and its descriptor lasts only as long as the asking.
                self._give_up(turn, f"{why}; run `pixstored publish` for it again", now)
            case Changed():
                self._end(turn, lambda: ledger.park(claim))
                log.debug("changed", path=claim.path, reason=why)
                self._tools.settle_again(claim)
            case Away():
                # Whoever finds the folder back looks at it again; if that has just happened, it is now.
                self._end(turn, lambda: ledger.park(claim))
                log.debug("waits for its folder", path=claim.path)
                self._tools.settle_again(claim)
            case Gone():
                self._end(turn, lambda: ledger.vanished(claim, now))
                log.info("gone", path=claim.path)
            case TurnedAway():
                self._end(turn, lambda: ledger.turn_away(claim, why))
                log.info("skipped", path=claim.path, reason=why)
            case Unreadable():
                self._try_again_later(turn, error, now)
            case Stopped():
                self._end(turn, lambda: ledger.release(claim))
            case NotTaken():
                self._end(turn, lambda: ledger.refuse(claim, why, now))
                log.warning("rejected", path=claim.path, reason=why)
            case Refused() if error.may_be_the_stores_fault:
                self._suspect(turn, why, now)
            case Refused():
                self._tools.dispatcher.refused(turn)
                if self._record(lambda: ledger.refuse(claim, why, now, error.status), claim):
                    log.warning("rejected", path=claim.path, reason=why)
            case NotSent() if isinstance(error, StoreDown) or not self._tools.dispatcher.is_files_own(turn):
                self._tools.dispatcher.failed(turn, error)
                self._record(lambda: ledger.release(claim), claim)
            case Uncertain():
                self._tools.dispatcher.failed(turn, error)
                self._hold(claim, why, now)
            case _:
                self._try_again_later(turn, error, now)

    def _suspect(self, turn: Turn, why: str, now: float) -> None:
        """The file is refused, or the store refuses them all."""
        put_back: list[str] = []
        recorded = self._record(lambda: put_back.extend(self._tools.ledger.suspect(turn.claim, why, now)), turn.claim)
        if put_back:
            self._tools.dispatcher.refusing(turn, why)
            for path in put_back:
                if path == turn.claim.path:
                    continue  # nothing was said of it; a store that refuses all day is said once
                log.info("waits: it is the store that refuses", path=path, reason=why)
            return
        self._tools.dispatcher.refused(turn)
        if recorded:
            log.warning("rejected", path=turn.claim.path, reason=why)

    def _hold(self, claim: Claim, why: str, now: float) -> None:
        """The store may have it: held, unless it may be sent once more."""
        ledger = self._tools.ledger
        once_more: list[bool] = []
        settings = self._tools.settings()
        if settings.doubt is Doubt.RESEND:
            until = now + settings.schedule.first
            self._record(lambda: once_more.append(ledger.resend(claim, why, until, now)), claim)
        if any(once_more):
            log.warning("uncertain: sent once more", path=claim.path, reason=why)
        elif self._record(lambda: ledger.hold(claim, why, now), claim):
            log.error("uncertain", path=claim.path, reason=why)

    def _try_again_later(self, turn: Turn, error: UploadError, now: float) -> None:
        """The file's own failure: it costs one try."""
        claim, ledger, why = turn.claim, self._tools.ledger, str(error)
        tries = claim.tries + 1
        schedule = self._tools.settings().schedule
        if schedule.exhausted(tries):
            self._give_up(turn, why, now)
        else:
            until = now + schedule.delay(tries)
            self._end(turn, lambda: ledger.postpone(claim, why, until, now))
            log.debug("postponed", path=claim.path, tries=tries, reason=why)

    def _give_up(self, turn: Turn, why: str, now: float) -> None:
        self._end(turn, lambda: self._tools.ledger.give_up(turn.claim, why, now))
        log.error("failed", path=turn.claim.path, tries=turn.claim.tries + 1, reason=why)

    def _end(self, turn: Turn, record: Callable[[], None]) -> None:
        self._record(record, turn.claim)
        self._tools.dispatcher.done(turn)

    def _record(self, record: Callable[[], None], claim: Claim, receipt: Receipt | None = None) -> bool:
        """Records an outcome, however long the ledger cannot: nothing else is sent by this worker meanwhile.

        False if the daemon stopped before it could; what was sent is then found to be uncertain at the next start.
        """
        told = False
        while True:
            try:
                record()
            except LedgerError as error:
                self._tools.dispatcher.ledger_failed(error)
                if receipt and not told:
                    told = True
                    self._tell_unrecorded(claim, receipt, error)
                if self._tools.stopping.wait(_RECORD_PAUSE):
                    return False
            else:
                return True

    def _log_duplicate(self, claim: Claim, error: Duplicate) -> None:
        if error.standing is Standing.IN_FLIGHT:
            return
        state = self._tools.ledger.state_of(claim)
        log.info(
            "known content",
            path=claim.path,
            state=(state or FileState.PENDING).value,
            reason=str(error),
        )
