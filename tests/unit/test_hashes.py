"""The set of many hashes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pixstored.service.hashes import HashSet

_HASHES = st.integers(-(2**63), 2**63 - 1)
_ALIKE = st.integers(0, 3).map(lambda low: (5 << 40) + low)
"""All at the same few places."""


@given(st.lists(_HASHES | _ALIKE))
def test_it_holds_what_was_added(added: list[int]) -> None:
    hashes = HashSet(len(added))
    for number in added:
        hashes.add(number)
    assert all(number in hashes for number in added)


def test_it_holds_nothing_else() -> None:
    hashes = HashSet(1_000)
    for number in range(1_000):
        hashes.add(hash(("here", number)))
    assert not any(hash(("not here", number)) in hashes for number in range(10_000))


def test_one_for_nothing_holds_nothing() -> None:
    assert 7 not in HashSet(0)
