"""`reload` and SIGHUP: who asks that the configuration be read again, and what they are told."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from pixstored.errors import ConfigError, LedgerError
from pixstored.eventlog import EventLog
from pixstored.service.control import Answer, ControlError
from pixstored.shown import path_in_json

log = EventLog("pixstored.daemon")

PATIENCE = 60.0
"""Seconds in which a reload is answered: folders that are new have all their subfolders observed first."""


class Reloads:
    """What was asked for and not yet done. `done` is the main thread's, which carries them out."""

    def __init__(self, config: Path, ring: Callable[[], None]) -> None:
        self._config = config
        self._ring = ring
        self._waiting: deque[Future[Answer]] = deque()

    def signalled(self) -> None:
        """SIGHUP: the log is told."""
        self._waiting.append(Future())
        self._ring()

    def asked(self, request: Mapping[str, Any]) -> Answer:
        """The command `reload`: waits for the answer. For any thread but the main one.

        Raises `ControlError`, or what the reading raised.
        """
        if request.get("config") != one_name_of(self._config):
            raise ControlError(f"the daemon that answers runs with another configuration: {self._config}")
        future: Future[Answer] = Future()
        self._waiting.append(future)
        self._ring()
        try:
            return future.result(PATIENCE)
        except (TimeoutError, CancelledError):
            raise ControlError("the daemon has not carried it out yet: its log tells how that ends") from None

    def carry_out(self, reload: Callable[[], Answer]) -> None:
        """Reads once for all who have asked, if anybody has."""
        asked = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not asked:
            return
        try:
            answer = reload()
        except (ConfigError, LedgerError) as error:
            for future in asked:
                future.set_exception(error)
        else:
            for future in asked:
                future.set_result(answer)

    def stop(self) -> None:
        """Nobody's wish is carried out any more."""
        for future in self._waiting:
            future.cancel()


def one_name_of(config: Path) -> str:
    """A configuration file as JSON can carry it: the same for whoever names it, by whatever symlinks."""
    return path_in_json(os.path.realpath(config))


def tell_faults(error: ConfigError) -> None:
    """A line in the log for each fault of a configuration that was not taken."""
    if not error.faults:
        log.error("configuration not reloaded", reason=str(error))
    for fault in error.faults:
        log.error("configuration not reloaded", key=fault.key or None, line=fault.line, reason=fault.message)
