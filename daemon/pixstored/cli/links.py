"""`pixstored links`: what is published."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from pixstored.cli.common import Context, print_json_list
from pixstored.config import Config
from pixstored.ledger.places import is_hidden
from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.model import Link
from pixstored.service.link_document import link_document
from pixstored.shown import path_on_screen, text_on_screen

_FORMATS = ("table", "json", "jsonl", "csv")
_COLUMNS = ("path", "link", "id", "sha256", "size", "published_at", "watch", "comment", "store")


def moment(value: str) -> float:
    """A point in time: `2026-11-23`, `2026-11-23T14:00` (local, unless it has an offset), or `2h` for two hours ago."""
    from pixstored.config.values import parse_duration

    try:
        return datetime.now(UTC).timestamp() - parse_duration(value)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(value).astimezone().timestamp()
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no time: say 2026-11-23, 2026-11-23T14:00, or 2h for two hours ago"
        ) from None


@click.command("links", short_help="Show what is published.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default=None, help="How to write it (default: table).")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--since", type=moment, metavar="TIME", help="Only what was published at this time or later.")
@click.option("--until", type=moment, metavar="TIME", help="Only what was published before this time.")
@click.option("--watch", help="Only files of the watch with this name.")
@click.option("--store", help="Of this store (its id) instead of the configuration's.")
@click.option("--all", "everything", is_flag=True, help="Superseded and withdrawn links too.")
@click.pass_obj
def command(
    context: Context,
    form: str | None,
    as_json: bool,
    since: float | None,
    until: float | None,
    watch: str | None,
    store: str | None,
    everything: bool,
) -> None:
    """Show what is published, newest first: one entry for each file known."""
    if as_json and form not in (None, "json"):
        raise click.UsageError("--json and --format say different things: give one of them")
    filters = {"since": since, "until": until, "watch": watch, "everything": everything}
    _WRITERS["json" if as_json else form or "table"](_links(context.config(), store, filters))


def _links(config: Config, store: str | None, filters: dict[str, Any]) -> Iterator[Link]:
    """From the ledger; from the daemon, if it runs and this user cannot read that."""
    wanted = store or config.store.id
    if is_hidden(config.ledger):
        from pixstored.service.asking import links_by_daemon

        return links_by_daemon(config, wanted, filters)
    ledger = read_ledger(config.ledger, wanted)
    return ledger.links(**filters) if ledger else iter(())


def _write_json(links: Iterator[Link]) -> None:
    print_json_list(map(link_document, links))
    print()


def _write_jsonl(links: Iterator[Link]) -> None:
    for link in links:
        print(json.dumps(link_document(link), ensure_ascii=False))


def _write_csv(links: Iterator[Link]) -> None:
    import csv

    writer = csv.DictWriter(sys.stdout, _COLUMNS)
    writer.writeheader()
    writer.writerows(link_document(link) for link in links)


def _write_table(links: Iterator[Link]) -> None:
    for link in links:
        clock = datetime.fromtimestamp(link.published_at).strftime("%Y-%m-%d %H:%M:%S")
        note = "" if link.state == "published" else f"  ({link.state})"
        print(f"{clock}  {text_on_screen(link.link)}  {path_on_screen(link.path)}{note}")


_WRITERS = {"table": _write_table, "json": _write_json, "jsonl": _write_jsonl, "csv": _write_csv}
