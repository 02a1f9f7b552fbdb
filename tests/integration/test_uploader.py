"""One uploader, though it dies of a fault of the program or is given up: nothing it held is lost, or sent twice."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pixstored.config.schema import Doubt, FilenameRule, RetryConfig, WatchConfig
from pixstored.errors import Away, Changed, LedgerError, Unreadable, UploadError
from pixstored.ledger.sqlite import SqliteLedger
from pixstored.model import Claim, FileState, Lane, Receipt, Remember, Stamp
from pixstored.publish.dispatcher import Dispatcher, Duty
from pixstored.publish.processors import Processors
from pixstored.publish.schedule import Schedule
from pixstored.publish.tally import Tally
from pixstored.publish.tools import Settings, Tools
from pixstored.publish.turnstile import Turnstile
from pixstored.publish.worker import Worker
from pixstored.store.base import Upload
from pixstored.store.health import Health
from support.app import eventually
from support.files import jpeg, write


class Program:
    """A store's client that does this once the last bytes may be released."""

    def __init__(self, answer: Callable[[], Receipt]) -> None:
        self._answer = answer

    def send(self, upload: Upload) -> Receipt:
        upload.read(upload.size)
        upload.before_release()
        return self._answer()

    def drop(self) -> None: ...

    def cut(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def dispatcher(ledger: SqliteLedger) -> Dispatcher:
    return Dispatcher(ledger, Health(5.0, 60.0, random.Random(1)), "shop")


@pytest.fixture
def path(tmp_path: Path, ledger: SqliteLedger) -> str:
    """A file that waits."""
    path = str(write(tmp_path / "a.jpg", jpeg(seed=1)))
    ledger.apply([Remember(path, Stamp.of(os.stat(path)), Lane.FRESH, None, 0.0)])
    return path


class Unrecordable(str):
    """A link at which the ledger fails, by a fault of the program."""

    def encode(self, *_: object) -> bytes:
        raise ZeroDivisionError


def open_claimed(claim: Claim) -> tuple[int, WatchConfig | None]:
    return os.open(claim.path, os.O_RDONLY), None


def worker_with(
    program: Program,
    ledger: SqliteLedger,
    dispatcher: Dispatcher,
    *,
    turnstile: Turnstile | None = None,
    opened: Callable[[Claim], tuple[int, WatchConfig | None]] = open_claimed,
    settle_again: Callable[[Claim], None] = lambda claim: None,
) -> Worker:
    settings = Settings(
        Schedule(RetryConfig(first=5.0, longest=60.0, tries=3, again=60.0)), FilenameRule.ORIGINAL, Doubt.HOLD
    )
    tools = Tools(
        ledger=ledger,
        dispatcher=dispatcher,
        settings=lambda: settings,
        tally=Tally(),
        processors=Processors(),
        turnstile=turnstile or Turnstile(),
        config_file=str(ledger.path.with_name("config.yaml")),
        open=opened,
        judge=lambda claim: None,
        settle_again=settle_again,
        ended=lambda claim, error: None,
        stopping=threading.Event(),
    )
    return Worker("upload-1", tools, program, Duty.ALL)


def with_a_link_that_cannot_be_recorded(ledger: SqliteLedger, dispatcher: Dispatcher) -> tuple[Worker, Path]:
    """An uploader whose ledger was moved away before the store had answered; and where to."""
    aside = ledger.path.with_name("aside")

    def answer() -> Receipt:
        ledger.path.rename(aside)
        return Receipt("https://shop.example/a.jpg", "a")

    worker = worker_with(Program(answer), ledger, dispatcher)
    turn = dispatcher.take(worker.name, lambda: Duty.ALL, ledger.flush)
    assert turn
    worker.attempt(turn)
    return worker, aside


def test_what_a_dead_uploader_had_noted_as_sent_is_held_as_soon_as_that_can_be_recorded(
    ledger: SqliteLedger, dispatcher: Dispatcher, path: str
) -> None:
    def die() -> Receipt:
        raise ZeroDivisionError

    worker = worker_with(Program(die), ledger, dispatcher)
    with pytest.raises(ZeroDivisionError):
        worker.run()

    aside = ledger.path.rename(ledger.path.with_name("aside"))  # nothing is written to a ledger that is not there
    with pytest.raises(LedgerError):
        worker.give_back()
    aside.rename(ledger.path)
    assert worker.give_back()
    known = ledger.look(path)
    assert known and known.state is FileState.UNCERTAIN
    assert worker.give_back()
    assert ledger.census().files[FileState.UNCERTAIN] == 1


def test_a_link_that_a_dead_uploader_could_not_record_is_recorded_as_soon_as_that_is_possible(
    ledger: SqliteLedger, dispatcher: Dispatcher, path: str
) -> None:
    worker, aside = with_a_link_that_cannot_be_recorded(ledger, dispatcher)
    eventually(dispatcher.closed, bool)

    with pytest.raises(LedgerError):
        worker.give_back()
    aside.rename(ledger.path)
    assert worker.give_back()
    known = ledger.look(path)
    assert known and known.state is FileState.PUBLISHED
    assert [link.link for link in ledger.links()] == ["https://shop.example/a.jpg"]
    assert worker.give_back()


def test_a_link_that_is_on_its_way_into_the_ledger_when_its_uploader_dies_is_not_forgotten(
    ledger: SqliteLedger, dispatcher: Dispatcher, path: str
) -> None:
    worker, aside = with_a_link_that_cannot_be_recorded(ledger, dispatcher)
    with suppress(LedgerError):  # it may be known by now that it could not be recorded
        assert not worker.give_back()
    eventually(dispatcher.closed, bool)
    aside.rename(ledger.path)
    assert worker.give_back()
    known = ledger.look(path)
    assert known and known.state is FileState.PUBLISHED


def test_an_uploader_whose_last_link_is_not_recorded_releases_nothing_more(
    ledger: SqliteLedger, dispatcher: Dispatcher, path: str
) -> None:
    next_one = str(write(ledger.path.with_name("b.jpg"), jpeg(seed=2)))
    ledger.apply([Remember(next_one, Stamp.of(os.stat(next_one)), Lane.FRESH, None, 0.0)])
    released: list[str] = []

    def answer() -> Receipt:
        released.append("one")
        return Receipt(Unrecordable("https://shop.example/a.jpg"), "a.jpg")

    worker = worker_with(Program(answer), ledger, dispatcher)
    turns = [dispatcher.take(worker.name, lambda: Duty.ALL, ledger.flush) for _ in range(2)]
    for turn in turns:
        assert turn
        worker.attempt(turn)
    assert released == ["one"]
    known = ledger.look(next_one)
    assert known and known.state is FileState.PENDING
    assert ledger.census().contents_uncertain == 0


def test_an_uploader_that_is_given_up_while_a_disk_holds_it_keeps_nobody_waiting(
    ledger: SqliteLedger, dispatcher: Dispatcher, path: str
) -> None:
    turnstile, asked, answers = Turnstile(), threading.Event(), threading.Event()

    def dead_disk(claim: Claim) -> tuple[int, WatchConfig | None]:
        asked.set()
        answers.wait()
        return open_claimed(claim)

    def never() -> Receipt:
        raise AssertionError("it was sent by an uploader that was given up")

    worker = worker_with(Program(never), ledger, dispatcher, turnstile=turnstile, opened=dead_disk)
    worker.start()
    asked.wait()
    assert turnstile.is_somebody_inside()

    worker.give_up()
    assert not turnstile.is_somebody_inside()
    answers.set()
    worker.join()
    assert not turnstile.is_somebody_inside()
    assert worker.give_back()
    known = ledger.look(path)
    assert known and known.state is FileState.PENDING


@pytest.mark.parametrize("error", [Changed("a program has it open for writing"), Unreadable("it cannot be opened")])
def test_a_file_outside_all_watches_that_cannot_be_sent_as_it_is_has_failed_and_is_to_be_asked_for_again(
    ledger: SqliteLedger, dispatcher: Dispatcher, path: str, error: UploadError
) -> None:
    def cannot_be_opened(claim: Claim) -> tuple[int, WatchConfig | None]:
        raise error

    def never() -> Receipt:
        raise AssertionError("it was sent")

    worker = worker_with(Program(never), ledger, dispatcher, opened=cannot_be_opened)
    turn = dispatcher.take(worker.name, lambda: Duty.ALL, ledger.flush)
    assert turn
    worker.attempt(turn)
    known = ledger.look(path)
    assert known and known.state is FileState.FAILED
    assert known.reason == f"{error}; run `pixstored publish` for it again"


def test_a_file_whose_folder_is_away_is_looked_at_again_as_the_folder_may_be_back(
    ledger: SqliteLedger, dispatcher: Dispatcher, path: str
) -> None:
    def away(claim: Claim) -> tuple[int, WatchConfig | None]:
        raise Away("its folder is away")

    def never() -> Receipt:
        raise AssertionError("it was sent")

    named: list[str] = []

    def look_again(claim: Claim) -> None:
        known = ledger.look(claim.path)
        assert known and known.parked, "not before it is out of the queue"
        named.append(claim.path)

    worker = worker_with(Program(never), ledger, dispatcher, opened=away, settle_again=look_again)
    turn = dispatcher.take(worker.name, lambda: Duty.ALL, ledger.flush)
    assert turn
    worker.attempt(turn)
    assert named == [path]
