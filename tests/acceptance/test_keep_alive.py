"""A server that closes its connections whenever it likes costs new connections, and no upload its certainty."""

from __future__ import annotations

import hashlib

import pytest

from support.app import App
from support.faults import Afterwards, Answer, Early, Reply, says
from support.faulty_store import Asked, FaultyStore
from support.files import jpeg, write

FILES = 200

QUICK_RETRY = "retry: {first: 20ms, longest: 100ms}"


def shoot(app: App, numbers: range = range(FILES)) -> set[str]:
    """New pictures in the folder, small ones and some of several blocks; their hashes."""
    shot = set()
    for number in numbers:
        content = jpeg(400_000 if number % 20 == 0 else 8_000 + number, seed=number)
        write(app.inbox / f"{number}.jpg", content)
        shot.add(hashlib.sha256(content).hexdigest())
    return shot


def check_all_published_once(app: App, store: FaultyStore, shot: set[str]) -> None:
    counts = app.wait_for(published=len(shot))
    assert counts["uncertain"] == counts["failed"] == counts["rejected"] == 0
    assert store.stored == dict.fromkeys(shot, 1)
    assert {link["sha256"] for link in app.links()} == shot


def test_a_server_that_closes_after_each_answer_makes_no_upload_uncertain(app: App, store: FaultyStore) -> None:
    store.close_after_answer = True
    app.configure(store.url, watch="settle: 0s", top=QUICK_RETRY)
    with app.running():
        shot = shoot(app)
        check_all_published_once(app, store, shot)
    assert store.completed == dict.fromkeys(shot, 1), "something was sent to its end twice"


def test_a_server_that_closes_idle_connections_makes_no_upload_uncertain(app: App, store: FaultyStore) -> None:
    store.idle_timeout = 0.3
    app.configure(store.url, watch="settle: 0s", top=QUICK_RETRY)
    shot = set[str]()
    with app.running():
        for first in range(0, FILES, 20):  # each time every connection has just been closed
            shot |= shoot(app, range(first, first + 20))
            app.wait_for(published=len(shot))
            store.wait_for(lambda s: not s.open_connections())
        check_all_published_once(app, store, shot)
    assert store.completed == dict.fromkeys(shot, 1), "something was sent to its end twice"


@pytest.mark.parametrize("afterwards", [Afterwards.CLOSE, Afterwards.DRAIN, Afterwards.RESET], ids=lambda way: way.name)
def test_a_server_that_answers_before_the_body_ends_makes_no_upload_uncertain(
    app: App, store: FaultyStore, afterwards: Afterwards
) -> None:
    busy = Early(says(503, 503, error="busy"), at=4_000, afterwards=afterwards)
    first = set[str]()

    def every_other_first_time(asked: Asked) -> Early | None:
        if asked.sha256 is not None or asked.filename is None or asked.filename in first:
            return None
        first.add(asked.filename)
        return busy if len(first) % 2 == 0 else None

    store.decide(every_other_first_time)
    app.configure(store.url, watch="settle: 0s", top=QUICK_RETRY)
    with app.running():
        shot = shoot(app)
        check_all_published_once(app, store, shot)


def test_a_server_that_says_connection_close_is_taken_at_its_word(app: App, store: FaultyStore) -> None:
    store.always(Answer(Reply(200, (("Connection", "close"),), close=True), stored=True))
    app.configure(store.url, watch="settle: 0s", top=QUICK_RETRY)
    with app.running():
        shot = shoot(app)
        check_all_published_once(app, store, shot)
    assert store.connections >= len(shot)
