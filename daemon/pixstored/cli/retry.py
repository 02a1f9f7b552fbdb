"""`pixstored retry`: files that could not be published go back into the queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from pixstored.cli.common import EXIT_FAILED, Context, complain, config_to_write, not_empty, print_json
from pixstored.shown import path_in_json, path_on_screen, text_on_screen, unescaped

_TWICE = "the store may have some of them already: those are then stored twice"


@click.command("retry", short_help="Put files that failed or were rejected back into the queue.")
@click.argument("paths", callback=not_empty, nargs=-1, metavar="[PATH...]")
@click.option("--failed", is_flag=True, help="All files that failed.")
@click.option("--rejected", is_flag=True, help="All files that the store has rejected.")
@click.option(
    "--uncertain",
    is_flag=True,
    help="Uncertain files too: those that are named, else all. The store may have them: they are then stored twice.",
)
@click.option("--escaped", is_flag=True, help=r"PATH is written as other commands show it: \xHH for a byte.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def command(
    context: Context,
    paths: tuple[str, ...],
    failed: bool,
    rejected: bool,
    uncertain: bool,
    escaped: bool,
    as_json: bool,
) -> None:
    """Put files back into the queue, with all their tries before them, and print them.

    Files of one content that share its fate go together. An uncertain file is put back only with --uncertain: the
    store may have it already, and then has it twice. Look there first; `pixstored adopt PATH LINK` records what
    you find.

    Exit 0: done; 1: a file that was named could not be put back, and why is told.
    """
    chosen = [state for state, wanted in (("failed", failed), ("rejected", rejected)) if wanted]
    if uncertain and not paths:
        chosen.append("uncertain")
    if not paths and not chosen:
        raise click.UsageError("say what to try again: PATH..., --failed, --rejected or --uncertain")
    config = config_to_write(context)
    from pixstored.service.paths import as_configured, watches_of
    from pixstored.service.verbs import VERBS
    from pixstored.service.writing import writer

    watches = watches_of(config)
    named = [as_configured(watches, unescaped(path) if escaped else path) for path in paths]
    put_back, refused = [], []
    with writer(config, VERBS) as ask:
        for path in named:
            answer = _one(ask, path=path, uncertain=uncertain)
            if isinstance(answer, str):
                refused.append({"path": path_in_json(path), "why": answer})
                complain(f"{path_on_screen(path)}: {answer}")
            else:
                put_back += answer
        for state in chosen:
            put_back += _all(ask, state)
    _show(put_back, refused, as_json=as_json)
    if any(each["was"] == "uncertain" for each in put_back):
        complain(_TWICE)
    if refused:
        raise click.exceptions.Exit(EXIT_FAILED)


def _one(ask: Any, **request: Any) -> list[dict[str, str]] | str:
    """The files that were put back, or why this one was not."""
    from pixstored.service.control import ControlError, DaemonGone, DaemonSilent
    from pixstored.service.verbs import Refusal

    try:
        put_back: list[dict[str, str]] = ask("retry", **request)["put_back"]
    except Refusal as refusal:
        return str(refusal)
    except ControlError as error:
        if isinstance(error, DaemonGone | DaemonSilent) or error.exit_code != EXIT_FAILED:
            raise
        return str(error)
    return put_back


def _all(ask: Any, state: str) -> Iterator[dict[str, str]]:
    after: int | None = 0
    while after is not None:
        answer = ask("retry_all", state=state, after=after)
        yield from answer["put_back"]
        after = answer["next"]


def _show(put_back: list[dict[str, str]], refused: list[dict[str, str]], *, as_json: bool) -> None:
    if as_json:
        print_json({"put_back": put_back, "refused": refused})
        return
    for each in put_back:
        print(f"{text_on_screen(each['path'])}  (was {each['was']})")
    if not put_back and not refused:
        print("nothing to put back: there is no such file")
