"""Threads that share the interpreter share a processor, unless large files are sent."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOK = """
import os, threading
from pixstored.publish.processors import LINGERS, SPREADS, Processors

before, after = threading.Event(), threading.Event()

def wait():
    before.set()
    after.wait()

def where():
    return [os.sched_getaffinity(task) for task in (0, thread.native_id)]

thread = threading.Thread(target=wait)
thread.start()
before.wait()
allowed = os.sched_getaffinity(0)
now = 0.0
processors = Processors(lambda: now)
processors.suit(SPREADS)
assert where() == [allowed, allowed], "a large file is sent from anywhere"
now += LINGERS
processors.suit(SPREADS - 1)
assert where() == [allowed, allowed], "a small one among large ones changes nothing"
now += 0.1
processors.suit(SPREADS - 1)
here, there = where()
assert len(here) == 1 and here <= allowed and there == here, "small ones bring them together"
processors.suit(SPREADS)
assert where() == [allowed, allowed]
after.set()
"""

NOT_OURS = """
import os
from pixstored.publish.processors import Processors

def refuse(task, processors):
    raise PermissionError

processors = Processors()
allowed = os.sched_getaffinity(0)
os.sched_setaffinity = refuse
processors.suit(1)
assert os.sched_getaffinity(0) == allowed
"""


@pytest.mark.parametrize("script", [LOOK, NOT_OURS], ids=["they share one", "where they are not ours to choose"])
def test_threads_share_one_processor_unless_large_files_are_sent(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
