"""A thread that is stuck is told from one that waits: the first must not be reported alive."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from pixstored.ledger.sqlite import open_ledger
from pixstored.model import Lane
from pixstored.publish.intake import Intake
from pixstored.publish.watched import Watched
from support.app import eventually

MINUTES = 600.0
"""Seconds: much longer than anything may take."""


def test_an_intake_that_is_stuck_does_not_turn_and_one_that_waits_does(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db", "shop")
    stuck, go_on = threading.Event(), threading.Event()

    def find_watch(path: str) -> Watched | None:
        stuck.set()
        go_on.wait()
        return None

    intake = Intake(ledger, find_watch, missed=lambda watch: None, unreached=lambda watch, path: None)
    assert not intake.turns(time.monotonic()), "it has not begun"
    intake.start()
    try:
        eventually(lambda: intake.turns(time.monotonic() + MINUTES), bool)
        intake.offer("/photos/a.jpg", "/photos", Lane.FRESH)
        assert stuck.wait(MINUTES)
        assert intake.turns(time.monotonic()), "a moment is no standstill"
        assert not intake.turns(time.monotonic() + MINUTES)
        go_on.set()
        eventually(lambda: intake.turns(time.monotonic() + MINUTES), bool)
    finally:
        go_on.set()
        intake.stop()
        intake.join(MINUTES)
        ledger.close()
    assert not intake.turns(time.monotonic()), "it has ended"
