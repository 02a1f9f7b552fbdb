"""The links file beside the ledger: one line after each link, in a thread of its own that no upload waits for.

It is a second record of what is published, for people and for `ledger restore`. Not synced to the disk by itself:
what it lacks after a power failure is mended from the ledger at the next start. Where the last run ended in order, and
nobody has touched the file since, it lacks nothing, and is not even read.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pixstored.errors import LedgerError
from pixstored.eventlog import EventLog
from pixstored.ledger.places import links_file
from pixstored.ledger.sqlite import SqliteLedger
from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.model import Link
from pixstored.service.hashes import HashSet
from pixstored.service.link_document import link_document

T = TypeVar("T")

log = EventLog("pixstored.ledger")

_MODE = 0o640
"""As the ledger: the owner writes, the group may read."""

_CLOSING_WAIT = 5.0
"""Seconds for what waits to be written at the end; the rest is mended at the next start."""

_LINGER = 0.05
"""Seconds for which links are gathered before they are written down."""

_MOST_AT_ONCE = 500
"""Links asked of the ledger at a time."""

_REST = 0.01
"""Seconds of rest after so many while the file is mended; they take about as long."""

_BLOCK = 1024 * 1024
"""Bytes read at a time."""

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
        self._whole: str | None = None
        """What the file looks like while it is known to tell of every link, but for those on their way into it."""
        self._thread = threading.Thread(target=self._loop, name="links-file", daemon=True)

    def start(self, *, mend: bool) -> None:
        """Writes down every link from now on; with `mend`, first what the file lacks or has torn."""
        with suppress(LedgerError):  # where nothing can be written now, the file is mended when it can
            self._whole = self._ledger.take_links_file()
        self._doubt_if_touched()
        if mend and self._whole is None:
            self._work.put(self._mend)
        self._ledger.on_links(self._note)
        self._ledger.on_merged(lambda: self._work.put(self._mend))
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
                self._whole = None
                self._tell(error)
            else:
                self._broken = False
        self._leave()

    def _doubt_if_touched(self) -> None:
        """Somebody else may have changed the file, or it was not written to the disk when the power failed."""
        if self._whole != _looks(self._path):
            self._whole = None

    def _leave(self) -> None:
        """Notes what the file looks like if it tells of every link. It must be on the disk for that."""
        self._doubt_if_touched()
        if self._whole is None:
            return
        with suppress(OSError, LedgerError):
            with suppress(FileNotFoundError), open(self._path, "rb", opener=_private) as file:
                os.fsync(file)
            self._ledger.note_links_file(self._whole)

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
        if not lines:
            return
        self._doubt_if_touched()
        with open(self._path, "ab", buffering=0, opener=_private) as file:
            file.write(lines)
        if self._whole is not None:
            self._whole = _looks(self._path)

    def _mend(self) -> None:
        told = HashSet(_count_lines(self._path))
        torn = 0
        for line in self._gently(_lines(self._path)):
            document = parsed(line)
            if document is None:
                torn += 1
            else:
                told.add(_key(document))
        if torn:
            self._rewrite(lambda document: True)
        added = self._write_missing(told)
        self._whole = _looks(self._path)
        if torn or added:
            log.info("links file mended", file=str(self._path), added=added, torn=torn)

    def _gently(self, many: Iterable[T]) -> Iterator[T]:
        """The same, with rests: a start that scans a million files does not wait for this."""
        for number, each in enumerate(many, 1):
            yield each
            if number % _MOST_AT_ONCE == 0:
                self._stopping.wait(_REST)

    def _write_missing(self, told: HashSet) -> int:
        """Appends all links but those that are told, the oldest first; returns how many. Nobody waits for its reads."""
        reader = read_ledger(self._ledger.path, self._ledger.store)
        if reader is None:
            return 0
        with reader as ledger:
            links = self._gently(ledger.links(everything=True, all_stores=True, oldest_first=True))
            missing = (link for link in links if link.state != _STRAY and _key(link_document(link)) not in told)
            added = 0
            while page := list(itertools.islice(missing, _MOST_AT_ONCE)):
                self._write(page)
                added += len(page)
            return added

    def _forget(self, hashes: Sequence[bytes]) -> None:
        gone = {each.hex() for each in hashes}
        store = self._ledger.store
        self._doubt_if_touched()
        self._rewrite(lambda document: document["store"] != store or document["sha256"] not in gone)
        if self._whole is not None:
            self._whole = _looks(self._path)

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
    except (ValueError, RecursionError):  # the last: one in another, again and again
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


def _count_lines(path: Path) -> int:
    """At least how many lines there are; none if there is no file."""
    try:
        with open(path, "rb", buffering=0) as file:
            return 1 + sum(block.count(b"\n") for block in iter(partial(file.read, _BLOCK), b""))
    except FileNotFoundError:
        return 0


def _looks(path: Path) -> str | None:
    """What the file looks like, in words that only its being untouched can bring again; None if that is not told."""
    try:
        st = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return "not there"
    except OSError:
        return None
    return f"{st.st_size} {st.st_mtime_ns} {st.st_ino}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
