"""What a ledger keeps of the store's refusals, of tries that are due, and of uploads that are sent once more."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.model import Claim, FileState, Lane, Lessons, Receipt, Remember, Stamp, Standing

NOW = 1_700_000_000.0
YEAR = 365 * 86_400.0
HOUR = 3600.0


def content(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def remember(ledger: SqliteLedger, *paths: str, size: int = 1000) -> None:
    for path in paths:
        inode = int.from_bytes(content(path)[:4], "big")
        ledger.apply([Remember(path, Stamp(size, 1, 1, inode, 1), Lane.FRESH, None, NOW)])


def take(ledger: SqliteLedger, path: str) -> Claim:
    claim = ledger.claim_path("worker", path)
    assert claim is not None
    return claim


def send(ledger: SqliteLedger, path: str, text: str | None = None) -> Claim:
    claim = take(ledger, path)
    assert ledger.sending(claim, content(text or path), None, NOW) is Standing.CLEAR
    return claim


def refuse(ledger: SqliteLedger, *paths: str) -> list[list[str]]:
    return [list(ledger.suspect(send(ledger, path), "HTTP 400", NOW)) for path in paths]


def publish(ledger: SqliteLedger, path: str) -> None:
    ledger.published(send(ledger, path), Receipt(f"https://x.example/{content(path).hex()}", "id"), NOW)


def state(ledger: SqliteLedger, path: str) -> FileState:
    known = ledger.look(path)
    assert known is not None
    return known.state


# --- refusals in a row


def test_the_third_content_in_a_row_puts_all_three_back(ledger: SqliteLedger) -> None:
    remember(ledger, "/p/a.jpg", "/p/b.jpg", "/p/c.jpg")
    assert refuse(ledger, "/p/a.jpg", "/p/b.jpg") == [[], []]
    assert state(ledger, "/p/a.jpg") is FileState.REJECTED
    [put_back] = refuse(ledger, "/p/c.jpg")
    assert sorted(put_back) == ["/p/a.jpg", "/p/b.jpg", "/p/c.jpg"]
    assert {state(ledger, path) for path in put_back} == {FileState.PENDING}
    assert ledger.census().files[FileState.REJECTED] == 0


def test_a_success_between_begins_the_count_anew(ledger: SqliteLedger) -> None:
    remember(ledger, *(f"/p/{name}.jpg" for name in "abcdeg"))
    refuse(ledger, "/p/a.jpg", "/p/b.jpg")
    publish(ledger, "/p/g.jpg")
    assert refuse(ledger, "/p/c.jpg", "/p/d.jpg") == [[], []]
    assert len(refuse(ledger, "/p/e.jpg")[0]) == 3
    assert state(ledger, "/p/a.jpg") is FileState.REJECTED, "it was the file's own fault: the store was well after it"


def test_a_success_between_begins_the_count_anew_though_the_store_has_taken_such_files_before(
    ledger: SqliteLedger,
) -> None:
    remember(ledger, "/p/before.jpg", "/p/1.jpg", "/p/2.jpg", "/p/good.jpg", "/p/3.jpg")
    publish(ledger, "/p/before.jpg")
    refuse(ledger, "/p/1.jpg", "/p/2.jpg")
    publish(ledger, "/p/good.jpg")
    assert refuse(ledger, "/p/3.jpg") == [[]]


def test_one_content_refused_again_and_again_is_one(ledger: SqliteLedger) -> None:
    remember(ledger, "/p/a.jpg")
    for _ in range(5):
        assert refuse(ledger, "/p/a.jpg") == [[]]
        ledger.retry("/p/a.jpg", [FileState.REJECTED])


def test_a_content_refused_again_after_a_success_is_rejected_and_counts_no_more(ledger: SqliteLedger) -> None:
    remember(ledger, *(f"/p/{name}.jpg" for name in "abcdg"))
    refuse(ledger, "/p/a.jpg", "/p/b.jpg", "/p/c.jpg")
    publish(ledger, "/p/g.jpg")
    assert refuse(ledger, "/p/a.jpg", "/p/b.jpg", "/p/c.jpg", "/p/d.jpg") == [[], [], [], []]
    assert ledger.census().files[FileState.REJECTED] == 4


def test_what_is_put_back_while_its_file_is_touched_is_sent_again(ledger: SqliteLedger) -> None:
    remember(ledger, *(f"/p/{name}.jpg" for name in "abcd"))
    assert refuse(ledger, "/p/a.jpg", "/p/b.jpg") == [[], []]
    remember(ledger, "/p/a.jpg", "/p/b.jpg")
    assert ledger.hashed(take(ledger, "/p/b.jpg"), content("/p/b.jpg")) is Standing.REJECTED, "as long as it is its own"
    assert refuse(ledger, "/p/c.jpg") == [["/p/c.jpg", "/p/b.jpg"]]
    for path in ("/p/a.jpg", "/p/b.jpg"):
        ledger.release(send(ledger, path))


def test_a_probe_takes_what_was_not_refused_yet_first_and_goes_round(ledger: SqliteLedger) -> None:
    remember(ledger, *(f"/p/{name}.jpg" for name in "abc"))
    refuse(ledger, "/p/a.jpg", "/p/b.jpg", "/p/c.jpg")
    remember(ledger, "/p/new.jpg")
    order: list[str] = []
    avoid: set[int] = set()
    while claim := ledger.claim("worker", NOW, avoid=avoid):
        order.append(claim.path)
        avoid.add(claim.file_id)
        ledger.release(claim)
    assert order[0] == "/p/new.jpg"
    assert sorted(order[1:]) == ["/p/a.jpg", "/p/b.jpg", "/p/c.jpg"]


def test_what_was_counted_is_known_after_a_restart(tmp_path: Path) -> None:
    for paths, together in ((["/p/a.jpg"], 0), (["/p/b.jpg"], 0), (["/p/c.jpg"], 3)):
        ledger = open_ledger(tmp_path / "ledger.db", "store")
        remember(ledger, *paths)
        assert len(refuse(ledger, *paths)[0]) == together
        ledger.close()


@settings(max_examples=40, deadline=None)
@given(successes=st.lists(st.booleans(), max_size=40))
def test_contents_that_are_always_refused_all_end_rejected_each_sent_once_at_most_to_a_well_store(
    tmp_path_factory: pytest.TempPathFactory, successes: list[bool]
) -> None:
    ledger = open_ledger(tmp_path_factory.mktemp("ledger") / "ledger.db", "store")
    bad = [f"/p/{name}.jpg" for name in "abcdefg"]
    remember(ledger, *bad)
    refused: set[str] = set()
    refused_before_a_success: set[str] = set()
    sent_to_a_well_store: list[str] = []
    for number in range(1000):
        claim = ledger.claim("worker", NOW)
        if claim is None:
            break
        if claim.path in refused_before_a_success:
            sent_to_a_well_store.append(claim.path)
        assert ledger.sending(claim, content(claim.path), None, NOW) is Standing.CLEAR
        ledger.suspect(claim, "HTTP 400", NOW)
        refused.add(claim.path)
        if successes.pop() if successes else True:
            remember(ledger, f"/p/good-{number}.jpg")
            publish(ledger, f"/p/good-{number}.jpg")
            refused_before_a_success |= refused
    assert {state(ledger, path) for path in bad} == {FileState.REJECTED}
    assert len(sent_to_a_well_store) == len(set(sent_to_a_well_store))
    ledger.close()


# --- what is not sent


def test_415_teaches_of_an_extension_that_was_never_taken(ledger: SqliteLedger) -> None:
    remember(ledger, *(f"/p/{number}.XYZ" for number in range(3)), "/p/good.jpg", "/p/bad.jpg")
    for number in range(3):
        ledger.refuse(send(ledger, f"/p/{number}.XYZ"), "HTTP 415", NOW, 415)
    publish(ledger, "/p/good.jpg")
    ledger.refuse(send(ledger, "/p/bad.jpg"), "HTTP 415", NOW, 415)
    assert ledger.lessons(".xyz") == Lessons(3, None)
    assert ledger.lessons(".jpg") == Lessons(0, None)
    ledger.retry_all(FileState.REJECTED, 0, 100)
    assert ledger.lessons(".xyz") == Lessons(0, None)


def test_413_teaches_the_smallest_size_beyond_all_that_were_taken(ledger: SqliteLedger) -> None:
    for size, status in ((500, 413), (300, 413), (400, 413)):
        remember(ledger, f"/p/{size}.jpg", size=size)
        ledger.refuse(send(ledger, f"/p/{size}.jpg"), "HTTP 413", NOW, status)
    assert ledger.lessons(".mp4").refused_size == 300
    remember(ledger, "/p/taken.mp4", size=450)
    publish(ledger, "/p/taken.mp4")
    assert ledger.lessons(".mp4").refused_size is None
    remember(ledger, "/p/again.jpg", size=440)
    ledger.refuse(send(ledger, "/p/again.jpg"), "HTTP 413", NOW, 413)
    assert ledger.lessons(".mp4").refused_size is None


def test_a_larger_file_than_any_before_is_a_lesson_though_nothing_else_of_it_is_new(ledger: SqliteLedger) -> None:
    for size in (1000, 5000):
        remember(ledger, f"/p/{size}.jpg", size=size)
        publish(ledger, f"/p/{size}.jpg")
    remember(ledger, "/p/refused.jpg", size=3000)
    ledger.refuse(send(ledger, "/p/refused.jpg"), "HTTP 413", NOW, 413)
    assert ledger.lessons(".jpg").refused_size is None


def test_a_retry_of_one_file_unlearns_what_holds_it_back(ledger: SqliteLedger) -> None:
    remember(ledger, "/p/a.jpg", size=500)
    ledger.refuse(send(ledger, "/p/a.jpg"), "HTTP 413", NOW, 413)
    remember(ledger, "/p/b.jpg", size=600)
    ledger.refuse(take(ledger, "/p/b.jpg"), "not sent", NOW)
    assert ledger.lessons(".jpg") == Lessons(0, 500)
    ledger.retry("/p/b.jpg", [FileState.REJECTED])
    assert ledger.lessons(".jpg") == Lessons(0, None)


def test_what_was_learned_at_another_address_is_forgotten(ledger: SqliteLedger) -> None:
    ledger.located("https://a.example/store")
    remember(ledger, "/p/a.jpg")
    ledger.refuse(send(ledger, "/p/a.jpg"), "HTTP 413", NOW, 413)
    ledger.located("https://a.example/store")
    assert ledger.lessons(".jpg").refused_size == 1000
    ledger.located("https://b.example/store")
    assert ledger.lessons(".jpg").refused_size is None


# --- when a try is due


@pytest.mark.parametrize("jump", [-30 * YEAR, 30 * YEAR])
def test_a_clock_that_jumps_delays_no_try_beyond_the_longest_wait(ledger: SqliteLedger, jump: float) -> None:
    remember(ledger, "/p/a.jpg")
    ledger.postpone(take(ledger, "/p/a.jpg"), "HTTP 500", NOW + HOUR, NOW)
    assert ledger.claim("worker", NOW, longest=HOUR) is None
    assert ledger.next_due(NOW, HOUR) == NOW + HOUR
    claim = ledger.claim("worker", NOW + jump, longest=HOUR)
    assert claim is not None


def test_a_failed_file_is_due_again_some_time_after_its_last_try(ledger: SqliteLedger) -> None:
    remember(ledger, "/p/a.jpg")
    ledger.give_up(take(ledger, "/p/a.jpg"), "HTTP 500", NOW)
    assert ledger.retry_failed(NOW + HOUR - 1, HOUR) == 0
    assert state(ledger, "/p/a.jpg") is FileState.FAILED
    assert ledger.retry_failed(NOW + HOUR, HOUR) == 1
    ledger.give_up(take(ledger, "/p/a.jpg"), "HTTP 500", NOW + HOUR)
    assert ledger.retry_failed(NOW + HOUR + 1, HOUR) == 0
    assert ledger.retry_failed(NOW - YEAR, HOUR) == 1, "its last try is in the future: the clock was wrong"


# --- sent once more


def test_an_uncertain_content_is_sent_once_more_and_then_held_over_a_restart(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db", "store")
    remember(ledger, "/p/a.jpg")
    assert ledger.resend(send(ledger, "/p/a.jpg"), "no answer", NOW + 5, NOW)
    assert state(ledger, "/p/a.jpg") is FileState.PENDING
    assert ledger.claim("worker", NOW) is None
    ledger.close()
    ledger = open_ledger(tmp_path / "ledger.db", "store")
    assert ledger.recover(NOW) == 0
    claim = ledger.claim("worker", NOW + 5)
    assert claim is not None and claim.tries == 0
    assert ledger.sending(claim, content("/p/a.jpg"), None, NOW) is Standing.CLEAR
    assert not ledger.resend(claim, "no answer", NOW + 9, NOW)
    ledger.hold(claim, "no answer", NOW)
    assert state(ledger, "/p/a.jpg") is FileState.UNCERTAIN
    ledger.close()
