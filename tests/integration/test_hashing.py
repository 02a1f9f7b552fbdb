"""The hash of what was read, block by block, whoever hashes it."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator

import pytest

from pixstored.publish.hashing import BLOCK, Hashing, HashingAside, HashingInline, a_room

CONTENT = random.Random(1).randbytes(BLOCK * 20 + 12_345)


@pytest.fixture(params=["inline", "aside"])
def hashing(request: pytest.FixtureRequest) -> Iterator[Hashing]:
    if request.param == "inline":
        yield HashingInline(a_room())
        return
    before = set(threading.enumerate())
    aside = HashingAside()
    yield aside
    aside.close()
    assert set(threading.enumerate()) <= before


def read(hashing: Hashing, content: bytes, sizes: Iterator[int]) -> list[memoryview]:
    """Reads it all into the rooms; the last block, as it is afterwards."""
    left = memoryview(content)
    block = memoryview(b"")
    while left:
        count = min(next(sizes), BLOCK, len(left))
        room = hashing.room()
        assert hashing.room() is room, "asked again, it is the same until something is read"
        room[:count] = left[:count]
        hashing.add(count)
        block, left = room[:count], left[count:]
    return [block]


def sizes(seed: int) -> Iterator[int]:
    rng = random.Random(seed)
    while True:
        yield rng.choice([1, 1000, BLOCK, BLOCK])


def test_blocks_of_any_size_give_the_hash_of_the_whole(hashing: Hashing) -> None:
    read(hashing, CONTENT, sizes(2))
    assert hashing.digest() == hashlib.sha256(CONTENT).digest()


def test_after_a_digest_another_begins(hashing: Hashing) -> None:
    read(hashing, CONTENT[:1000], sizes(3))
    hashing.digest()
    assert hashing.digest() == hashlib.sha256(b"").digest()
    read(hashing, CONTENT, sizes(4))
    assert hashing.digest() == hashlib.sha256(CONTENT).digest()


def test_a_block_stays_as_it_is_until_room_for_another_is_asked_for(hashing: Hashing) -> None:
    [last] = read(hashing, CONTENT, sizes(5))
    hashing.digest()
    assert last == CONTENT[-len(last) :]


def test_what_is_dropped_in_the_middle_leaves_nothing_behind(hashing: Hashing) -> None:
    hashing.room()
    hashing.add(10)
    hashing.room()
