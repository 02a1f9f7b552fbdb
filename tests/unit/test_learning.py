"""Which files are not worth sending, by what the store has refused before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixstored.model import Lessons
from pixstored.publish.learning import why_not_sent


def test_nothing_is_held_back_before_anything_was_refused() -> None:
    assert why_not_sent(Lessons(0, None), ".jpg", 10**12) is None


def test_two_refusals_of_an_extension_are_not_enough_and_three_are() -> None:
    assert why_not_sent(Lessons(2, None), ".xyz", 1) is None
    reason = why_not_sent(Lessons(3, None), ".xyz", 1)
    assert reason == "three .xyz files were refused (415), none was taken: not sent"


def test_names_without_an_extension_are_a_kind_of_their_own() -> None:
    assert "files without an extension" in (why_not_sent(Lessons(12, None), "", 1) or "")


@pytest.mark.parametrize(("size", "is_sent"), [(999, True), (1000, False), (1001, False)])
def test_a_file_at_least_as_large_as_one_that_was_too_large_is_not_sent(size: int, is_sent: bool) -> None:
    reason = why_not_sent(Lessons(0, 1000), ".jpg", size)
    assert (reason is None) == is_sent
    assert is_sent or "413" in str(reason)


@given(st.integers(0, 9), st.none() | st.integers(1, 10**6), st.sampled_from([".jpg", ""]), st.integers(1, 10**6))
def test_what_is_held_back_stays_so_with_more_refusals_and_more_bytes(
    kind: int, limit: int | None, extension: str, size: int
) -> None:
    if why_not_sent(Lessons(kind, limit), extension, size):
        assert why_not_sent(Lessons(kind + 1, limit), extension, size + 1)
