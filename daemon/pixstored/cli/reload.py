"""`pixstored reload`: the running daemon reads its configuration again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from pixstored.cli.common import Context, complain, print_json
from pixstored.config import find_config
from pixstored.config.whereabouts import whereabouts
from pixstored.errors import PixstoredError
from pixstored.shown import text_on_screen

_MARGIN = 5.0
"""Seconds more than the daemon gives itself: its own words about a late answer are better than ours."""


class NotRunning(PixstoredError):
    """There is no daemon to ask. Exit 1."""


@click.command("reload", short_help="Let the running daemon read its configuration again.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """Let the running daemon read its configuration again, without a restart. Uploads under way go on.

    Everything counts at once but `ledger`, `control`, `store.url` (with the rest of `store`, if it or `store.id`
    changes) and `store.embedded`: those need a restart, and are named. A faulty file changes nothing.

    Exit 0: it was read; 1: no daemon runs; 78: the file is faulty, and the daemon goes on as before.
    """
    file = Path(os.path.abspath(find_config(context.config_file, context.environ)))
    answer = _ask(context, file)
    if as_json:
        print_json(answer)
        return
    changed, waiting = answer["changed"], answer["needs_restart"]
    print(text_on_screen(f"reloaded: {', '.join(changed)}" if changed else "reloaded: all is as it was"))
    if waiting:
        print(text_on_screen(f"needs a restart: {', '.join(waiting)}"))
    for warning in answer["warnings"]:
        complain(warning)


def _ask(context: Context, file: Path) -> dict[str, Any]:
    """The daemon's answer. It judges the file itself: it knows what it runs with, and shows what is wrong."""
    from pixstored.service.control import ControlClient, DaemonGone
    from pixstored.service.reloading import PATIENCE, one_name_of

    place = whereabouts(file, context.environ)
    client = ControlClient.connect(place.control, None) if place else None
    if client is None:
        config = context.config()  # a faulty file is told first
        raise NotRunning(
            f"no daemon listens at {config.control}: there is nothing to reload (one that was started with another "
            "`control` or `ledger` needs a restart)"
        )
    try:
        return client.ask("reload", config=one_name_of(file), patience=PATIENCE + _MARGIN)
    except DaemonGone as error:
        raise NotRunning(f"{error}; see its log") from error
    finally:
        client.close()
