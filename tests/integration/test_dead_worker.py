"""What an uploader held that died of a fault of the program: nothing of it is lost, or sent twice."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from pixstored.config.schema import Doubt, FilenameRule, RetryConfig
from pixstored.errors import LedgerError
from pixstored.ledger.sqlite import open_ledger
from pixstored.model import FileState, Lane, Receipt, Remember, Stamp
from pixstored.publish.dispatcher import Dispatcher, Duty
from pixstored.publish.processors import Processors
from pixstored.publish.schedule import Schedule
from pixstored.publish.tally import Tally
from pixstored.publish.worker import Settings, Tools, Worker
from pixstored.store.base import Upload
from pixstored.store.health import Health
from support.files import jpeg, write


class FaultyProgram:
    """A store's client that ends by a fault of its own, once the last bytes may be released."""

    def send(self, upload: Upload) -> Receipt:
        upload.read(upload.size)
        upload.before_release()
        raise ZeroDivisionError

    def drop(self) -> None: ...

    def cut(self) -> None: ...

    def close(self) -> None: ...


def test_what_a_dead_uploader_had_noted_as_sent_is_held_as_soon_as_that_can_be_recorded(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db", "shop")
    dispatcher = Dispatcher(ledger, Health(5.0, 60.0, random.Random(1)), "shop")
    path = str(write(tmp_path / "a.jpg", jpeg(seed=1)))
    settings = Settings(
        Schedule(RetryConfig(first=5.0, longest=60.0, tries=3, again=60.0)), FilenameRule.ORIGINAL, Doubt.HOLD
    )
    tools = Tools(
        ledger=ledger,
        dispatcher=dispatcher,
        settings=lambda: settings,
        tally=Tally(),
        processors=Processors(),
        config_file=str(tmp_path / "config.yaml"),
        watch_of=lambda claim: None,
        open=lambda claim: os.open(claim.path, os.O_RDONLY),
        settle_again=lambda claim: None,
        ended=lambda claim, error: None,
        stopping=threading.Event(),
    )
    try:
        ledger.apply([Remember(path, Stamp.of(os.stat(path)), Lane.FRESH, None, 0.0)])
        worker = Worker("upload-1", tools, FaultyProgram(), Duty.ALL)
        with pytest.raises(ZeroDivisionError):
            worker.run()

        aside = ledger.path.rename(tmp_path / "aside")  # nothing is written to a ledger that is not in its place
        with pytest.raises(LedgerError):
            worker.give_back()
        aside.rename(ledger.path)
        worker.give_back()
        known = ledger.look(path)
        assert known and known.state is FileState.UNCERTAIN
        worker.give_back()
        assert ledger.census().files[FileState.UNCERTAIN] == 1
    finally:
        ledger.close()
