"""`pixstored service`: runs the daemon as a service of this machine, or of one person."""

from __future__ import annotations

import click

from pixstored.cli.common import Context
from pixstored.config import Config
from pixstored.errors import ConfigError
from pixstored.shown import text_on_screen

_FOR_USER = click.option("--user", is_flag=True, help="Your own service, which runs while you are logged in.")


@click.group("service", short_help="Run as a service: install and uninstall its systemd unit.")
def command() -> None:
    """Run the daemon as a systemd service: of this machine, as a user of its own, or (`--user`) your own."""


@command.command("install", short_help="Write, enable and start the unit for this configuration.")
@_FOR_USER
@click.option("--print", "only_print", is_flag=True, help="Show the unit, and do nothing.")
@click.pass_obj
def install(context: Context, user: bool, only_print: bool) -> None:
    """Write the unit for this configuration, enable it, start it, and say what was done.

    The machine's service runs as the user `pixstored`, which is made, and is shown the homes and given the folders
    that the configuration names. Done again, it changes only what has changed; a unit that somebody else has written
    is left alone.

    Exit 0: done; 1: something is in the way; 74, 75: installed, but the daemon ended with this code; 78: the
    configuration is wrong, or there is no API key.
    """
    config = context.config()
    from pixstored.service import installing

    if only_print:
        print(installing.unit_text(config, context.environ, user=user), end="")
    elif user:
        installing.install_for_user(config, context.environ, _say)
    else:
        installing.install_for_machine(config, context.environ, _say)


@command.command("uninstall", short_help="Stop and disable the service, and remove its unit.")
@_FOR_USER
@click.pass_obj
def uninstall(context: Context, user: bool) -> None:
    """Stop and disable the service, and remove what `install` has written.

    The configuration, the API key, the ledger and the service's user are kept.
    """
    from pixstored.service import installing

    config = _config_if_it_loads(context)
    if user:
        installing.uninstall_from_user(config, context.environ, _say)
    else:
        installing.uninstall_from_machine(config, context.environ, _say)


def _config_if_it_loads(context: Context) -> Config | None:
    try:
        return context.config()
    except ConfigError:
        return None  # a service can be removed whatever has become of its configuration


def _say(line: str) -> None:
    """At once, before the next step: some take their time."""
    print(text_on_screen(line), flush=True)
