"""What commands have done to the ledger: each verb once, for the daemon and for a command that writes by itself.

Answers are what `--json` shows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pixstored.errors import PixstoredError
from pixstored.eventlog import EventLog
from pixstored.ledger.sqlite import SqliteLedger
from pixstored.model import FileState, Known, Receipt, Stamp, Standing
from pixstored.service.control import Answer, ControlError
from pixstored.service.when import when
from pixstored.service.writing import Verb, text_of
from pixstored.shown import path_in_json, path_on_screen

log = EventLog("pixstored.command")

BATCH = 500
"""Files put back in one step: the answer stays far below what the socket takes for a line."""

RETRIED = (FileState.FAILED, FileState.REJECTED, FileState.PENDING)
"""What a file named to `retry` may be; `uncertain` only if that was said."""

_SHA256 = re.compile(r"[0-9a-f]{64}")

_STAMP = 5
"""Numbers in a `Stamp`."""

_WHY_NOT = {
    FileState.UNCERTAIN: "it is uncertain: the store may have it already; `retry --uncertain` sends it again, "
    "and it may then be stored twice",
    FileState.PUBLISHED: "it is published already",
    FileState.SKIPPED: "it is not to be published by itself: `pixstored publish` does it",
    FileState.GONE: "it vanished before it was sent, and is published when it comes back",
    FileState.WITHDRAWN: "it was unpublished on purpose: `pixstored forget` lets it be published anew",
}


_BEING_SENT = "its content is being sent at this moment: wait until that has ended"


class Refusal(PixstoredError):
    """What was asked for makes no sense for this file as it is. Exit 1."""


# --- retry


def _retry(ledger: SqliteLedger, request: Mapping[str, Any]) -> Answer:
    path = text_of(request, "path")
    states = [*RETRIED, *([FileState.UNCERTAIN] if request.get("uncertain") else [])]
    put_back = ledger.retry(path, states)
    if put_back:
        return {"put_back": _told(put_back)}
    known = ledger.look(path)
    if known is None:
        raise Refusal("the ledger does not know it")
    raise Refusal(_WHY_NOT.get(known.state, f"it is {known.state.value}"))


def _retry_all(ledger: SqliteLedger, request: Mapping[str, Any]) -> Answer:
    state, after = text_of(request, "state"), request.get("after")
    if state not in ("failed", "rejected", "uncertain") or not isinstance(after, int):
        raise ControlError("the command came without what is to be retried")
    put_back = ledger.retry_all(FileState(state), after, BATCH)
    return {"put_back": _told(put_back), "next": put_back[-1].file_id if len(put_back) == BATCH else None}


def _told(files: Sequence[Known]) -> list[dict[str, str]]:
    for known in files:
        log.info("put back", path=known.path, was=known.state.value)
    return [{"path": path_in_json(known.path), "was": known.state.value} for known in files]


# --- adopt, forget


def _adopt(ledger: SqliteLedger, request: Mapping[str, Any]) -> Answer:
    path, link, sha256 = text_of(request, "path"), text_of(request, "link"), text_of(request, "sha256")
    watch = None if request.get("watch") is None else text_of(request, "watch")
    if not _SHA256.fullmatch(sha256):
        raise ControlError("the command came without the file's hash")
    receipt = Receipt(link, text_of(request, "id"))
    standing = ledger.record_link(path, _stamp_of(request), watch, bytes.fromhex(sha256), receipt, time.time())
    shown = path_on_screen(path)
    match standing:
        case Standing.IN_FLIGHT:
            raise Refusal(f"{shown}: {_BEING_SENT}")
        case Standing.PUBLISHED:
            known = ledger.link_of_content(bytes.fromhex(sha256))
            raise Refusal(f"{shown}: its content is published already, as {known}: `pixstored forget` it first")
        case Standing.WITHDRAWN:
            raise Refusal(f"{shown}: its content was unpublished on purpose: `pixstored forget` it first")
    log.info("adopted", path=path, link=link)
    return {"path": path_in_json(path), "link": link, "sha256": sha256}


def _stamp_of(request: Mapping[str, Any]) -> Stamp:
    stamp = request.get("stamp")
    if not isinstance(stamp, list) or len(stamp) != _STAMP or not all(isinstance(each, int) for each in stamp):
        raise ControlError("the command came without the file's stamp")
    return Stamp(*stamp)


def _forget(ledger: SqliteLedger, request: Mapping[str, Any]) -> Answer:
    path = text_of(request, "path")
    known, shown = ledger.look(path), path_on_screen(path)
    if known is None:
        raise Refusal(f"{shown}: the ledger does not know it: there is nothing to forget")
    if known.state is FileState.PENDING:
        raise Refusal(f"{shown}: it waits to be sent: there is nothing to forget")
    if known.sha256 is None:
        raise Refusal(
            f"{shown}: it is {known.state.value}, and nothing is known of its content: there is nothing to forget"
        )
    forgotten = ledger.forget(path)
    if not forgotten:
        raise Refusal(f"{shown}: {_BEING_SENT}")
    for each in forgotten:
        log.info("forgotten", path=each)
    return {"forgotten": [path_in_json(each) for each in forgotten]}


# --- pause, resume


def _pause(ledger: SqliteLedger, request: Mapping[str, Any]) -> Answer:
    seconds, now = request.get("seconds"), time.time()
    until = now + seconds if isinstance(seconds, int | float) else None
    ledger.pause(until, now)
    log.info("paused", until=when(until) or "resumed")
    return {"paused": True, "until": when(until)}


def _resume(ledger: SqliteLedger, request: Mapping[str, Any]) -> Answer:
    was_paused = ledger.paused(time.time()) is not None
    ledger.resume()
    if was_paused:
        log.info("resumed")
    return {"paused": False, "was_paused": was_paused}


VERBS: dict[str, Verb] = {
    "retry": _retry,
    "retry_all": _retry_all,
    "adopt": _adopt,
    "forget": _forget,
    "pause": _pause,
    "resume": _resume,
}
"""By the names they have on the socket."""
