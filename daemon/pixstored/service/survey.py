"""What a reconciliation of the watched folders would do, file by file, without doing it: `scan`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from pixstored.config import WatchConfig
from pixstored.errors import WatchError
from pixstored.ledger.base import LedgerReader
from pixstored.model import FileState
from pixstored.publish.compare import compare, missing_below
from pixstored.publish.preview import Action, Preview, previews
from pixstored.publish.watched import Watched
from pixstored.service.presence import NOT_MOUNTED, as_run_would, not_mounted, waits_for_a_mount
from pixstored.service.when import when
from pixstored.shown import path_in_json
from pixstored.watch.filters import Rules
from pixstored.watch.mounts import filesystem_of
from pixstored.watch.scan import path_below, walk

SCHEMA = 1

_NANOSECONDS = 1e9


class Surveyed(Protocol):
    """A watched folder that was looked through, by this process or by the daemon."""

    name: str
    path: str
    adopted_at_ns: int | None
    counts: Counter[Action]
    known: Counter[FileState]
    """Of those that are on record as they are."""
    turned_away: Counter[str]
    """By extension: names in the folders looked through that the rules do not take."""
    unreadable: list[tuple[str, str]]
    """Folders, and why."""
    notice: str | None
    """Why there was nothing to look through though that is no fault."""

    def files(self) -> Iterator[Preview]: ...


class Survey:
    """One watched folder, looked through. `files` is gone through once; what is counted is true after that."""

    def __init__(self, config: WatchConfig, ledger: LedgerReader) -> None:
        self.name = config.name
        self.path = str(config.path)
        self.adopted_at_ns, self._watched = as_run_would(ledger, Watched(config, Rules.of(config), 0))
        self.counts: Counter[Action] = Counter()
        self.known: Counter[FileState] = Counter()
        self.turned_away: Counter[str] = Counter()
        self.unreadable: list[tuple[str, str]] = []
        self.notice: str | None = None
        self._config = config
        self._ledger = ledger
        self._moved: set[str] = set()

    def files(self) -> Iterator[Preview]:
        """Every file that is there or on record, folder by folder; what is missing comes last."""
        if self._config.create and not os.path.lexists(self._config.root):
            self.notice = NOT_MOUNTED if waits_for_a_mount(self._config) else "it is not there: `run` makes it"
            return
        self.notice = self._not_mounted()
        if self.notice:
            return
        missing: list[str] = []
        try:
            yield from map(self._counted, self._walk(missing))
            yield from map(self._counted, self._missing(missing))
        except WatchError as error:
            self.unreadable.append((self.path, str(error)))

    def _counted(self, preview: Preview) -> Preview:
        self.counts[preview.action] += 1
        if preview.action is Action.KNOWN and preview.state:
            self.known[preview.state] += 1
        if preview.moved_from:
            self._moved.add(preview.moved_from)
        return preview

    def _not_mounted(self) -> str | None:
        try:
            return not_mounted(self._config, self._ledger.adoption(self.path), filesystem_of(str(self._config.root)))
        except (OSError, WatchError):
            return None  # the walk says what is the matter

    def _walk(self, missing: list[str]) -> Iterator[Preview]:
        """What lies in the folders; the paths that are missing are put into the list."""
        watched, visited = self._watched, set()
        for listing in walk(watched.root, self._config.recursive, watched.rules, lambda: False, count_unknown=True):
            folder = path_below(watched.path, listing.folder)
            visited.add(folder)
            self.turned_away += listing.unknown
            if listing.error:
                self.unreadable.append((folder, listing.error))
            found = compare(self._ledger, watched, folder, listing)
            missing += [each.path for each in found.missing]
            yield from previews(self._ledger, watched, folder, listing, found)
        for gone in missing_below(self._ledger, watched.path, visited):
            missing += [each.path for each in gone]

    def _missing(self, paths: list[str]) -> Iterator[Preview]:
        """What is not there any more; a file that was found under another name is not missing."""
        for path in paths:
            known = self._ledger.look(path)
            if known and path not in self._moved:
                yield Preview(path, Action.MISSING, None, known.state)


def surveys(watches: Sequence[WatchConfig], ledger: LedgerReader) -> Iterator[Survey]:
    """One survey for each watched folder, in the configuration's order."""
    return (Survey(watch, ledger) for watch in watches)


def head_document(survey: Surveyed) -> dict[str, Any]:
    """What `scan --json` says of a watch before its files."""
    adopted = survey.adopted_at_ns
    return {
        "name": path_in_json(survey.name),
        "path": path_in_json(survey.path),
        "adopted_at": None if adopted is None else when(adopted / _NANOSECONDS),
    }


def sums_document(survey: Surveyed) -> dict[str, Any]:
    """What it says after them."""
    return {
        "counts": {action.value: survey.counts[action] for action in Action},
        "known": {state.value: survey.known[state] for state in FileState if survey.known[state]},
        "turned_away": {path_in_json(extension): count for extension, count in sorted(survey.turned_away.items())},
        "unreadable": [{"path": path_in_json(path), "error": error} for path, error in survey.unreadable],
    }


def file_document(preview: Preview) -> dict[str, Any]:
    """What it says of one of them."""
    return {
        "path": path_in_json(preview.path),
        "action": preview.action.value,
        "reason": None if preview.reason is None else path_in_json(preview.reason),
        "state": preview.state.value if preview.state else None,
        "moved_from": None if preview.moved_from is None else path_in_json(preview.moved_from),
    }
