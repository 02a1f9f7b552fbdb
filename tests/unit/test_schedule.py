"""When a try is made again."""

from __future__ import annotations

import pytest

from pixstored.config.schema import RetryConfig
from pixstored.errors import NotSent, Stale
from pixstored.publish.schedule import Schedule, again_after_stale


def test_waits_grow_from_the_first_to_the_longest() -> None:
    schedule = Schedule(RetryConfig(first=5.0, longest=3600.0, tries=10, again=86400.0))
    assert 5.0 <= schedule.delay(1) <= 10.0
    assert all(schedule.delay(n) <= 3600.0 for n in range(1, 200))
    assert schedule.delay(8) > 500.0


def test_there_are_as_many_tries_as_configured() -> None:
    schedule = Schedule(RetryConfig(first=5.0, longest=3600.0, tries=3, again=86400.0))
    assert [schedule.exhausted(tries) for tries in (1, 2, 3, 4)] == [False, False, True, True]


def test_after_a_stale_connection_another_one_is_tried_at_once() -> None:
    answers = [Stale("closed"), "receipt"]

    def send() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Stale):
            raise answer
        return str(answer)

    assert again_after_stale(send) == "receipt"


@pytest.mark.parametrize(("error", "tries"), [(Stale("closed"), 2), (NotSent("500"), 1)])
def test_any_other_failure_is_not_repeated_at_once(error: NotSent, tries: int) -> None:
    made: list[None] = []

    def send() -> None:
        made.append(None)
        raise error

    with pytest.raises(type(error)):
        again_after_stale(send)
    assert len(made) == tries
