"""Links and surveys from the daemon, for a command whose user cannot read the ledger; and the daemon's side of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from pixstored.config import Config, WatchConfig
from pixstored.errors import LedgerUnusable
from pixstored.ledger.empty import EmptyLedger
from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.model import FileState, Link
from pixstored.publish.preview import Action, Preview
from pixstored.service.control import Answer, ControlClient, ControlError, Stream
from pixstored.service.survey import surveys
from pixstored.service.writing import text_of

_PATIENCE = 600.0
"""Seconds for the next part of an answer: a survey goes through folders of which nothing is told."""

_IN_MEMORY = 8 * 1024 * 1024
"""Bytes of an answer that are kept in memory; more goes to a file that nobody else sees."""


def links_by_daemon(config: Config, store: str, filters: Mapping[str, object]) -> Iterator[Link]:
    """What `LedgerReader.links` would give with these `filters`. Raises `LedgerUnusable` if no daemon runs."""
    with _parts(config, "links", store=store, **filters) as parts:
        yield from (Link(**part) for part in parts)


class Told:
    """A `Survey` that the daemon has made."""

    def __init__(self, head: Answer, parts: Iterator[Answer]) -> None:
        self.name: str = head["name"]
        self.path: str = head["path"]
        self.adopted_at_ns: int | None = head["adopted_at_ns"]
        self.counts: Counter[Action] = Counter()
        self.known: Counter[FileState] = Counter()
        self.turned_away: Counter[str] = Counter()
        self.unreadable: list[tuple[str, str]] = []
        self.notice: str | None = None
        self._parts = parts

    def files(self) -> Iterator[Preview]:
        """See `Survey.files`."""
        for part in self._parts:
            if "counts" in part:
                self._take(part)
                return
            state = part["state"]
            yield Preview(**part | {"action": Action(part["action"]), "state": state and FileState(state)})

    def _take(self, sums: Answer) -> None:
        self.counts.update({Action(action): count for action, count in sums["counts"].items()})
        self.known.update({FileState(state): count for state, count in sums["known"].items()})
        self.turned_away.update(sums["turned_away"])
        self.unreadable += [(path, error) for path, error in sums["unreadable"]]
        self.notice = sums["notice"]


def surveys_by_daemon(config: Config, *, everything: bool) -> Iterator[Told]:
    """One survey for each folder the daemon watches; its files are gone through before the next one is asked for.

    What is on record as it is, is among the files only if `everything` is wanted.
    """
    with _parts(config, "scan", everything=everything) as parts:
        for head in parts:
            yield Told(head, parts)


@contextmanager
def _parts(config: Config, command: str, **arguments: object) -> Iterator[Iterator[Answer]]:
    """The parts of the daemon's answer, taken at once and given at the pace of whoever wants them."""
    hidden = f"the ledger {config.ledger} cannot be read by this user"
    try:
        client = ControlClient.connect(config.control, config.ledger)
    except ControlError as error:
        raise LedgerUnusable(f"{hidden}; {error}") from error
    if client is None:
        raise LedgerUnusable(f"{hidden}, and no daemon runs that could be asked: run this as the user it belongs to")
    try:
        from tempfile import SpooledTemporaryFile  # late: with what it needs, it takes 3 ms of a start (measured)

        with SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="ascii") as spool:
            for part in client.ask_for_all(command, patience=_PATIENCE, **arguments):
                spool.write(json.dumps(part) + "\n")
            spool.seek(0)
            yield map(json.loads, spool)
    finally:
        client.close()


# --- the daemon's side


def streams(config_now: Callable[[], Config]) -> dict[str, Stream]:
    """What the daemon answers in parts. Each time by a reader of its own: nobody else waits for it."""

    def links(request: Mapping[str, Any]) -> Iterator[Answer]:
        reader = read_ledger(config_now().ledger, text_of(request, "store"))
        if reader is None:
            return
        with reader:
            found = reader.links(
                since=_moment_of(request, "since"),
                until=_moment_of(request, "until"),
                watch=None if request.get("watch") is None else text_of(request, "watch"),
                everything=request.get("everything") is True,
            )
            yield from map(asdict, found)

    def scan(request: Mapping[str, Any]) -> Iterator[Answer]:
        config = config_now()
        yield from _surveyed(config, config.watches, everything=request.get("everything") is True)

    return {"links": links, "scan": scan}


def _surveyed(config: Config, watches: Sequence[WatchConfig], *, everything: bool) -> Iterator[Answer]:
    """For each folder a head, its files, and its sums."""
    ledger = read_ledger(config.ledger, config.store.id) or EmptyLedger()
    try:
        for survey in surveys(watches, ledger):
            yield {"name": survey.name, "path": survey.path, "adopted_at_ns": survey.adopted_at_ns}
            for preview in survey.files():
                if everything or preview.action is not Action.KNOWN:
                    yield asdict(preview)
            yield {
                "counts": survey.counts,
                "known": survey.known,
                "turned_away": survey.turned_away,
                "unreadable": survey.unreadable,
                "notice": survey.notice,
            }
    finally:
        ledger.close()


def _moment_of(request: Mapping[str, Any], key: str) -> float | None:
    value = request.get(key)
    if value is not None and not isinstance(value, int | float):
        raise ControlError(f"the command came without a time as its {key}")
    return value
