"""`pixstored resume`: the sending goes on."""

from __future__ import annotations

import click

from pixstored.cli.common import Context, config_to_write, print_json


@click.command("resume", short_help="Go on sending after `pause`.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """End a pause: what waits is sent now."""
    config = config_to_write(context)
    from pixstored.service.verbs import VERBS
    from pixstored.service.writing import writer

    with writer(config, VERBS) as ask:
        answer = ask("resume")
    if as_json:
        print_json(answer)
    else:
        print("resumed" if answer["was_paused"] else "it was not paused")
