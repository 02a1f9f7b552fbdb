"""Ctrl-C, wherever it comes: processes that interrupt themselves at the worst moment."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pixstored.interrupts import EXIT_INTERRUPTED

PROGRAM = """
import ctypes, functools, operator, os, signal, sys
from pixstored.interrupts import EXIT_INTERRUPTED, end_at_once, raise_interrupts

libc = ctypes.CDLL(None)
interrupt = functools.partial(libc["raise"], signal.SIGINT)
silence, _ = os.pipe()

def one_after_the_other(*calls):
    "Without a step of Python between them."
    list(map(operator.call, calls))

class Interrupting:
    def __del__(self):
        interrupt()

class Faulty:
    def __del__(self):
        raise ValueError("what else goes wrong there is told")

{first}
try:
    {then}
except KeyboardInterrupt:
    print("in order")
    sys.exit(EXIT_INTERRUPTED)
"""

BEFORE_A_WAIT = "one_after_the_other(interrupt, functools.partial(os.read, silence, 1))"
IN_A_DESTRUCTOR = "Interrupting(); os.read(silence, 1)"
BEFORE_WHAT_CANNOT_BE_INTERRUPTED = """
    mutex = ctypes.create_string_buffer(64)  # as PTHREAD_MUTEX_INITIALIZER
    one_after_the_other(interrupt, *[functools.partial(libc.pthread_mutex_lock, mutex)] * 2)
"""


def run(first: str, then: str, *before: str) -> subprocess.CompletedProcess[str]:
    words = [*before, sys.executable, "-c", PROGRAM.format(first=first, then=then)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (BEFORE_A_WAIT, "in order\n"),
        (IN_A_DESTRUCTOR, "in order\n"),
        (BEFORE_WHAT_CANNOT_BE_INTERRUPTED, ""),
        ("interrupt(); os.read(silence, 1)", "in order\n"),
    ],
)
def test_an_interrupt_is_not_lost(then: str, said: str) -> None:
    done = run("raise_interrupts()", then)
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_INTERRUPTED, said, "")


def test_what_else_goes_wrong_in_a_destructor_is_told() -> None:
    done = run("raise_interrupts()", "Faulty()")
    assert (done.returncode, "what else goes wrong there is told" in done.stderr) == (0, True)


def test_where_nothing_need_be_put_in_order_the_process_ends_with_the_code_that_was_said() -> None:
    done = run("end_at_once(7, signal.SIGINT)", "interrupt()")
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_an_interrupt_that_is_to_be_ignored_stays_ignored() -> None:
    for first in ("raise_interrupts()", "end_at_once(7, signal.SIGINT)"):
        done = run(first, "interrupt(); print('still there')", "sh", "-c", "trap '' INT; exec \"$@\"", "sh")
        assert (done.returncode, done.stdout) == (0, "still there\n")
