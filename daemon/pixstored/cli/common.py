"""What every command needs: the configuration, the ledger to read, and errors told the contract's way."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from pixstored.config import Config, find_config, load_config
from pixstored.errors import PixstoredError
from pixstored.interrupts import EXIT_INTERRUPTED
from pixstored.shown import text_on_screen
from pixstored.slotted import dataclass

EXIT_FAILED = 1
EXIT_USAGE = 2

_INDENT = "  "
"""Of JSON for readers."""

Paths = TypeVar("Paths", str, tuple[str, ...])


@dataclass(frozen=True, slots=True)
class Context:
    """The options before the command."""

    config_file: str | None
    verbose: bool
    environ: Mapping[str, str]

    def config(self) -> Config:
        """The configuration; raises `ConfigError` with all its faults."""
        return load_config(find_config(self.config_file, self.environ), self.environ)


def not_empty(ctx: click.Context, parameter: click.Parameter, path: Paths) -> Paths:
    """One path, or several. The folder where one stands is named `.`: an empty one is a variable that is not set."""
    if path == "" or (not isinstance(path, str) and "" in path):
        raise click.BadParameter("it is empty")
    return path


def config_to_write(context: Context) -> Config:
    """The configuration, for a command that changes the ledger: what that has to say is told as the log does."""
    from pixstored.service.logs import set_up_logging

    config = context.config()
    set_up_logging(config.log, context.environ, verbose=context.verbose, quiet=not context.verbose)
    return config


def exit_code_of(error: PixstoredError | click.ClickException | KeyboardInterrupt) -> int:
    """Tells the error on standard error in its own words, and gives the exit code that belongs to it."""
    if isinstance(error, click.ClickException):
        with suppress(OSError):  # as in `complain`
            error.show()
        return EXIT_USAGE
    if isinstance(error, PixstoredError):
        complain(str(error))
        return error.exit_code
    return EXIT_INTERRUPTED


def complain(message: str) -> None:
    """One message on standard error; its lines are ours, what is in them may not be. Where nobody takes it, or there is
    no room for it, the exit code must tell."""
    from pixstored.service.logs import error_prefix

    prefix = error_prefix(os.environ)
    first, *rest = message.split("\n")
    with suppress(OSError):
        print(f"{prefix}pixstored: {text_on_screen(first)}", file=sys.stderr)
        for line in rest:
            print(prefix + text_on_screen(line), file=sys.stderr)


def may_be_there(control: Path) -> bool:
    """False if no daemon can be there: what speaks to one need not be imported then."""
    try:
        os.lstat(control)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def print_json(document: Any) -> None:
    """One JSON document, readable, on standard output."""
    print(_readable(document))


def print_json_list(entries: Iterable[Any], *, depth: int = 0) -> None:
    """One list, entry by entry, so far inside a document: a million of them would take gigabytes at once."""
    margin = "\n" + depth * _INDENT
    before, end = f"[{margin}{_INDENT}", "[]"
    for entry in entries:
        print(before + _readable(entry).replace("\n", margin + _INDENT), end="")
        before, end = f",{margin}{_INDENT}", f"{margin}]"
    print(end, end="")


def json_members(document: dict[str, Any], *, depth: int) -> str:
    """What stands between the braces of a document so far inside another one, without the newlines at its ends."""
    members = _readable(document).removeprefix("{\n").removesuffix("\n}")
    return "\n".join(depth * _INDENT + line for line in members.split("\n"))


def _readable(document: Any) -> str:
    return json.dumps(document, indent=len(_INDENT), ensure_ascii=False)
