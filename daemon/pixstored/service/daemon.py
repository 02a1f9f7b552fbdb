"""The process: puts the rooms together, watches over the threads, and stops in time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import FrameType

from pixstored import __version__
from pixstored.config import Config, KeySource, load_config
from pixstored.config.changes import changes
from pixstored.errors import ConfigError, LedgerError
from pixstored.eventlog import EventLog
from pixstored.ledger.lock import DAEMON, LedgerLock
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.service import asking, publishing, records
from pixstored.service.backups import Backups
from pixstored.service.bell import Bell
from pixstored.service.control import Answer, Handler
from pixstored.service.control_server import ControlServer
from pixstored.service.engine import Engine, checked_key, checked_url
from pixstored.service.folders import TICK, Folders
from pixstored.service.links_file import LinksFile
from pixstored.service.logs import set_up_logging
from pixstored.service.metrics_door import MetricsDoor
from pixstored.service.reloading import Reloads, tell_faults
from pixstored.service.reporting import Reporter
from pixstored.service.systemd import Notifier
from pixstored.service.verbs import VERBS
from pixstored.service.writing import handlers, text_of
from pixstored.watch.opening import ignore_lease_signals

log = EventLog("pixstored.daemon")

_LOCK_WAIT = 60.0
"""Seconds to wait for a mere command that holds the ledger; another daemon is not waited for."""

_LOOK_AT_WORDS = 2.0
"""Seconds between two looks at what `systemctl status` is to say."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_daemon(config: Config, environ: Mapping[str, str], *, new_ledger: bool = False, verbose: bool = False) -> None:
    """Runs in the foreground until SIGTERM or SIGINT. Raises `ConfigError`, `LedgerBusy` or `LedgerUnusable`.

    `verbose`: the log stays so when the configuration is read again.
    """
    started = time.monotonic()
    ignore_lease_signals()
    key = KeySource.of(config.store, environ)
    checked_key(config, key)
    checked_url(config)
    with ExitStack() as stack:
        lock = LedgerLock(config.ledger)
        stack.callback(lock.release)
        lock.acquire(DAEMON, wait=_LOCK_WAIT)
        ledger = open_ledger(config.ledger, config.store.id, fresh=new_ledger)
        stack.callback(ledger.close)
        links = LinksFile(ledger)
        links.start(mend=True)
        stack.callback(links.stop)
        Daemon(config, environ, key, ledger, started, verbose=verbose).run()


class Daemon:
    """One run of the daemon, from an open ledger to its end."""

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        key: KeySource,
        ledger: SqliteLedger,
        started: float,
        *,
        verbose: bool,
    ) -> None:
        self._config = config
        self._environ = environ
        self._verbose = verbose
        self._ledger = ledger
        self._notifier = Notifier(environ)
        self._stopping = threading.Event()
        self._is_asked_to_stop = False
        self._bell = Bell()
        self._reloads = Reloads(config.path, self._bell.ring)
        self._told_at = 0.0
        self._words = ""
        self._words_at = 0.0
        self._backups = Backups(config.ledger)
        self._ledger_state = ledger.condition
        self._folders = Folders(config, ledger, self._stopping)
        self._engine = Engine(
            config,
            key,
            ledger,
            above=self._folders.above,
            settle_again=self._folders.offer,
            held=self._folders.held,
        )
        self._reporter = Reporter(config, ledger, self._folders, self._engine, started)
        self._metrics = MetricsDoor(self._reporter.counts, self._engine.tally.sums, config.ledger)

    # --- the life of it

    def run(self) -> None:
        """Starts everything, says READY, turns until a signal comes, stops everything."""
        for warning in self._config.warnings:
            log.warning("configuration", warning=warning)
        with ExitStack() as stack:
            self._heed_signals()
            stack.callback(setattr, threading, "excepthook", threading.excepthook)
            threading.excepthook = self._thread_died
            self._engine.prepare(stack)
            stack.callback(self._stop)
            self._ledger.retry_failed(time.time())
            self._serve_control()
            stack.callback(self._stop_control)
            stack.callback(self._metrics.stop)
            self._metrics.use(self._config.metrics_listen)
            self._folders.start()
            self._engine.start()
            self._say_ready()
            self._turn()

    def _heed_signals(self) -> None:
        """From now on, to the end of the process: once it is asked to stop, whatever asks again changes nothing."""

        def ask_to_stop(number: int, frame: FrameType | None) -> None:
            self._ask_to_stop()
            self._bell.ring()

        def ask_to_reload(number: int, frame: FrameType | None) -> None:
            self._reloads.signalled()

        for number in _SIGNALS:
            signal.signal(number, ask_to_stop)
        signal.signal(signal.SIGHUP, ask_to_reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _ask_to_stop(self) -> None:
        """Sets the event once: a signal that comes meanwhile would wait for its lock, which this very thread holds."""
        if not self._is_asked_to_stop:
            self._is_asked_to_stop = True
            self._stopping.set()

    def _say_ready(self) -> None:
        log.info(
            "running",
            version=__version__,
            config=str(self._config.path),
            ledger=str(self._config.ledger),
            store=self._config.store.id,
            watches=len(self._config.watches),
        )
        self._notifier.tell("READY=1")
        self._tell_status()

    def _turn(self) -> None:
        """The main thread's loop: signals, supervision, folders, systemd."""
        while not self._stopping.is_set():
            self._bell.wait(TICK)
            if self._stopping.is_set():
                return
            self._reloads.carry_out(self._reload)
            try:
                self._folders.tick()
                self._engine.tick()
                self._look_at_ledger()
                self._backups.tick()
            except LedgerError as error:
                self._engine.dispatcher.ledger_failed(error)
            self._look_at_control()
            self._tell_status()
            self._give_sign_of_life()

    def _stop(self) -> None:
        """Hints first, then the sending: one total deadline."""
        self._ask_to_stop()
        self._reloads.stop()
        self._notifier.tell("STOPPING=1", "STATUS=stopping")
        self._folders.stop()
        self._engine.stop(self._config.stop_timeout)
        log.info("stopped")

    # --- another configuration

    def _reload(self) -> Answer:
        """Reads the configuration again: all of what may change without a restart counts, or nothing.

        Raises `ConfigError`, or `LedgerError` if the ledger, which must know the folders, cannot be written.
        """
        self._notifier.reloading()
        try:
            made, waiting = self._read_again()
        except ConfigError as error:
            self._reporter.not_loaded(error.in_one_line)
            tell_faults(error)
            raise
        except LedgerError as error:
            log.error("configuration not reloaded", reason=str(error))
            raise
        finally:
            self._notifier.tell("READY=1")
        log.info("configuration reloaded", changed=",".join(made) or None, needs_restart=",".join(waiting) or None)
        for warning in self._config.warnings:
            log.warning("configuration", warning=warning)
        return {"changed": made, "needs_restart": waiting, "warnings": self._config.warnings}

    def _read_again(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The keys that were changed, and those that wait for a restart."""
        change = changes(self._config, load_config(self._config.path, self._environ))
        config = change.config
        key = KeySource.of(config.store, self._environ)
        checked_key(config, key)
        self._ledger.probe()
        self._metrics.use(config.metrics_listen)
        self._folders.reconfigure(config)
        self._engine.use(config, key)
        set_up_logging(config.log, self._environ, verbose=self._verbose)
        self._config = config
        self._reporter.loaded(config)
        return change.made, change.waiting

    # --- supervision

    def _thread_died(self, died: threading.ExceptHookArgs) -> None:
        if died.exc_value is not None:
            log.crashed("thread died", died.exc_value, thread=died.thread.name if died.thread else None)
        self._bell.ring()

    def _give_sign_of_life(self) -> None:
        """Tells systemd that all that must turn does, as often as it wants to know."""
        every, now = self._notifier.watchdog_every, time.monotonic()
        if every and now - self._told_at >= every and self._is_turning():
            self._notifier.tell("WATCHDOG=1")
            self._told_at = now

    def _tell_status(self) -> None:
        """Tells systemd in words how all is doing, if that has changed since it was looked at some seconds ago."""
        now = time.monotonic()
        if not self._notifier.listens or now < self._words_at:
            return
        self._words_at = now + _LOOK_AT_WORDS
        words = self._reporter.words()
        if words != self._words:
            self._notifier.tell(f"STATUS={words}")
            self._words = words

    def _look_at_ledger(self) -> None:
        """Tells when the ledger cannot be written, and finds out when it can be again."""
        reason: str | None = None
        if self._ledger.condition != "ok":
            try:
                self._ledger.probe()
            except LedgerError as error:
                reason = str(error)
        state = self._ledger.condition
        if state != self._ledger_state:
            self._ledger_state = state
            say = log.info if state == "ok" else log.critical
            say("ledger", state=state, path=str(self._config.ledger), reason=reason)

    def _is_turning(self) -> bool:
        return self._folders.intake.turns(time.monotonic()) and self._ledger.healthy() and self._control.is_alive()

    def _serve_control(self) -> None:
        self._control = ControlServer(
            self._config.control, self._config.ledger, self._handlers(), asking.streams(lambda: self._config)
        )
        self._control.start()

    def _stop_control(self) -> None:
        self._control.stop()

    def _look_at_control(self) -> None:
        """A dead thread is replaced: nobody could ask any more."""
        if not self._control.is_alive():
            self._stop_control()
            self._serve_control()

    # --- what is told

    def _handlers(self) -> dict[str, Handler]:
        """The commands of the control socket."""
        writing = handlers(self._ledger, {**VERBS, **records.VERBS})
        return {
            "status": lambda request: self._reporter.document(),
            "why": lambda request: self._reporter.why(text_of(request, "path")),
            "reload": self._reloads.asked,
            **publishing.handlers(self._engine),
            **writing,
        }
