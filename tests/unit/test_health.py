"""When a store that is not well is tried again, and by how many."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixstored.errors import NotSent, StoreDown, Uncertain
from pixstored.model import StoreState
from pixstored.store.health import RAREST_PROBE, Go, Health, Permit, Probe, Wait

FIRST, LONGEST = 5.0, 3600.0


def down(state: StoreState = StoreState.UNREACHABLE, retry_after: float | None = None) -> StoreDown:
    return StoreDown("no way", state, retry_after)


@pytest.fixture
def health() -> Health:
    return Health(FIRST, LONGEST, Random(1))


def permit(health: Health, now: float) -> Permit:
    leave = health.ask(now)
    assert not isinstance(leave, Wait)
    return leave


def failing(health: Health, now: float = 0.0, error: StoreDown | Uncertain | None = None) -> None:
    health.failed(error or down(), now, permit(health, now))


def test_before_any_news_everyone_may_send(health: Health) -> None:
    assert health.state is StoreState.UNKNOWN
    assert health.since is None
    assert health.next_try is None
    assert all(isinstance(health.ask(0.0), Go) for _ in range(3))


def test_the_first_receipt_makes_it_ok_once(health: Health) -> None:
    first, second = permit(health, 0.0), permit(health, 0.0)
    assert health.succeeded(1.0, first)
    assert not health.succeeded(2.0, second)
    assert (health.state, health.since) == (StoreState.OK, 1.0)


def test_an_outage_is_told_once_and_shown(health: Health) -> None:
    leave = permit(health, 10.0)
    assert health.failed(down(), 10.0, leave)
    assert (health.state, health.since, health.error) == (StoreState.UNREACHABLE, 10.0, "no way")
    assert health.next_try == 10.0 + FIRST


def test_an_uncertain_upload_makes_the_store_unreachable(health: Health) -> None:
    failing(health, error=Uncertain("no answer"))
    assert health.state is StoreState.UNREACHABLE


def test_during_an_outage_one_probe_at_a_time_is_out(health: Health) -> None:
    failing(health)
    assert health.ask(4.9) == Wait(FIRST)
    assert isinstance(health.ask(5.0), Probe)
    assert health.ask(5.0) == Wait(math.inf)
    assert health.next_try is None


def test_the_first_success_opens_the_way_for_all(health: Health) -> None:
    failing(health)
    assert health.succeeded(6.0, permit(health, 5.0))
    assert health.state is StoreState.OK
    assert health.error is None
    assert all(isinstance(health.ask(6.0), Go) for _ in range(3))


def test_a_failure_of_an_upload_that_was_under_way_puts_nothing_off(health: Health) -> None:
    first, second, third = (permit(health, 0.0) for _ in range(3))
    assert health.failed(down(), 1.0, first)
    assert not health.failed(down(), 2.0, second)
    assert not health.failed(down(StoreState.AUTH_FAILED), 3.0, third)
    assert health.state is StoreState.UNREACHABLE
    assert health.next_try == 1.0 + FIRST


def test_a_failure_from_before_the_outage_does_not_begin_a_new_one(health: Health) -> None:
    first, slow = permit(health, 0.0), permit(health, 0.0)
    health.failed(down(), 1.0, first)
    health.succeeded(7.0, permit(health, 6.0))
    assert not health.failed(down(), 60.0, slow)
    assert health.state is StoreState.OK


def test_a_failure_of_an_upload_begun_before_the_first_success_is_news(health: Health) -> None:
    first, second = permit(health, 0.0), permit(health, 0.0)
    health.succeeded(1.0, first)
    assert health.failed(down(), 2.0, second)


def test_probes_become_rarer_but_never_rarer_than_every_15_minutes(health: Health) -> None:
    failing(health)
    waits = []
    for _ in range(20):
        now = health.next_try or 0.0
        health.failed(down(), now, permit(health, now))
        waits.append((health.next_try or 0.0) - now)
    assert waits[0] < waits[1] < waits[2] < waits[3]
    assert max(waits) <= RAREST_PROBE
    assert min(waits[10:]) > RAREST_PROBE / 2


def test_probes_are_at_least_as_frequent_as_retry_longest() -> None:
    health = Health(5.0, 20.0, Random(1))
    failing(health)
    for _ in range(10):
        now = health.next_try or 0.0
        health.failed(down(), now, permit(health, now))
        assert (health.next_try or 0.0) - now <= 20.0


def test_after_a_success_the_schedule_begins_anew(health: Health) -> None:
    failing(health)
    for _ in range(5):
        failing(health, health.next_try or 0.0)
    health.succeeded(1000.0, permit(health, 1000.0))
    failing(health, 2000.0)
    assert health.next_try == 2000.0 + FIRST


@pytest.mark.parametrize(("asked", "waits"), [(None, 60.0), (30.0, 30.0), (0.0, FIRST), (1e9, LONGEST)])
def test_a_rate_limit_waits_as_long_as_the_store_says(health: Health, asked: float | None, waits: float) -> None:
    for now in (0.0, 10_000.0):
        failing(health, now, down(StoreState.RATE_LIMITED, asked))
        assert health.next_try == now + waits


def test_a_success_from_before_a_rate_limit_does_not_lift_it(health: Health) -> None:
    first, second = permit(health, 0.0), permit(health, 0.0)
    health.failed(down(StoreState.RATE_LIMITED, 30.0), 1.0, first)
    assert not health.succeeded(2.0, second)
    assert health.ask(3.0) == Wait(31.0)


def test_a_success_from_before_an_outage_ends_it(health: Health) -> None:
    first, second = permit(health, 0.0), permit(health, 0.0)
    health.failed(down(), 1.0, first)
    assert health.succeeded(2.0, second)
    assert isinstance(health.ask(2.0), Go)


def test_an_unavailable_store_that_names_a_time_is_given_it_up_to_15_minutes(health: Health) -> None:
    failing(health, 0.0, down(retry_after=120.0))
    assert health.next_try == 120.0
    failing(health, 120.0, down(retry_after=1e9))
    assert health.next_try == 120.0 + RAREST_PROBE


def test_an_attempt_that_says_nothing_lets_the_next_probe_go_at_once(health: Health) -> None:
    failing(health)
    probe = permit(health, 5.0)
    assert not health.done(6.0, probe)
    assert isinstance(health.ask(6.0), Probe)


def test_handing_back_a_permit_twice_does_no_harm(health: Health) -> None:
    failing(health)
    probe = permit(health, 5.0)
    health.done(6.0, probe)
    other = permit(health, 6.0)
    health.done(6.0, probe)
    assert health.ask(6.0) == Wait(math.inf)
    assert health.succeeded(7.0, other)


def test_a_probe_that_is_not_sent_waits_longer_but_keeps_the_state(health: Health) -> None:
    failing(health)
    assert not health.failed(NotSent("HTTP 500"), 5.0, permit(health, 5.0))
    assert health.state is StoreState.UNREACHABLE
    assert isinstance(health.ask(5.0 + FIRST), Wait)


def test_a_file_of_its_own_trouble_does_not_close_the_way(health: Health) -> None:
    assert not health.failed(NotSent("HTTP 500"), 0.0, permit(health, 0.0))
    assert health.state is StoreState.UNKNOWN
    assert isinstance(health.ask(0.0), Go)


def test_a_store_that_refuses_a_probe_is_not_unreachable(health: Health) -> None:
    failing(health)
    assert health.refused(5.0, permit(health, 5.0))
    assert health.state is StoreState.OK


def test_a_refused_probe_does_not_make_a_key_good(health: Health) -> None:
    failing(health, 0.0, down(StoreState.AUTH_FAILED))
    assert not health.refused(5.0, permit(health, 5.0))
    assert health.state is StoreState.AUTH_FAILED
    assert isinstance(health.ask(5.1), Wait)


def test_a_store_that_refuses_one_after_another_is_probed_ever_more_rarely(health: Health) -> None:
    assert health.refusing("HTTP 400", 1.0, permit(health, 0.0))
    assert (health.state, health.since, health.error) == (StoreState.REFUSING, 1.0, "HTTP 400")
    waits = []
    for _ in range(6):
        now = health.next_try or 0.0
        assert not health.refusing("HTTP 400", now, permit(health, now))
        waits.append((health.next_try or 0.0) - now)
    assert waits == sorted(waits)
    assert health.succeeded(1000.0, permit(health, 1000.0))
    assert health.state is StoreState.OK


def test_a_refusal_from_before_an_outage_is_no_news(health: Health) -> None:
    first, slow = permit(health, 0.0), permit(health, 0.0)
    health.failed(down(), 1.0, first)
    assert not health.refusing("HTTP 400", 2.0, slow)
    assert health.state is StoreState.UNREACHABLE


def test_a_file_the_store_does_not_take_does_not_make_a_refusing_store_well(health: Health) -> None:
    health.refusing("HTTP 400", 0.0, permit(health, 0.0))
    assert not health.refused(FIRST, permit(health, FIRST))
    assert health.state is StoreState.REFUSING
    assert isinstance(health.ask(FIRST + 0.1), Wait)


def test_an_unreachable_store_may_turn_out_to_be_refusing(health: Health) -> None:
    failing(health)
    assert health.refusing("HTTP 400", 5.0, permit(health, 5.0))
    assert (health.state, health.since) == (StoreState.REFUSING, 5.0)


def test_a_changed_key_is_tried_at_once_even_with_a_probe_out(health: Health) -> None:
    failing(health, 0.0, down(StoreState.AUTH_FAILED))
    with_old_key = permit(health, 5.0)
    health.poke(6.0)
    with_new_key = permit(health, 6.0)
    assert isinstance(with_new_key, Probe)
    assert not health.failed(down(StoreState.AUTH_FAILED), 7.0, with_old_key)
    assert health.ask(7.0) == Wait(math.inf)
    assert health.succeeded(8.0, with_new_key)


def test_poking_a_well_store_changes_nothing(health: Health) -> None:
    health.succeeded(0.0, permit(health, 0.0))
    health.poke(1.0)
    assert (health.state, health.next_try) == (StoreState.OK, None)


def test_one_trouble_may_turn_into_another(health: Health) -> None:
    failing(health)
    assert health.failed(down(StoreState.AUTH_FAILED), 5.0, permit(health, 5.0))
    assert (health.state, health.since) == (StoreState.AUTH_FAILED, 5.0)


def test_a_retry_first_of_zero_is_no_busy_loop() -> None:
    health = Health(0.0, 3600.0, Random(1))
    failing(health)
    assert isinstance(health.ask(0.0), Wait)


ERRORS = st.sampled_from([down(state) for state in StoreState if state not in (StoreState.OK, StoreState.UNKNOWN)])
OUTCOMES = st.one_of(
    ERRORS,
    st.builds(down, st.just(StoreState.RATE_LIMITED), st.none() | st.floats(0, 1e12)),
    st.sampled_from([Uncertain("u"), NotSent("n"), "succeeded", "refused", "refusing", "done", "poke"]),
)


@given(st.lists(st.tuples(OUTCOMES, st.floats(0, 5000), st.integers(0, 3)), max_size=40), st.integers())
def test_whatever_happens_one_probe_at_most_is_out_and_the_next_is_not_far(
    story: list[tuple[NotSent | Uncertain | str, float, int]], seed: int
) -> None:
    health, now, out = Health(FIRST, LONGEST, Random(seed)), 0.0, list[Permit]()
    for outcome, passes, which in story:
        now += passes
        leave = health.ask(now)
        if not isinstance(leave, Wait):
            out.append(leave)
        if health.state not in (StoreState.OK, StoreState.UNKNOWN):
            assert isinstance(health.ask(now), Wait), "a probe is out, or it is too early"
            assert health.next_try is None or health.next_try <= now + LONGEST
        if not out:
            continue
        back = out.pop(which % len(out))
        before = health.state
        match outcome:
            case "succeeded":
                changed = health.succeeded(now, back)
            case "refused":
                changed = health.refused(now, back)
            case "refusing":
                changed = health.refusing("r", now, back)
            case "done":
                changed = health.done(now, back)
            case "poke":
                health.poke(now)
                changed = False
            case NotSent() | Uncertain():
                changed = health.failed(outcome, now, back)
            case _:
                raise AssertionError(outcome)
        assert changed == (health.state is not before)
        if changed:
            assert health.since == now
