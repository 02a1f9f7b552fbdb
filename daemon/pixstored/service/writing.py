"""Who writes for a command that changes the ledger: the daemon if it runs, else this process, as the ledger's owner."""

from __future__ import annotations

import os
import pwd
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pixstored.config import Config
from pixstored.errors import PixstoredError
from pixstored.eventlog import EventLog
from pixstored.ledger.lock import COMMAND, LedgerLock
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.service.control import Answer, ControlClient, ControlError, Handler
from pixstored.service.identity import become_owner, line_for_root
from pixstored.service.links_file import LinksFile

log = EventLog("pixstored.command")

LOCK_WAIT = 10.0
"""Seconds to wait for another command that holds the ledger."""

Verb = Callable[[SqliteLedger, Mapping[str, Any]], Answer]
"""One thing a command has done to a ledger, by whoever has it open."""


class NotAllowed(PixstoredError):
    """This user may not write the ledger; the sentence has the command line that would work. Exit 1."""


Writer = Callable[..., Answer]
"""Whoever carries out a verb: called with its name, and its arguments by theirs."""


@contextmanager
def writer(config: Config, verbs: Mapping[str, Verb]) -> Iterator[Writer]:
    """Carries out these verbs, in the daemon if one runs; else here, with the ledger held meanwhile.

    Raises `LedgerBusy`, `LedgerUnusable`, `ControlError`, `NotAllowed`.
    """
    with ExitStack() as stack:
        client = ControlClient.connect(config.control, config.ledger)
        if client:
            stack.callback(client.close)
            yield client.ask
        else:
            ledger = stack.enter_context(own_ledger(config))
            yield lambda verb, **arguments: verbs[verb](ledger, arguments)


@contextmanager
def own_ledger(config: Config) -> Iterator[SqliteLedger]:
    """The ledger, held by this process as a command; what a dead one held has been recovered."""
    with held(config):
        ledger = open_ledger(config.ledger, config.store.id)
        links = LinksFile(ledger)
        try:
            uncertain = ledger.recover(time.time())
            if uncertain:
                log.error("uncertain: sent when the last run ended, no answer recorded", contents=uncertain)
            links.start(mend=False)
            yield ledger
        finally:
            links.stop()
            ledger.close()


@contextmanager
def held(config: Config) -> Iterator[None]:
    """The right to write the ledger, as its owner: root gives itself up for good."""
    become_owner(config.ledger)
    check_allowed(config.ledger)
    lock = LedgerLock(config.ledger)
    lock.acquire(COMMAND, wait=LOCK_WAIT)
    try:
        yield
    finally:
        lock.release()


def check_allowed(ledger: Path) -> None:
    """Raises `NotAllowed` if the ledger is another user's."""
    for place in (ledger, ledger.parent):
        try:
            if os.access(place, os.W_OK) or _is_readonly(place):
                continue
            owner = place.stat().st_uid
        except OSError:
            continue
        if owner != os.geteuid():
            raise NotAllowed(
                f"the ledger {ledger} belongs to {_user(owner)}: try `{line_for_root(sys.argv[1:], os.environ)}`"
            )


def handlers(ledger: SqliteLedger, verbs: Mapping[str, Verb]) -> dict[str, Handler]:
    """The daemon's side of `writer`."""
    return {name: partial(verb, ledger) for name, verb in verbs.items()}


def text_of(request: Mapping[str, Any], key: str) -> str:
    """An argument that must be text. Raises `ControlError`."""
    value = request.get(key)
    if not isinstance(value, str):
        raise ControlError(f"the command came without its {key}")
    return value


def _is_readonly(place: Path) -> bool:
    return bool(os.statvfs(place).f_flag & os.ST_RDONLY)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
