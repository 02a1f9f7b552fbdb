"""The ledger's records as a file of JSON lines: written out, and merged again, by the daemon or without it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pixstored.config import Config
from pixstored.ledger.base import LedgerReader
from pixstored.ledger.sqlite import SqliteLedger
from pixstored.ledger.sqlite_merge import BadRecord, rehearsal
from pixstored.service.control import Answer
from pixstored.service.verbs import Refusal
from pixstored.service.writing import Verb, writer

_HEADER = "pixstored_ledger"
_VERSION = 1
"""The version of the records, in the first line of the file."""

_BATCH = 128 * 1024
"""Bytes of records merged in one step: less than what the socket takes, and a short wait for who uploads."""

_LONGEST_LINE = 512 * 1024
"""Bytes of a record: paths are at most 4 KiB, and some tries are told."""


def lines_of(ledger: LedgerReader) -> Iterator[str]:
    """The whole file, line by line, without their ends."""
    yield json.dumps({_HEADER: _VERSION})
    for record in ledger.records():
        yield json.dumps(record, ensure_ascii=False)


def import_file(config: Config, file: Path) -> int:
    """Merges a file of records; returns how many it has. Nothing is merged if one of them is faulty.

    Raises `Refusal` naming the line, and what `writer` raises.
    """
    try:
        with _opened(file) as lines:
            number = _rehearse(file, lines)
            lines.seek(0)
            with writer(config, VERBS) as ask:
                for batch in _batches(file, lines):
                    ask("merge", records=batch)
                ask("merged")
    except OSError as error:
        raise Refusal(f"{file} cannot be read: {error.strerror}") from error
    return number


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """The file, to be read twice: what comes through a pipe is kept meanwhile in a file without a name."""
    with open(file, "rb") as lines:
        if lines.seekable():
            yield lines
            return
        with tempfile.TemporaryFile() as kept:
            shutil.copyfileobj(lines, kept)
            kept.seek(0)
            yield kept


def _batches(file: Path, lines: IO[bytes]) -> Iterator[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    began = 0
    for _, record in _records(file, lines):
        batch.append(record)
        if lines.tell() - began >= _BATCH:
            yield batch
            batch, began = [], lines.tell()
    if batch:
        yield batch


def _rehearse(file: Path, lines: IO[bytes]) -> int:
    count = 0
    with rehearsal() as merger:
        for number, record in _records(file, lines):
            try:
                merger.merge(record)
            except BadRecord as error:
                raise _refusal(file, number, str(error)) from error
            count += 1
    return count


def _refusal(file: Path, number: int, why: str) -> Refusal:
    return Refusal(f"{file}, line {number}: {why}; nothing was imported")


def _records(file: Path, lines: IO[bytes]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The records with the numbers of their lines. Raises `Refusal`."""
    header = _parsed(lines.readline(_LONGEST_LINE))
    version = header.get(_HEADER) if header else None
    if not isinstance(version, int):
        raise _refusal(file, 1, "this is no file that `pixstored ledger export` has written, or its beginning is lost")
    if version > _VERSION:
        raise _refusal(file, 1, f"a newer pixstored has written it (version {version} of the records): use that")
    number = 1
    while line := lines.readline(_LONGEST_LINE):
        number += 1
        record = _parsed(line)
        if record is None:
            raise _refusal(file, number, "it is no JSON object")
        yield number, record


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # the last: one in another, again and again
        return None
    return record if isinstance(record, dict) else None


def _merge(ledger: SqliteLedger, request: Mapping[str, Any]) -> Answer:
    records = request.get("records")
    if not isinstance(records, list):
        raise Refusal("the command came without its records")
    ledger.merge(records)
    return {}


def _merged(ledger: SqliteLedger, request: Mapping[str, Any]) -> Answer:
    ledger.merged()
    return {}


VERBS: dict[str, Verb] = {"merge": _merge, "merged": _merged}
"""By the names they have on the socket."""
