"""`pixstored forget PATH`: a content is not known to be published any more."""

from __future__ import annotations

import sys

import click

from pixstored.cli.common import EXIT_FAILED, Context, config_to_write, not_empty, print_json
from pixstored.shown import path_on_screen, text_on_screen, unescaped

_YES = ("y", "yes")


@click.command("forget", short_help="Forget a content: seen again, it is published anew.")
@click.argument("path", callback=not_empty, metavar="PATH")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--escaped", is_flag=True, help=r"PATH is written as other commands show it: \xHH for a byte.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def command(context: Context, path: str, yes: bool, escaped: bool, as_json: bool) -> None:
    """Forget the content of PATH at this store, with its link, and all files of it.

    Seen again, by an event or the next scan, it is published anew, under a new link. What the store has stays there.

    Exit 0: forgotten; 1: there is nothing to forget, or the answer was no; 2: --yes is needed where nobody can be
    asked.
    """
    config = config_to_write(context)
    from pixstored.service.paths import as_configured, watches_of
    from pixstored.service.verbs import VERBS
    from pixstored.service.writing import writer

    named = as_configured(watches_of(config), unescaped(path) if escaped else path)
    if not yes:
        _ask(named)
    with writer(config, VERBS) as ask:
        answer = ask("forget", path=named)
    if as_json:
        print_json(answer)
        return
    for each in answer["forgotten"]:
        print(f"forgotten: {text_on_screen(each)}")


def _ask(path: str) -> None:
    warning = f"{path_on_screen(path)}: seen again, its content is published anew; the store may then have it twice."
    if not sys.stdin.isatty():
        raise click.UsageError(f"{warning} Say --yes if you want that.")
    # Not by `input()`, and thus not by click: that throws a Ctrl-C away that comes while its question is written.
    print(f"{warning} Forget it? [y/N]: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in _YES:
        raise click.exceptions.Exit(EXIT_FAILED)
