"""The `pixstored` command, and `python -m pixstored`: starts and ends as quickly as Python can."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from pixstored.loading import loading

_EXIT_INTERRUPTED = 130


def main() -> None:
    """Imports the commands, runs the one that is asked for, and ends the process with its exit code."""
    _read_names_as_utf8()
    try:
        _run()
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else 0)
    except KeyboardInterrupt:  # before the command was there to take it
        _end(_EXIT_INTERRUPTED)


def _read_names_as_utf8() -> None:
    """Begins again where the locale has another encoding: there, a path of the configuration would name another folder,
    and names of files would be shown, and sent, as other letters. Only a Python that begins can change that."""
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - this very program


def _run() -> None:
    with loading():
        from pixstored.cli import main as run_command
    run_command()


def _end(code: int) -> None:
    """Ends at once: the command has closed what it opened and written its output, and taking the interpreter
    apart takes a tenth of a reading command's time (measured)."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
