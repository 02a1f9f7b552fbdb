"""The commands, one file for each group. Each is imported when it is called: `status` must not wait for `run`'s."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys

import click

from pixstored import __version__
from pixstored.cli.common import EXIT_FAILED, Context, complain, exit_code_of
from pixstored.errors import PixstoredError
from pixstored.interrupts import raise_interrupts

_PROGRAM = "pixstored"

_COMPLETION = "_PIXSTORED_COMPLETE"
"""The variable by which a shell asks click what could come next."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a write to a file or a terminal ends with. Only output is written here: the ledger's errors are its own."""

_DAEMON = "run"
"""What is stopped in a way of its own."""

_COMMANDS = {
    _DAEMON: "pixstored.cli.run",
    "check": "pixstored.cli.check",
    "reload": "pixstored.cli.reload",
    "status": "pixstored.cli.status",
    "links": "pixstored.cli.links",
    "publish": "pixstored.cli.publish",
    "scan": "pixstored.cli.scan",
    "why": "pixstored.cli.why",
    "retry": "pixstored.cli.retry",
    "adopt": "pixstored.cli.adopt",
    "forget": "pixstored.cli.forget",
    "pause": "pixstored.cli.pause",
    "resume": "pixstored.cli.resume",
    "ledger": "pixstored.cli.ledger",
    "service": "pixstored.cli.service",
    "demo": "pixstored.cli.demo",
}


class LazyGroup(click.Group):
    """Finds a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c", "--config", metavar="FILE", help="The configuration file (else $PIXSTORED_CONFIG, else the usual places)."
)
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.version_option(__version__, prog_name=_PROGRAM)
@click.pass_context
def pixstored(ctx: click.Context, config: str | None, verbose: bool) -> None:
    """Publishes every new photo and video of your folders to the PixLab STORE endpoint, once."""
    if ctx.invoked_subcommand != _DAEMON:
        raise_interrupts()
    ctx.obj = Context(config, verbose, dict(os.environ))


def main() -> None:
    """The `pixstored` command: one clear message and the contract's exit code, never a traceback."""
    _set_up_streams()
    if _COMPLETION in os.environ:
        pixstored.main(prog_name=_PROGRAM)  # click answers the shell, and ends
    try:
        code = _run(sys.argv[1:])
    except BrokenPipeError:
        _give_up_output()  # whoever read our output has seen enough: nothing went wrong
        code = 0
    except OSError as error:
        if error.errno in _NO_ROOM:
            _give_up_output()
            complain(f"the output cannot be written: {error.strerror}")
        elif _is_nowhere():
            complain("the folder you are in is not there any more, and names are looked for in it: `cd` to another one")
        else:
            raise
        code = EXIT_FAILED
    except (PixstoredError, click.ClickException, KeyboardInterrupt) as error:
        code = exit_code_of(error)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Runs one command to its end, its output written. Not by click's own `main`: that hides exit codes and pipes."""
    try:
        with pixstored.make_context(_PROGRAM, arguments) as context:
            pixstored.invoke(context)
        code = 0
    except click.exceptions.Exit as end:
        code = end.exit_code
    sys.stdout.flush()
    return code


def _set_up_streams() -> None:
    """What is written is UTF-8, whatever the locale: names of files are, and no name can make the writing fail.

    A stream closed by whoever started us leads nowhere; else the next file opened would take its number.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _is_nowhere() -> bool:
    """True if the current folder has been removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _give_up_output() -> None:
    """What is still to be written goes nowhere, so that Python does not complain of it at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
