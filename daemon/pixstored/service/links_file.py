"""The links file beside the ledger: one line after each link, in a thread of its own that no upload waits for.

It is a second record of what is published, for people and for `ledger restore`. Not synced to the disk by itself:
what it lacks after a power failure is mended from the ledger at the next start.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pixstored.errors import LedgerError
from pixstored.eventlog import EventLog
from pixstored.ledger.places import links_file
from pixstored.ledger.sqlite import SqliteLedger
from pixstored.model import Link
from pixstored.service.link_document import link_document

log = EventLog("pixstored.ledger")

_MODE = 0o640
"""As the ledger: the owner writes, the group may read."""

_CLOSING_WAIT = 5.0
"""Seconds for what waits to be written at the end; the rest is mended at the next start."""

_LINGER = 0.05
"""Seconds for which links are gathered before they are written down."""

_MOST_AT_ONCE = 500
"""Links asked of the ledger at a time."""

_KEY = ("store", "sha256", "path", "link")
"""What makes two lines tell the same."""

_STRAY = "withdrawn"
"""The state of links that are not put back: they lead nowhere."""


class LinksFile:
    """Keeps the links file of one ledger, from `start` to `stop`."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger = ledger
        self._path = links_file(ledger.path)
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._linked: list[int] = []
        self._stopping = threading.Event()
        self._broken = False
        self._thread = threading.Thread(target=self._loop, name="links-file", daemon=True)

    def start(self, *, mend: bool) -> None:
        """Writes down every link from now on; with `mend`, first what the file lacks or has torn."""
        if mend:
            self._work.put(self._mend)
        self._ledger.on_links(self._note)
        self._ledger.on_forgotten(lambda hashes: self._work.put(lambda: self._forget(hashes)))
        self._thread.start()

    def stop(self) -> None:
        """Writes what waits, for a few seconds at most."""
        self._stopping.set()
        self._work.put(None)
        if self._thread.is_alive():
            self._thread.join(_CLOSING_WAIT)

    def _note(self, file_ids: Sequence[int]) -> None:
        with self._lock:
            self._linked += file_ids
            if len(self._linked) == len(file_ids):
                self._work.put(self._append)

    # --- in the thread

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except (OSError, LedgerError) as error:
                self._tell(error)
            else:
                self._broken = False

    def _tell(self, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            reason = getattr(error, "strerror", None) or str(error)
            log.warning("links file not written", file=str(self._path), reason=reason, mended="at the next start")

    def _append(self) -> None:
        """What was noted, and what comes in the next moment: a thousand links are not a thousand writes."""
        self._stopping.wait(_LINGER)
        with self._lock:
            file_ids, self._linked = self._linked, []
        for start in range(0, len(file_ids), _MOST_AT_ONCE):
            self._write(self._ledger.links_of(file_ids[start : start + _MOST_AT_ONCE]))

    def _write(self, links: Iterable[Link]) -> None:
        lines = b"".join(map(line_of, links))
        if lines:
            with open(self._path, "ab", buffering=0, opener=_private) as file:
                file.write(lines)

    def _mend(self) -> None:
        told: set[int] = set()
        torn = 0
        for line in _lines(self._path):
            document = parsed(line)
            if document is None:
                torn += 1
            else:
                told.add(_key(document))
        if torn:
            self._rewrite(lambda document: True)
        missing = [
            link
            for link in self._ledger.links(everything=True, all_stores=True)
            if link.state != _STRAY and _key(link_document(link)) not in told
        ]
        self._write(reversed(missing))
        if torn or missing:
            log.info("links file mended", file=str(self._path), added=len(missing), torn=torn)

    def _forget(self, hashes: Sequence[bytes]) -> None:
        gone = {each.hex() for each in hashes}
        store = self._ledger.store
        self._rewrite(lambda document: document["store"] != store or document["sha256"] not in gone)

    def _rewrite(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """The same file with the whole lines that are to be kept; a half one never bears the name."""
        unfinished = self._path.with_name(self._path.name + ".new")
        with open(unfinished, "wb", opener=_private) as file:
            for line in _lines(self._path):
                document = parsed(line)
                if document is not None and keep(document):
                    file.write(line.rstrip(b"\n") + b"\n")
        unfinished.replace(self._path)


def line_of(link: Link) -> bytes:
    """One line, its end included."""
    return json.dumps(link_document(link), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def read_links_file(path: Path) -> Iterator[dict[str, Any]]:
    """What the whole lines of a links file say, in their order; nothing if there is none. Raises OSError."""
    for line in _lines(path):
        document = parsed(line)
        if document is not None:
            yield document


def parsed(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if it is torn."""
    try:
        document = json.loads(line)
    except ValueError:
        return None
    if not isinstance(document, dict) or not all(isinstance(document.get(key), str) for key in _KEY):
        return None
    return document if line.endswith(b"\n") else None


def _key(document: dict[str, Any]) -> int:
    return hash(tuple(document[key] for key in _KEY))


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from file
    except FileNotFoundError:
        return


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
