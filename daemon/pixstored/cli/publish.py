"""`pixstored publish PATH…`: publishes files by hand, now."""

from __future__ import annotations

import sys

import click

from pixstored.cli.common import EXIT_FAILED, Context, complain, not_empty, print_json
from pixstored.shown import path_in_json, path_on_screen, text_on_screen, unescaped

_CLEAR_LINE = "\r\x1b[K"
"""Back to the first column, and nothing left on the line (ECMA-48)."""
_ONE_LINE = "\x1b[?7l{}\x1b[?7h"
"""Text of which a terminal cuts off what is beyond its last column (DECAWM), for a second line would not be cleared."""


@click.command("publish", short_help="Publish files or folders now, and print their links.")
@click.argument("paths", callback=not_empty, nargs=-1, required=True, metavar="PATH...")
@click.option("--escaped", is_flag=True, help=r"PATH is written as other commands show it: \xHH for a byte.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document at the end, for programs.")
@click.pass_obj
def command(context: Context, paths: tuple[str, ...], escaped: bool, as_json: bool) -> None:
    """Publish files or folders now, and print their links, one a line, in the order of PATH.

    Through the same ledger as the daemon's files: what is published already is not sent again. A file needs no
    rule's consent, but must be a regular file that nobody is writing to; from a folder those are taken that its
    watch's rules take (else the defaults), what was there before it was watched included. One attempt is made now; what
    fails and may be tried again stays queued for the daemon.

    Exit 0: all have a link; 1: some have none, and why is told; 78: there is no key.
    """
    config = context.config()
    from pixstored.service.logs import set_up_logging
    from pixstored.service.publishing import named_files, publish

    set_up_logging(config.log, context.environ, verbose=context.verbose, quiet=not context.verbose)
    wanted = [unescaped(path) for path in paths] if escaped else list(paths)
    progress = _Progress(shown=sys.stderr.isatty() and not as_json)
    outcomes = []
    for outcome in publish(config, context.environ, named_files(config, wanted, progress.empty), progress.waiting):
        progress.clear()
        outcomes.append(outcome)
        if outcome.link and not as_json:
            print(text_on_screen(outcome.link), flush=True)
        elif not outcome.link:
            complain(f"{path_on_screen(outcome.path)}: {outcome.why}")
    progress.clear()
    if as_json:
        print_json(
            [
                {"path": path_in_json(o.path), "state": o.state.value, "link": o.link, "error": o.why or None}
                for o in outcomes
            ]
        )
    if any(outcome.link is None for outcome in outcomes):
        raise click.exceptions.Exit(EXIT_FAILED)


class _Progress:
    """One line on the terminal that tells what is waited for."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._done = 0

    def waiting(self, path: str) -> None:
        if self._shown:
            told = _ONE_LINE.format(f"{self._done} done, sending {path_on_screen(path)}")
            print(_CLEAR_LINE + told, end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        self._done += 1
        if self._shown:
            print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)

    def empty(self, folder: str) -> None:
        self.clear()
        complain(f"{path_on_screen(folder)}: no file in it is taken by the rules")
