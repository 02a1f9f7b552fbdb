"""The daily copy of the ledger: when it is made."""

from __future__ import annotations

from pathlib import Path

from pixstored.ledger.places import backup_file
from pixstored.ledger.sqlite import open_ledger
from pixstored.service.backups import Backups

DAY = 86_400.0


def test_a_clock_that_is_set_back_keeps_no_copy_from_being_made(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    open_ledger(path, "shop").close()
    copy = backup_file(path)
    now = 1000 * DAY
    backups = Backups(path, lambda: now)

    def is_made() -> bool:
        copy.unlink(missing_ok=True)
        backups.tick()
        backups.wait(30)
        return copy.exists()

    assert is_made()
    assert not is_made(), "it has looked a moment ago"
    now -= 300 * DAY
    assert is_made()
