"""`pixstored adopt PATH LINK`: a file is published there already."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import click

from pixstored.cli.common import Context, config_to_write, not_empty, print_json
from pixstored.ledger.sqlite_values import last_segment
from pixstored.shown import text_on_screen, unescaped

_PLAIN = re.compile(r"[!-~]{1,2048}")
"""A link as stores give it: printable ASCII, and no longer than anything that follows it takes."""


def a_link(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuses what cannot be the link of a file."""
    if not _PLAIN.fullmatch(value) or not _names_a_file(value):
        raise click.BadParameter("it must be the whole link of the file, https://… or http://…")
    return value


def _names_a_file(link: str) -> bool:
    try:
        parts = urlsplit(link)
    except ValueError:  # brackets with no IPv6 address in them
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and bool(last_segment(parts.path))


@click.command("adopt", short_help="Record that a file is published already, without sending it.")
@click.argument("path", callback=not_empty, metavar="PATH")
@click.argument("link", metavar="LINK", callback=a_link)
@click.option("--escaped", is_flag=True, help=r"PATH is written as other commands show it: \xHH for a byte.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def command(context: Context, path: str, link: str, escaped: bool, as_json: bool) -> None:
    """Record that the content of PATH is published as LINK: it is never sent to this store then.

    Settles an uncertain file whose link you have found. PATH may lie in a watch or not. Nothing is sent.

    Exit 0: recorded; 1: it could not be, and why is told.
    """
    config = config_to_write(context)
    from pixstored.service.adopting import adopt

    answer = adopt(config, unescaped(path) if escaped else path, link, last_segment(link))
    if as_json:
        print_json(answer)
    else:
        print(text_on_screen(f"{answer['path']} is published as {answer['link']}"))
