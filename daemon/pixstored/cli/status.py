"""`pixstored status`: how the daemon, the store and its folders are doing."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pixstored.cli.common import Context, may_be_there, print_json
from pixstored.config import Config
from pixstored.errors import ConfigError, PixstoredError
from pixstored.shown import text_on_screen

EXIT_NEEDS_YOU = 1
EXIT_NOT_RUNNING = 3

_REFRESH = 2.0
"""Seconds between two pages of `--follow`."""


@click.command("status", short_help="Show how everything is doing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs (--follow: one a line).")
@click.option("--check", is_flag=True, help="One line, and exit 0: healthy, 1: somebody is needed, 3: not running.")
@click.option("--follow", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@click.pass_obj
def command(context: Context, as_json: bool, check: bool, follow: bool) -> None:
    """Show how the daemon, the store, the folders and the files are doing."""
    if check and follow:
        raise click.UsageError("--check looks once, --follow for ever: give one of them")
    if follow:
        _follow(context, as_json=as_json)
    document = status_for(context)
    if as_json:
        print_json(document)
    elif check:
        print(text_on_screen(_verdict_in_words(document)))
    else:
        _print_page(context, document)
    if check:
        raise click.exceptions.Exit(verdict(document))


def _follow(context: Context, *, as_json: bool) -> None:
    """Shows it again and again, whatever becomes of the daemon meanwhile."""
    while True:
        try:
            document = status_for(context)
        except PixstoredError as error:
            print(text_on_screen(str(error)), file=sys.stderr)
        else:
            if as_json:
                print(json.dumps(document, ensure_ascii=False))
            else:
                click.clear()
                _print_page(context, document)
        sys.stdout.flush()  # whoever reads a pipe follows too
        time.sleep(_REFRESH)


def status_for(context: Context) -> dict[str, Any]:
    """The same as `status_of`, though the configuration may have become faulty since the daemon was started."""
    try:
        return status_of(context.config())
    except ConfigError as error:
        document = _of_faulty(context, error)
        if document is None:
            raise
        return document


def status_of(config: Config) -> dict[str, Any]:
    """The daemon's own word if it runs; else what the ledger tells."""
    document = running(config.control, config.ledger)
    if document is not None:
        return document
    from pixstored.ledger.sqlite_reader import read_ledger
    from pixstored.service.status import Stock, status_document

    ledger = read_ledger(config.ledger, config.store.id)
    try:
        return status_document(config, time.time(), Stock.of(ledger), None)
    finally:
        if ledger:
            ledger.close()


def _of_faulty(context: Context, error: ConfigError) -> dict[str, Any] | None:
    """The word of a daemon that was started before the file became faulty; None if there is none."""
    from pixstored.config import find_config
    from pixstored.config.whereabouts import whereabouts

    place = whereabouts(find_config(context.config_file, context.environ), context.environ)
    document = running(place.control, place.ledger) if place else None
    if document and document["config"]["error"] is None:  # it has not looked at it yet; its next start would fail
        document["config"]["error"] = error.in_one_line
        document["needs_you"] += 1
    return document


def running(control: Path, ledger: Path) -> dict[str, Any] | None:
    """The daemon's own word; None if it does not run."""
    if not may_be_there(control):
        return None
    from pixstored.service.control import ControlClient, DaemonGone

    client = ControlClient.connect(control, ledger)
    if client is None:
        return None
    try:
        return client.ask("status")
    except DaemonGone:
        return None
    finally:
        client.close()


def verdict(document: Mapping[str, Any]) -> int:
    """The exit code of `--check`."""
    if not document["running"]:
        return EXIT_NOT_RUNNING
    return EXIT_NEEDS_YOU if document["needs_you"] else 0


def _verdict_in_words(document: Mapping[str, Any]) -> str:
    from pixstored.service.status_words import in_words, needs

    if not document["running"]:
        return f"NOT RUNNING: {in_words(document)}"
    needed = "; ".join(what for what, _ in needs(document))
    return f"NEEDS YOU: {needed}" if document["needs_you"] else f"OK: {in_words(document)}"


def _print_page(context: Context, document: Mapping[str, Any]) -> None:
    """The page, its command lines as they work with the configuration at hand."""
    from pixstored.cli.status_page import page

    lines = "\n".join(text_on_screen(line) for line in page(document))
    if context.config_file:
        lines = lines.replace("`pixstored ", f"`pixstored -c {shlex.quote(context.config_file)} ")
    print(lines)
