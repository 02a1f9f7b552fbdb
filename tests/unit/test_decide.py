"""What a settled file means."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixstored.config.schema import Existing, WhenChanged
from pixstored.model import BASELINE, KEPT_BACK, WATCH_REMOVED, FileState, Known, Lane, Remember, Restamp, Skip, Stamp
from pixstored.publish.decide import Rule, Seen, decide, needs_a_look

ADOPTED = 1_000
BEFORE, AFTER = ADOPTED, ADOPTED + 1
ASLEEP = (FileState.PUBLISHED, FileState.UNCERTAIN, FileState.REJECTED, FileState.FAILED, FileState.WITHDRAWN)


def stamp(*, ctime: int = AFTER, size: int = 10, inode: int = 7, mtime: int = 500) -> Stamp:
    return Stamp(size, mtime, ctime, inode, 1)


def seen(at: Stamp | None = None, *, announced: bool = False) -> Seen:
    return Seen("/w/a.jpg", at or stamp(), Lane.FRESH if announced else Lane.BACKLOG, "w", 5.0, announced)


def known(
    state: FileState, at: Stamp | None = None, *, reason: str | None = None, missing: bool = False, parked: bool = False
) -> Known:
    return Known(1, "/w/a.jpg", state, at or stamp(), reason, None, missing, parked)


def rule(
    existing: Existing = Existing.IGNORE,
    refusal: str | None = None,
    changed: WhenChanged = WhenChanged.PUBLISH,
) -> Rule:
    return Rule(existing, changed, ADOPTED, refusal)


IGNORING = rule(changed=WhenChanged.IGNORE)


def test_a_file_that_was_there_before_the_folder_was_adopted_stays_private() -> None:
    change = decide(seen(stamp(ctime=BEFORE)), None, rule())
    assert isinstance(change, Skip)
    assert change.reason == BASELINE


def test_a_file_of_the_future_was_there_before_if_the_clock_of_the_adoption_may_have_been_behind() -> None:
    by_a_clock_behind = replace(rule(), latest_ns=ADOPTED + 1)
    change = decide(seen(stamp(ctime=ADOPTED + 2)), None, by_a_clock_behind)
    assert isinstance(change, Skip)
    assert change.reason == BASELINE
    assert isinstance(decide(seen(stamp(ctime=ADOPTED + 1)), None, by_a_clock_behind), Remember)
    assert isinstance(decide(seen(stamp(ctime=ADOPTED + 2), announced=True), None, by_a_clock_behind), Remember)
    assert isinstance(decide(seen(stamp(ctime=ADOPTED + 2)), None, rule()), Remember)


def test_a_file_that_was_there_is_published_where_existing_says_so() -> None:
    assert isinstance(decide(seen(stamp(ctime=BEFORE)), None, rule(Existing.PUBLISH)), Remember)


@pytest.mark.parametrize("state", [*ASLEEP, FileState.PENDING, FileState.GONE])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("ctime", [BEFORE, AFTER])
def test_what_another_file_system_has_under_a_known_name_stays_private_too(
    state: FileState, missing: bool, ctime: int
) -> None:
    """Also one that is mounted inside the folder after another: that has no adoption of its own."""
    of_another_card = known(state, stamp(ctime=ctime, size=9), missing=missing)
    change = decide(seen(stamp(ctime=BEFORE)), of_another_card, rule())
    assert isinstance(change, Skip)
    assert change.reason == BASELINE
    assert isinstance(decide(seen(stamp(ctime=BEFORE), announced=True), of_another_card, rule()), Remember)
    assert isinstance(decide(seen(stamp(ctime=AFTER)), of_another_card, rule()), Remember)


def test_a_record_made_from_the_links_file_alone_is_of_no_other_file_system() -> None:
    from_links = known(FileState.PUBLISHED, stamp(ctime=0, inode=0, mtime=0))
    assert isinstance(decide(seen(stamp(ctime=BEFORE)), from_links, rule()), Remember)


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


def test_an_old_file_of_another_card_at_a_baseline_path_that_was_seen_missing_stays_private() -> None:
    before = known(FileState.SKIPPED, stamp(ctime=BEFORE), reason=BASELINE, missing=True)
    of_another_card = stamp(ctime=BEFORE, size=99, inode=8)
    assert isinstance(decide(seen(of_another_card), before, rule()), Restamp)
    assert isinstance(decide(seen(of_another_card, announced=True), before, rule()), Remember)
    assert isinstance(decide(seen(of_another_card), before, rule(Existing.PUBLISH)), Remember)


@pytest.mark.parametrize("back", [stamp(), stamp(ctime=AFTER + 9)])
def test_a_baseline_file_that_comes_back_as_it_was_stays_private(back: Stamp) -> None:
    before = known(FileState.SKIPPED, reason=BASELINE, missing=True)
    assert isinstance(decide(seen(back, announced=True), before, rule()), Restamp)


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
    change = decide(seen(stamp(size=0)), known(state), rule(refusal="empty"))
    assert change == Restamp("/w/a.jpg", stamp(size=0), KEPT_BACK + "empty")


@pytest.mark.parametrize("state", [FileState.PUBLISHED, FileState.UNCERTAIN, FileState.WITHDRAWN])
def test_where_changes_are_ignored_new_content_is_noted_and_not_sent(state: FileState) -> None:
    change = decide(seen(stamp(size=11), announced=True), known(state), IGNORING)
    assert isinstance(change, Restamp)
    assert change.stamp == stamp(size=11)
    assert known(state, reason=change.reason).kept_back


@pytest.mark.parametrize("state", [FileState.PENDING, FileState.REJECTED, FileState.FAILED, FileState.GONE])
def test_what_has_not_been_sent_is_sent_as_it_is_now_though_changes_are_ignored(state: FileState) -> None:
    assert isinstance(decide(seen(stamp(size=11)), known(state), IGNORING), Remember)


def test_a_new_file_where_a_published_one_was_seen_missing_is_no_change_to_ignore() -> None:
    assert isinstance(decide(seen(stamp(size=11)), known(FileState.PUBLISHED, missing=True), IGNORING), Remember)


def test_a_file_of_the_same_size_and_time_is_not_said_to_have_changed_where_that_is_ignored() -> None:
    change = decide(seen(stamp(ctime=AFTER + 5, inode=8)), known(FileState.PUBLISHED), IGNORING)
    assert change == Restamp("/w/a.jpg", stamp(ctime=AFTER + 5, inode=8))


def test_an_uncertain_file_keeps_its_reason_beside_what_keeps_its_new_content_back() -> None:
    first = decide(seen(stamp(size=11)), known(FileState.UNCERTAIN, reason="no answer"), IGNORING)
    assert isinstance(first, Restamp)
    assert first.reason == f"no answer; {KEPT_BACK}`changed` is `ignore`"
    again = decide(seen(stamp(size=12)), known(FileState.UNCERTAIN, stamp(size=11), reason=first.reason), IGNORING)
    assert isinstance(again, Restamp)
    assert again.reason == first.reason


def test_a_file_that_a_rule_refused_is_looked_at_again_once_the_rule_has_changed() -> None:
    refused = known(FileState.SKIPPED, reason="too large")
    assert not needs_a_look(refused, stamp(), lambda: "too large")
    assert needs_a_look(refused, stamp(), lambda: None)
    assert isinstance(decide(seen(), refused, rule()), Remember)
    now = decide(seen(), refused, rule(refusal="larger than max_size"))
    assert isinstance(now, Skip)
    assert now.reason == "larger than max_size"


@pytest.mark.parametrize("reason", [BASELINE, WATCH_REMOVED])
def test_a_changed_rule_on_sizes_publishes_nothing_that_was_skipped_for_another_reason(reason: str) -> None:
    skipped = known(FileState.SKIPPED, reason=reason)
    assert not needs_a_look(skipped, stamp(), lambda: "too large")
    assert decide(seen(), skipped, rule()) is None


@given(
    state=st.sampled_from([s for s in FileState if s not in (FileState.SETTLING, FileState.UPLOADING)]),
    reason=st.sampled_from([None, BASELINE, "too large"]),
    refusal=st.sampled_from([None, "too large", "too small"]),
    changed=st.sampled_from(WhenChanged),
    missing=st.booleans(),
    parked=st.booleans(),
    ctime=st.integers(0, 2_000),
    size=st.integers(1, 3),
    announced=st.booleans(),
)
def test_what_a_scan_passes_over_is_what_the_decision_leaves_alone(
    state: FileState,
    reason: str | None,
    refusal: str | None,
    changed: WhenChanged,
    missing: bool,
    parked: bool,
    ctime: int,
    size: int,
    announced: bool,
) -> None:
    now = stamp(ctime=ctime, size=size)
    before = known(state, stamp(size=2), reason=reason, missing=missing, parked=parked)
    if not needs_a_look(before, now, lambda: refusal):
        assert decide(seen(now, announced=announced), before, rule(refusal=refusal, changed=changed)) is None
