"""A file on its way to the store: what is noted and sent is the file that settled, whole, or nothing is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from pixstored.errors import Changed, Duplicate
from pixstored.ledger.sqlite import SqliteLedger
from pixstored.model import Lane, Receipt, Remember, Stamp, Standing
from pixstored.publish.hashing import BLOCK, HashingInline, a_room
from pixstored.publish.media import Media
from support.files import jpeg, write

CONTENT = jpeg(2 * BLOCK, seed=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "a.jpg", CONTENT)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def media_of(path: Path, ledger: SqliteLedger, stack: ExitStack, has_read: Callable[[], None] = lambda: None) -> Media:
    """The file as an uploader has it; `has_read` is called after each block."""
    ledger.apply([Remember(str(path), Stamp.of(path.stat()), Lane.FRESH, None, 0.0)])
    claim = ledger.claim("upload-1", 0.0)
    assert claim
    descriptor = os.open(path, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return Media(
        descriptor,
        claim,
        ledger,
        note=ledger.sending,
        filename=path.name,
        hashing=HashingInline(a_room()),
        disk=nullcontext(),
        has_read=has_read,
        stopping=lambda: False,
    )


def read_all(media: Media) -> bytes:
    return b"".join(bytes(media.read(BLOCK)) for _ in range(2))


def test_a_file_that_a_program_opens_for_writing_while_it_is_read_is_not_released(
    path: Path, ledger: SqliteLedger, stack: ExitStack
) -> None:
    def open_for_writing() -> None:
        stack.callback(os.close, os.open(path, os.O_WRONLY))

    media = media_of(path, ledger, stack, open_for_writing)
    read_all(media)
    with pytest.raises(Changed, match="open for writing"):
        media.before_release()
    assert ledger.recover(0.0) == 0, "it is not noted that the store may have it"


def test_a_file_that_is_changed_while_it_is_hashed_first_has_no_hash(
    path: Path, ledger: SqliteLedger, stack: ExitStack
) -> None:
    def change() -> None:
        with open(path, "r+b") as file:
            file.write(b"other")

    with pytest.raises(Changed):
        media_of(path, ledger, stack, change).digest()


def test_a_content_that_becomes_known_while_it_is_read_is_not_released(
    path: Path, ledger: SqliteLedger, stack: ExitStack
) -> None:
    media = media_of(path, ledger, stack)
    read_all(media)
    sha256, receipt = hashlib.sha256(CONTENT).digest(), Receipt("https://shop.example/a.jpg", "a.jpg")
    copy = write(path.with_name("copy.jpg"), CONTENT)
    assert ledger.record_link(str(copy), Stamp.of(copy.stat()), None, sha256, receipt, 0.0) is Standing.CLEAR
    with pytest.raises(Duplicate) as known:
        media.before_release()
    assert known.value.standing is Standing.PUBLISHED


def test_what_is_read_again_is_hashed_anew(path: Path, ledger: SqliteLedger, stack: ExitStack) -> None:
    media = media_of(path, ledger, stack)
    media.read(BLOCK)
    media.rewind()
    assert read_all(media) == CONTENT
    media.before_release()
    assert media.sha256 == hashlib.sha256(CONTENT).digest()
