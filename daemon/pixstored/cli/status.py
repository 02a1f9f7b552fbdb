"""`pixstored status`: how the daemon, its store and its folders are doing."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import click

from pixstored.cli.common import Context, print_json
from pixstored.config import Config
from pixstored.shown import text_on_screen

EXIT_NEEDS_YOU = 1
EXIT_NOT_RUNNING = 3

_REFRESH = 2.0
"""Seconds between two pages of `--follow`."""


@click.command("status", short_help="Show how everything is doing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.option("--check", is_flag=True, help="Exit 0: healthy, 1: somebody is needed, 3: not running.")
@click.option("--follow", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@click.pass_obj
def command(context: Context, as_json: bool, check: bool, follow: bool) -> None:
    """Show how the daemon, the store, the folders and the files are doing."""
    config = context.config()
    while True:
        document = status_of(config)
        if as_json:
            print_json(document)
        else:
            if follow:
                click.clear()
            print(page(document))
        if not follow:
            break
        sys.stdout.flush()  # whoever reads a pipe follows too
        time.sleep(_REFRESH)
    if check:
        raise click.exceptions.Exit(verdict(document))


def status_of(config: Config) -> dict[str, Any]:
    """The daemon's own word if it runs; else what the ledger tells."""
    document = _running(config) if _has_socket(config) else None
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


def _has_socket(config: Config) -> bool:
    """False if no daemon can be there: what speaks to one need not be imported then."""
    try:
        os.lstat(config.control)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _running(config: Config) -> dict[str, Any] | None:
    """The daemon's own word; None if it does not run."""
    from pixstored.service.control import ControlClient, DaemonGone

    client = ControlClient.connect(config.control, config.ledger)
    if client is None:
        return None
    try:
        return client.ask("status")
    except DaemonGone:
        return None
    finally:
        client.close()


def verdict(document: dict[str, Any]) -> int:
    """The exit code of `--check`."""
    if not document["running"]:
        return EXIT_NOT_RUNNING
    return EXIT_NEEDS_YOU if document["needs_you"] else 0


def page(document: dict[str, Any]) -> str:
    """The status for a person."""
    lines = [_headline(document), ""]
    store = document["store"]
    lines.append(f"store    {store['id']}: {store['state']}{_because(store['error'])}")
    if store["next_try"]:
        lines.append(f"         next try at {store['next_try']}")
    for watch in document["watches"]:
        lines.append(f"watch    {watch['name']}: {watch['state']}{_because(watch['error'])}")
    counts = {state: count for state, count in document["counts"].items() if count}
    lines.append("files    " + (", ".join(f"{count} {state}" for state, count in counts.items()) or "none yet"))
    for upload in document["uploads"]:
        percent = 100 * upload["sent"] // upload["size"] if upload["size"] else 100
        lines.append(f"sending  {upload['path']}  {percent} % of {upload['size']} B")
    speed = document["seconds_to_link"]
    if speed["n"]:
        lines.append(f"speed    link after {speed['p50']:.1f} s (median of {speed['n']} in 24 h)")
    lines.append(f"ledger   {document['ledger']['path']}: {document['ledger']['state']}")
    return "\n".join(text_on_screen(line) for line in lines)


def _headline(document: dict[str, Any]) -> str:
    if not document["running"]:
        return "pixstored is not running: start it with `pixstored run`, or `systemctl start pixstored`"
    needs = document["needs_you"]
    mood = "paused" if document["paused"] else "running"
    return f"pixstored {document['version']} is {mood}" + (f"; {needs} need you" if needs else "; nothing needs you")


def _because(error: str | None) -> str:
    return f" ({error})" if error else ""
