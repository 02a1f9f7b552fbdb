"""A set of numbers that takes 16 bytes for each: Python's own takes 60 to 100, and there may be millions."""

from __future__ import annotations

from array import array


class NumberSet:
    """Signed numbers of 64 bits, at most as many as are said at first. 0 and 1 count as one."""

    def __init__(self, most: int) -> None:
        size = 1 << (2 * most).bit_length()  # more than twice as many places: a number is found after a step or two
        self._mask = size - 1
        self._places = array("q", [0]) * size

    def add(self, number: int) -> None:
        self._places[self._place_of(number)] = number or 1

    def __contains__(self, number: int) -> bool:
        return self._places[self._place_of(number)] != 0

    def _place_of(self, number: int) -> int:
        """Where it is, or belongs."""
        number = number or 1
        place = number & self._mask
        while (found := self._places[place]) and found != number:
            place = (place + 1) & self._mask
        return place
