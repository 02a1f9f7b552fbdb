"""Every row of "Answers of the store", against the running daemon: what becomes of the file, and of the store."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

import pytest

from support.app import App, eventually
from support.faults import Afterwards, Answer, DropAnswer, Early, Fault, page, rate_limited, raw, redirect, says
from support.faulty_store import Asked, FaultyStore
from support.files import jpeg, write

FAST = "retry: {first: 50ms, longest: 200ms}"
AT_ONCE = "settle: 0s"
LINK = "http://127.0.0.1/x.jpg"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def story(app: App, name: str) -> dict[str, Any]:
    done = app.command("why", "--json", str(app.inbox / name))
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def store_state(app: App) -> str:
    state: str = app.glance()["store"]["state"]
    return state


def changes(app: App) -> list[str]:
    """The states of the store that were logged, in order."""
    words = (line.split() for line in app.log.read_text().splitlines() if " store state=" in f" {line}")
    return [word.removeprefix("state=") for line in words for word in line if word.startswith("state=")]


def until_changes(app: App, expected: list[str]) -> None:
    """Waits until just these are in the log: a line is there a moment after what it tells of."""
    eventually(lambda: changes(app), lambda now: now == expected)


def refusing(prefix: str, reply: Fault) -> Any:
    """A store that says this to files whose names begin so, and takes all others."""

    def decide(asked: Asked) -> Fault | None:
        return reply if asked.filename is not None and asked.filename.startswith(prefix) else None

    return decide


def touch(path: Path) -> None:
    """As the command does it: opened for writing, so that there is an event."""
    with path.open("ab"):
        os.utime(path)


def until_rehashed(app: App, times: int) -> None:
    """Waits until the content of a refused file was found to be known so many times, at least."""
    known = re.compile(r"known content .*state=rejected")
    eventually(lambda: len(known.findall(app.log.read_text())), lambda now: now >= times)
    app.wait_for(published=1, rejected=1)


def until_known(app: App, path: Path, state: str) -> None:
    """Waits until a file that was renamed is on record under its new name."""
    eventually(lambda: story(app, path.name), lambda now: now["state"] == state)


@pytest.fixture
def fast(app: App, store: FaultyStore) -> Iterator[App]:
    app.configure(store.url, top=FAST, watch=AT_ONCE)
    with app.running():
        write(app.inbox / "first.jpg", jpeg(seed=1000))
        app.wait_for(published=1)
        yield app


class Counted:
    """How many files have been put into the inbox so far, so that each is a content of its own."""

    def __init__(self) -> None:
        self.published = 1
        self.uncertain = 0
        self.rejected = 0
        self.seed = 0

    def write(self, app: App) -> tuple[str, bytes]:
        self.seed += 1
        name, data = f"{self.seed}.jpg", jpeg(seed=self.seed)
        write(app.inbox / name, data)
        return name, data

    def settle(self, app: App) -> None:
        app.wait_for(published=self.published, uncertain=self.uncertain, rejected=self.rejected)


# --- not stored, and the file's own trouble

OWN_TROUBLE: list[Fault] = [
    Answer(page(500)),
    Answer(says(500, 500)),
    Answer(says("500")),
    Answer(says(501, 501)),
    Answer(says(507)),
    Answer(page(408)),
    Answer(says(421, 421)),
    Answer(says(425)),
    Early(says(500, 500)),
    Early(page(408)),
]


def test_what_was_not_stored_is_tried_again_at_the_cost_of_a_try(fast: App, store: FaultyStore) -> None:
    counted = Counted()
    for fault in OWN_TROUBLE:
        store.next(fault)
        name, data = counted.write(fast)
        counted.published += 1
        counted.settle(fast)
        assert story(fast, name)["tries"] == 1, fault
        assert store.stored[sha(data)] == 1, fault
    assert store_state(fast) == "ok"
    assert changes(fast) == ["ok"], "none of them is the store's fault"


# --- not stored, and the store's fault

STORES_FAULT: list[tuple[Fault, str]] = [
    (Answer(page(503)), "unreachable"),
    (Answer(says(503)), "unreachable"),
    (Answer(page(521)), "unreachable"),
    (Answer(says(522, 522)), "unreachable"),
    (Answer(page(523)), "unreachable"),
    (Answer(page(525)), "unreachable"),
    (Answer(says(526)), "unreachable"),
    (Answer(says(401, 401)), "auth_failed"),
    (Answer(says(401)), "auth_failed"),
    (Answer(page(403)), "auth_failed"),
    (Early(says(403)), "auth_failed"),
    (Answer(rate_limited("0")), "rate_limited"),
    (Answer(says(429, headers=(("Retry-After", "0"),))), "rate_limited"),
    (Answer(page(404)), "misconfigured"),
    (Answer(says(405)), "misconfigured"),
    (Answer(page(407)), "misconfigured"),
    (Answer(redirect("https://elsewhere.example/store", 301)), "misconfigured"),
    (Early(redirect("https://elsewhere.example/store", 308)), "misconfigured"),
]


@pytest.mark.parametrize("part", range(4))
def test_the_stores_fault_stops_the_sending_and_spends_no_tries(fast: App, store: FaultyStore, part: int) -> None:
    counted = Counted()
    expected = ["ok"]
    for fault, state in STORES_FAULT[part::4]:
        store.always(fault)
        name, data = counted.write(fast)
        eventually(partial(store_state, fast), partial(eq, state))
        assert story(fast, name)["tries"] == 0, fault
        counts = fast.counts()
        assert counts["pending"] + counts["uploading"] == 1
        store.heal()
        counted.published += 1
        counted.settle(fast)
        assert story(fast, name)["tries"] == 0, fault
        assert store.stored[sha(data)] == 1, fault
        expected += [state, "ok"]
    until_changes(fast, expected)  # one line a change


def test_no_connection_is_the_stores_fault(fast: App, store: FaultyStore) -> None:
    store.stop()
    write(fast.inbox / "a.jpg", jpeg(seed=1))
    eventually(lambda: store_state(fast), lambda now: now == "unreachable")
    store.start()
    fast.wait_for(published=2)
    assert story(fast, "a.jpg")["tries"] == 0
    assert set(store.stored.values()) == {1}


EARLY: list[Fault] = [
    Early(page(502), afterwards=Afterwards.DEAF),
    Early(raw(b"no JSON"), afterwards=Afterwards.DEAF),
    Early(says(200, link=LINK, id="x"), afterwards=Afterwards.DEAF),
]


def test_before_the_last_bytes_are_out_nothing_is_uncertain(fast: App, store: FaultyStore) -> None:
    counted = Counted()
    for fault in EARLY:
        store.always(fault)
        counted.seed += 1
        name, data = f"{counted.seed}.jpg", jpeg(20_000_000, seed=counted.seed)
        write(fast.inbox / name, data)
        eventually(lambda: store_state(fast), lambda now: now == "unreachable")
        assert fast.counts()["uncertain"] == 0, fault
        store.heal()
        counted.published += 1
        counted.settle(fast)
        assert store.stored[sha(data)] == 1, fault


# --- the store may have it

IN_DOUBT: list[Fault] = [
    DropAnswer(stored=True),
    DropAnswer(stored=True, reset=True),
    Answer(raw(b""), stored=True),
    Answer(raw(b"<html>ok</html>"), stored=True),
    Answer(raw(b'{"status": 200, "link": "javascript:alert(1)", "id": "x"}'), stored=True),
    Answer(raw(b'{"status": 200, "link": "http://host/\\u001b[2J", "id": "x"}'), stored=True),
    Answer(raw(b'{"status": 200, "x": "' + b"x" * 3_000_000 + b'"}'), stored=True),
    Answer(says(200), stored=True),
    Answer(says(200, 500, link=LINK, id="x"), stored=True),
    Answer(page(502), stored=True),
    Answer(says(504), stored=True),
    Answer(page(520), stored=True),
    Answer(says(524, 524), stored=True),
    Answer(page(501), stored=True),
]


@pytest.mark.parametrize("part", range(2))
def test_what_the_store_may_have_is_held_and_never_sent_again(fast: App, store: FaultyStore, part: int) -> None:
    counted = Counted()
    expected = ["ok"]
    for fault in IN_DOUBT[part::2]:
        store.next(fault)
        name, data = counted.write(fast)
        counted.uncertain += 1
        counted.settle(fast)
        assert store_state(fast) == "unreachable", fault
        assert story(fast, name)["tries"] == 0
        counted.write(fast)
        counted.published += 1
        counted.settle(fast)
        assert store.completed[sha(data)] == 1, fault
        expected += ["unreachable", "ok"]
    until_changes(fast, expected)
    assert "\x1b" not in fast.log.read_text()
    assert fast.status()["needs_you"] == counted.uncertain


def test_with_resend_an_uncertain_upload_is_sent_once_more(app: App, store: FaultyStore) -> None:
    app.configure(store.url, top=FAST, watch=AT_ONCE, store="uncertain: resend")
    lost, found = jpeg(seed=1), jpeg(seed=2)
    store.next(DropAnswer(stored=False), DropAnswer(stored=False))
    with app.running():
        write(app.inbox / "lost.jpg", lost)
        app.wait_for(uncertain=1)
        store.next(DropAnswer(stored=False))
        write(app.inbox / "found.jpg", found)
        app.wait_for(uncertain=1, published=1)
    with app.running():
        app.wait_for(uncertain=1, published=1)
    assert store.completed == {sha(lost): 2, sha(found): 2}
    assert store.stored == {sha(found): 1}


# --- the store says no to a file

REFUSALS: list[Fault] = [
    Answer(says(400, 400, error="no\x1b[31m")),
    Answer(page(422)),
    Answer(says(410)),
    Answer(says(700)),
    Early(says(400, 400)),
    Answer(says(415, 415)),
    Answer(says(415)),
    Early(page(413)),
]


def test_a_refused_file_is_rejected_and_the_store_is_well(fast: App, store: FaultyStore) -> None:
    counted = Counted()
    for fault in REFUSALS:
        store.next(fault)
        name, data = counted.write(fast)
        counted.rejected += 1
        counted.settle(fast)
        assert story(fast, name)["tries"] == 0
        assert store.stored[sha(data)] == 0
        assert store_state(fast) == "ok"
        write(fast.inbox / f"small-{name}", jpeg(seed=5000 + counted.seed)[:200])
        counted.published += 1
        counted.settle(fast)
    assert changes(fast) == ["ok"]
    assert "\x1b" not in fast.log.read_text()


@pytest.mark.parametrize("refusal", [Answer(says(400, 400)), Early(page(451)), Answer(says(999))])
def test_three_contents_refused_in_a_row_are_the_stores_fault(fast: App, store: FaultyStore, refusal: Fault) -> None:
    store.always(refusal)
    for seed in range(3):
        write(fast.inbox / f"{seed}.jpg", jpeg(seed=seed))
    eventually(lambda: store_state(fast), lambda now: now == "refusing")
    counts = fast.counts()
    assert (counts["pending"] + counts["uploading"], counts["rejected"]) == (3, 0)
    assert fast.status()["needs_you"] == 1
    store.heal()
    fast.wait_for(published=4)
    assert [story(fast, f"{seed}.jpg")["tries"] for seed in range(3)] == [0, 0, 0]
    assert set(store.stored.values()) == {1}
    until_changes(fast, ["ok", "refusing", "ok"])


def test_one_content_under_three_names_is_one_refusal(fast: App, store: FaultyStore) -> None:
    store.decide(refusing("bad", Early(says(400, 400))))
    for name in ("bad-1.jpg", "bad-2.jpg", "bad-3.jpg", "bad-4.png"):
        write(fast.inbox / name, jpeg(seed=1))
    fast.wait_for(published=1, rejected=4)
    assert store_state(fast) == "ok"


def test_files_that_are_always_refused_all_end_rejected_once_the_store_takes_another(
    fast: App, store: FaultyStore
) -> None:
    store.decide(refusing("bad", Answer(says(400, 400))))
    for seed in range(8):
        write(fast.inbox / f"bad-{seed}.jpg", jpeg(seed=seed))
    eventually(lambda: store_state(fast), lambda now: now == "refusing")
    write(fast.inbox / "good.jpg", jpeg(seed=100))
    fast.wait_for(published=2, rejected=8)
    eventually(lambda: store_state(fast), lambda now: now == "ok")
    begun = dict(store.begun)
    write(fast.inbox / "better.jpg", jpeg(seed=101))
    fast.wait_for(published=3, rejected=8)
    assert dict(store.begun) == {**begun, "better.jpg": 1}, "none of them is sent again"


def test_refusals_in_a_row_are_counted_over_a_restart(app: App, store: FaultyStore) -> None:
    app.configure(store.url, top=FAST, watch=AT_ONCE)
    store.always(Answer(says(400, 400)))
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        write(app.inbox / "b.jpg", jpeg(seed=2))
        app.wait_for(rejected=2)
    with app.running():
        write(app.inbox / "c.jpg", jpeg(seed=3))
        eventually(lambda: store_state(app), lambda now: now == "refusing")
        assert app.counts()["rejected"] == 0
    with app.running():
        eventually(lambda: store_state(app), lambda now: now == "refusing")
        store.heal()
        app.wait_for(published=3)
    assert set(store.stored.values()) == {1}


def test_a_refused_content_is_rejected_under_that_extension_and_free_under_another(
    fast: App, store: FaultyStore
) -> None:
    picture = jpeg(seed=1)
    store.next(Answer(says(415, 415)))
    write(fast.inbox / "a.jpg", picture)
    fast.wait_for(published=1, rejected=1)
    write(fast.inbox / "b.JPG", picture)
    fast.wait_for(published=1, rejected=2)
    assert store.completed[sha(picture)] == 1
    write(fast.inbox / "c.png", picture)
    fast.wait_for(published=2, rejected=2)
    assert store.stored[sha(picture)] == 1


@pytest.mark.parametrize("refusal", [Answer(page(422)), Early(page(415))])
def test_a_refused_file_that_is_touched_renamed_or_rewritten_as_it_was_is_not_sent_again(
    fast: App, store: FaultyStore, refusal: Fault
) -> None:
    store.decide(refusing("bad", refusal))
    picture = jpeg(seed=1)
    bad = write(fast.inbox / "bad.jpg", picture)
    fast.wait_for(published=1, rejected=1)
    touch(bad)
    until_rehashed(fast, 1)
    write(bad, picture)
    until_rehashed(fast, 2)
    bad = bad.rename(fast.inbox / "bad-too.jpg")
    until_known(fast, bad, "rejected")
    touch(bad)
    until_rehashed(fast, 3)
    assert "the store refused the file (HTTP 4" in story(fast, bad.name)["says"]
    assert store.begun["bad.jpg"] == 1
    assert store.begun["bad-too.jpg"] == 0

    write(bad, jpeg(seed=2))
    eventually(lambda: store.begun["bad-too.jpg"], lambda now: now == 1)
    fast.wait_for(published=1, rejected=1)
    store.heal()
    assert fast.command("retry", str(bad)).returncode == 0
    fast.wait_for(published=2)
    assert store.stored[sha(jpeg(seed=2))] == 1


# --- what refusals teach


def test_after_three_415_an_extension_that_was_never_taken_is_sent_no_more_until_retry(
    app: App, store: FaultyStore
) -> None:
    app.configure(store.url, top=FAST, watch=AT_ONCE)
    store.decide(lambda asked: Answer(says(415, 415)) if str(asked.filename).endswith(".gif") else None)
    with app.running():
        for seed in range(3):
            write(app.inbox / f"{seed}.gif", jpeg(seed=seed))
            app.wait_for(rejected=seed + 1)
        write(app.inbox / "3.gif", jpeg(seed=3))
        write(app.inbox / "a.jpg", jpeg(seed=4))
        app.wait_for(rejected=4, published=1)
    assert "three .gif files were refused (415), none was taken: not sent" in app.log.read_text()
    with app.running():
        write(app.inbox / "4.gif", jpeg(seed=5))
        app.wait_for(rejected=5, published=1)
        assert store.begun["3.gif"] == store.begun["4.gif"] == 0
        assert "three .gif files" in app.command("why", str(app.inbox / "4.gif")).stdout
        store.heal()
        assert app.command("retry", "--rejected").returncode == 0
        app.wait_for(published=6)
    assert set(store.stored.values()) == {1}


def test_an_extension_that_was_taken_once_is_always_sent(fast: App, store: FaultyStore) -> None:
    store.decide(refusing("bad", Answer(says(415, 415))))
    for seed in range(5):
        write(fast.inbox / f"bad-{seed}.jpg", jpeg(seed=seed))
        fast.wait_for(published=1, rejected=seed + 1)
    assert sum(store.begun[f"bad-{seed}.jpg"] for seed in range(5)) == 5


def test_files_as_large_as_one_that_was_too_large_are_not_sent(fast: App, store: FaultyStore) -> None:
    store.next(Early(page(413)))
    write(fast.inbox / "large.jpg", jpeg(90_000, seed=1))
    fast.wait_for(published=1, rejected=1)
    write(fast.inbox / "larger.png", jpeg(90_001, seed=2))
    write(fast.inbox / "smaller.jpg", jpeg(89_999, seed=3))
    fast.wait_for(published=2, rejected=2)
    assert store.begun["larger.png"] == 0
    assert fast.command("retry", str(fast.inbox / "larger.png")).returncode == 0
    fast.wait_for(published=3, rejected=1)


def test_a_changed_address_of_the_store_starts_the_lessons_afresh(app: App, store: FaultyStore) -> None:
    store.always(Early(page(413)))
    app.configure(store.url, top=FAST, watch=AT_ONCE, store="id: mine")
    with app.running():
        write(app.inbox / "a.jpg", jpeg(90_000, seed=1))
        app.wait_for(rejected=1)
    with FaultyStore() as other:
        app.configure(other.url, top=FAST, watch=AT_ONCE, store="id: mine")
        with app.running():
            write(app.inbox / "b.jpg", jpeg(90_000, seed=2))
            app.wait_for(rejected=1, published=1)
        assert set(other.stored.values()) == {1}


# --- tries


def test_a_failed_file_gets_a_try_every_so_often_and_stays_failed_between(app: App, store: FaultyStore) -> None:
    app.configure(store.url, top="retry: {first: 50ms, longest: 100ms, tries: 2, again: 500ms}", watch=AT_ONCE)
    store.always(Answer(says(500, 500)))
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(failed=1)
        store.wait_for(lambda s: len(s.requests) >= 4)
        app.wait_for(failed=1)
        store.heal()
        app.wait_for(published=1)
    assert store.stored == {sha(jpeg(seed=1)): 1}


def test_a_file_that_brings_the_store_down_keeps_no_other_waiting(fast: App, store: FaultyStore) -> None:
    store.decide(refusing("poison", Answer(page(503))))
    write(fast.inbox / "poison.jpg", jpeg(seed=1))
    eventually(lambda: store_state(fast), lambda now: now == "unreachable")
    for seed in range(2, 5):
        write(fast.inbox / f"{seed}.jpg", jpeg(seed=seed))
    eventually(fast.counts, lambda counts: counts["published"] == 4)
    assert story(fast, "poison.jpg")["tries"] == 0
