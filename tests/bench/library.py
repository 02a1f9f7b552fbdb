"""Files to be measured with, and ledgers that know them already."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pixstored.ledger.lock import LedgerLock
from pixstored.ledger.sqlite import open_ledger
from pixstored.model import Stamp

STORE = "bench"
"""The `store.id` of what is measured: sinks come and go."""

_SETTLED = 1.1
"""Seconds after which a file that nobody writes to is taken at once."""

_PAGE = 5_000
"""Records told to a ledger in one transaction."""


def random_file(path: Path, size: int) -> Path:
    """A file of random bytes: nothing of it can be compressed, or be a hole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        while size > 0:
            size -= file.write(os.urandom(min(size, 1 << 20)))
    return path


def wait_until_settled() -> None:
    """How long files take to settle is not what is measured: those made before this call need no more time."""
    time.sleep(_SETTLED)


def make_tree(root: Path, folders: int, files: int) -> None:
    """So many folders with so many files in all, of some 50 KB each, none of which is on the disk."""
    for folder in range(folders):
        place = root / f"{folder:05}"
        place.mkdir(parents=True)
        for number in range(folder, files, folders):
            with open(place / f"DSC_{number:07}.jpg", "wb") as file:
                file.truncate(50_000 + number % 10_000)


def make_known(root: Path, watch: Path, ledger: Path) -> None:
    """Writes a ledger in which every file below `root` is published, as one that lay below `watch`."""
    with ExitStack() as stack:
        lock = LedgerLock(ledger)
        stack.callback(lock.release)
        lock.acquire("bench")
        book = open_ledger(ledger, STORE)
        stack.callback(book.close)
        records = _records(root, watch)
        while page := list(itertools.islice(records, _PAGE)):
            book.merge(page)
        book.merged()


def _records(root: Path, watch: Path) -> Iterator[dict[str, Any]]:
    """What `ledger export` would tell of these files, each content before its file."""
    now = time.time()
    for number, path in enumerate(_files(root)):
        st = os.lstat(path)
        sha256 = hashlib.sha256(path.encode()).hexdigest()
        name = f"{sha256[:16]}.jpg"
        link = f"https://media.pixlab.xyz/{name}"
        at = now - number
        content = {"kind": "content", "store": STORE, "sha256": sha256, "state": "published", "size": st.st_size}
        yield content | {
            "link": link,
            "id": name,
            "comment": None,
            "sent_at": at,
            "published_at": at,
            "why": None,
        }
        stamp = Stamp.of(st)
        file = {"kind": "file", "store": STORE, "path": str(watch / Path(path).relative_to(root)), "watch": str(watch)}
        yield file | {
            "loose": False,
            "state": "published",
            "reason": None,
            "stamp": [stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, stamp.device],
            "sha256": sha256,
            "lane": 1,
            "missing_at": None,
            "seen_at": at,
            "changed_at": at,
            "tries": 0,
            "attempts": [],
        }


def _files(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        yield from (os.path.join(folder, name) for name in names)
