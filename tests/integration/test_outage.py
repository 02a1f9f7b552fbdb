"""A day without the store, in small: what waits is kept, and the log stays short."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pixstored.config import Config, KeySource, load_config
from pixstored.ledger.sqlite import open_ledger
from pixstored.model import FileState, Lane, Remember, Stamp, StoreState
from pixstored.service.engine import Engine
from support.app import eventually
from support.faults import Answer, Fault, says
from support.faulty_store import FaultyStore
from support.files import write

WAITING = 10_000
PROBES_A_DAY = 24 * 4
"""At least one every 15 minutes; more only in the first half hour."""

TENS_OF_LINES = 30


@pytest.fixture
def store() -> Iterator[FaultyStore]:
    with FaultyStore() as store:
        yield store


def configuration(folder: Path, url: str) -> Config:
    """With the shortest waits there can be."""
    file = folder / "config.yaml"
    file.write_text(
        "ledger: ledger.db\nretry: {first: 100ms, longest: 100ms}\n"
        f"store: {{url: '{url}', key: canary}}\nwatch: [{{path: photos}}]\n"
    )
    return load_config(file, {"HOME": str(folder)})


def waiting_files(folder: Path) -> list[Remember]:
    """A long queue. Only those that will be tried are there."""
    there = [write(folder / f"{number}.jpg", str(number).encode()) for number in range(4 * PROBES_A_DAY)]
    queue = [Remember(str(path), Stamp.of(os.stat(path)), Lane.FRESH, None, 0.0) for path in there]
    for number in range(WAITING - len(there)):
        queue.append(Remember(f"{folder}/later-{number}.jpg", Stamp(7, number, 0, number, 1), Lane.BACKLOG, None, 0.0))
    return queue


@pytest.mark.parametrize(
    ("fault", "outcome", "state"),
    [
        (None, "not_sent", StoreState.UNREACHABLE),
        (Answer(says(400, 400)), "refused", StoreState.REFUSING),
    ],
    ids=["nobody is there", "it refuses everything"],
)
def test_a_day_without_the_store_costs_the_log_a_few_lines(
    tmp_path: Path,
    store: FaultyStore,
    caplog: pytest.LogCaptureFixture,
    fault: Fault | None,
    outcome: str,
    state: StoreState,
) -> None:
    config = configuration(tmp_path, store.url)
    store.always(fault)
    if fault is None:
        store.stop()
    caplog.set_level(logging.INFO)
    with ExitStack() as stack:
        ledger = open_ledger(config.ledger, config.store.id)
        stack.callback(ledger.close)
        ledger.apply(waiting_files(tmp_path / "photos"))
        engine = Engine(
            config,
            KeySource.of(config.store, {}),
            ledger,
            above=lambda path: None,
            settle_again=lambda path, watch, lane: None,
            held=lambda path, thread: None,
        )
        engine.prepare(stack)
        stack.callback(engine.stop, config.stop_timeout)
        engine.start()
        eventually(lambda: engine.tally.sums().outcomes[outcome], lambda tried: tried >= PROBES_A_DAY)
        assert engine.dispatcher.report().state is state
        assert ledger.census().files[FileState.PENDING] == WAITING
    told = [record.getMessage() for record in caplog.records]
    assert 1 <= told.count("store") <= 2
    assert len(told) <= TENS_OF_LINES, told
