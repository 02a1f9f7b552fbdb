"""Who logs does not wait for who reads the log."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterator

import pytest

from pixstored.eventlog import EventLog
from pixstored.service.teller import telling
from support.app import eventually

log = EventLog("pixstored.test")

LINES = 20_000
"""More than are kept."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    root = logging.getLogger()
    before, root.handlers[:], level = root.handlers[:], [], root.level
    root.setLevel(logging.INFO)
    ends = os.pipe()
    yield ends
    root.handlers[:] = before
    root.setLevel(level)
    eventually(lambda: still_telling(ends[0]), lambda tellers: not tellers)  # who tells on would tell the next pipe
    for end in ends:
        os.close(end)


def read_all(descriptor: int, before: bytes = b"") -> list[str]:
    """The lines in the pipe; `before` is what has been read of them already."""
    os.set_blocking(descriptor, False)
    blocks = [before]
    try:
        while block := os.read(descriptor, 1 << 20):
            blocks.append(block)
    except BlockingIOError:
        pass
    return b"".join(blocks).decode().splitlines()


def still_telling(descriptor: int) -> list[threading.Thread]:
    """Threads that have something to write, for which there is room in the pipe again."""
    read_all(descriptor)
    return [thread for thread in threading.enumerate() if thread.name == "log"]


def test_lines_come_whole_and_in_order_and_the_last_ones_before_the_end(pipe: tuple[int, int]) -> None:
    with telling(pipe[1]):
        for number in range(500):
            log.info(f"line {number}")
    assert read_all(pipe[0]) == [f"line {number}" for number in range(500)]


def test_while_nobody_reads_some_lines_are_kept_and_it_is_said_how_many_were_lost(pipe: tuple[int, int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4096)
    with telling(pipe[1]):
        for number in range(LINES):
            log.info(f"line {number}")
        log.critical("link not recorded")
        read = b""  # the pipe is small: what is read at once may end in the midst of a line
        while b"lost" not in read:
            read += os.read(pipe[0], 1 << 20)
        log.info("it goes on")
    told = read_all(pipe[0], read)
    assert "link not recorded" in told
    assert "line 0" in told and f"line {LINES - 1}" not in told
    assert told[-2:] == ["log lines lost: nobody took them", "it goes on"]


def test_a_reader_that_never_comes_keeps_nobody_from_ending(pipe: tuple[int, int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4096)
    with telling(pipe[1]):
        for number in range(1000):
            log.info(f"line {number}")
    assert read_all(pipe[0])[0] == "line 0"


def test_a_reader_that_is_gone_is_no_trouble(pipe: tuple[int, int]) -> None:
    gone, end = os.pipe()
    os.close(gone)
    with telling(end):
        log.info("to nobody")
    os.close(end)


def test_a_pipe_that_somebody_has_made_impatient_is_waited_for(pipe: tuple[int, int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(pipe[1], False)
    lines = [f"line {number}" for number in range(1000)]
    read = b""
    with telling(pipe[1]):
        for line in lines:
            log.info(line)
        while not read.endswith(b"line 999\n"):
            read += os.read(pipe[0], 1 << 20)
    assert read.decode().splitlines() == lines
