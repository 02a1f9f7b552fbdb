"""`pixstored run`: the daemon, in the foreground."""

from __future__ import annotations

import signal
import sys

import click

from pixstored.cli.common import Context
from pixstored.interrupts import end_at_once
from pixstored.loading import loading


@click.command("run", short_help="Watch the folders and publish what is new, until stopped.")
@click.option("--new-ledger", is_flag=True, help="Start afresh where an old ledger is known but missing.")
@click.pass_obj
def command(context: Context, new_ledger: bool) -> None:
    """Watch the folders and publish what is new, in the foreground.

    SIGTERM or Ctrl-C stop it within `stop_timeout`: an upload that is not complete is dropped (nothing was
    stored) and made again at the next start. SIGHUP does what `pixstored reload` does.
    """
    # Until the daemon heeds them: what asks it to stop finds nothing that need be put in order, and what asks for a
    # reload must neither be lost nor end us; its threads inherit that.
    end_at_once(0, signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    config = context.config()
    with loading():
        from pixstored.service.daemon import run_daemon
        from pixstored.service.logs import set_up_logging
        from pixstored.service.teller import telling

    with telling(sys.stderr.fileno()):
        set_up_logging(config.log, context.environ, verbose=context.verbose)
        run_daemon(config, context.environ, new_ledger=new_ledger, verbose=context.verbose)
