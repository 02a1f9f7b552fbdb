"""`ledger restore`: a ledger that is lost or damaged is made again from its last copy and the links file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from pixstored.config import Config
from pixstored.errors import LedgerError, LedgerUnusable
from pixstored.ledger.places import backup_file, links_file, logs_of
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.ledger.sqlite_check import check_ledger
from pixstored.ledger.sqlite_copy import copy_ledger, to_disk
from pixstored.ledger.sqlite_merge import BadRecord
from pixstored.ledger.sqlite_salvage import salvaged
from pixstored.service.control import ControlClient
from pixstored.service.links_file import read_links_file
from pixstored.service.verbs import Refusal
from pixstored.service.writing import held
from pixstored.shown import is_utf8, path_in_json, unescaped
from pixstored.slotted import dataclass

_BATCH = 500
"""Records merged in one transaction."""

_BACKLOG = 1
"""The lane of a file nobody waits for."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done."""

    copied_from: Path | None
    """The copy it began with, and when that was made (seconds since the epoch)."""
    copied_at: float | None
    salvaged: int
    """Contents that could still be read from the damaged ledger."""
    from_links: int
    """Lines of the links file."""
    kept: Path | None
    """Where the damaged ledger is now."""


def restore(config: Config) -> Restored:
    """Makes the ledger again. Raises `Refusal` if a daemon runs or nothing is wrong, `LedgerUnusable` if it cannot."""
    client = ControlClient.connect(config.control, config.ledger)
    if client:
        client.close()
        raise Refusal("the daemon is running: stop it first")
    with held(config):
        path = config.ledger
        if path.exists() and path.stat().st_size > 0 and not check_ledger(path):
            raise Refusal(f"the ledger {path} is in order: there is nothing to restore")
        backup, links = backup_file(path), links_file(path)
        if not backup.exists() and not links.exists():
            raise LedgerUnusable(f"there is neither {backup} nor {links}: nothing to restore the ledger {path} from")
        return _restore(config, path, backup, links)


def _restore(config: Config, path: Path, backup: Path, links: Path) -> Restored:
    unfinished = path.with_name(path.name + ".restored")
    for rest in (unfinished, *logs_of(unfinished)):
        rest.unlink(missing_ok=True)
    copied = _copied(backup, links, unfinished)
    ledger = open_ledger(unfinished, config.store.id, fresh=True)
    try:
        rescued = _merge(ledger, salvaged(path)) if path.exists() else 0
        from_links = _merge(ledger, _from_links(links))
        ledger.merged()
    finally:
        ledger.close()
    backup_file(unfinished).unlink(missing_ok=True)
    kept = _put_aside(path)
    unfinished.replace(path)
    to_disk(path.parent)
    made = backup.stat().st_mtime if copied else None
    return Restored(backup if copied else None, made, rescued, from_links, kept)


def _copied(backup: Path, links: Path, target: Path) -> bool:
    """True if the ledger begins with its last copy; False if that is missing or damaged, and the links must do."""
    if not backup.exists():
        return False
    try:
        copy_ledger(backup, target)
    except LedgerError:
        if not links.exists():
            raise
        return False
    return True


def _put_aside(path: Path) -> Path | None:
    """Its logs go first, also where the ledger itself is gone: SQLite would read them into the next one of the name."""
    mark = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = path.with_name(f"{path.name.removesuffix('.db')}.broken-{mark}")
    for log, kept_log in zip(logs_of(path), logs_of(kept), strict=True):
        if log.exists():
            log.replace(kept_log)
    if not path.exists():
        return None
    path.replace(kept)
    return kept


def _merge(ledger: SqliteLedger, records: Iterator[list[dict[str, Any]]]) -> int:
    """Merges what can be merged, a thing with all its records at a time; returns how many things it was."""
    count = 0
    while batch := list(islice(records, _BATCH)):
        try:
            ledger.merge([record for thing in batch for record in thing])
            count += len(batch)
        except BadRecord:
            count += sum(_merged_alone(ledger, thing) for thing in batch)
    return count


def _merged_alone(ledger: SqliteLedger, thing: list[dict[str, Any]]) -> bool:
    try:
        ledger.merge(thing)
    except BadRecord:
        return False
    return True


def _from_links(links: Path) -> Iterator[list[dict[str, Any]]]:
    """The records that each line stands for, the newest first: what a path had before comes after what it has."""
    for document in reversed(list(read_links_file(links))):
        try:
            published_at = datetime.fromisoformat(document["published_at"]).timestamp()
            yield [_content_of(document, published_at), _file_of(document, published_at)]
        except (KeyError, TypeError, ValueError):
            continue


def _content_of(document: dict[str, Any], published_at: float) -> dict[str, Any]:
    return {
        "kind": "content",
        "store": document["store"],
        "sha256": document["sha256"],
        "state": "published",
        "size": document["size"],
        "link": document["link"],
        "id": document["id"],
        "comment": document["comment"],
        "sent_at": None,
        "published_at": published_at,
        "why": None,
    }


def _file_of(document: dict[str, Any], published_at: float) -> dict[str, Any]:
    """A file whose stamp is not known: the next scan hashes it, and finds what is recorded here."""
    watch = document["watch"]
    return {
        "kind": "file",
        "store": document["store"],
        "path": _name(document["path"]),
        "watch": None if watch is None else _name(watch),
        "loose": watch is None,
        "state": "published",
        "reason": None,
        "stamp": [document["size"], 0, 0, 0, 0],
        "sha256": document["sha256"],
        "lane": _BACKLOG,
        "missing_at": None,
        "seen_at": published_at,
        "changed_at": published_at,
        "tries": 0,
        "attempts": [],
    }


def _name(shown: str) -> str | dict[str, str]:
    """A name from its shown form: escaped only if nothing else could have led to it."""
    plain = unescaped(shown)
    if is_utf8(plain) or path_in_json(plain) != shown:
        return shown
    return {"hex": plain.encode("utf-8", "surrogateescape").hex()}
