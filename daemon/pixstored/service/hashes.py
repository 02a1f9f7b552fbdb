"""A set of hashes that takes 8 bytes for each: Python's own takes 60 to 100, and there may be millions."""

from __future__ import annotations

from array import array

_MARK_BITS = 32


class HashSet:
    """Well-spread numbers of 64 bits, at most as many as are said at first.

    Of each only 32 bits are kept, at a place that the others choose. So one that is not in it is taken for one that is
    once in a billion times.
    """

    def __init__(self, most: int) -> None:
        size = 1 << (2 * most).bit_length()  # more than twice as many places: a number is found after a step or two
        self._mask = size - 1
        self._places = array("I", [0]) * size

    def add(self, number: int) -> None:
        place, mark = self._find(number)
        self._places[place] = mark

    def __contains__(self, number: int) -> bool:
        place, _ = self._find(number)
        return self._places[place] != 0

    def _find(self, number: int) -> tuple[int, int]:
        """Where it is, or belongs, and what stands for it there."""
        mark = number >> _MARK_BITS & (1 << _MARK_BITS) - 1 or 1
        place = number & self._mask
        while (found := self._places[place]) and found != mark:
            place = (place + 1) & self._mask
        return place, mark
