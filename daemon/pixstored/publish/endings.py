"""How an uploader's turns end: recorded in the ledger, and told to the dispatcher, the log and whoever asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from pixstored.config.schema import Doubt
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
from pixstored.model import Claim, FileState, Lane, Receipt, Standing
from pixstored.publish.dispatcher import Turn
from pixstored.publish.riding import Published, Riding
from pixstored.publish.tools import Tools
from pixstored.shown import command_line

log = EventLog("pixstored.publish")

_RECORD_PAUSE = 1.0
"""Seconds between two tries to record an outcome: the worker does nothing else meanwhile."""


class Endings:
    """The endings of one uploader's turns, one after the other: for its thread, but for what says otherwise.

    Each turn ends by one of `published`, `not_published`, `not_noted` and `abandoned`.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._riding: Riding | None = None
        self.is_unrecorded = False
        """The last answer could not be recorded."""

    def published(self, turn: Turn, receipt: Receipt, sha256: bytes) -> None:
        """The store has it. That is recorded together with the next upload's note, without waiting for it: a commit
        less for each file. By the order of the ledger's steps, no second answer of ours is ever unrecorded."""
        link = Published(turn.claim, receipt, sha256, time.time())
        if turn.named:
            self._record(lambda: self._publish(link), turn.claim, receipt)
        else:
            self._ride(link)
        self._tools.dispatcher.succeeded(turn)  # after that: by it, the next refusals are known to be the files' own

    def not_published(self, turn: Turn, error: UploadError) -> None:
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

    def not_noted(self, turn: Turn, error: LedgerError) -> None:
        """The ledger could not note what was to be sent, and so it was not."""
        self._tools.dispatcher.ledger_failed(error)
        self._end(turn, lambda: self._tools.ledger.release(turn.claim))

    def abandoned(self, turn: Turn) -> None:
        """From another thread: its uploader has died. Raises LedgerError: not recorded."""
        why = "the uploader ended by a fault of the program (see the log)"
        self._tools.ledger.abandon(turn.claim, why, time.time())
        self._tools.dispatcher.done(turn)

    # --- a link, whose record rides

    def see_to_riding(self) -> None:
        """Records what could not ride, before anything else is sent."""
        riding = self._riding
        if riding and self.is_unrecorded:
            self._record(lambda: self._publish(riding.link), riding.link.claim)
            self._riding = None
            self.is_unrecorded = False

    def finish(self) -> None:
        """Nothing rides any more when the uploader ends."""
        if self._riding:
            self._tools.ledger.flush()
            self._riding.wait()
            self.see_to_riding()

    def finish_for_the_dead(self) -> bool:
        """The same, from another thread, once the uploader has died. Does not wait, but for the ledger.

        False, or a LedgerError: that cannot be recorded yet, call it again.
        """
        if self._riding:
            if not self._riding.has_ended:
                self._tools.ledger.flush()
                return False
            if self.is_unrecorded:
                self._publish(self._riding.link)
            self._riding = None
            self.is_unrecorded = False
        return True

    def _ride(self, link: Published) -> None:
        self._riding = riding = Riding(link)
        try:
            self._tools.ledger.answered(link.claim, link.receipt, link.at, lambda error: self._ridden(riding, error))
        except LedgerError as error:
            self._ridden(riding, error)

    def _ridden(self, riding: Riding, error: LedgerError | None) -> None:
        """From the thread that writes the ledger: what rode there is recorded, or is not."""
        if error is None:
            riding.end()
            self._tell(riding.link)
        else:
            self.is_unrecorded = True
            riding.end()
            self._tell_unrecorded(riding.link.claim, riding.link.receipt, error)
            self._tools.dispatcher.ledger_failed(error)

    def _publish(self, link: Published) -> None:
        """Records a link, and waits for that. Raises LedgerError."""
        self._tools.ledger.published(link.claim, link.receipt, link.at)
        self._tell(link)

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

    # --- no link

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
