"""`pixstored ledger …`: is it whole, copies of it, and its records."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click

from pixstored.cli.common import Context, complain, config_to_write, print_json
from pixstored.errors import LedgerUnusable
from pixstored.shown import path_on_screen, text_on_screen

_FILE = click.Path(path_type=Path)
_STANDARD = "-"
_STANDARD_INPUT = Path("/dev/stdin")


@click.group("ledger", short_help="Check, copy, restore and merge the ledger.")
def command() -> None:
    """The ledger is what keeps a photo from being published twice: check it, copy it, restore it, take it along."""


@command.command("check", short_help="Look whether the ledger is whole.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def check(context: Context, as_json: bool) -> None:
    """Look whether the ledger is whole, daemon running or not; nothing is changed.

    Exit 0: it is, or there is none yet; 74: it is not, or cannot be read.
    """
    config = context.config()
    from pixstored.ledger.sqlite_check import check_ledger

    path = config.ledger
    there = _is_there(path)
    faults = check_ledger(path) if there else []
    if as_json:
        print_json({"ledger": path_on_screen(str(path)), "exists": there, "ok": not faults, "faults": faults})
    elif not there:
        print(f"there is no ledger yet at {path_on_screen(str(path))}")
    elif not faults:
        print(f"the ledger {path_on_screen(str(path))} is in order")
    for fault in faults:
        complain(fault)
    if faults:
        complain("`pixstored ledger restore`, with the daemon stopped, makes it again from its last copy")
        raise click.exceptions.Exit(LedgerUnusable.exit_code)


@command.command("backup", short_help="Write a whole copy of the ledger to FILE.")
@click.argument("file", type=_FILE, metavar="FILE")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.pass_obj
def backup(context: Context, file: Path, force: bool) -> None:
    """Write a consistent copy of the ledger to FILE, daemon running or not.

    Exit 0: FILE is a whole copy, on the disk; 1: FILE is there (see --force); 74: the ledger cannot be copied.
    """
    config = context.config()
    from pixstored.ledger.sqlite_copy import copy_ledger

    path = config.ledger
    if not _is_there(path):
        raise LedgerUnusable(f"there is no ledger yet at {path}: nothing to copy")
    _refuse_to_replace(file, path, force=force)
    copy_ledger(path, file.absolute())
    print(f"the ledger was copied to {path_on_screen(str(file))}")


@command.command("restore", short_help="Make a lost or damaged ledger again.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def restore(context: Context, as_json: bool) -> None:
    """Make a lost or damaged ledger again, from its last copy and the links file; the daemon must not run.

    The damaged one is kept beside it as NAME.broken-DATE. What was published since the copy was made is taken
    from the links file, and from what can still be read of the damaged ledger.

    Exit 0: done; 1: the daemon runs, or the ledger is in order; 74: there is nothing to restore it from.
    """
    config = config_to_write(context)
    from pixstored.service.restoring import restore as restored
    from pixstored.service.when import when

    done = restored(config)
    if as_json:
        print_json(
            {
                "copied_from": done.copied_from and path_on_screen(str(done.copied_from)),
                "copied_at": when(done.copied_at),
                "salvaged": done.salvaged,
                "from_links": done.from_links,
                "kept": done.kept and path_on_screen(str(done.kept)),
            }
        )
        return
    print(f"the ledger {path_on_screen(str(config.ledger))} was made again")
    if done.copied_from and done.copied_at:
        clock = datetime.fromtimestamp(done.copied_at).strftime("%Y-%m-%d %H:%M")
        print(f"  from its copy {path_on_screen(str(done.copied_from))} of {clock}")
    else:
        print("  without a copy: what was private in a folder is judged anew when the daemon starts")
    print(f"  with {done.from_links} links of the links file")
    if done.kept:
        print(f"  with {done.salvaged} contents that could be read from the damaged one")
        print(f"  which is kept as {path_on_screen(str(done.kept))}")


@command.command("export", short_help="Write all records as JSON lines.")
@click.argument("file", type=_FILE, metavar="[FILE]", required=False)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.pass_obj
def export(context: Context, file: Path | None, force: bool) -> None:
    """Write all records as JSON lines, to FILE or (without it, or with -) standard output, daemon running or not.

    Exit 0: all of them are written; 1: FILE is there (see --force), or cannot be written; 74: the ledger cannot be
    read.
    """
    config = context.config()
    from pixstored.ledger.empty import EmptyLedger
    from pixstored.ledger.places import UNFINISHED
    from pixstored.ledger.sqlite_reader import read_ledger
    from pixstored.service.records import lines_of
    from pixstored.service.verbs import Refusal

    ledger = read_ledger(config.ledger, config.store.id) or EmptyLedger()
    if file is None or str(file) == _STANDARD:
        for line in lines_of(ledger):
            print(line)
        return
    _refuse_to_replace(file, config.ledger, force=force)
    unfinished = file.with_name(file.name + UNFINISHED)
    try:
        with open(unfinished, "w", encoding="utf-8", opener=_private) as out:
            for line in lines_of(ledger):
                out.write(line + "\n")
        unfinished.replace(file)
    except BaseException as error:  # Ctrl-C too
        with suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError):
            raise Refusal(f"{file} cannot be written: {error.strerror}") from error
        raise
    print(f"the records were written to {path_on_screen(str(file))}", file=sys.stderr)


@command.command("import", short_help="Merge the records of an export into the ledger.")
@click.argument("file", type=_FILE, metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def import_(context: Context, file: Path, as_json: bool) -> None:
    """Merge the records of FILE (- for standard input), written by `ledger export`, into the ledger.

    Nothing becomes less known: what is published in either is published, and what this ledger knows of a file
    stays. Importing the same again changes nothing.

    Exit 0: all of it was merged; 1: FILE cannot be read, or a line of it is faulty (nothing was merged then).
    """
    config = config_to_write(context)
    from pixstored.service.records import import_file

    file = _STANDARD_INPUT if str(file) == _STANDARD else file
    count = import_file(config, file)
    if as_json:
        print_json({"records": count})
    else:
        print(text_on_screen(f"{count} records of {path_on_screen(str(file))} were merged"))


def _refuse_to_replace(file: Path, ledger: Path, *, force: bool) -> None:
    """Raises UsageError for what must not be written over, `Refusal` for what may be only by `force`."""
    from pixstored.ledger.places import UNFINISHED, backup_file, links_file, lock_file, logs_of
    from pixstored.service.verbs import Refusal

    own = (ledger, backup_file(ledger), links_file(ledger), lock_file(ledger), *logs_of(ledger))
    # Not by pathlib, which raises of a loop of symlinks, or of a name that is too long.
    written = {os.path.realpath(f"{file}{ending}") for ending in ("", UNFINISHED)}
    if not written.isdisjoint(map(os.path.realpath, own)):
        raise click.UsageError(f"{file} is a file of the ledger itself: name another one")
    if os.path.isdir(file):
        raise click.UsageError(f"{file} is a folder: name a file in it")
    if not os.path.lexists(file):
        return
    if not os.path.isfile(file):
        raise click.UsageError(f"{file} is no regular file: name another one")
    if not force:
        raise Refusal(f"{file} is there already: say --force to replace it")


def _is_there(path: Path) -> bool:
    """False if there never was a ledger. Raises `LedgerUnusable` if it is missing though it is known."""
    from pixstored.ledger.places import refuse_if_known

    try:
        if path.stat().st_size > 0:
            return True
    except FileNotFoundError:
        pass
    except OSError as error:
        raise LedgerUnusable(f"the ledger {path} cannot be read: {error.strerror}") from error
    refuse_if_known(path)
    return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o640)
