"""What every ledger must do, whatever it is made of.

A subclass gives the fixture `opened`: a function that opens the one ledger of the test for a store, as the only
process that has it open; what was open before is closed, as if the daemon had ended.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from queue import SimpleQueue
from threading import Event

import pytest

from pixstored.errors import LedgerError
from pixstored.ledger.base import Ledger
from pixstored.model import (
    BASELINE,
    KEPT_BACK,
    Adoption,
    Change,
    Claim,
    Displaced,
    FileState,
    Lane,
    Link,
    Missing,
    Move,
    Receipt,
    Remember,
    Restamp,
    Skip,
    Span,
    Stamp,
    Standing,
)

Opened = Callable[..., Ledger]

NOW = 1_700_000_000.0
DAY = 86_400.0
SMALL = 1024 * 1024

NASTY_NAMES = [
    "new\nline.jpg",
    "two words.JPG",
    "back\\slash.jpg",
    "'quote\".jpg",
    "Überraschung 🎉.jpg",
    os.fsdecode(b"latin-\xe9\xff.jpg"),
    "a" * 251 + ".jpg",
    "%_*?[].jpg",
    "-- ;.jpg",
]


def content(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def stamp(inode: int, *, size: int = 1000, at: float = NOW) -> Stamp:
    moment = int(at * 1e9)
    return Stamp(size, moment, moment, inode, 65025)


def fresh(path: str, seen: Stamp, watch: str | None = "photos", changed_at: float = NOW) -> Remember:
    return Remember(path, seen, Lane.FRESH, watch, changed_at)


def backlog(path: str, seen: Stamp, watch: str | None = "photos", changed_at: float = NOW) -> Remember:
    return Remember(path, seen, Lane.BACKLOG, watch, changed_at)


def take(ledger: Ledger, now: float = NOW, owner: str = "worker") -> Claim:
    claim = ledger.claim(owner, now)
    assert claim, "nothing could be taken from the queue"
    return claim


def receipt_of(sha256: bytes) -> Receipt:
    return Receipt(f"https://media.example/{sha256.hex()[:16]}.jpg", f"{sha256.hex()[:16]}.jpg")


def publish(ledger: Ledger, path: str, sha256: bytes, seen: Stamp, now: float = NOW) -> Receipt:
    """Sees a file and publishes it; it must be the next of the queue."""
    ledger.apply([fresh(path, seen)])
    claim = take(ledger, now)
    assert claim.path == path
    assert ledger.sending(claim, sha256, None, now) is Standing.CLEAR
    ledger.published(claim, receipt_of(sha256), now)
    return receipt_of(sha256)


def claim_at(ledger: Ledger, path: str) -> Claim:
    claim = ledger.claim_path("worker", path)
    assert claim is not None
    return claim


def sent(ledger: Ledger, sha256: bytes) -> Claim:
    """The next file in the queue, up to where its answer is awaited."""
    claim = take(ledger)
    assert ledger.sending(claim, sha256, None, NOW) is Standing.CLEAR
    return claim


def refused(ledger: Ledger, path: str, sha256: bytes, seen: Stamp) -> Claim:
    """Sees a file, the only one in the queue, and has it refused as what the store does not take."""
    ledger.apply([fresh(path, seen)])
    claim = sent(ledger, sha256)
    ledger.refuse(claim, "415: not supported", NOW)
    return claim


def state(ledger: Ledger, path: str) -> FileState | None:
    known = ledger.look(path)
    return known.state if known else None


def links_but_before(ledger: Ledger) -> list[Link]:
    """All links but those of what was sent before, to prepare the ledger."""
    return [link for link in ledger.links(everything=True) if not link.path.startswith("/before/")]


def taken(ledger: Ledger, now: float = NOW, *, small_backlog: int | None = None) -> list[str]:
    """The whole queue, in its order; it is as before afterwards."""
    claims = []
    while claim := ledger.claim("reader", now, small_backlog=small_backlog):
        claims.append(claim)
    for claim in claims:
        ledger.release(claim)
    return [claim.path for claim in claims]


class QueueSuite:
    """The row is the queue."""

    def test_fresh_files_go_first_in_the_order_they_came_then_the_backlog_newest_first(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([backlog("/p/older", stamp(1, at=NOW - DAY)), backlog("/p/newer", stamp(2, at=NOW))])
        ledger.apply([fresh("/p/z-first", stamp(3)), fresh("/p/a-second", stamp(4, at=NOW - 9 * DAY))])
        assert taken(ledger) == ["/p/z-first", "/p/a-second", "/p/newer", "/p/older"]

    def test_a_file_that_is_held_is_not_taken_again(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        take(ledger)
        assert ledger.claim("another", NOW) is None

    def test_a_claim_tells_all_a_worker_needs(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1), changed_at=NOW - 3)])
        claim = take(ledger)
        assert (claim.path, claim.stamp, claim.lane, claim.watch) == ("/p/a", stamp(1), Lane.FRESH, "photos")
        assert (claim.sha256, claim.hash_first, claim.tries, claim.changed_at) == (None, False, 0, NOW - 3)

    def test_a_claim_dies_with_its_process(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        take(ledger)
        assert taken(opened()) == ["/p/a"]

    def test_a_file_asked_for_by_name_is_taken_whatever_its_place_and_time(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/b", stamp(2, size=2)), backlog("/p/c", stamp(3, size=3))])
        ledger.postpone(take(ledger), "connection lost", NOW + DAY, NOW)
        for path in ("/p/c", "/p/a"):
            claim = ledger.claim_path("command", path)
            assert claim and claim.path == path
            assert ledger.claim_path("another", path) is None, "it is held already"
        assert taken(ledger) == ["/p/b"]

    def test_a_file_asked_for_by_name_is_not_taken_if_it_does_not_wait(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/published", content("a"), stamp(1))
        ledger.apply([fresh("/p/parked", stamp(2, size=2)), fresh("/p/sent", stamp(3)), fresh("/p/copy", stamp(4))])
        ledger.park(take(ledger))
        sent, copy = take(ledger), take(ledger)
        ledger.sending(sent, content("b"), None, NOW)
        assert ledger.hashed(copy, content("b")) is Standing.IN_FLIGHT
        for path in ("/p/published", "/p/parked", "/p/sent", "/p/copy", "/p/unknown", "/nowhere/a"):
            assert ledger.claim_path("command", path) is None, path

    def test_a_released_file_is_back_at_its_place(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/b", stamp(2, size=2))])
        ledger.release(take(ledger))
        assert taken(ledger) == ["/p/a", "/p/b"]

    def test_a_hash_that_was_found_out_is_known_when_the_file_is_taken_again(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        assert ledger.hashed(claim, content("a")) is Standing.CLEAR
        ledger.release(claim)
        assert take(opened()).sha256 == content("a")

    def test_a_worker_kept_for_fresh_files_takes_only_small_ones_of_the_backlog(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([backlog("/p/big", stamp(1, size=SMALL + 1)), backlog("/p/small", stamp(2, size=SMALL))])
        ledger.apply([fresh("/p/fresh", stamp(3, size=9 * SMALL))])
        assert taken(ledger, small_backlog=SMALL) == ["/p/fresh", "/p/small"]

    def test_a_postponed_file_waits_until_it_is_due(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/b", stamp(2, size=2))])
        ledger.postpone(take(ledger), "connection lost", NOW + 5, NOW)
        assert taken(ledger) == ["/p/b"]
        assert ledger.next_due(NOW) == NOW + 5
        assert taken(ledger, NOW + 5) == ["/p/a", "/p/b"]
        assert ledger.next_due(NOW + 5) is None
        assert take(ledger, NOW + 5).tries == 1

    def test_a_file_remembered_unchanged_keeps_its_tries_its_hash_and_its_place(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/b", stamp(2, size=2))])
        claim = take(ledger)
        ledger.hashed(claim, content("a"))
        ledger.postpone(claim, "connection lost", NOW, NOW)
        ledger.apply([fresh("/p/a", stamp(1))])
        again = take(ledger)
        assert (again.path, again.tries, again.sha256) == ("/p/a", 1, content("a"))

    def test_a_file_remembered_changed_begins_anew(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/b", stamp(2, size=2))])
        claim = take(ledger)
        ledger.hashed(claim, content("a"))
        ledger.postpone(claim, "connection lost", NOW + DAY, NOW)
        ledger.apply([fresh("/p/a", stamp(1, size=3))])
        assert taken(ledger) == ["/p/b", "/p/a"]
        ledger.release(take(ledger))
        claim = next(claim for claim in (take(ledger), take(ledger)) if claim.path == "/p/a")
        assert (claim.tries, claim.sha256, claim.stamp.size) == (0, None, 3)

    def test_a_parked_file_is_out_of_the_queue_until_it_is_remembered(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.hashed(claim, content("a"))
        ledger.park(claim)
        known = ledger.look("/p/a")
        assert known and known.parked and known.state is FileState.PENDING
        assert taken(ledger) == []
        assert ledger.census().files[FileState.SETTLING] == 1
        assert ledger.census().files[FileState.PENDING] == 0
        ledger.apply([fresh("/p/a", stamp(1))])
        assert take(ledger).sha256 is None, "somebody was writing to it: its hash must be found out again"

    def test_only_a_size_nobody_knows_is_sent_without_hashing_first(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1, size=500))
        ledger.apply([fresh(f"/p/{n}", stamp(10 + n, size=size)) for n, size in enumerate([500, 600, 600])])
        assert [take(ledger).hash_first for _ in range(3)] == [True, False, True]

    def test_a_file_that_gave_up_gets_one_more_try(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        ledger.give_up(take(ledger), "cannot be read", NOW)
        assert state(ledger, "/p/a") is FileState.FAILED
        assert taken(ledger) == []
        assert ledger.retry_failed(NOW) == 1
        claim = take(ledger)
        assert claim.tries == 1
        ledger.give_up(claim, "cannot be read", NOW)
        assert (ledger.retry_failed(NOW), ledger.retry_failed(NOW)) == (1, 0)

    def test_a_claim_that_has_ended_ends_nothing_twice(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.release(claim)
        ledger.give_up(claim, "too late", NOW)
        ledger.vanished(claim, NOW)
        assert state(ledger, "/p/a") is FileState.PENDING

    def test_what_the_store_has_is_recorded_though_the_claim_has_ended(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.hashed(claim, content("a"))
        ledger.release(claim)
        claim = take(ledger)
        ledger.release(claim)
        ledger.published(claim, receipt_of(content("a")), NOW)
        assert state(ledger, "/p/a") is FileState.PUBLISHED
        assert taken(ledger) == []

    def test_a_dead_owners_claim_goes_back_into_the_queue(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        ledger.abandon(take(ledger), "its thread died", NOW)
        assert taken(ledger) == ["/p/a"]

    def test_what_a_dead_owner_had_noted_as_sent_is_held(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        ledger.abandon(claim, "its thread died", NOW)
        known = ledger.look("/p/a")
        assert known and (known.state, known.reason) == (FileState.UNCERTAIN, "its thread died")

    def test_nobody_waits_for_the_content_of_a_claim_that_is_set_aside(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2)), fresh("/p/later", stamp(3))])
        stuck, copy, later = take(ledger), take(ledger), take(ledger)
        assert ledger.hashed(stuck, content("a")) is Standing.CLEAR
        ledger.set_aside(stuck)
        assert ledger.hashed(copy, content("a")) is Standing.CLEAR
        ledger.set_aside(copy)
        assert ledger.hashed(later, content("b")) is Standing.CLEAR
        assert taken(ledger) == []
        assert ledger.sending(stuck, content("a"), None, NOW) is Standing.CLEAR
        assert ledger.sending(copy, content("a"), None, NOW) is Standing.IN_FLIGHT
        ledger.abandon(stuck, "it was stuck", NOW)
        assert state(ledger, "/p/a") is FileState.UNCERTAIN

    def test_what_a_claim_that_is_set_aside_has_noted_stays_its_own(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2))])
        stuck, copy = take(ledger), take(ledger)
        ledger.sending(stuck, content("a"), None, NOW)
        ledger.set_aside(stuck)
        assert ledger.hashed(copy, content("a")) is Standing.IN_FLIGHT
        ledger.abandon(stuck, "it was stuck", NOW)
        assert state(ledger, "/p/copy") is FileState.UNCERTAIN


class RecheckSuite:
    """A file that had a link is hashed whether or not anything may be sent: it may be the same as before."""

    def test_only_what_had_a_link_and_waits_unhashed_is_checked_again(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1))
        publish(ledger, "/p/b", content("b"), stamp(2, size=2))
        known = ledger.look("/p/b")
        assert known
        assert ledger.claim_to_recheck("worker") is None
        ledger.apply([fresh("/p/new", stamp(3)), fresh("/p/a", stamp(1, at=NOW + 1))])
        ledger.apply([Move(known.file_id, "/q/b", known.stamp, "photos"), fresh("/q/b", stamp(2, size=2, at=NOW + 1))])
        ledger = opened()
        claims = [ledger.claim_to_recheck("worker") for _ in range(3)]
        assert [claim and claim.path for claim in claims] == ["/p/a", "/q/b", None]
        assert taken(ledger) == ["/p/new"]

    def test_what_is_the_same_has_its_link_again_and_what_is_new_waits_with_its_hash(self, opened: Opened) -> None:
        ledger = opened()
        for number, name in enumerate("abc"):
            publish(ledger, f"/p/{name}", content(name), stamp(number, size=500 + number))
        ledger.apply([fresh(f"/p/{name}", stamp(number, size=500)) for number, name in enumerate("abc")])
        found = {"/p/a": content("a"), "/p/b": content("a"), "/p/c": content("new")}
        claims = [claim for _ in found if (claim := ledger.claim_to_recheck("worker"))]
        told = [ledger.rechecked(claim, found[claim.path]) for claim in claims]
        assert told == [Standing.PUBLISHED, Standing.PUBLISHED, Standing.CLEAR]
        assert {(link.path, link.sha256) for link in ledger.links()} == {
            (path, content("a").hex()) for path in ("/p/a", "/p/b")
        }
        assert ledger.claim_to_recheck("worker") is None, "it is known by now"
        assert take(ledger).sha256 == content("new")

    def test_a_file_that_changes_again_is_checked_again(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1))
        for at in (NOW + 1, NOW + 2):
            ledger.apply([fresh("/p/a", stamp(1, at=at))])
            claim = ledger.claim_to_recheck("worker")
            assert claim
            ledger.park(claim)
            assert ledger.claim_to_recheck("worker") is None
        ledger.apply([fresh("/p/a", stamp(1, at=NOW + 3))])
        claim = ledger.claim_to_recheck("worker")
        assert claim
        ledger.postpone(claim, "it cannot be read", NOW + 5, NOW)
        assert ledger.claim_to_recheck("worker") is None, "that is for the uploaders, when it is due"

    def test_what_is_checked_again_keeps_nobody_waiting_for_good(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1))
        ledger.apply([fresh("/p/a", stamp(1, at=NOW + 1)), fresh("/p/copy", stamp(2))])
        claim = ledger.claim_to_recheck("worker")
        assert claim
        assert ledger.hashed(take(ledger), content("x")) is Standing.IN_FLIGHT, "it may be the same"
        assert ledger.rechecked(claim, content("x")) is Standing.CLEAR
        assert ledger.claim_path("command", "/p/copy")


class RidingSuite:
    """An answer is recorded together with what comes next, and whoever told of it need not wait."""

    def test_an_answer_is_recorded_before_what_is_recorded_next(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1, size=1)), fresh("/p/b", stamp(2, size=2))])
        recorded: list[LedgerError | None] = []
        first, second = take(ledger), take(ledger)
        ledger.sending(first, content("a"), None, NOW)
        ledger.answered(first, receipt_of(content("a")), NOW, recorded.append)
        assert ledger.sending(second, content("b"), None, NOW) is Standing.CLEAR
        assert [link.path for link in ledger.links()] == ["/p/a"]
        ledger = opened()
        assert recorded == [None]
        assert ledger.recover(NOW) == 1, "only the second one is in doubt"

    @pytest.mark.parametrize("hurried", [True, False])
    def test_an_answer_is_recorded_soon_though_nothing_else_is(self, opened: Opened, hurried: bool) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2))])
        claim, copy = take(ledger), take(ledger)
        assert ledger.hashed(copy, content("a")) is Standing.IN_FLIGHT
        ledger.sending(claim, content("a"), None, NOW)
        recorded: SimpleQueue[LedgerError | None] = SimpleQueue()
        ledger.answered(claim, receipt_of(content("a")), NOW, recorded.put)
        if hurried:
            ledger.flush()
        assert recorded.get(timeout=30) is None
        assert {link.path for link in ledger.links()} == {"/p/a", "/p/copy"}

    def test_what_was_answered_is_recorded_when_the_ledger_is_closed(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        ledger.answered(claim, receipt_of(content("a")), NOW, lambda error: None)
        assert [link.path for link in opened().links()] == ["/p/a"]

    def test_a_claim_lasts_until_its_answer_is_recorded(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        recorded = Event()
        ledger.answered(claim, receipt_of(content("a")), NOW, lambda error: recorded.set())
        while not recorded.is_set():
            assert ledger.claim("another", NOW) is None
        assert state(ledger, "/p/a") is FileState.PUBLISHED


class AheadSuite:
    """Rows may be read ahead of who takes them, but the queue is as it is when somebody takes from it."""

    MANY = 40

    def test_a_fresh_file_goes_before_all_that_waited_when_others_were_taken(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([backlog(f"/p/{n:02}", stamp(n, at=NOW - n)) for n in range(self.MANY)])
        assert [take(ledger).path for _ in range(5)] == [f"/p/{n:02}" for n in range(5)]
        ledger.apply([fresh("/p/now", stamp(99))])
        assert take(ledger).path == "/p/now"
        assert take(ledger).path == "/p/05"

    def test_a_postponed_file_comes_in_its_place_as_soon_as_it_is_due(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh(f"/p/{n:02}", stamp(n)) for n in range(self.MANY)])
        ledger.postpone(take(ledger), "503", NOW + 10, NOW)
        assert [take(ledger, NOW + 5).path for _ in range(6)] == [f"/p/{n:02}" for n in range(1, 7)]
        assert take(ledger, NOW + 10).path == "/p/00"
        assert take(ledger, NOW + 10).path == "/p/07"

    def test_a_clock_that_is_set_back_lets_a_file_wait_that_is_not_due_any_more(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh(f"/p/{n:02}", stamp(n)) for n in range(4)])
        ledger.postpone(take(ledger), "503", NOW + 10, NOW)
        ledger.release(take(ledger, NOW + 20))
        assert take(ledger, NOW).path == "/p/01"

    def test_all_are_taken_once_in_their_order_however_many(self, opened: Opened) -> None:
        ledger = opened()
        paths = [f"/p/{n:03}" for n in range(self.MANY * 5)]
        ledger.apply([fresh(path, stamp(n, size=n + 1)) for n, path in enumerate(paths)])
        got = []
        for n in range(len(paths)):
            claim = take(ledger)
            got.append(claim.path)
            if n % 3:
                ledger.sending(claim, content(claim.path), None, NOW)
                ledger.answered(claim, receipt_of(content(claim.path)), NOW, lambda error: None)
        assert got == paths
        assert ledger.claim("worker", NOW) is None

    def test_a_named_file_is_not_taken_again_in_its_turn(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh(f"/p/{n}", stamp(n, size=n + 1)) for n in range(6)])
        assert take(ledger).path == "/p/0"
        named = ledger.claim_path("worker", "/p/2")
        assert named
        ledger.sending(named, content("2"), None, NOW)
        ledger.published(named, receipt_of(content("2")), NOW)
        assert taken(ledger) == ["/p/1", "/p/3", "/p/4", "/p/5"]

    def test_who_takes_only_small_ones_of_the_backlog_finds_them_behind_large_ones(self, opened: Opened) -> None:
        ledger = opened()
        large = [backlog(f"/p/large-{n:02}", stamp(n, size=SMALL + 1, at=NOW - n)) for n in range(self.MANY)]
        ledger.apply([*large, backlog("/p/small", stamp(99, size=SMALL, at=NOW - 999))])
        assert take(ledger).path == "/p/large-00"
        small = ledger.claim("kept for fresh ones", NOW, small_backlog=SMALL)
        assert small and small.path == "/p/small"
        ledger.sending(small, content("small"), None, NOW)
        ledger.published(small, receipt_of(content("small")), NOW)
        assert ledger.claim("kept for fresh ones", NOW, small_backlog=SMALL) is None
        assert taken(ledger) == [f"/p/large-{n:02}" for n in range(1, self.MANY)]

    def test_a_size_that_was_sent_since_is_hashed_first(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh(f"/p/{n}", stamp(n, size=5 + n % 2)) for n in range(4)])
        first, second = take(ledger), take(ledger)
        assert not first.hash_first and not second.hash_first
        for claim in (first, second):
            ledger.sending(claim, content(claim.path), None, NOW)
            ledger.published(claim, receipt_of(content(claim.path)), NOW)
        assert take(ledger).hash_first
        assert take(ledger).hash_first


class OnceSuite:
    """Nothing is uploaded twice."""

    @pytest.mark.parametrize("hash_first", [True, False])
    def test_a_published_content_is_never_clear_again(self, opened: Opened, hash_first: bool) -> None:
        ledger = opened()
        receipt = publish(ledger, "/p/a", content("a"), stamp(1))
        ledger = opened()
        ledger.recover(NOW)
        ledger.apply([fresh("/q/copy", stamp(2))])
        claim = take(ledger)
        standing = ledger.hashed(claim, content("a")) if hash_first else ledger.sending(claim, content("a"), None, NOW)
        assert standing is Standing.PUBLISHED
        story = ledger.story("/q/copy")
        assert story and story.known.state is FileState.PUBLISHED
        assert (story.link, story.id) == (receipt.link, receipt.id)

    def test_a_content_on_its_way_is_not_sent_by_another(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2))])
        first, second = take(ledger), take(ledger)
        assert ledger.sending(first, content("a"), None, NOW) is Standing.CLEAR
        assert ledger.sending(second, content("a"), None, NOW) is Standing.IN_FLIGHT
        assert state(ledger, "/p/copy") is FileState.PENDING
        assert taken(ledger) == []

    def test_a_hash_somebody_has_announced_is_on_its_way(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2))])
        first, second = take(ledger), take(ledger)
        assert ledger.hashed(first, content("a")) is Standing.CLEAR
        assert ledger.hashed(second, content("a")) is Standing.IN_FLIGHT
        assert taken(ledger) == []
        ledger.postpone(first, "connection lost", NOW + 5, NOW)
        assert taken(ledger) == ["/p/copy"]

    def test_what_somebody_has_announced_is_not_sent_by_another_that_streams(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2))])
        first, second = take(ledger), take(ledger)
        assert ledger.hashed(first, content("a")) is Standing.CLEAR
        assert ledger.sending(second, content("a"), None, NOW) is Standing.IN_FLIGHT
        assert ledger.sending(first, content("a"), None, NOW) is Standing.CLEAR

    def test_a_file_that_streams_is_waited_for_by_those_of_its_size_that_came_later(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/streams", stamp(1)), fresh("/p/later", stamp(2))])
        streams, later = take(ledger), take(ledger)
        assert ledger.hashed(later, content("later")) is Standing.IN_FLIGHT
        assert taken(ledger) == []
        assert ledger.sending(streams, content("streams"), None, NOW) is Standing.CLEAR
        assert taken(ledger) == ["/p/later"], "it is another content after all: it need not wait any longer"

    def test_who_came_first_does_not_wait_for_who_came_later(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/first", stamp(1)), fresh("/p/later", stamp(2))])
        first, later = take(ledger), take(ledger)
        assert ledger.hashed(first, content("first")) is Standing.CLEAR
        assert ledger.hashed(later, content("later")) is Standing.CLEAR

    def test_one_link_goes_to_all_that_wait_with_its_content(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh(f"/p/{n}", stamp(n)) for n in range(3)])
        first, second, third = take(ledger), take(ledger), take(ledger)
        assert ledger.sending(first, content("a"), "of the first", NOW) is Standing.CLEAR
        for other in (second, third):
            assert ledger.hashed(other, content("a")) is Standing.IN_FLIGHT
        ledger.published(first, receipt_of(content("a")), NOW)
        links = list(ledger.links())
        assert {link.path for link in links} == {"/p/0", "/p/1", "/p/2"}
        assert {(link.link, link.comment) for link in links} == {(receipt_of(content("a")).link, "of the first")}
        assert ledger.census().contents_published == 1

    def test_where_such_files_were_sent_before_a_link_goes_to_all_that_wait_and_a_try_is_told_all_the_same(
        self, opened: Opened
    ) -> None:
        ledger = opened()
        publish(ledger, "/p/before", content("before"), stamp(9, size=SMALL))
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2))])
        ledger.postpone(take(ledger), "503", NOW, NOW)
        first, copy = take(ledger), take(ledger)
        assert ledger.sending(first, content("a"), None, NOW) is Standing.CLEAR
        assert ledger.hashed(copy, content("a")) is Standing.IN_FLIGHT
        ledger.published(first, receipt_of(content("a")), NOW)
        assert (state(ledger, "/p/a"), state(ledger, "/p/copy")) == (FileState.PUBLISHED, FileState.PUBLISHED)
        story = ledger.story(first.path)
        assert story and [attempt.outcome for attempt in story.attempts] == ["postponed", "published"]

    def test_what_may_be_stored_is_held_with_all_files_of_it(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2))])
        first, second = take(ledger), take(ledger)
        ledger.sending(first, content("a"), None, NOW)
        ledger.hashed(second, content("a"))
        ledger.hold(first, "no answer", NOW)
        assert (state(ledger, "/p/a"), state(ledger, "/p/copy")) == (FileState.UNCERTAIN, FileState.UNCERTAIN)
        ledger.apply([fresh("/p/third", stamp(3))])
        assert ledger.hashed(take(ledger), content("a")) is Standing.UNCERTAIN
        assert state(ledger, "/p/third") is FileState.UNCERTAIN
        assert ledger.census().contents_uncertain == 1
        assert list(ledger.links(everything=True)) == []

    def test_an_answer_after_all_settles_all_files_that_were_held(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2))])
        first = take(ledger)
        ledger.hashed(first, content("a"))
        ledger.release(first)
        first = take(ledger)
        ledger.sending(first, content("a"), None, NOW)
        ledger.hashed(take(ledger), content("a"))
        ledger.hold(first, "no answer", NOW)
        assert ledger.census().files[FileState.UNCERTAIN] == 2
        known = ledger.look("/p/a")
        assert known
        ledger.apply([Move(known.file_id, "/p/moved", stamp(1), "photos")])
        ledger.published(first, receipt_of(content("a")), NOW)
        assert {link.path for link in ledger.links()} == {"/p/moved", "/p/copy"}
        assert ledger.census().files[FileState.UNCERTAIN] == 0

    def test_a_file_whose_hash_was_never_noted_can_be_held_too(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        ledger.hold(take(ledger), "the store answered too early", NOW)
        assert state(ledger, "/p/a") is FileState.UNCERTAIN

    def test_what_was_refused_is_refused_for_the_same_extension_only(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.TIF", stamp(1)), fresh("/p/copy.tif", stamp(2)), fresh("/p/copy.jpg", stamp(3))])
        first, same, other = take(ledger), take(ledger), take(ledger)
        ledger.sending(first, content("a"), None, NOW)
        assert ledger.hashed(same, content("a")) is Standing.IN_FLIGHT
        assert ledger.hashed(other, content("a")) is Standing.IN_FLIGHT
        ledger.refuse(first, "415: not supported", NOW)
        assert state(ledger, "/p/copy.tif") is FileState.REJECTED
        claim = take(ledger)
        assert claim.path == "/p/copy.jpg"
        assert ledger.hashed(claim, content("a")) is Standing.CLEAR

    def test_a_copy_of_what_was_refused_is_refused_unsent(self, opened: Opened) -> None:
        ledger = opened()
        refused(ledger, "/p/a.tif", content("a"), stamp(1))
        ledger.apply([fresh("/p/copy.TIF", stamp(2))])
        assert ledger.hashed(take(ledger), content("a")) is Standing.REJECTED
        known = ledger.look("/p/copy.TIF")
        assert known and (known.state, known.reason) == (FileState.REJECTED, "415: not supported")

    def test_a_refused_file_that_is_asked_for_again_is_not_refused_by_itself(self, opened: Opened) -> None:
        ledger = opened()
        refused(ledger, "/p/a.tif", content("a"), stamp(1))
        ledger.apply([replace(fresh("/p/a.tif", stamp(1)), named=True)])
        assert ledger.hashed(take(ledger), content("a")) is Standing.CLEAR

    @pytest.mark.parametrize("again", ["touched", "renamed and touched", "back from another content", "copied"])
    def test_what_was_refused_is_not_sent_again_by_itself(self, opened: Opened, again: str) -> None:
        ledger = opened()
        claim = refused(ledger, "/p/a.tif", content("a"), stamp(1))
        path = "/p/a.tif"
        match again:
            case "renamed and touched":
                path = "/p/b.TIF"
                ledger.apply([Move(claim.file_id, path, stamp(1), "photos")])
            case "back from another content":
                ledger.apply([fresh(path, stamp(2))])
                ledger.refuse(sent(ledger, content("b")), "422", NOW)
            case "copied":
                ledger.apply([fresh(path, stamp(2))])
                publish(ledger, path, content("b"), stamp(2))
                path = "/p/copy.tif"
        for inode in (3, 4):
            ledger = opened()
            ledger.apply([fresh(path, stamp(inode))])
            claim = take(ledger)
            assert claim.hash_first, "a request would have begun"
            assert ledger.hashed(claim, content("a")) is Standing.REJECTED
            known = ledger.look(path)
            assert known and (known.state, known.reason) == (FileState.REJECTED, "415: not supported")

    def test_what_was_refused_while_its_file_changed_is_not_sent_again_either(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.tif", stamp(1))])
        claim = sent(ledger, content("a"))
        ledger.apply([fresh("/p/a.tif", stamp(1, at=NOW + 1))])
        ledger.refuse(claim, "415: not supported", NOW)
        assert ledger.sending(take(ledger), content("a"), None, NOW) is Standing.REJECTED

    def test_what_was_refused_is_tried_under_each_other_extension_once(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.tif", stamp(1))])
        for path, standing in (
            ("/p/a.tif", Standing.CLEAR),
            ("/p/a.jpg", Standing.CLEAR),
            ("/p/a.tif", Standing.REJECTED),
            ("/p/a.jpg", Standing.REJECTED),
        ):
            known = ledger.look("/p/a.tif") or ledger.look("/p/a.jpg")
            assert known
            ledger.apply([Move(known.file_id, path, stamp(1), "photos"), fresh(path, stamp(1))])
            claim = take(ledger)
            assert ledger.sending(claim, content("a"), None, NOW) is standing
            if standing is Standing.CLEAR:
                ledger.refuse(claim, "415: not supported", NOW)

    @pytest.mark.parametrize("by", ["retry", "retry all", "publish", "forget", "adopt"])
    def test_what_was_refused_is_sent_again_once_somebody_says_so(self, opened: Opened, by: str) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.tif", stamp(1)), fresh("/p/b.tif", stamp(2))])
        for name in ("a", "b"):
            ledger.refuse(sent(ledger, content(name)), "415", NOW)
        match by:
            case "retry":
                ledger.retry("/p/a.tif", [FileState.REJECTED])
            case "retry all":
                ledger.retry_all(FileState.REJECTED, 0, 100)
            case "publish":
                ledger.apply([replace(fresh("/p/a.tif", stamp(3)), named=True)])
            case "forget":
                ledger.forget("/p/a.tif")
            case _:
                ledger.record_link("/p/a.tif", stamp(1), None, content("a"), receipt_of(content("a")), NOW)
        ledger.apply([fresh("/p/a.tif", stamp(4))])
        standing = ledger.hashed(claim_at(ledger, "/p/a.tif"), content("a"))
        assert standing is (Standing.PUBLISHED if by == "adopt" else Standing.CLEAR)
        ledger.apply([fresh("/p/b.tif", stamp(5))])
        standing = ledger.hashed(claim_at(ledger, "/p/b.tif"), content("b"))
        assert standing is (Standing.CLEAR if by == "retry all" else Standing.REJECTED)

    def test_a_note_that_was_taken_back_leaves_nothing(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        assert ledger.sending(claim, content("a"), None, NOW) is Standing.CLEAR
        ledger.take_back(claim)
        assert ledger.claim("another", NOW) is None, "the claim goes on"
        assert ledger.sending(claim, content("a"), None, NOW) is Standing.CLEAR
        ledger.take_back(claim)
        ledger = opened()
        assert ledger.recover(NOW) == 0
        assert ledger.hashed(take(ledger), content("a")) is Standing.CLEAR

    def test_a_claim_has_one_content_noted_at_a_time(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        with pytest.raises(LedgerError):
            ledger.sending(claim, content("b"), None, NOW)
        ledger.take_back(claim)
        assert ledger.sending(claim, content("b"), None, NOW) is Standing.CLEAR
        assert opened().recover(NOW) == 1

    def test_a_note_made_again_after_it_was_taken_back_survives_a_crash(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        ledger.take_back(claim)
        assert ledger.sending(claim, content("a"), None, NOW) is Standing.CLEAR
        ledger = opened()
        assert ledger.recover(NOW) == 1
        assert state(ledger, "/p/a") is FileState.UNCERTAIN

    @pytest.mark.parametrize("ending", ["release", "postpone", "give_up", "refuse"])
    def test_what_the_store_does_not_have_may_be_sent_by_another(self, opened: Opened, ending: str) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.jpg", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        match ending:
            case "release":
                ledger.release(claim)
            case "postpone":
                ledger.postpone(claim, "503", NOW + DAY, NOW)
            case "give_up":
                ledger.give_up(claim, "503", NOW)
            case _:
                ledger.refuse(claim, "400", NOW)
        ledger.apply([Missing("/p/a.jpg"), fresh("/p/b.png", stamp(2))])
        other = take(ledger)
        assert other.path == "/p/b.png"
        assert ledger.sending(other, content("a"), None, NOW) is Standing.CLEAR

    def test_what_was_noted_and_never_answered_is_uncertain_even_if_the_file_changed(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2))])
        claim, copy = take(ledger), take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        ledger.park(claim)
        assert ledger.hashed(copy, content("a")) is Standing.UNCERTAIN

    def test_a_note_that_nobody_follows_is_durable_though_others_were_to_follow(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        assert ledger.sending(claim, content("a"), None, NOW, others_follow=True) is Standing.CLEAR
        assert opened().recover(NOW) == 1

    def test_after_a_crash_what_was_noted_as_sent_is_uncertain(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/done", content("done"), stamp(9))
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/copy", stamp(2)), fresh("/p/b", stamp(3, size=3))])
        sent, copy, hashed = take(ledger), take(ledger), take(ledger)
        ledger.sending(sent, content("a"), None, NOW)
        ledger.hashed(copy, content("a"))
        ledger.hashed(hashed, content("b"))
        ledger = opened()
        assert taken(ledger) == ["/p/b"], "what was noted as sent is kept back even before it is recovered"
        ledger = opened()
        assert ledger.recover(NOW) == 1
        assert ledger.recover(NOW) == 0
        assert state(ledger, "/p/a") is FileState.UNCERTAIN
        assert state(ledger, "/p/copy") is FileState.UNCERTAIN
        assert state(ledger, "/p/done") is FileState.PUBLISHED
        assert taken(ledger) == ["/p/b"]

    def test_after_a_crash_a_file_that_had_changed_since_its_note_waits_on(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/b", stamp(2)), fresh("/p/c", stamp(3))])
        early, late, same = take(ledger), take(ledger), take(ledger)
        ledger.apply([fresh("/p/a", stamp(1, at=NOW + 1))])
        ledger.sending(early, content("a"), None, NOW)
        ledger.sending(late, content("b"), None, NOW)
        ledger.sending(same, content("c"), None, NOW)
        ledger.apply([Restamp("/p/b", stamp(2, at=NOW + 1))])
        ledger = opened()
        assert ledger.recover(NOW) == 3
        assert taken(ledger) == ["/p/b", "/p/a"]
        assert ledger.hashed(take(ledger), content("b")) is Standing.UNCERTAIN
        assert state(ledger, "/p/c") is FileState.UNCERTAIN

    def test_what_is_on_its_way_is_told_with_its_hash(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        ledger.sending(take(ledger), content("a"), "a comment", NOW + 1)
        story = ledger.story("/p/a")
        assert story
        assert (story.known.state, story.known.sha256) == (FileState.PENDING, content("a"))
        assert (story.comment, story.sent_at, story.link) == ("a comment", NOW + 1, None)

    def test_published_is_said_for_each_store(self, opened: Opened) -> None:
        publish(opened(store="one"), "/p/a", content("a"), stamp(1))
        other = opened(store="two")
        assert other.look("/p/a") is None
        assert other.census().files[FileState.PUBLISHED] == 0
        publish(other, "/p/a", content("a"), stamp(1), NOW + 1)
        assert [link.store for link in other.links()] == ["two"]
        assert [link.store for link in other.links(all_stores=True)] == ["two", "one"]
        assert opened(store="one").census().contents_published == 1


class ChangingSuite:
    """What the intake sees while a worker holds the file stands."""

    @pytest.fixture(params=["the first to be sent", "one of many"])
    def ledger(self, opened: Opened, request: pytest.FixtureRequest) -> Ledger:
        """For one of many, less has to be written: the store is known to take such files."""
        ledger = opened()
        if request.param == "one of many":
            publish(ledger, "/before/z", content("before"), stamp(99, size=SMALL))
        return ledger

    def test_a_file_that_changed_while_it_was_sent_waits_anew_and_its_link_stays_on_record(
        self, ledger: Ledger
    ) -> None:
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("old"), None, NOW)
        ledger.apply([fresh("/p/a", stamp(1, size=7))])
        ledger.published(claim, receipt_of(content("old")), NOW)
        assert state(ledger, "/p/a") is FileState.PENDING
        assert [(link.sha256, link.state) for link in links_but_before(ledger)] == [
            (content("old").hex(), "superseded")
        ]
        again = take(ledger)
        assert (again.stamp.size, again.sha256) == (7, None)
        assert ledger.sending(again, content("new"), None, NOW) is Standing.CLEAR

    @pytest.mark.parametrize("ending", ["postpone", "give_up", "refuse", "park", "vanished", "hold"])
    def test_a_file_that_changed_meanwhile_keeps_what_the_intake_gave_it(self, ledger: Ledger, ending: str) -> None:
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("old"), None, NOW)
        ledger.apply([fresh("/p/a", stamp(1, size=7))])
        end(ledger, claim, ending)
        known = ledger.look("/p/a")
        assert known and (known.state, known.parked, known.sha256) == (FileState.PENDING, False, None)
        assert take(ledger).tries == 0

    def test_a_file_remembered_unchanged_while_it_was_sent_is_published(self, ledger: Ledger) -> None:
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        ledger.apply([fresh("/p/a", stamp(1))])
        ledger.published(claim, receipt_of(content("a")), NOW)
        assert state(ledger, "/p/a") is FileState.PUBLISHED

    def test_a_file_that_moved_while_it_was_sent_finds_its_link(self, ledger: Ledger) -> None:
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        ledger.apply([Move(claim.file_id, "/q/b", stamp(1), "photos")])
        ledger.published(claim, receipt_of(content("a")), NOW)
        assert [(link.path, link.state) for link in links_but_before(ledger)] == [("/q/b", "published")]

    def test_a_file_that_vanished_after_it_was_sent_is_published_and_missing(self, ledger: Ledger) -> None:
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        ledger.apply([Missing("/p/a")])
        assert state(ledger, "/p/a") is FileState.GONE
        ledger.published(claim, receipt_of(content("a")), NOW)
        known = ledger.look("/p/a")
        assert known and (known.state, known.missing) == (FileState.PUBLISHED, True)

    @pytest.mark.parametrize("ending", ["postpone", "give_up", "refuse", "park", "vanished"])
    def test_a_rule_that_said_no_meanwhile_is_not_overruled(self, ledger: Ledger, ending: str) -> None:
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.apply([Skip("/p/a", stamp(1), "photos", "too large")])
        end(ledger, claim, ending)
        known = ledger.look("/p/a")
        assert known and (known.state, known.reason) == (FileState.SKIPPED, "too large")

    def test_a_claim_whose_row_was_replaced_still_records_its_link(self, ledger: Ledger) -> None:
        ledger.apply([Skip("/p/other", stamp(2), "photos", BASELINE), fresh("/p/a", stamp(1))])
        other, published = ledger.look("/p/other"), ledger.census().contents_published
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        assert other
        ledger.apply([Move(other.file_id, "/p/a", stamp(2), "photos")])
        assert ledger.state_of(claim) is None
        ledger.published(claim, receipt_of(content("a")), NOW)
        assert [(link.path, link.state) for link in links_but_before(ledger)] == [("/p/a", "superseded")]
        assert ledger.census().contents_published == published + 1


class IntakeSuite:
    """What the intake tells is known, all of it or nothing."""

    @pytest.mark.parametrize("name", NASTY_NAMES)
    def test_any_name_comes_back_as_it_was(self, opened: Opened, name: str) -> None:
        ledger = opened()
        path = f"/fol\nder {os.fsdecode(bytes([255]))}/{name}"
        ledger.apply([fresh(path, stamp(1), watch=f"watch {name}")])
        known = ledger.look(path)
        assert known and known.path == path
        assert dict(ledger.known_in(os.path.dirname(path))) == {name: known}
        assert dict(ledger.look_all([path, f"{path}.other"])) == {path: known}
        claim = take(ledger)
        assert (claim.path, claim.watch) == (path, f"watch {name}")
        ledger.sending(claim, content("a"), f"{name} as a comment", NOW)
        ledger.published(claim, receipt_of(content("a")), NOW)
        assert [link.path for link in ledger.links(watch=f"watch {name}")] == [path]

    @pytest.mark.parametrize(
        "seen",
        [
            Stamp(0, 0, 0, 0, 0),
            Stamp(2**63 - 1, -(10**18), -1, 2**64 - 1, 2**64 - 2),
            Stamp(1, 13_569_465_600 * 10**9, 2**80, 2**63, 2**63 - 1),
        ],
        ids=["zeros", "before 1970, inodes of 64 bits", "the year 2400"],
    )
    def test_any_stamp_comes_back_as_it_was(self, opened: Opened, seen: Stamp) -> None:
        ledger = opened()
        ledger.apply([backlog("/p/a", seen)])
        assert take(ledger).stamp == seen
        assert [known.stamp for known in ledger.renamed_from(seen)] == [seen]
        assert ledger.inodes_known([seen.inode, 77]) == {seen.inode}

    def test_what_is_known_of_many_paths_is_told_at_once(self, opened: Opened) -> None:
        ledger = opened()
        names = [os.path.join(folder, name) for folder in ("/", "/p", "/p/q", "/r") for name in NASTY_NAMES]
        ledger.apply([fresh(path, stamp(number)) for number, path in enumerate(names)])
        told = ledger.look_all([*names, "/p/unknown", "/unknown/a", *(f"/s/{name}" for name in NASTY_NAMES)])
        assert dict(told) == {path: ledger.look(path) for path in names}
        assert not ledger.look_all([])
        assert not opened(store="another").look_all(names)

    def test_a_batch_is_recorded_in_order(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply(
            [fresh("/p/a", stamp(1)), Missing("/p/a"), fresh("/p/a", stamp(2)), Skip("/p/b", stamp(3), "w", "x")]
        )
        assert (state(ledger, "/p/a"), state(ledger, "/p/b")) == (FileState.PENDING, FileState.SKIPPED)

    @pytest.mark.parametrize("known", [[], [0], [7, 8, 19], range(20)], ids=str)
    def test_a_large_batch_is_recorded_as_its_changes_are_one_by_one(
        self, opened: Opened, known: Collection[int]
    ) -> None:
        """Whatever of it is known already: as it is, as something else, or twice in the batch."""
        paths = [f"/{number % 3}/{number}" for number in range(20)]
        changes: list[Change] = []
        for number, path in enumerate(paths):
            seen = stamp(number, at=NOW - number)
            new: list[Change] = [fresh(path, seen), Skip(path, seen, "w", BASELINE), backlog(path, seen, "another")]
            changes += [new[number % 3]] if number % 5 else [new[0], Skip(path, stamp(99), "w", "x"), fresh(path, seen)]

        def recorded(store: str, batches: Sequence[Sequence[Change]]) -> object:
            ledger = opened(store=store)
            ledger.apply([backlog(paths[number], stamp(number + 50 * (number % 2))) for number in known])
            for batch in batches:
                ledger.apply(batch)
            files = [replace(file, file_id=0) for file in ledger.look_all(paths).values()]
            assert len(files) == len(paths)
            queue = []
            while claim := ledger.claim("worker", NOW):
                queue.append((claim.path, claim.lane, claim.watch))
            return sorted(files, key=lambda file: file.path), queue, ledger.census()

        assert recorded("one", [[change] for change in changes]) == recorded("all", [changes])

    def test_a_batch_that_cannot_be_recorded_whole_is_not_recorded_at_all(self, opened: Opened) -> None:
        ledger = opened()
        with pytest.raises(OverflowError):
            ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/b", stamp(2, size=2**64))])
        assert ledger.look("/p/a") is None
        ledger.apply([fresh("/p/a", stamp(1))])
        assert state(ledger, "/p/a") is FileState.PENDING

    def test_a_file_that_vanishes_before_it_was_sent_is_gone_and_comes_back(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        ledger.vanished(take(ledger), NOW)
        known = ledger.look("/p/a")
        assert known and (known.state, known.missing) == (FileState.GONE, True)
        ledger.apply([fresh("/p/a", stamp(1))])
        known = ledger.look("/p/a")
        assert known and (known.state, known.missing, known.reason) == (FileState.PENDING, False, None)

    def test_a_published_file_that_is_deleted_stays_published(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1))
        ledger.apply([Missing("/p/a")])
        known = ledger.look("/p/a")
        assert known and (known.state, known.missing) == (FileState.PUBLISHED, True)
        ledger.apply([Restamp("/p/a", stamp(1))])
        known = ledger.look("/p/a")
        assert known and not known.missing

    def test_a_baseline_file_that_is_missing_stays_baseline(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([Skip("/p/a", stamp(1), "photos", BASELINE), Missing("/p/a")])
        known = ledger.look("/p/a")
        assert known and (known.state, known.reason, known.missing) == (FileState.SKIPPED, BASELINE, True)

    def test_a_restamped_file_keeps_its_state_and_what_was_sent_of_it(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1))
        ledger.apply([Restamp("/p/a", stamp(1, size=9))])
        known = ledger.look("/p/a")
        assert known and (known.state, known.stamp, known.sha256) == (
            FileState.PUBLISHED,
            stamp(1, size=9),
            content("a"),
        )

    def test_a_restamped_file_can_be_given_a_reason_which_its_next_content_takes_away(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1))
        ledger.apply([Restamp("/p/a", stamp(1, size=9), KEPT_BACK + "a rule")])
        known = ledger.look("/p/a")
        assert known and known.kept_back and known.state is FileState.PUBLISHED
        ledger.apply([Restamp("/p/a", stamp(1, size=10))])
        known = ledger.look("/p/a")
        assert known and known.kept_back
        publish(ledger, "/p/a", content("b"), stamp(1, size=11))
        known = ledger.look("/p/a")
        assert known and (known.reason, known.kept_back) == (None, False)

    def test_a_waiting_file_that_is_restamped_is_hashed_again(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.hashed(claim, content("a"))
        ledger.release(claim)
        ledger.apply([Restamp("/p/a", stamp(1, at=NOW + 1))])
        assert take(ledger).sha256 is None

    def test_new_content_of_a_published_path_supersedes_the_old(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("old"), stamp(1), NOW)
        publish(ledger, "/p/a", content("new"), stamp(2), NOW + 1)
        assert [link.sha256 for link in ledger.links()] == [content("new").hex()]
        assert [(link.sha256, link.state) for link in ledger.links(everything=True)] == [
            (content("new").hex(), "published"),
            (content("old").hex(), "superseded"),
        ]

    def test_a_path_that_gets_its_old_content_back_is_not_superseded_by_itself(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("old"), stamp(1))
        publish(ledger, "/p/a", content("new"), stamp(2))
        ledger.apply([fresh("/p/a", stamp(3))])
        assert ledger.hashed(take(ledger), content("old")) is Standing.PUBLISHED
        assert {(link.sha256, link.state) for link in ledger.links(everything=True)} == {
            (content("old").hex(), "published"),
            (content("new").hex(), "superseded"),
        }

    def test_a_skipped_path_keeps_its_old_link_on_record(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1))
        ledger.apply([Skip("/p/a", stamp(2), "photos", "too large")])
        assert list(ledger.links()) == []
        assert [link.state for link in ledger.links(everything=True)] == ["superseded"]

    def test_a_moved_file_keeps_all_that_is_known_of_it(self, opened: Opened) -> None:
        ledger = opened()
        receipt = publish(ledger, "/p/a", content("a"), stamp(1))
        known = ledger.renamed_from(stamp(1, at=NOW))[0]
        renamed = Stamp(1000, stamp(1).mtime_ns, stamp(1).ctime_ns + 5, 1, 65025)
        ledger.apply([Move(known.file_id, "/q/b", renamed, "other")])
        assert ledger.look("/p/a") is None
        assert [(link.path, link.link, link.watch) for link in ledger.links()] == [("/q/b", receipt.link, "other")]
        moved = ledger.look("/q/b")
        assert moved and moved.stamp == renamed

    def test_a_file_moved_over_another_replaces_it_but_not_its_link(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1), NOW)
        publish(ledger, "/p/b", content("b"), stamp(2, size=2), NOW + 1)
        known = ledger.look("/p/a")
        assert known
        ledger.apply([Move(known.file_id, "/p/b", stamp(1), "photos")])
        assert [(link.path, link.sha256, link.state) for link in ledger.links(everything=True)] == [
            ("/p/b", content("b").hex(), "superseded"),
            ("/p/b", content("a").hex(), "published"),
        ]
        assert ledger.census().files[FileState.PUBLISHED] == 1

    def test_a_rename_is_recognised_by_all_but_its_path_and_ctime_and_device(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/b", stamp(1, size=3)), fresh("/p/c", stamp(2))])
        seen = Stamp(1000, stamp(1).mtime_ns, 99, 1, 9)  # devices are renumbered
        assert [known.path for known in ledger.renamed_from(seen)] == ["/p/a"]

    @pytest.mark.parametrize("seen", [stamp(1), Stamp(1, 2**70, 5, 2**64 - 1, 7)], ids=["usual", "odd"])
    @pytest.mark.parametrize(
        "taken_by",
        [
            lambda ledger: Move(ledger.look("/p/b").file_id, "/p/a", stamp(2), "photos"),
            lambda ledger: Restamp("/p/a", stamp(3)),
            lambda ledger: Skip("/p/a", stamp(3), "photos", "a symlink"),
            lambda ledger: fresh("/p/a", stamp(3)),
        ],
        ids=["renamed", "replaced", "no file", "new"],
    )
    def test_a_private_file_whose_path_another_one_takes_is_displaced_until_it_turns_up(
        self, opened: Opened, taken_by: Callable[[Ledger], Change], seen: Stamp
    ) -> None:
        ledger = opened()
        ledger.apply([Skip("/p/a", seen, "photos", BASELINE), Skip("/p/b", stamp(2), "photos", BASELINE)])
        assert not ledger.displaced(seen)
        ledger.apply([taken_by(ledger)])
        ledger = opened()
        assert ledger.displaced(replace(seen, ctime_ns=9, device=9)) == [Displaced("/p", seen.device)]
        assert not any(map(ledger.displaced, (replace(seen, size=9), replace(seen, mtime_ns=9), stamp(2), stamp(3))))
        assert seen.inode in ledger.inodes_known([seen.inode, 77])
        other = opened(store="another")
        assert not other.displaced(seen)
        assert not other.inodes_known([seen.inode, 77])
        ledger = opened()
        ledger.apply([Skip("/p/c", replace(seen, device=9), "photos", BASELINE)])
        assert ledger.displaced(seen), "that is one of another file system"
        ledger.apply([Skip("/p/c", seen, "photos", BASELINE)])
        assert not ledger.displaced(seen)

    def test_a_displaced_file_turns_up_in_the_place_of_another_private_one_or_is_asked_for(
        self, opened: Opened
    ) -> None:
        ledger = opened()
        ledger.apply([Skip("/p/a", stamp(1), "photos", BASELINE), Skip("/p/b", stamp(2), "photos", BASELINE)])
        ledger.apply([Restamp("/p/a", stamp(3)), Restamp("/p/b", stamp(1))])
        assert [bool(ledger.displaced(stamp(inode))) for inode in (1, 2, 3)] == [False, True, False]
        ledger.apply([fresh("/p/c", stamp(2))])
        assert not ledger.displaced(stamp(2))

    def test_private_files_are_found_by_what_they_look_like_whatever_their_inode(self, opened: Opened) -> None:
        ledger = opened()
        alike = [stamp(number) for number in (1, 2, 3, 4)]
        ledger.apply([Skip(f"/p/{at.inode}", at, "photos", BASELINE) for at in alike[:3]])
        ledger.apply([fresh("/p/new", alike[3]), Skip("/p/large", alike[3], "photos", "too large"), Missing("/p/1")])
        ledger.apply([Skip("/p/other", stamp(5, size=9), "photos", BASELINE)])
        seen = replace(alike[0], inode=9, ctime_ns=9, device=9)
        assert [known.path for known in ledger.private_like(seen)] == ["/p/1", "/p/2", "/p/3"]
        assert not ledger.displaced_like(seen)
        ledger.apply([fresh("/p/2", stamp(7, size=7))])
        assert [known.path for known in ledger.private_like(seen)] == ["/p/1", "/p/3"]
        assert ledger.displaced_like(seen) == [Displaced("/p", alike[1].device)]
        for unlike in (replace(seen, size=8), replace(seen, mtime_ns=8)):
            assert not ledger.private_like(unlike) and not ledger.displaced_like(unlike)
        other = opened(store="another")
        assert not other.private_like(seen) and not other.displaced_like(seen)

    @pytest.mark.parametrize("taken_by", [Restamp("/p/a", stamp(1, size=9)), fresh("/p/a", stamp(1, size=9))])
    def test_a_private_file_of_a_disk_that_is_away_is_displaced_by_one_of_the_same_inode(
        self, opened: Opened, taken_by: Change
    ) -> None:
        ledger = opened()
        ledger.apply([Skip("/p/a", stamp(1), "photos", BASELINE)])
        ledger.other_disk("/p")
        ledger.apply([Restamp("/p/a", stamp(1))])
        assert not ledger.displaced(stamp(1)), "it is back"
        ledger.other_disk("/p")
        ledger.apply([taken_by])
        assert ledger.displaced(stamp(1))

    def test_only_private_files_are_displaced_and_only_by_others(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1))
        ledger.apply([Skip("/p/b", stamp(2), "photos", BASELINE), Skip("/p/c", stamp(3), "photos", "too large")])
        ledger.apply([Restamp(path, stamp(number, size=9)) for number, path in enumerate(["/p/a", "/p/b", "/p/c"], 1)])
        ledger.apply([Restamp("/p/a", stamp(8)), Restamp("/p/c", stamp(9))])
        assert not any(ledger.displaced(stamp(number, size=size)) for number in (1, 2, 3) for size in (9, 1000))

    def test_unknown_paths_and_files_change_nothing(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([Missing("/p/a"), Restamp("/p/a", stamp(1)), Move(77, "/p/b", stamp(1), "photos")])
        assert (ledger.look("/p/a"), ledger.look("/p/b")) == (None, None)

    def test_adoption_is_noted_for_each_store_and_can_be_renewed(self, opened: Opened) -> None:
        ledger = opened(store="one")
        assert ledger.adoption("/p") is None
        ledger.adopt([Adoption("/p", 5, "uuid"), Adoption("/q", 5, "uuid")])
        ledger.adopt([Adoption("/p", 6, None)])
        assert ledger.adoption("/p") == Adoption("/p", 6, None)
        assert ledger.adoption("/q") == Adoption("/q", 5, "uuid")
        assert opened(store="two").adoption("/p") is None
        assert opened(store="one").adoption("/p") == Adoption("/p", 6, None)

    def test_the_adoption_of_each_disk_is_kept_however_often_they_take_turns(self, opened: Opened) -> None:
        ledger = opened()
        first, second = Adoption("/p", 5, "UUID=1 at /p"), Adoption("/p", 6, "UUID=2 at /p")
        ledger.adopt([first])
        ledger.adopt([second, Adoption("/q", 7, "? at /"), Adoption("/r", 8, "UUID=3")])
        ledger.adopt([replace(first, adopted_at_ns=9)])
        ledger = opened()
        assert [ledger.adopted_on("/p", f"UUID={number}") for number in (1, 2, 3)] == [5, 6, None]
        assert (ledger.adopted_on("/q", "?"), ledger.adopted_on("/r", "UUID=3")) == (None, 8)
        assert opened(store="another").adopted_on("/p", "UUID=1") is None

    def test_where_another_disk_lies_all_that_is_known_is_missing_but_what_waits(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/deep/a", content("a"), stamp(1))
        ledger.apply([Skip("/p/b", stamp(2), "photos", BASELINE), fresh("/p/c", stamp(3))])
        ledger.apply([Skip("/pp/b", stamp(4), "photos", BASELINE)])
        ledger.other_disk("/p")
        found = {path: ledger.look(path) for path in ("/p/deep/a", "/p/b", "/p/c", "/pp/b")}
        assert [bool(known and known.missing) for known in found.values()] == [True, True, False, False]
        assert ledger.census().files[FileState.PUBLISHED] == 1
        assert [link.path for link in ledger.links()] == ["/p/deep/a"]

    def test_files_carry_the_name_their_watch_has_now(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/deep/a", content("a"), stamp(1))
        ledger.watched({"/p": "renamed", "/pp": "another"})
        assert [link.watch for link in ledger.links()] == ["renamed"]

    def test_a_file_asked_for_by_name_is_of_the_watch_that_its_folder_is_in_later(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1), watch=None)])
        ledger.watched({"/p": "photos"})
        assert take(ledger).watch == "photos"

    def test_what_waits_in_no_watch_any_more_is_skipped_and_waits_again_when_it_is_back(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/q/b", stamp(2)), fresh("/x/named", stamp(3), watch=None)])
        ledger.watched({"/p": "p"})
        known = ledger.look("/q/b")
        assert known and (known.state, known.reason) == (FileState.SKIPPED, "watch removed")
        assert taken(ledger) == ["/p/a", "/x/named"]
        ledger.watched({"/p": "p", "/": "all"})
        assert set(taken(ledger)) == {"/p/a", "/x/named", "/q/b"}

    def test_what_waits_and_is_turned_away_is_skipped_unless_somebody_asked_for_it_by_name(
        self, opened: Opened
    ) -> None:
        ledger = opened()
        publish(ledger, "/p/sent", content("sent"), stamp(7, size=7))
        named = replace(fresh("/p/named", stamp(3)), named=True)
        ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/b", stamp(2, size=2)), named, fresh("/p/again", stamp(4))])
        ledger.apply([replace(fresh("/p/again", stamp(5)), named=True), fresh("/p/again", stamp(6))])
        ledger.judge_waiting(lambda path, size: None if size == 2 else f"no {os.path.basename(path)}")
        skipped = {path: ledger.look(path) for path in ("/p/a", "/p/again")}
        assert {path: known and known.reason for path, known in skipped.items()} == {
            "/p/a": "no a",
            "/p/again": "no again",
        }
        assert state(ledger, "/p/sent") is FileState.PUBLISHED
        claims = [take(ledger), take(ledger)]
        assert [(claim.path, ledger.was_named(claim)) for claim in claims] == [("/p/b", False), ("/p/named", True)]
        ledger.turn_away(claims[0], "no b")
        known = ledger.look("/p/b")
        assert known and (known.state, known.reason) == (FileState.SKIPPED, "no b")
        ledger.turn_away(claims[0], "too late")
        assert taken(ledger) == []

    def test_a_file_asked_for_by_name_in_a_folder_once_watched_is_not_skipped(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/q/a", content("a"), stamp(1))
        ledger.watched({})
        ledger.apply([fresh("/q/b", stamp(2, size=2), watch=None)])
        ledger.watched({})
        claim = take(ledger)
        assert (claim.path, claim.watch) == ("/q/b", None)
        assert [link.watch for link in ledger.links()] == ["photos"]


class ReadingSuite:
    """What people and scans ask."""

    def test_a_folder_tells_the_files_directly_in_it(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh(path, stamp(n)) for n, path in enumerate(["/p/a", "/p/b", "/p/deep/c", "/pp/d", "/e"])])
        assert set(ledger.known_in("/p")) == {"a", "b"}
        assert ledger.known_in("/p")["a"] == ledger.look("/p/a")
        assert set(ledger.known_in("/")) == {"e"}
        assert ledger.known_in("/nowhere") == {}

    def test_what_a_scan_need_not_ask_about_is_told_by_what_it_looks_like(self, opened: Opened) -> None:
        ledger = opened()
        odd = os.fsdecode(b"\xff.jpg")
        names = ["published", "pending", "parked", "missing", "gone", odd]
        ledger.apply([fresh(f"/p/{name}", stamp(n, size=n + 1)) for n, name in enumerate(names)])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        ledger.published(claim, receipt_of(content("a")), NOW)
        known = {name: ledger.claim_path("worker", f"/p/{name}") for name in ("parked", "missing")}
        assert known["parked"] and known["missing"]
        ledger.park(known["parked"])
        ledger.refuse(known["missing"], "no", NOW)
        ledger.apply([Missing("/p/missing"), Missing("/p/gone")])
        ledger.apply([Skip("/p/private", stamp(7), "photos", BASELINE), Skip("/p/large", stamp(8), "photos", "large")])
        moment = int(NOW * 1e9)
        assert ledger.at_rest_in("/p") == {
            "published": (1, moment, moment, 0),
            "pending": (2, moment, moment, 1),
            odd: (6, moment, moment, 5),
            "private": (1000, moment, moment, 7),
        }
        assert ledger.at_rest_in("/nowhere") == {}

    def test_a_part_of_a_folder_can_be_asked_for_by_the_order_of_its_names(self, opened: Opened) -> None:
        ledger = opened()
        odd, last = os.fsdecode(b"\xff"), "\U0001f4f7"
        for number, name in enumerate(["a", "b", "c", odd, last]):
            ledger.apply([fresh(f"/p/{name}", stamp(number)), fresh(f"/q/{name}", stamp(number + 10))])
        spans = {Span(None, "a"): {"a"}, Span("a", "c"): {"b", "c"}, Span("c", None): {odd, last}, Span(): None}
        spans |= {Span(last, None): {odd}, Span("a!", "aa"): set()}
        for span, names in spans.items():
            expected = {"a", "b", "c", odd, last} if names is None else names
            assert set(ledger.known_in("/p", span)) == set(ledger.at_rest_in("/p", span)) == expected

    def test_what_is_known_of_a_large_folder_can_be_had_in_parts(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh(f"/p/{n}", stamp(n)) for n in range(1200)] + [fresh("/p/deep/1", stamp(1200))])
        parts = list(ledger.known_by_parts("/p"))
        assert max(map(len, parts)) < 1200 / 2
        assert {name: known for part in parts for name, known in part.items()} == ledger.known_in("/p")
        assert list(ledger.known_by_parts("/nowhere")) == []

    def test_the_folders_below_a_root_are_told_in_path_order(self, opened: Opened) -> None:
        ledger = opened()
        paths = ["/p/x/y/1", "/p/2", "/p!/3", "/pp/4", "/p/x/5", "/p/ü/6"]
        ledger.apply([fresh(path, stamp(n)) for n, path in enumerate(paths)])
        assert ledger.folders_known("/p") == ["/p", "/p/x", "/p/x/y", "/p/ü"]
        assert set(ledger.folders_known("/")) == {"/p", "/p!", "/pp", "/p/x", "/p/x/y", "/p/ü"}

    def test_links_are_told_newest_first_within_a_time(self, opened: Opened) -> None:
        ledger = opened()
        for n in range(4):
            publish(ledger, f"/p/{n}", content(str(n)), stamp(n, size=n + 1), NOW + n)
        assert [link.published_at - NOW for link in ledger.links()] == [3, 2, 1, 0]
        assert [link.path for link in ledger.links(since=NOW + 1, until=NOW + 3)] == ["/p/2", "/p/1"]
        assert list(ledger.links(watch="another")) == []

    def test_very_many_links_are_all_told(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh(f"/p/{n}", stamp(n, size=n)) for n in range(1, 622)])
        first = take(ledger)
        ledger.sending(first, content("a"), None, NOW)
        for _ in range(620):
            claim = take(ledger)
            ledger.apply([Remember(claim.path, claim.stamp, claim.lane, claim.watch, NOW)])
            assert ledger.hashed(claim, content("a")) is Standing.IN_FLIGHT
        ledger.published(first, receipt_of(content("a")), NOW)
        links = list(ledger.links())
        assert len(links) == len({link.path for link in links}) == 621

    def test_links_may_be_read_slowly_while_others_write(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1), NOW)
        publish(ledger, "/p/b", content("b"), stamp(2, size=2), NOW + 1)
        links = ledger.links()
        assert next(links).path == "/p/b"
        publish(ledger, "/p/c", content("c"), stamp(3, size=3), NOW + 2)
        assert [link.path for link in links] == ["/p/a"]

    def test_an_id_that_is_not_the_links_end_is_kept(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("a"), None, NOW)
        ledger.published(claim, Receipt("https://media.example/x/pic.jpg?size=1#top", "another"), NOW)
        assert [(link.link, link.id) for link in ledger.links()] == [
            ("https://media.example/x/pic.jpg?size=1#top", "another")
        ]

    def test_the_story_of_a_file_tells_its_tries(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1), changed_at=NOW - 7)])
        ledger.postpone(take(ledger), "connection lost", NOW + 5, NOW)
        story = ledger.story("/p/a")
        assert story and (story.tries, story.next_try_at, story.link) == (1, NOW + 5, None)
        claim = take(ledger, NOW + 5)
        ledger.sending(claim, content("a"), "a comment", NOW + 6)
        ledger.published(claim, receipt_of(content("a")), NOW + 7)
        story = ledger.story("/p/a")
        assert story
        assert [(attempt.at, attempt.outcome) for attempt in story.attempts] == [
            (NOW, "postponed"),
            (NOW + 7, "published"),
        ]
        assert story.attempts[0].detail == "connection lost"
        assert (story.link, story.id) == (receipt_of(content("a")).link, receipt_of(content("a")).id)
        assert (story.comment, story.sent_at, story.published_at) == ("a comment", NOW + 6, NOW + 7)
        assert (story.changed_at, story.watch, story.tries, story.next_try_at) == (NOW - 7, "photos", 1, None)
        assert ledger.story("/p/unknown") is None

    def test_a_file_published_at_once_has_no_tries_to_tell(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a", content("a"), stamp(1))
        story = ledger.story("/p/a")
        assert story and story.attempts == ()

    def test_only_the_last_tries_are_kept(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        for n in range(60):
            ledger.postpone(take(ledger, NOW + n), f"try {n}", NOW + n, NOW + n)
        story = ledger.story("/p/a")
        assert story and [attempt.detail for attempt in story.attempts] == [f"try {n}" for n in range(10, 60)]

    def test_a_message_may_hold_anything_a_name_holds(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a", stamp(1))])
        ledger.give_up(take(ledger), f"cannot open {NASTY_NAMES[5]}\n\0", NOW)
        story = ledger.story("/p/a")
        assert story and story.attempts[0].detail.startswith("cannot open latin-")

    def test_the_census_counts_every_state(self, opened: Opened) -> None:
        ledger = opened()
        assert set(ledger.census().files) == set(FileState)
        assert not any(ledger.census().files.values())
        publish(ledger, "/p/published", content("p"), stamp(1))
        ledger.apply([Skip("/p/skipped", stamp(2), "photos", "too small")])
        ledger.apply([fresh("/p/failed", stamp(3, size=3))])
        ledger.give_up(take(ledger), "unreadable", NOW)
        ledger.apply([fresh("/p/pending", stamp(4, size=4), changed_at=NOW - 9), fresh("/p/newer", stamp(5, size=5))])
        census = ledger.census()
        counts = {state: count for state, count in census.files.items() if count}
        assert counts == {
            FileState.PUBLISHED: 1,
            FileState.SKIPPED: 1,
            FileState.FAILED: 1,
            FileState.PENDING: 2,
        }
        assert (census.contents_published, census.contents_uncertain) == (1, 0)
        assert census.oldest_unpublished == NOW - 9
        assert opened().census() == census

    def test_latency_is_of_fresh_files_only(self, opened: Opened) -> None:
        ledger = opened()
        assert ledger.latency(0) == type(ledger.latency(0))(None, None, 0)
        for n in range(1, 101):
            ledger.apply([fresh(f"/p/{n}", stamp(n, size=n), changed_at=NOW - n)])
            finish(ledger, content(str(n)), NOW)
        ledger.apply([backlog("/p/old", stamp(999), changed_at=0.0)])
        finish(ledger, content("old"), NOW)
        latency = ledger.latency(NOW)
        assert (latency.p50, latency.p95, latency.n) == (50, 95, 100)
        assert ledger.latency(NOW + 1).n == 0


class PeopleSuite:
    """What people tell by a command."""

    def test_a_file_put_back_has_all_its_tries_before_it(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.jpg", stamp(1)), fresh("/p/b.jpg", stamp(2, size=2))])
        ledger.postpone(take(ledger), "503", NOW + 1, NOW)
        ledger.give_up(take(ledger, NOW + 2), "503", NOW)
        ledger.refuse(take(ledger, NOW + 2), "415", NOW)
        assert [known.state for known in ledger.retry("/p/a.jpg", [FileState.FAILED])] == [FileState.FAILED]
        assert not ledger.retry("/p/b.jpg", [FileState.FAILED])
        claim = take(ledger, NOW + 2)
        assert (claim.path, claim.tries) == ("/p/a.jpg", 0)

    def test_a_postponed_file_that_is_named_is_due_at_once(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.jpg", stamp(1))])
        ledger.postpone(take(ledger), "503", NOW + DAY, NOW)
        assert ledger.claim("w", NOW) is None
        assert ledger.retry("/p/a.jpg", [FileState.PENDING])
        assert take(ledger).path == "/p/a.jpg"

    def test_all_files_in_a_state_are_put_back_in_steps(self, opened: Opened) -> None:
        ledger = opened()
        for number in range(5):
            ledger.apply([fresh(f"/p/{number}", stamp(number, size=number + 1))])
            ledger.give_up(take(ledger), "503", NOW)
        steps, after = [], 0
        while step := ledger.retry_all(FileState.FAILED, after, 2):
            steps.append([known.path for known in step])
            after = step[-1].file_id
        assert steps == [["/p/0", "/p/1"], ["/p/2", "/p/3"], ["/p/4"]]
        assert len(taken(ledger)) == 5

    def test_an_uncertain_content_that_is_put_back_may_be_sent_again(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.jpg", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("red"), None, NOW)
        ledger.hold(claim, "no answer", NOW)
        ledger.apply([fresh("/p/copy.jpg", stamp(2))])
        assert ledger.hashed(take(ledger), content("red")) is Standing.UNCERTAIN
        put_back = ledger.retry("/p/a.jpg", [FileState.UNCERTAIN])
        assert {known.path for known in put_back} == {"/p/a.jpg", "/p/copy.jpg"}
        finish(ledger, content("red"), NOW)
        assert {state(ledger, path) for path in ("/p/a.jpg", "/p/copy.jpg")} == {FileState.PUBLISHED}

    def test_a_refused_content_is_put_back_with_the_files_that_would_turn_it_away_again(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.jpg", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("red"), None, NOW)
        ledger.refuse(claim, "415", NOW)
        ledger.apply([fresh("/p/b.jpg", stamp(2))])
        assert ledger.hashed(take(ledger), content("red")) is Standing.REJECTED
        assert len(ledger.retry("/p/b.jpg", [FileState.REJECTED])) == 2
        assert ledger.hashed(take(ledger), content("red")) is Standing.CLEAR

    def test_a_link_that_somebody_tells_holds_for_all_files_of_the_content(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.jpg", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("red"), None, NOW)
        receipt = receipt_of(content("red"))
        told = ("/p/b.jpg", stamp(2), None, content("red"), receipt, NOW)
        assert ledger.record_link(*told) is Standing.IN_FLIGHT
        ledger.hold(claim, "no answer", NOW)
        assert ledger.record_link(*told) is Standing.CLEAR
        assert ledger.record_link(*told) is Standing.CLEAR
        assert {link.path: link.link for link in ledger.links()} == dict.fromkeys(
            ("/p/a.jpg", "/p/b.jpg"), receipt.link
        )
        other = receipt_of(content("blue"))
        assert ledger.record_link("/p/b.jpg", stamp(2), None, content("red"), other, NOW) is Standing.PUBLISHED
        ledger.apply([fresh("/p/c.jpg", stamp(3))])
        assert ledger.hashed(take(ledger), content("red")) is Standing.PUBLISHED

    def test_a_path_that_gets_a_link_told_for_its_new_content_keeps_the_old_one_on_record(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a.jpg", content("red"), stamp(1))
        ledger.record_link("/p/a.jpg", stamp(2), "photos", content("blue"), receipt_of(content("blue")), NOW)
        assert [link.state for link in ledger.links(everything=True)].count("superseded") == 1
        assert [link.sha256 for link in ledger.links()] == [content("blue").hex()]

    def test_a_forgotten_content_is_as_if_it_had_never_been(self, opened: Opened) -> None:
        ledger = opened()
        publish(ledger, "/p/a.jpg", content("red"), stamp(1))
        ledger.apply([fresh("/p/b.jpg", stamp(2))])
        ledger.hashed(take(ledger), content("red"))
        assert list(ledger.forget("/p/b.jpg")) == ["/p/a.jpg", "/p/b.jpg"]
        assert not ledger.forget("/p/b.jpg")
        assert not list(ledger.links(everything=True))
        assert ledger.look("/p/a.jpg") is None
        assert ledger.census().contents_published == 0
        publish(ledger, "/p/a.jpg", content("red"), stamp(1))

    def test_what_is_on_its_way_is_not_forgotten(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/a.jpg", stamp(1))])
        claim = take(ledger)
        ledger.sending(claim, content("red"), None, NOW)
        assert not ledger.forget("/p/a.jpg")
        ledger.published(claim, receipt_of(content("red")), NOW)
        assert state(ledger, "/p/a.jpg") is FileState.PUBLISHED

    def test_a_content_on_its_way_is_not_forgotten_with_another_file_of_it(self, opened: Opened) -> None:
        ledger = opened()
        ledger.apply([fresh("/p/failed.jpg", stamp(1)), fresh("/p/a.jpg", stamp(2))])
        failed = take(ledger)
        ledger.hashed(failed, content("red"))
        ledger.give_up(failed, "cannot be read", NOW)
        ledger.sending(take(ledger), content("red"), None, NOW)
        assert not ledger.forget("/p/failed.jpg")
        assert state(ledger, "/p/failed.jpg") is FileState.FAILED

    def test_a_pause_lasts_across_restarts_until_its_time_or_a_word(self, opened: Opened) -> None:
        ledger = opened()
        assert ledger.paused(NOW) is None
        ledger.pause(NOW + 60, NOW)
        ledger = opened("gallery")
        pause = ledger.paused(NOW + 59)
        assert pause and (pause.since, pause.until) == (NOW, NOW + 60)
        assert ledger.paused(NOW + 60) is None
        ledger.pause(None, NOW)
        assert opened().paused(NOW + 1000 * DAY)
        ledger = opened()
        ledger.resume()
        assert ledger.paused(NOW) is None
        assert opened().paused(NOW) is None


class LedgerSuite(
    RecheckSuite, QueueSuite, RidingSuite, AheadSuite, OnceSuite, ChangingSuite, IntakeSuite, ReadingSuite, PeopleSuite
):
    """All of it: inherit this, and give `opened`."""


def finish(ledger: Ledger, sha256: bytes, now: float) -> None:
    claim = take(ledger, now)
    assert ledger.sending(claim, sha256, None, now) is Standing.CLEAR
    ledger.published(claim, receipt_of(sha256), now)


def end(ledger: Ledger, claim: Claim, ending: str) -> None:
    """Ends a claim by the verb of this name."""
    match ending:
        case "postpone":
            ledger.postpone(claim, "503", NOW + DAY, NOW)
        case "give_up":
            ledger.give_up(claim, "503", NOW)
        case "refuse":
            ledger.refuse(claim, "415", NOW)
        case "park":
            ledger.park(claim)
        case "vanished":
            ledger.vanished(claim, NOW)
        case _:
            ledger.hold(claim, "no answer", NOW)
