"""`pixstored scan`: what a reconciliation would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from pixstored.cli.common import EXIT_FAILED, Context, json_members, print_json_list
from pixstored.config import Config
from pixstored.shown import path_on_screen, text_on_screen

if TYPE_CHECKING:
    from pixstored.publish.preview import Action, Preview
    from pixstored.service.survey import Surveyed


@click.command("scan", short_help="Show what would be done with each file, doing nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """Look through all watched folders and show what a reconciliation would do, file by file. Nothing is done.

    What is on record as it is, is only counted; `pixstored -v scan` shows it too. Names that the rules do not take are
    counted by extension. Files are not read: a content that is published already is not told from a new one.

    Exit 0: all could be looked through; 1: a folder could not be read; 74: the ledger cannot be used.
    """
    show = _show_json if as_json else _show_all
    if not show(_surveys(context.config(), everything=context.verbose), everything=context.verbose):
        raise click.exceptions.Exit(EXIT_FAILED)


def _surveys(config: Config, *, everything: bool) -> Iterator[Surveyed]:
    """By this process; by the daemon, if it runs and this user cannot read the ledger."""
    from pixstored.ledger.empty import EmptyLedger
    from pixstored.ledger.places import is_hidden
    from pixstored.ledger.sqlite_reader import read_ledger
    from pixstored.service.survey import surveys

    if is_hidden(config.ledger):
        from pixstored.service.asking import surveys_by_daemon

        yield from surveys_by_daemon(config, everything=everything)
        return
    ledger = read_ledger(config.ledger, config.store.id) or EmptyLedger()
    try:
        yield from surveys(config.watches, ledger)
    finally:
        ledger.close()


def _show_json(surveys: Iterable[Surveyed], *, everything: bool) -> bool:
    """One document, file by file as they are found: of a first scan of an archive, all of them. True: all was read."""
    from pixstored.service.survey import SCHEMA, file_document, head_document, sums_document

    is_whole = True
    print(f'{{\n  "schema": {SCHEMA},\n  "watches": ', end="")
    before, end = "[", "[]"
    for survey in surveys:
        print(f"{before}\n    {{\n{json_members(head_document(survey), depth=2)},", end="")
        print('\n      "files": ', end="")
        print_json_list((file_document(each) for each in survey.files() if _is_shown(each, everything)), depth=3)
        print(f",\n{json_members(sums_document(survey), depth=2)}\n    }}", end="")
        is_whole = is_whole and not survey.unreadable
        before, end = ",", "\n  ]"
    print(f"{end}\n}}")
    return is_whole


def _show_all(surveys: Iterable[Surveyed], *, everything: bool) -> bool:
    """The same for a person."""
    is_whole = True
    for survey in surveys:
        _show(survey, everything=everything)
        is_whole = is_whole and not survey.unreadable
    return is_whole


def _is_shown(preview: Preview, everything: bool) -> bool:
    return everything or preview.action != "known"


def _show(survey: Surveyed, *, everything: bool) -> None:
    """One watch for a person: its files as they are found, then the sums."""
    root = survey.path
    name = "" if survey.name == root else f"{path_on_screen(survey.name)}: "
    adopted = "" if survey.adopted_at_ns else ", not adopted yet"
    print(f"{name}{path_on_screen(root)}{adopted}")
    for preview in survey.files():
        if _is_shown(preview, everything):
            print(f"  {preview.action:<10} {_below(root, preview.path)}{_because(preview, root)}")
    for line in _sums(survey, root):
        print(text_on_screen(line))
    print()


def _below(root: str, path: str) -> str:
    return path_on_screen(path.removeprefix(root.rstrip("/") + "/"))


def _because(preview: Preview, root: str) -> str:
    said = [preview.state.value] if preview.state else []
    if preview.moved_from:
        said.append(f"was {_below(root, preview.moved_from)}")
    if preview.reason:
        said.append(text_on_screen(preview.reason))
    return f"  ({': '.join(said)})" if said else ""


def _sums(survey: Surveyed, root: str) -> list[str]:
    known = _listed((count, state.value) for state, count in survey.known.most_common())
    counts = [(count, action.value) for action, count in sorted(survey.counts.items(), key=_known_last)]
    lines = [f"  = {_listed(counts) or 'nothing there'}" + (f" ({known})" if known else "")]
    if survey.notice:
        lines = [f"  = {survey.notice}"]
    if survey.turned_away:
        lines.append(f"  not taken by the rules: {_extensions(survey.turned_away)}")
    for path, error in survey.unreadable:
        lines.append(f"  NOT READ   {_below(root, path)}: {error}")
    return lines


def _known_last(counted: tuple[Action, int]) -> bool:
    return counted[0] == "known"


def _extensions(turned_away: Counter[str]) -> str:
    return _listed((count, extension or "without extension") for extension, count in turned_away.most_common())


def _listed(counts: Iterable[tuple[int, str]]) -> str:
    return ", ".join(f"{count} {what}" for count, what in counts)
