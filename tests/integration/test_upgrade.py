"""A new version takes over the ledger of any older one, and keeps a copy of it as it was."""

from __future__ import annotations

import itertools
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pixstored.errors import LedgerUnusable
from pixstored.ledger.places import backup_file
from pixstored.ledger.sqlite import open_ledger
from pixstored.ledger.sqlite_check import check_ledger
from pixstored.ledger.sqlite_file import SCHEMA_VERSION
from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.ledger.sqlite_schema import scripts
from pixstored.model import FileState

A_LINK = """
INSERT INTO store (id, name) VALUES (1, 'shop');
INSERT INTO folder (id, path, watch) VALUES (1, x'2f70', x'70');
INSERT INTO content (store_id, sha256, state, size, link, file_id, sent_at, published_at)
    VALUES (1, zeroblob(32), 'published', 7, 'https://shop.example/a.jpg', 1, 1.0, 2.0);
INSERT INTO file (id, store_id, folder_id, name, state, size, mtime_ns, ctime_ns, inode, device, sha256, lane,
    seen_at, changed_at) VALUES (1, 1, 1, x'612e6a7067', 'published', 7, 1, 1, 1, 1, zeroblob(32), 0, 1.0, 1.0);
INSERT INTO file (id, store_id, folder_id, name, state, size, mtime_ns, ctime_ns, inode, device, lane, position,
    seen_at, changed_at) VALUES (2, 1, 1, x'622e6a7067', 'pending', 8, 1, 1, 2, 1, 0, 1, 1.0, 1.0);
"""
"""A published file /p/a.jpg and a waiting one, /p/b.jpg, in the words of the first version."""


def ledger_of_version(path: Path, version: int) -> None:
    """As that version's program would have left it."""
    first, *rest = itertools.islice(scripts(after=0), version)
    raw = sqlite3.connect(path)
    raw.executescript(first)
    raw.executescript(A_LINK)
    for script in rest:
        raw.executescript(script)
    raw.close()


def version_of(path: Path) -> int:
    raw = sqlite3.connect(path)
    (version,) = raw.execute("PRAGMA user_version").fetchone()
    raw.close()
    assert isinstance(version, int)
    return version


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_older_ledger_is_copied_and_then_brought_up_to_date(tmp_path: Path, version: int) -> None:
    path = tmp_path / "ledger.db"
    ledger_of_version(path, version)
    as_it_was = path.read_bytes()
    assert not check_ledger(path)
    with pytest.raises(LedgerUnusable, match="start the daemon once"):
        read_ledger(path, "shop")
    assert path.read_bytes() == as_it_was, "whoever only reads migrates nothing"

    ledger = open_ledger(path, "shop")
    assert [(link.path, link.link) for link in ledger.links()] == [("/p/a.jpg", "https://shop.example/a.jpg")]
    assert ledger.census().files[FileState.PENDING] == 1
    claim = ledger.claim("worker", 3.0)
    assert claim and claim.path == "/p/b.jpg"
    ledger.close()
    assert version_of(path) == SCHEMA_VERSION
    assert version_of(backup_file(path)) == version
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    raw.close()


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger_of_version(path, 1)
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE pause (odd INTEGER)")  # stands in the second version's way
    raw.close()
    with pytest.raises(LedgerUnusable):
        open_ledger(path, "shop")
    assert version_of(path) == 1
    assert version_of(backup_file(path)) == 1


def test_what_an_older_version_noted_as_sent_is_uncertain(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger_of_version(path, 7)
    raw = sqlite3.connect(path)
    raw.executescript(
        "INSERT INTO content (store_id, sha256, state, size, file_id, sent_at)"
        "VALUES (1, randomblob(32), 'sent', 8, 2, 3);"
        "UPDATE file SET sha256 = (SELECT sha256 FROM content WHERE state = 'sent') WHERE id = 2;"
    )
    raw.close()
    ledger = open_ledger(path, "shop")
    assert ledger.recover(4.0) == 1
    assert ledger.census().files[FileState.UNCERTAIN] == ledger.census().contents_uncertain == 1
    assert ledger.claim("worker", 4.0) is None
    ledger.close()
    assert not check_ledger(path)


def test_on_which_disks_folders_were_adopted_is_taken_from_the_notes_of_an_older_ledger(tmp_path: Path) -> None:
    notes = {
        b"/share": b"//nas/Photos at home at /mnt/at home",
        b"/old": b"UUID=1",
        b"/odd": b"//nas/b\xfcro at /mnt",
        b"/unknown": b"? at /",
        b"/none": None,
    }
    path = tmp_path / "ledger.db"
    ledger_of_version(path, 9)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.executemany("INSERT INTO adoption VALUES (1, ?, 5, ?)", notes.items())
    ledger = open_ledger(path, "shop")
    adoptions = [adoption for root in notes if (adoption := ledger.adoption(os.fsdecode(root)))]
    found = {each.root: ledger.adopted_on(each.root, each.disk or "?") for each in adoptions}
    ledger.close()
    assert found == {"/share": 5, "/old": 5, "/odd": 5, "/unknown": None, "/none": None}
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT count(*) FROM disk").fetchone() == (3,)


def test_what_an_older_version_was_refused_stays_refused_under_its_extension(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger_of_version(path, 11)
    names = ["a.b.JPG", "c.tar.png", "d", "..e", ".f.png", "..", "g.jpg"]
    with closing(sqlite3.connect(path)) as raw, raw:
        for number, name in enumerate(names, start=10):
            raw.execute(
                "INSERT INTO file (id, store_id, folder_id, name, state, reason, size, mtime_ns, ctime_ns, inode, "
                "device, sha256, lane, seen_at, changed_at) "
                "VALUES (?, 1, 1, ?, 'rejected', 'no', 9, 1, 1, ?, 1, ?, 0, 1.0, 1.0)",
                (number, name.encode(), number, bytes([number]) * 32),
            )
        raw.execute("UPDATE file SET sha256 = NULL WHERE name = x'672e6a7067'")
    open_ledger(path, "shop").close()
    with closing(sqlite3.connect(path)) as raw:
        refused = dict(raw.execute("SELECT sha256, extension FROM refused WHERE reason = 'no'").fetchall())
    extensions = [b".jpg", b".png", b"", b"", b".png", b""]
    assert refused == {bytes([number]) * 32: extension for number, extension in enumerate(extensions, start=10)}


def test_what_waits_though_its_path_had_a_link_is_found_in_an_older_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger_of_version(path, 5)
    raw = sqlite3.connect(path)
    raw.executescript("INSERT INTO superseded VALUES (1, 1, 1, x'622e6a7067', zeroblob(32), 1.0)")
    raw.close()
    ledger = open_ledger(path, "shop")
    claim = ledger.claim_to_recheck("worker")
    assert claim and claim.path == "/p/b.jpg"
    ledger.close()
