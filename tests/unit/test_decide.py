"""What a settled file means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixstored.config.schema import Existing
from pixstored.model import BASELINE, FileState, Known, Lane, Remember, Restamp, Skip, Stamp
from pixstored.publish.decide import Rule, Seen, decide, needs_a_look

ADOPTED = 1_000
BEFORE, AFTER = ADOPTED, ADOPTED + 1
ASLEEP = (FileState.PUBLISHED, FileState.UNCERTAIN, FileState.REJECTED, FileState.FAILED, FileState.WITHDRAWN)


def stamp(*, ctime: int = AFTER, size: int = 10, inode: int = 7) -> Stamp:
    return Stamp(size, 500, ctime, inode, 1)


def seen(at: Stamp | None = None, *, announced: bool = False) -> Seen:
    return Seen("/w/a.jpg", at or stamp(), Lane.FRESH if announced else Lane.BACKLOG, "w", 5.0, announced)


def known(
    state: FileState, at: Stamp | None = None, *, reason: str | None = None, missing: bool = False, parked: bool = False
) -> Known:
    return Known(1, "/w/a.jpg", state, at or stamp(), reason, None, missing, parked)


def rule(existing: Existing = Existing.IGNORE, refusal: str | None = None) -> Rule:
    return Rule(existing, ADOPTED, refusal)


def test_a_file_that_was_there_before_the_folder_was_adopted_stays_private() -> None:
    change = decide(seen(stamp(ctime=BEFORE)), None, rule())
    assert isinstance(change, Skip)
    assert change.reason == BASELINE


def test_a_file_that_was_there_is_published_where_existing_says_so() -> None:
    assert isinstance(decide(seen(stamp(ctime=BEFORE)), None, rule(Existing.PUBLISH)), Remember)


def test_a_file_with_a_later_ctime_is_new_though_no_event_brought_it() -> None:
    assert isinstance(decide(seen(stamp(ctime=AFTER)), None, rule()), Remember)


def test_a_file_that_an_event_brings_is_new_whatever_its_ctime() -> None:
    assert isinstance(decide(seen(stamp(ctime=BEFORE), announced=True), None, rule()), Remember)


def test_a_retagged_baseline_file_stays_private_even_if_an_event_brings_it() -> None:
    before = known(FileState.SKIPPED, stamp(ctime=BEFORE), reason=BASELINE)
    change = decide(seen(stamp(size=99, inode=8), announced=True), before, rule())
    assert isinstance(change, Restamp)


def test_a_new_file_at_a_baseline_path_that_was_seen_missing_is_published() -> None:
    before = known(FileState.SKIPPED, stamp(ctime=BEFORE), reason=BASELINE, missing=True)
    assert isinstance(decide(seen(stamp(size=99, inode=8)), before, rule()), Remember)


def test_a_baseline_file_that_comes_back_as_it_was_stays_private() -> None:
    before = known(FileState.SKIPPED, reason=BASELINE, missing=True)
    assert isinstance(decide(seen(), before, rule()), Restamp)


@pytest.mark.parametrize("state", ASLEEP)
def test_a_known_path_with_another_stamp_is_looked_at_anew(state: FileState) -> None:
    assert isinstance(decide(seen(stamp(size=11)), known(state), rule()), Remember)


@pytest.mark.parametrize("state", [*ASLEEP, FileState.PENDING, FileState.SKIPPED])
def test_a_known_path_with_the_same_stamp_is_left_alone(state: FileState) -> None:
    assert decide(seen(announced=True), known(state), rule()) is None


def test_a_file_that_vanished_unsent_and_came_back_is_published() -> None:
    assert isinstance(decide(seen(), known(FileState.GONE, missing=True), rule()), Remember)


def test_a_file_that_changed_in_the_queue_comes_back_into_it() -> None:
    assert isinstance(decide(seen(), known(FileState.PENDING, parked=True), rule()), Remember)


def test_a_file_of_the_wrong_size_is_skipped_and_says_why() -> None:
    change = decide(seen(), None, rule(refusal="smaller than min_size"))
    assert isinstance(change, Skip)
    assert change.reason == "smaller than min_size"


@pytest.mark.parametrize("state", [FileState.PUBLISHED, FileState.UNCERTAIN, FileState.WITHDRAWN])
def test_a_published_path_cut_down_to_nothing_keeps_its_link(state: FileState) -> None:
    assert isinstance(decide(seen(stamp(size=0)), known(state), rule(refusal="empty")), Restamp)


@given(
    state=st.sampled_from([s for s in FileState if s not in (FileState.SETTLING, FileState.UPLOADING)]),
    reason=st.sampled_from([None, BASELINE]),
    missing=st.booleans(),
    parked=st.booleans(),
    ctime=st.integers(0, 2_000),
    size=st.integers(1, 3),
    announced=st.booleans(),
)
def test_what_a_scan_passes_over_is_what_the_decision_leaves_alone(
    state: FileState, reason: str | None, missing: bool, parked: bool, ctime: int, size: int, announced: bool
) -> None:
    now = stamp(ctime=ctime, size=size)
    before = known(state, stamp(size=2), reason=reason, missing=missing, parked=parked)
    if not needs_a_look(before, now):
        assert decide(seen(now, announced=announced), before, rule()) is None
