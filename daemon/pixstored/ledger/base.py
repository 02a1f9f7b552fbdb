"""What stands at the ledger's door: the domain's verbs, never SQL or rows.

Every ledger passes `tests/integration/ledger_suite.py`. A ledger object speaks for one store (the
configuration's `store.id`): all it tells and all it is told is about that store, unless it says otherwise.
Any verb may raise `LedgerError`: nothing was recorded then. A verb that writes returns when the change is durable
(but for `answered`, and for what `apply` is told not to be lasting).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from typing import Any, Protocol

from pixstored.errors import LedgerError
from pixstored.model import (
    WHOLE,
    Adoption,
    Census,
    Change,
    Claim,
    Displaced,
    FileState,
    Known,
    Latency,
    Lessons,
    Link,
    Mark,
    Pause,
    Receipt,
    Span,
    Stamp,
    Standing,
    Story,
)


class LedgerReader(Protocol):
    """What can be asked of a ledger, daemon running or not."""

    def look(self, path: str) -> Known | None:
        """What is known of one path."""

    def look_all(self, paths: Collection[str]) -> Mapping[str, Known]:
        """What is known of each of these paths; what nothing is known of is left out. One query, however many."""

    def inodes_known(self, inodes: Collection[int]) -> Set[int]:
        """Those of these inodes of which `renamed_from` or `displaced` may tell a file. One query, however many."""

    def known_in(self, folder: str, span: Span = WHOLE) -> Mapping[str, Known]:
        """What is known of the files directly in `folder` with names in `span`, by name. One query, however many."""

    def known_by_parts(self, folder: str) -> Iterator[Mapping[str, Known]]:
        """The same, some hundred files at a time: for who has all day, and little memory."""

    def at_rest_in(self, folder: str, span: Span = WHOLE) -> Mapping[str, Mark]:
        """What the files directly in `folder` look like, by name, of which a scan need not ask any more while they do.

        They are neither missing nor waiting to settle, and no rule has refused them. Of those with names in `span`;
        one query, however many.
        """

    def folders_known(self, root: str) -> Sequence[str]:
        """`root` and every folder below it in which at least one file is known, in path order."""

    def renamed_from(self, stamp: Stamp) -> Sequence[Known]:
        """The known files whose stamp says `may_be_same_file` as this one, whatever their path."""

    def displaced(self, stamp: Stamp) -> Sequence[Displaced]:
        """The private files that looked like this (`may_be_same_file`), and whose path another file has taken; until
        they turn up under another name."""

    def private_like(self, stamp: Stamp) -> Sequence[Known]:
        """The private files of this size and mtime, whatever their path and inode."""

    def displaced_like(self, stamp: Stamp) -> Sequence[Displaced]:
        """As `displaced`, whatever their inode."""

    def adoption(self, root: str) -> Adoption | None:
        """When this watched folder was adopted at this store; None if it never was."""

    def adopted_on(self, root: str, disk: str) -> int | None:
        """When (ns) that was, the time this disk (`Adoption.disk`) lay there; None if it never did."""

    def census(self) -> Census:
        """Counts by state (every `FileState` is a key; `settling` counts the parked files)."""

    def latency(self, since: float) -> Latency:
        """Seconds from change to link of the fresh files published since that time."""

    def links(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        watch: str | None = None,
        everything: bool = False,
        all_stores: bool = False,
    ) -> Iterator[Link]:
        """What is published, newest first, one entry a file; `everything`: superseded and withdrawn too.

        A withdrawn or superseded content keeps the link it had. `since` is inclusive, `until` exclusive.
        """

    def story(self, path: str) -> Story | None:
        """All that is known of one path, with its tries, oldest first."""

    def records(self) -> Iterator[Mapping[str, Any]]:
        """All that is known, at all stores, as JSON can carry it: what `merge` takes, in an order it can take."""

    def paused(self, now: float) -> Pause | None:
        """The pause that somebody has asked for and that is not over; for all stores."""

    def close(self) -> None: ...


class Ledger(LedgerReader, Protocol):
    """What the daemon does with the ledger. Safe to call from any thread."""

    def adopt(self, adoptions: Sequence[Adoption]) -> None:
        """Notes durably, all or none, when watched folders were taken in; an older note of one is replaced."""

    def other_disk(self, root: str) -> None:
        """Another disk lies at this watched folder: what is known of files in it is of one that is away, and they are
        missing, but for those that wait to be sent."""

    def watched(self, watches: Mapping[str, str]) -> None:
        """Tells the names of the watched folders (root path -> name), when the daemon starts.

        Files below a root carry its name from now on. Files waiting (`pending`) in no watched folder become
        `skipped` with the reason "watch removed", but for those remembered with watch None.
        """

    def judge_waiting(self, judge: Callable[[str, int], str | None]) -> None:
        """Files waiting in a watched folder become `skipped` if `judge` gives a reason for their path and size, but for
        those that somebody asked for by name. It is called while nothing else can be written: it must be quick."""

    def apply(self, changes: Sequence[Change], *, is_lasting: bool = True) -> None:
        """Records what the intake decided: all of it or nothing, in order, durably.

        What is not `is_lasting` a power failure may forget until the next verb has returned that is: only for what
        the next scan finds again and decides alike.

        `Remember` makes a path `pending` with its tries and its hash forgotten, and clears `missing` and
        `parked`; if it was `published` (or uncertain, or withdrawn) with a hash, that link stays on record as
        superseded. A path whose stamp is unchanged and that is pending already keeps its tries and its place.
        """

    def claim(
        self,
        owner: str,
        now: float,
        *,
        small_backlog: int | None = None,
        longest: float = math.inf,
        avoid: Collection[int] | None = None,
    ) -> Claim | None:
        """Takes the next file from the queue for `owner`: fresh ones in the order they came, then the
        backlog, newest mtime first; nothing claimed, parked, or postponed beyond `now` is taken.

        With `small_backlog` (bytes) a file of the backlog is taken only up to that size. A claim lasts until
        one of the verbs below ends it, and dies with its process. A file whose content is known to be on its
        way is not taken before that has ended.

        A file postponed for more than `longest` seconds was so by another clock, and is due. For a probe, `avoid`
        names the files (by id) that are not to be taken, and what the store has refused since it was last well
        comes last.
        """

    def claim_path(self, owner: str, path: str) -> Claim | None:
        """Takes this file, if it is in the queue and free, whatever its place and whenever its next try is due."""

    def claim_to_recheck(self, owner: str) -> Claim | None:
        """Takes a file of the queue whose path had a link, and whose content is not known as it is now: it may be the
        same. Such a claim is for `rechecked`, not for sending."""

    def next_due(self, now: float, longest: float = math.inf) -> float | None:
        """The earliest time after `now` at which a file postponed for up to `longest` seconds comes due; None if
        there is none."""

    def hashed(self, claim: Claim, sha256: bytes) -> Standing:
        """Notes the hash of a claimed file, and tells what is known of that content.

        Unless CLEAR, the claim has ended: PUBLISHED, UNCERTAIN and WITHDRAWN gave the file that state,
        REJECTED (the same content was refused under the same extension) too, IN_FLIGHT left it pending
        until the other one has ended.
        """

    def rechecked(self, claim: Claim, sha256: bytes) -> Standing:
        """As `hashed`, for a file that is not to be sent now: the claim has ended in any case, and a file whose content
        is CLEAR waits on."""

    def sending(
        self, claim: Claim, sha256: bytes, comment: str | None, now: float, *, others_follow: bool = False
    ) -> Standing:
        """CLEAR: durably noted that this content may reach the store from now on. Else as `hashed`.

        If `others_follow` with such a note in a moment, this one may wait for them, to be made durable together.
        """

    def take_back(self, claim: Claim) -> None:
        """The last bytes were not released after all: the note of `sending` is undone. The claim goes on."""

    def published(self, claim: Claim, receipt: Receipt, now: float) -> None:
        """The store has it. All pending files of this content get the link. Ends the claim."""

    def answered(self, claim: Claim, receipt: Receipt, now: float, then: Callable[[LedgerError | None], None]) -> None:
        """As `published`, but returns at once: it is recorded together with what is recorded next, whoever tells it,
        and at the latest after 50 ms.

        `then` is told from any thread when that is durable (None), or why it could not be recorded: the claim lasts
        then. It must be quick, and not wait for the ledger.
        """

    def flush(self) -> None:
        """What `answered` was told is recorded now; returns at once."""

    def hold(self, claim: Claim, why: str, now: float) -> None:
        """The store may have it: the content and all its pending files are `uncertain`. Ends the claim."""

    def resend(self, claim: Claim, why: str, until: float, now: float) -> bool:
        """The store may have it, and is sent it once more, at `until`: the files of this content wait. Ends the claim.

        False: that has been done before, or cannot be; nothing was recorded, the claim goes on.
        """

    def refuse(self, claim: Claim, why: str, now: float, status: int | None = None) -> None:
        """`rejected`, and with it the pending files of this content with this extension. Ends the claim.

        If its hash is known, this content is not sent again under this extension, whatever becomes of the file, until
        somebody says so: by `retry` of it or of all, by asking for it by name, by `forget`.

        With the `status` of the refusal, if it was sent: what it teaches (see `lessons`) is kept.
        """

    def suspect(self, claim: Claim, why: str, now: float) -> Sequence[str]:
        """Refused in a way that may be the store's fault. Ends the claim.

        The third content in a row with no success between makes it so: this file and all those turned away by these
        refusals wait (again), and their paths are returned. Else, and always if something was published since this
        content was refused first, it is as `refuse` says, and no path is returned.
        """

    def lessons(self, extension: str) -> Lessons:
        """What the refusals with 413 and 415 have taught since somebody last asked for a `retry`."""

    def located(self, url: str) -> None:
        """Tells where the store is: what was learned of it at another address is forgotten."""

    def postpone(self, claim: Claim, why: str, until: float, now: float) -> None:
        """Not stored; one try is spent, the next one is due at `until`. Ends the claim."""

    def give_up(self, claim: Claim, why: str, now: float) -> None:
        """Not stored, and that was the last try: `failed`. Ends the claim."""

    def release(self, claim: Claim) -> None:
        """Not stored, nothing spent: back into the queue at its place. Ends the claim."""

    def park(self, claim: Claim) -> None:
        """The file changed: out of the queue until it is remembered again. Ends the claim."""

    def turn_away(self, claim: Claim, why: str) -> None:
        """The rules of its watch do not take it any more: `skipped`, with the reason. Ends the claim."""

    def vanished(self, claim: Claim, now: float) -> None:
        """The file is not there any more: `gone`. Ends the claim."""

    def abandon(self, claim: Claim, why: str, now: float) -> None:
        """Ends a claim whose owner died: held if its content was noted as sent, else released."""

    def set_aside(self, claim: Claim) -> None:
        """The claim's owner is stuck: files that may have the same content wait for it no longer. The claim lasts."""

    def retry_failed(self, now: float, quiet: float = 0.0) -> int:
        """Gives every `failed` file whose last try is at least `quiet` seconds ago one try now (they fail again if it
        fails); returns how many."""

    def recover(self, now: float) -> int:
        """What a dead process held: a content noted as sent becomes `uncertain` with its files. Returns how
        many contents. Called once, before the first claim."""

    def was_named(self, claim: Claim) -> bool:
        """True if somebody asked for the claimed file by name, and it has not changed since."""

    def state_of(self, claim: Claim) -> FileState | None:
        """The recorded state of a claimed file now; None if the ledger has forgotten it."""

    # --- what people tell

    def retry(self, path: str, states: Collection[FileState]) -> Sequence[Known]:
        """Puts a file in one of these states back into the queue, all its tries before it; returns it as it was.

        With it go the files of its content that share its fate: all uncertain ones (their content may then be
        stored twice), the rejected ones of its extension. One that is postponed is due at once.
        """

    def retry_all(self, state: FileState, after: int, limit: int) -> Sequence[Known]:
        """The same for the next `limit` files in this state, those with a `file_id` beyond `after`."""

    def record_link(
        self, path: str, stamp: Stamp, watch: str | None, sha256: bytes, receipt: Receipt, now: float
    ) -> Standing:
        """CLEAR: this file's content, and so all files of it, count as published with this link.

        Else nothing was recorded: it is IN_FLIGHT, WITHDRAWN, or PUBLISHED with another link.
        """

    def forget(self, path: str) -> Sequence[str]:
        """Forgets the content of this path at this store, and all files of it that do not wait to be sent; returns
        their paths. Nothing is forgotten, and nothing returned, while the content is on its way, or not known."""

    def pause(self, until: float | None, now: float) -> None:
        """Notes durably that nothing is to be sent until that time (None: until `resume`)."""

    def resume(self) -> None:
        """Notes durably that sending may go on."""

    def merge(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Takes over what these records know and this ledger does not: all of them or none, durably.

        Nothing becomes less known by it, and merging the same again changes nothing. Raises `BadRecord`.
        """

    def merged(self) -> None:
        """The last of the records has been merged: files whose content is known now get what follows from that."""

    def probe(self) -> None:
        """Writes, durably, what changes nothing: `LedgerError` if nothing can be recorded now."""
