"""How uploads ended is counted, and how long links took."""

from __future__ import annotations

import pytest

from pixstored.errors import Duplicate, NotSent, Refused, Stale, StoreDown, Uncertain, UploadError
from pixstored.model import Standing, StoreState
from pixstored.publish.tally import LIMITS, OUTCOMES, Tally


@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (None, "published"),
        (Refused("no", 415), "refused"),
        (Uncertain("lost"), "uncertain"),
        (Duplicate(Standing.PUBLISHED), "duplicate"),
        (NotSent("lost"), "not_sent"),
        (Stale("closed"), "not_sent"),
        (StoreDown("down", StoreState.UNREACHABLE), "not_sent"),
    ],
)
def test_every_end_has_one_word(failure: UploadError | None, word: str) -> None:
    tally = Tally()
    tally.ended(failure, 7)
    sums = tally.sums()
    assert sums.outcomes == dict.fromkeys(OUTCOMES, 0) | {word: 1}
    assert sums.sent == 7


def test_a_file_that_waits_for_another_of_its_content_has_not_ended() -> None:
    tally = Tally()
    tally.ended(Duplicate(Standing.IN_FLIGHT), 0)
    assert tally.sums().outcomes == dict.fromkeys(OUTCOMES, 0)


def test_a_link_counts_in_the_class_of_its_time() -> None:
    tally = Tally()
    for seconds in (0.0, LIMITS[0], LIMITS[0] + 0.1, LIMITS[-1] + 1):
        tally.linked(seconds)
    sums = tally.sums()
    assert (sums.linked[0], sums.linked[1], sums.linked[-1]) == (2, 1, 1)
    assert sum(sums.linked) == 4
    assert sums.seconds == pytest.approx(2 * LIMITS[0] + 0.1 + LIMITS[-1] + 1)
