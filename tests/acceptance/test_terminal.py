"""The commands at a terminal: what they ask, and what they show while one waits."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app import PATIENCE, App
from support.faulty_store import FaultyStore
from support.files import jpeg, write

ROWS, COLUMNS = 10, 40
CTRL_C = b"\x03"


AT_ITS_TERMINAL = """
import os
os.close(os.open(os.ttyname(0), os.O_RDWR))
from pixstored.__main__ import main
main()
"""
"""What is opened first in a session is its terminal, whose Ctrl-C it gets (tty(4))."""

INTERRUPTED_AT_THE_QUESTION = """
import io, os, signal, sys
class Terminal(io.FileIO):
    def write(self, data):
        if b"[y/N]" in bytes(data):
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(data)
sys.stderr = io.TextIOWrapper(io.BufferedWriter(Terminal(2, "w")), line_buffering=True)
from pixstored.__main__ import main
main()
"""


class Terminal:
    """A narrow one, and a command of ours as what it runs."""

    def __init__(self, app: App, *words: str, program: str = AT_ITS_TERMINAL) -> None:
        self._ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, "-c", str(app.file), *words],
            env=app.environ,
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)
        self.shown = b""

    def type_at(self, prompt: bytes, keys: bytes) -> None:
        while prompt not in self.shown:
            self.shown += os.read(self._ours, 4096)
        os.write(self._ours, keys)

    def end(self) -> int:
        """The exit code, once all that is shown has been seen."""
        self.shown += b"".join(self._rest())
        return self._process.wait(PATIENCE)

    def _rest(self) -> Iterator[bytes]:
        try:
            while data := os.read(self._ours, 4096):
                yield data
        except OSError:  # EIO: nobody is at the other side any more
            os.close(self._ours)


@pytest.fixture
def picture(app: App, store: FaultyStore) -> Path:
    """One that is published, and lies deep enough that its path does not fit on a line."""
    app.configure(store.url)
    picture = write(app.home / ("a long name " * 4) / "a.jpg", jpeg())
    publish = Terminal(app, "publish", str(picture))
    assert publish.end() == 0
    parts = re.split(r"\r\x1b\[K(?:\x1b\[\?7l([^\r\n]*)\x1b\[\?7h)?", publish.shown.decode())
    progress, rest = parts[1::2], parts[::2]
    assert f"0 done, sending {picture}" in progress
    assert "".join(rest) == app.links()[0]["link"] + "\r\n"  # nothing else is left on the screen
    return picture


@pytest.mark.parametrize(("answer", "code", "links"), [(b"n\n", 1, 1), (b"\n", 1, 1), (CTRL_C, 130, 1), (b"y\n", 0, 0)])
def test_forget_asks_and_an_answer_is_not_ctrl_c(app: App, picture: Path, answer: bytes, code: int, links: int) -> None:
    forget = Terminal(app, "forget", str(picture))
    forget.type_at(b"[y/N]", answer)
    assert forget.end() == code
    assert len(app.links()) == links


def test_ctrl_c_while_the_question_is_written_ends_it(app: App, picture: Path) -> None:
    forget = Terminal(app, "forget", str(picture), program=INTERRUPTED_AT_THE_QUESTION)
    assert forget.end() == 130
    assert len(app.links()) == 1
