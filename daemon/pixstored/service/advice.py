"""A file's state in words, and the command lines that help now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixstored.model import BASELINE, FileState, Known, Pause, StoreState, Story
from pixstored.publish.preview import PRIVATE, Action, Preview
from pixstored.service.when import when
from pixstored.shown import path_on_screen
from pixstored.slotted import dataclass

if TYPE_CHECKING:  # a command that tells of one file need not import what sends
    from pixstored.publish.dispatcher import StoreReport
    from pixstored.publish.worker import Progress
    from pixstored.watch.settle import Waiting

_WELL = frozenset({StoreState.OK, StoreState.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a judgement needs."""

    path: str
    story: Story | None
    rule_says_no: str | None
    would: Preview | None
    is_there: bool | None
    """None if it cannot be looked at."""
    may_be_sent: bool
    """It is there, a regular file, and not empty."""
    settling: Waiting | None
    upload: Progress | None
    store: StoreReport | None
    pause: Pause | None
    daemon: str
    """`running`, `stopped` or `unknown`."""

    @property
    def recorded(self) -> FileState | None:
        return self.story.known.state if self.story else None

    @property
    def state(self) -> FileState | None:
        """As users see it; None if nothing is known of it."""
        if self.upload:
            return FileState.UPLOADING
        return FileState.SETTLING if self.settling else self.recorded


@dataclass(frozen=True, slots=True)
class Way:
    """A command line that helps: its words after `pixstored`, the path as it is among them."""

    words: tuple[str, ...]
    effect: str


def words_for(facts: Facts) -> str:
    """The state in one sentence, without the full stop."""
    if facts.upload:
        return f"it is being sent: {facts.upload.sent} of {facts.upload.size} bytes"
    if facts.settling:
        return f"it is waited for until it is quiet: {facts.settling.why}"
    if facts.story is None:
        return _unknown(facts)
    said = _recorded(facts, facts.story)
    if facts.is_there is False and facts.recorded is not FileState.GONE:
        return f"{said}; it is not there any more"
    if facts.would and facts.would.action in (Action.CHANGED, Action.PUBLISH):
        return f"{said}; it has changed since, and is to be looked at again{_whenever(facts)}"
    if facts.would and facts.would.action is Action.SKIP:
        return f"{said}; {facts.would.reason}"
    return said


def _unknown(facts: Facts) -> str:
    """In words, of a file that is there and not on record."""
    if facts.would is None:
        return f"it is not published: {facts.rule_says_no}"
    match facts.would.action:
        case Action.PUBLISH:
            return f"it is new and to be published{_whenever(facts)}"
        case Action.PRIVATE:
            return f"it stays private: {PRIVATE}"
        case Action.RENAMED:
            return f"it is {path_on_screen(facts.would.moved_from or '')} by a new name, and keeps its record"
        case _:
            return f"it is not published: {facts.would.reason}"


def _recorded(facts: Facts, story: Story) -> str:
    known, reason = story.known, story.known.reason
    match known.state:
        case FileState.PUBLISHED:
            return f"it is published as {story.link}{_kept_back(known)}"
        case FileState.PENDING if known.parked:
            return f"it changed while it waited to be sent, or its folder was away: it settles again{_whenever(facts)}"
        case FileState.PENDING:
            return f"it waits to be sent{_held_up(facts, story)}"
        case FileState.UNCERTAIN:
            return f"the store may have it or not: {reason}; it is not sent again unless you say so"
        case FileState.REJECTED:
            return f"the store refused it: {reason}"
        case FileState.FAILED:
            return f"it could not be sent in {story.tries} tries: {reason}"
        case FileState.SKIPPED if reason == BASELINE:
            return f"it stays private: {PRIVATE}"
        case FileState.SKIPPED:
            return f"it is not published: {reason}"
        case FileState.GONE:
            return "it vanished before it was sent"
        case FileState.WITHDRAWN:
            return f"it was unpublished on purpose, and its content is never sent again{_kept_back(known)}"
    return known.state.value


def _kept_back(known: Known) -> str:
    return f"; {known.reason}" if known.kept_back else ""


def _held_up(facts: Facts, story: Story) -> str:
    """What a file in the queue waits for, besides its turn."""
    if facts.pause:
        return f"; the sending is paused{f' until {when(facts.pause.until)}' if facts.pause.until else ''}"
    if facts.daemon == "stopped":
        return _whenever(facts)
    if facts.store and facts.store.state not in _WELL:
        since = f" ({facts.store.error})" if facts.store.error else ""
        return f"; the store is {facts.store.state.value}{since}"
    return f"; the next try is at {when(story.next_try_at)}" if story.next_try_at else ""


def _whenever(facts: Facts) -> str:
    return ", when pixstored runs" if facts.daemon == "stopped" else ""


def ways_out(facts: Facts) -> list[Way]:
    """The command lines that help now, the best first."""
    publish = Way(("publish", facts.path), "publishes it now, whatever the rules say")
    state = facts.recorded
    if facts.upload or facts.settling:
        return []
    if state is FileState.UNCERTAIN:
        return [
            Way(("adopt", facts.path, "LINK"), "if the store has it: records its link, sends nothing"),
            Way(("retry", "--uncertain", facts.path), "if the store does not have it (else it is stored twice)"),
        ]
    if state in (FileState.FAILED, FileState.REJECTED):
        return [Way(("retry", facts.path), "puts it back into the queue")]
    if state is FileState.WITHDRAWN:
        return [Way(("forget", facts.path), "forgets that it was, so that it is published anew")]
    if state is FileState.PUBLISHED and facts.may_be_sent and _is_kept_back(facts):
        return [Way(("publish", facts.path), "publishes its new content now")]
    if state is FileState.PENDING:
        return _for_one_that_waits(facts)
    if state in (FileState.SKIPPED, None) and facts.may_be_sent:
        if facts.would and facts.would.action in (Action.PUBLISH, Action.CHANGED, Action.RENAMED):
            return _for_one_that_waits(facts)
        return [publish]
    return []


def _is_kept_back(facts: Facts) -> bool:
    """True if what is there now is not what is published, and is not to be: that is on record, or soon will be."""
    is_on_record = facts.story is not None and facts.story.known.kept_back
    return is_on_record or (facts.would is not None and facts.would.action is Action.SKIP)


def _for_one_that_waits(facts: Facts) -> list[Way]:
    if facts.pause:
        return [Way(("resume",), "ends the pause")]
    if facts.daemon == "stopped":
        now = [Way(("publish", facts.path), "publishes it now")] if facts.may_be_sent else []
        return [Way(("run",), "starts the sending"), *now]
    if facts.store and facts.store.state not in _WELL:
        return [Way(("status",), "tells more of the store")]
    return []
