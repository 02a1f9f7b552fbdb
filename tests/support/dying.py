"""Processes that outlive no test, though the tests themselves are killed."""

from __future__ import annotations

import shutil

DIES_WITH_US = ["setpriv", "--pdeathsig=KILL"] if shutil.which("setpriv") else []
"""What stands before a command: it is killed when the thread that has started it is gone."""
