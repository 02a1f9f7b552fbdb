"""The set of many numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pixstored.service.numbers import NumberSet

_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.integers(0, 5).map(lambda n: n << 40)


@given(st.lists(_NUMBERS), st.lists(_NUMBERS))
def test_it_holds_what_was_added_and_nothing_else(added: list[int], asked: list[int]) -> None:
    numbers = NumberSet(len(added))
    for number in added:
        numbers.add(number)
    alike = {number or 1 for number in added}
    assert [number in numbers for number in added] == [True] * len(added)
    assert [number in numbers for number in asked] == [(number or 1) in alike for number in asked]


def test_one_for_nothing_holds_nothing() -> None:
    assert 7 not in NumberSet(0)
