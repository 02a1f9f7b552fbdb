"""The process: puts the rooms together, watches over the threads, and stops in time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Any

from pixstored import __version__
from pixstored.config import Config, KeySource
from pixstored.errors import LedgerError
from pixstored.eventlog import EventLog
from pixstored.ledger.lock import LedgerLock
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.service import publishing, records
from pixstored.service.backups import Backups
from pixstored.service.control import ControlServer, Handler
from pixstored.service.engine import Engine, checked_key
from pixstored.service.folders import Folders
from pixstored.service.links_file import LinksFile
from pixstored.service.status import Life, Stock, status_document
from pixstored.service.stories import Live, why_document
from pixstored.service.systemd import Notifier
from pixstored.service.verbs import VERBS
from pixstored.service.writing import handlers
from pixstored.watch.opening import ignore_lease_signals

log = EventLog("pixstored.daemon")

_LOCK_WAIT = 60.0
"""Seconds to wait for a mere command that holds the ledger; another daemon is not waited for."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_daemon(config: Config, environ: Mapping[str, str], *, new_ledger: bool = False) -> None:
    """Runs in the foreground until SIGTERM or SIGINT. Raises `ConfigError`, `LedgerBusy` or `LedgerUnusable`."""
    started = time.monotonic()
    ignore_lease_signals()
    key = KeySource.of(config.store, environ)
    checked_key(config, key)
    with ExitStack() as stack:
        lock = LedgerLock(config.ledger)
        stack.callback(lock.release)
        lock.acquire("daemon", wait=_LOCK_WAIT)
        ledger = open_ledger(config.ledger, config.store.id, fresh=new_ledger)
        stack.callback(ledger.close)
        links = LinksFile(ledger)
        links.start(mend=True)
        stack.callback(links.stop)
        Daemon(config, Notifier(environ), key, ledger, started).run()


class Daemon:
    """One run of the daemon, from an open ledger to its end."""

    def __init__(
        self, config: Config, notifier: Notifier, key: KeySource, ledger: SqliteLedger, started: float
    ) -> None:
        self._config = config
        self._started = started
        self._loaded_at = time.time()
        self._ledger = ledger
        self._notifier = notifier
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._told_at = 0.0
        self._backups = Backups(config.ledger)
        self._ledger_state = ledger.condition
        self._folders = Folders(config.watches, config.rescan_every, ledger, self._stopping)
        self._engine = Engine(config, key, ledger, above=self._folders.above, settle_again=self._folders.offer)

    # --- the life of it

    def run(self) -> None:
        """Starts everything, says READY, turns until a signal comes, stops everything."""
        for warning in self._config.warnings:
            log.warning("configuration", warning=warning)
        with ExitStack() as stack:
            self._catch_signals(stack)
            self._engine.prepare(stack)
            stack.callback(self._stop)
            self._ledger.retry_failed(time.time())
            self._control = ControlServer(self._config.control, self._config.ledger, self._handlers())
            stack.callback(self._control.stop)
            self._control.start()
            self._folders.start()
            self._engine.start()
            self._say_ready()
            self._turn()

    def _catch_signals(self, stack: ExitStack) -> None:
        def ask_to_stop(number: int, frame: FrameType | None) -> None:
            self._stopping.set()
            self._wake.set()

        for number in _SIGNALS:
            stack.callback(signal.signal, number, signal.signal(number, ask_to_stop))
        before = threading.excepthook
        threading.excepthook = self._thread_died
        stack.callback(setattr, threading, "excepthook", before)

    def _say_ready(self) -> None:
        log.info(
            "running",
            version=__version__,
            config=str(self._config.path),
            ledger=str(self._config.ledger),
            store=self._config.store.id,
            watches=len(self._config.watches),
        )
        self._notifier.tell("READY=1", f"STATUS={self._in_words()}")

    def _turn(self) -> None:
        """The main thread's loop: signals, supervision, folders, systemd."""
        while not self._stopping.is_set():
            self._wake.wait(self._folders.next_tick())
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self._folders.tick()
                self._engine.tick()
                self._look_at_ledger()
                self._backups.tick()
            except LedgerError as error:
                self._engine.dispatcher.ledger_failed(error)
            self._give_sign_of_life()

    def _stop(self) -> None:
        """Hints first, then the sending: one total deadline."""
        self._stopping.set()
        self._notifier.tell("STOPPING=1", "STATUS=stopping")
        self._folders.stop()
        self._engine.stop(self._config.stop_timeout)
        log.info("stopped")

    # --- supervision

    def _thread_died(self, died: threading.ExceptHookArgs) -> None:
        if died.exc_value is not None:
            log.crashed("thread died", died.exc_value, thread=died.thread.name if died.thread else None)
        self._wake.set()

    def _give_sign_of_life(self) -> None:
        """Tells systemd that all that must turn does, as often as it wants to know."""
        every, now = self._notifier.watchdog_every, time.monotonic()
        if every and now - self._told_at >= every and self._is_turning():
            self._notifier.tell("WATCHDOG=1", f"STATUS={self._in_words()}")
            self._told_at = now

    def _look_at_ledger(self) -> None:
        """Tells when the ledger cannot be written, and finds out when it can be again."""
        if self._ledger.condition != "ok":
            with suppress(LedgerError):
                self._ledger.probe()
        state = self._ledger.condition
        if state != self._ledger_state:
            self._ledger_state = state
            say = log.info if state == "ok" else log.critical
            say("ledger", state=state, path=str(self._config.ledger))

    def _is_turning(self) -> bool:
        return self._folders.intake.is_alive() and self._ledger.healthy() and self._control.is_alive()

    # --- what is told

    def _handlers(self) -> dict[str, Handler]:
        """The commands of the control socket."""
        writing = handlers(self._ledger, {**VERBS, **records.VERBS})
        return {"status": self._status, "why": self._why, **publishing.handlers(self._engine), **writing}

    def _status(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return status_document(self._config, self._loaded_at, Stock.of(self._ledger), self._life())

    def _why(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return why_document(self._config, self._ledger, str(request.get("path")), self._live_of, "running")

    def _live_of(self, path: str) -> Live:
        return Live(
            settling=self._folders.intake.waiting(path),
            upload=next((upload for upload in self._engine.uploads() if upload.path == path), None),
            store=self._engine.dispatcher.report(),
        )

    def _life(self) -> Life:
        return Life(
            uptime=time.monotonic() - self._started,
            store_url=self._engine.store_url,
            store=self._engine.dispatcher.report(),
            folders=self._folders.reports(),
            uploads=self._engine.uploads(),
            settling=self._folders.intake.settling(),
            oldest_settling=self._folders.intake.oldest(),
            ledger_state=self._ledger.condition,
        )

    def _in_words(self) -> str:
        """One line for `systemctl status`."""
        store = self._engine.dispatcher.report().state.value
        return f"{self._folders.intake.settling()} settling, store {store}"
