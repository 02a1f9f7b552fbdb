"""What can still be read of the contents in a damaged ledger: what was at the store must not be sent again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from pixstored.errors import LedgerError
from pixstored.ledger.sqlite_file import connect
from pixstored.ledger.sqlite_records import SENT, content_record

_CONTENTS = """
    SELECT store_id, sha256, store.name, state, size, link, remote_id, comment, sent_at, published_at, why
    FROM content JOIN store ON store.id = store_id ORDER BY store_id, sha256"""

_BACKWARDS = _CONTENTS.replace("ORDER BY store_id, sha256", "ORDER BY store_id DESC, sha256 DESC")


def salvaged(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The records of contents, from both ends up to where the damage is. Never fails."""
    for query in (_CONTENTS, _BACKWARDS, SENT):
        with suppress(sqlite3.Error, LedgerError), closing(connect(path, readonly=True)) as connection:
            for row in connection.execute(query):
                with suppress(AttributeError, TypeError, ValueError):  # a value the damage has changed
                    yield [content_record(row)]
