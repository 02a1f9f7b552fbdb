"""Threads that share the interpreter share a processor, but for one that sends a large file."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOK = """
import os, threading
from pixstored.publish.processors import SPREADS, Processors

before, after = threading.Event(), threading.Event()

def wait():
    before.set()
    after.wait()

thread = threading.Thread(target=wait)
thread.start()
before.wait()
allowed = os.sched_getaffinity(0)
processors = Processors()
with processors.spread(SPREADS):
    assert os.sched_getaffinity(0) == allowed, "before they are gathered nothing changes"
processors.gather()
common = os.sched_getaffinity(0)
assert len(common) == 1 and common <= allowed
assert os.sched_getaffinity(thread.native_id) == common
with processors.spread(SPREADS - 1):
    assert os.sched_getaffinity(0) == common
with processors.spread(SPREADS):
    assert os.sched_getaffinity(0) == allowed
    assert os.sched_getaffinity(thread.native_id) == common
    started = threading.Thread(target=lambda: os.sched_getaffinity(0) == allowed or os._exit(1))
    started.start()
    started.join()
assert os.sched_getaffinity(0) == common
after.set()
"""

NOT_OURS = """
import os
from pixstored.publish.processors import SPREADS, Processors

def refuse(task, processors):
    raise PermissionError

processors = Processors()
allowed = os.sched_getaffinity(0)
os.sched_setaffinity = refuse
processors.gather()
with processors.spread(SPREADS):
    pass
assert os.sched_getaffinity(0) == allowed
"""


@pytest.mark.parametrize("script", [LOOK, NOT_OURS], ids=["they share one", "where they are not ours to choose"])
def test_threads_share_one_processor_but_for_one_that_sends_a_large_file(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
