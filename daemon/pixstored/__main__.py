"""The `pixstored` command, and `python -m pixstored`: starts and ends as quickly as Python can."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from pixstored.interrupts import EXIT_INTERRUPTED, end_at_once
from pixstored.loading import loading


def main() -> None:
    """Imports the commands, runs the one that is asked for, and ends the process with its exit code."""
    end_at_once(EXIT_INTERRUPTED, signal.SIGINT)
    _read_names_as_utf8()
    try:
        _end(_run())
    except KeyboardInterrupt:  # the command was about to end by another code
        os._exit(EXIT_INTERRUPTED)


def _read_names_as_utf8() -> None:
    """Begins again where the locale has another encoding: there, a path of the configuration would name another folder,
    and names of files would be shown, and sent, as other letters. Only a Python that begins can change that."""
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - this very program


def _run() -> int:
    with loading():
        from pixstored.cli import main as run_command
    try:
        run_command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def _end(code: int) -> NoReturn:
    """Ends at once: the command has closed what it opened and written its output, and taking the interpreter
    apart takes a tenth of a reading command's time (measured)."""
    end_at_once(code, signal.SIGINT)
    if code == EXIT_INTERRUPTED:
        os._exit(code)  # what is still to be written may be what it waited with
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
