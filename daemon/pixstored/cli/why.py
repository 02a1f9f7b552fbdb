"""`pixstored why PATH`: the whole story of one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click

from pixstored.cli.common import Context, may_be_there, not_empty, print_json
from pixstored.config import Config
from pixstored.shown import command_line, text_on_screen, unescaped


@click.command("why", short_help="Tell the whole story of one file.")
@click.argument("path", callback=not_empty, metavar="PATH")
@click.option("--escaped", is_flag=True, help=r"PATH is written as other commands show it: \xHH for a byte.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_context
def command(click_context: click.Context, path: str, escaped: bool, as_json: bool) -> None:
    """Tell the whole story of one file: when it was seen, which rule took or refused it, each try, its link, and
    what can be done now.

    Exit 0: there is something to tell; 1: nobody knows the path; 74: the ledger cannot be used.
    """
    context: Context = click_context.obj
    named = os.path.abspath(unescaped(path) if escaped else path)
    document = story_of(context.config(), named)
    known = _commands(click_context)
    document["can_do"] = [
        {"command": command_line(way["words"], context.config_file), "effect": way["effect"]}
        for way in document["can_do"]
        if way["words"][0] in known
    ]
    if as_json:
        print_json(document)
    else:
        for line in _page(document):
            print(line)


def story_of(config: Config, path: str) -> dict[str, Any]:
    """The daemon's own word if it runs and may be asked; else what the ledger and the rules tell."""
    document, daemon = _by_daemon(config, path) if may_be_there(config.control) else (None, "stopped")
    if document is not None:
        return document
    from pixstored.ledger.empty import EmptyLedger
    from pixstored.ledger.sqlite_reader import read_ledger
    from pixstored.service.stories import why_document

    ledger = read_ledger(config.ledger, config.store.id) or EmptyLedger()
    try:
        return why_document(config, ledger, path, None, daemon)
    finally:
        ledger.close()


def _by_daemon(config: Config, path: str) -> tuple[dict[str, Any] | None, str]:
    """What the daemon tells; if nothing, whether that is because it is `stopped`, or `unknown`."""
    from pixstored.service.control import ControlClient, ControlError, DaemonGone, DaemonSilent

    try:
        client = ControlClient.connect(config.control, config.ledger)
    except ControlError:
        return None, "unknown"
    if client is None:
        return None, "stopped"
    try:
        return client.ask("why", path=path), "running"
    except DaemonGone:
        return None, "stopped"
    except DaemonSilent:
        return None, "unknown"
    finally:
        client.close()


def _commands(context: click.Context) -> list[str]:
    """The commands there are: no message may name one that is refused as unknown."""
    group = context.find_root().command
    return group.list_commands(context) if isinstance(group, click.Group) else []


def _page(document: dict[str, Any]) -> Iterator[str]:
    """The story for a person."""
    yield text_on_screen(document["path"])
    yield f"  {document['state'] or 'not on record'}: {text_on_screen(document['says'])}"
    for word, value in _facts(document):
        if value:
            yield f"  {word:<9} {text_on_screen(str(value))}"
    for way in document["can_do"]:
        yield f"  you can   {way['command']}  ({way['effect']})"


def _facts(document: dict[str, Any]) -> Iterator[tuple[str, object]]:
    watch, rule = document["watch"], document["rule"]
    if watch:
        adopted = f"adopted {watch['adopted_at']}" if watch["adopted_at"] else "not adopted yet"
        yield "watch", f"{watch['name']}, {adopted}"
    else:
        yield "watch", "none: it lies in no watched folder"
    yield "rule", rule and rule["reason"]
    yield "seen", document["seen_at"]
    yield "changed", document["changed_at"]
    yield "size", document["size"] is not None and f"{document['size']} bytes"
    yield "hash", document["sha256"]
    for attempt in document["attempts"]:
        yield "try", f"{attempt['at']}  {attempt['outcome']}: {attempt['detail']}"
    yield "next try", document["next_try_at"]
    yield "link", document["link"] and f"{document['link']}  (published {document['published_at']})"
    yield "comment", document["comment"]
    for link in document["before"]:
        yield "before", f"{link['link']}  (published {link['published_at']}, {link['state']})"
