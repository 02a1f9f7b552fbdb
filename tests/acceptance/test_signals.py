"""How what runs long ends by a signal, whenever that comes; Ctrl-C at a terminal is in `test_terminal`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pixstored.ledger.lock import COMMAND, LedgerLock
from support.app import PATIENCE, App, eventually

EXIT_INTERRUPTED = 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_waits_for_its_ledger_is_stopped_as_ever(app: App, number: signal.Signals) -> None:
    app.configure()
    lock = LedgerLock(app.home / "state" / "ledger.db")
    lock.acquire(COMMAND)
    process = app.launch()
    signals = Path(f"/proc/{process.pid}/status")
    eventually(signals.read_text, lambda status: re.search(r"^SigBlk:\s*0*1$", status, re.MULTILINE))
    assert app.stop(number) == 0
    lock.release()
    assert app.log.read_text() == ""


STOPPED_WHILE_IT_IS_STOPPED = """
import os, signal, sys, threading
def asked_again(frame, event, argument):
    "The lock of an event is held in that moment."
    if event == "call" and frame.f_code is threading.Condition.notify_all.__code__:
        setter = frame.f_back.f_back
        if setter.f_code.co_filename.endswith("service/daemon.py"):
            os.kill(os.getpid(), signal.SIGTERM)
sys.setprofile(asked_again)
from pixstored.__main__ import main
main()
"""


def test_a_daemon_that_is_asked_to_stop_again_and_again_stops_in_order(app: App) -> None:
    app.configure()
    words = [sys.executable, "-c", STOPPED_WHILE_IT_IS_STOPPED, "-c", str(app.file), "run"]
    with subprocess.Popen(words, env=app.environ, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr
        assert any(" running " in line for line in daemon.stderr)
        for _ in range(100):
            daemon.send_signal(signal.SIGINT)
            daemon.send_signal(signal.SIGTERM)
        _, rest = daemon.communicate(timeout=PATIENCE)
    assert (daemon.returncode, rest.endswith("stopped\n")) == (0, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demo_takes_its_daemon_along(app: App, number: signal.Signals) -> None:
    words = [sys.executable, "-m", "pixstored", "demo", "--dir", str(app.home / "demo")]
    lock = LedgerLock(app.home / "demo" / "state" / "ledger.db")
    with subprocess.Popen(words, env=app.environ, stdout=subprocess.DEVNULL) as demo:
        eventually(lock.holder, lambda holder: holder)
        demo.send_signal(number)
    assert (demo.returncode, lock.holder()) == (128 + number, None)


INTERRUPTED_AT_THE_END_OF_A_COPY = """
import os, pathlib, signal
def replace(self, target):
    os.kill(os.getpid(), signal.SIGINT)
pathlib.Path.replace = replace
from pixstored.__main__ import main
main()
"""


@pytest.mark.parametrize("verb", ["backup", "export"])
def test_a_copy_that_was_interrupted_leaves_nothing_behind(app: App, verb: str) -> None:
    app.configure()
    assert app.command("pause").returncode == 0
    copies = app.home / "copies"
    copies.mkdir()
    words = [sys.executable, "-c", INTERRUPTED_AT_THE_END_OF_A_COPY, "-c", str(app.file), "ledger", verb]
    done = subprocess.run(
        [*words, str(copies / "copy")], env=app.environ, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr, os.listdir(copies)) == (EXIT_INTERRUPTED, "", [])
