"""`pixstored pause`: stops the sending for a while."""

from __future__ import annotations

import click

from pixstored.cli.common import Context, config_to_write, print_json


def a_duration(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Seconds."""
    from pixstored.config.values import parse_duration

    if value is None:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if seconds <= 0:
        raise click.BadParameter("must be more than 0")
    return seconds


@click.command("pause", short_help="Stop the sending for a while; watching goes on.")
@click.option(
    "--for", "seconds", callback=a_duration, metavar="DURATION", help="For so long, such as 2h (else: until `resume`)."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def command(context: Context, seconds: float | None, as_json: bool) -> None:
    """Stop the sending, across restarts too, until `pixstored resume` or the time given by --for.

    Watching goes on, so nothing is missed. An upload that is under way is not cut.
    """
    config = config_to_write(context)
    from pixstored.service.verbs import VERBS
    from pixstored.service.writing import writer

    with writer(config, VERBS) as ask:
        answer = ask("pause", seconds=seconds)
    if as_json:
        print_json(answer)
    else:
        print(f"paused until {answer['until'] or 'you say `pixstored resume`'}")
