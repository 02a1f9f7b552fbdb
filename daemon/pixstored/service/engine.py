"""What sends: the queue's dispatcher, the workers, the store they speak to, and the key it wants."""

from __future__ import annotations

import importlib
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from pixstored.config import Config, KeySource, Secret, WatchConfig
from pixstored.config.urls import EMBEDDED, is_plain
from pixstored.errors import Away, Changed, ConfigError, Gone, StoreDown, TurnedAway
from pixstored.eventlog import EventLog
from pixstored.ledger.sqlite import SqliteLedger
from pixstored.loading import loading
from pixstored.model import WATCH_REMOVED, Claim, Lane, StoreState
from pixstored.publish import schedule
from pixstored.publish.dispatcher import Dispatcher, Duty
from pixstored.publish.named import Publisher
from pixstored.publish.processors import Processors
from pixstored.publish.schedule import Schedule
from pixstored.publish.tally import Tally
from pixstored.publish.tools import Settings, Tools
from pixstored.publish.turnstile import Turnstile
from pixstored.publish.watched import Watched
from pixstored.publish.worker import Progress, Worker
from pixstored.service.late_store import LateStore
from pixstored.store.base import Store
from pixstored.store.health import Health
from pixstored.watch.opening import NotRegular, open_beneath, open_named

log = EventLog("pixstored.daemon")

_STOP_RESERVE = 0.5
"""Seconds kept of the time to stop for what follows the last answer: recording it."""

_LOOK_EVERY = 0.5
"""Seconds between two looks, meanwhile, whether a worker is stuck."""

_AWAY = "its folder is away"

_LOAD_REST_AFTER = 1.5
"""Seconds until what only a failed try needs is imported: what waits to be sent goes first."""

_LOOK_AT_FAILED = 60.0
"""Seconds between two looks at whether a failed file is due again."""

NO_KEY = (
    "no API key: put it into a file and name that as store.key_file, or set $PIXSTORED_KEY, or give the service its "
    "credential store-key (or try without one: store.url: embedded)"
)


def checked_key(config: Config, key: KeySource) -> None:
    """Raises `ConfigError` if the store wants a key and there is none."""
    if not config.store.is_embedded and key.read() is None:
        raise ConfigError(NO_KEY)


def checked_url(config: Config) -> None:
    """Raises `ConfigError` if nothing can be sent to the store's address. Of a plain one that is known without what
    speaks HTTP, which takes a fifth of a start to import (measured)."""
    url = config.store.url or EMBEDDED
    if not is_plain(url):
        load()
        importlib.import_module("pixstored.store.client").check_url(url)


def load() -> None:
    """Imports what sending needs and a start does not wait for."""
    with loading():
        importlib.import_module("pixstored.store.client")


class Engine:
    """Sends what the ledger's queue holds, from `start` to `stop`.

    `above` finds the watch a path lies in; `settle_again` is told of claimed files that changed, and `held` of a thread
    that the file I/O on a path does not let go. With `named_only` nothing is sent but what `publisher` is asked for.
    """

    def __init__(
        self,
        config: Config,
        key: KeySource,
        ledger: SqliteLedger,
        *,
        above: Callable[[str], Watched | None],
        settle_again: Callable[[str, str, Lane], None],
        held: Callable[[str, threading.Thread], None],
        named_only: bool = False,
    ) -> None:
        self._config = config
        self._key = key
        self._sent_key: Secret | None = None
        self._ledger = ledger
        self._above = above
        self._settle_again = settle_again
        self._held = held
        self._stopping = threading.Event()
        self.store_url = config.store.url or ""
        health = Health(config.retry.first, config.retry.longest, random.SystemRandom())
        self.dispatcher = Dispatcher(
            ledger, health, config.store.id, longest=config.retry.longest, named_only=named_only
        )
        self.publisher = Publisher(ledger, self.dispatcher, above)
        self.tally = Tally()
        self._settings = _settings_of(config)
        self._workers: list[Worker] = []
        self._leaving: list[Worker] = []
        """Workers that are not needed any more, or were given up, until their last upload has ended."""
        self._is_proven = False
        self._load_rest_at: float | None = time.monotonic() + _LOAD_REST_AFTER
        self._look_at_failed_at = 0.0
        self._tools = Tools(
            ledger=ledger,
            dispatcher=self.dispatcher,
            settings=lambda: self._settings,
            tally=self.tally,
            processors=Processors(),
            turnstile=Turnstile(),
            config_file=str(config.path),
            open=self._open,
            judge=self._judge,
            settle_again=self._changed,
            ended=self.publisher.ended,
            stopping=self._stopping,
        )

    # --- its life

    def prepare(self, stack: ExitStack) -> None:
        """Recovers what a dead process held, and starts the store if it is the built-in one.

        What must be stopped after the engine is put on the `stack`. Raises `ConfigError` if an address is taken.
        """
        self._tools.processors.suit(0)  # what looks for files needs the interpreter as small ones do
        self._recover()
        self._ledger.located(self._config.store.url or EMBEDDED)
        self._start_store(stack)

    def start(self) -> None:
        """Starts the workers."""
        self._ledger.on_change(self.dispatcher.wake)
        self._man()

    def prove(self) -> None:
        """Raises `ConfigError` if nothing can ever be sent to the store as it is configured."""
        if not self._is_proven:
            load()
            self._new_client()
            self._is_proven = True

    def use(self, config: Config, key: KeySource) -> None:
        """Another configuration counts from now on; no upload under way is disturbed. The store stays where it is."""
        before, self._config, self._key = self._config, config, key
        self._settings = _settings_of(config)
        self._look_at_failed_at = 0.0
        self.dispatcher.pace(config.retry.first, config.retry.longest)
        if config.store != before.store:
            self._is_proven = False
            self.prove()
            for worker in self._workers:
                worker.use(self._new_store())
        if (config.store, config.retry) != (before.store, before.retry):
            self.dispatcher.poke()  # what the store lacked may have been mended by it, and no longer wait counts
        self._man()

    def tick(self) -> None:
        """Once a second: workers that died or are stuck are replaced, a changed key is tried at once, what has failed
        again at times.

        Raises `LedgerError`, and `ConfigError` as `prove` does, which would keep a start waiting.
        """
        self.prove()
        now = time.monotonic()
        self._load_rest(now)
        for number, worker in enumerate(self._workers):
            if not worker.is_alive():
                if worker.give_back():
                    self._workers[number] = self._new_worker(number)
            elif path := worker.work.stuck_in(now):
                log.warning("uploader replaced", reason=f"stuck in {path}")
                self._held(path, worker)
                worker.give_up()
                self._leaving.append(worker)
                self._workers[number] = self._new_worker(number)
        for worker in self._leaving[:]:
            if not worker.is_alive() and worker.give_back():
                self._leaving.remove(worker)
        self._look_at_key()
        self._look_at_failed()

    def stop(self, timeout: float) -> None:
        """Bodies under way are dropped at once; those that are out wait for their answer, `timeout` s in all."""
        deadline = time.monotonic() + max(timeout - _STOP_RESERVE, 0.0)
        self._stopping.set()
        self.dispatcher.stop()
        self.publisher.stop()
        workers = self._workers + self._leaving
        for worker in workers:
            worker.drop()
        for worker in workers:
            _await(worker, deadline)
        for worker in workers:
            if worker.is_alive():
                worker.cut()
        deadline = time.monotonic() + _STOP_RESERVE
        for worker in workers:
            _await(worker, deadline)

    def uploads(self) -> list[Progress]:
        """The uploads under way."""
        return [progress for worker in self._workers + self._leaving if (progress := worker.progress())]

    # --- the parts

    def _recover(self) -> None:
        uncertain = self._ledger.recover(time.time())
        if uncertain:
            log.error(
                "uncertain: sent when the last run ended, no answer recorded",
                contents=uncertain,
                see="pixstored status",
            )

    def _start_store(self, stack: ExitStack) -> None:
        if not self._config.store.is_embedded:
            return
        embedded = self._config.store.embedded
        from pixstored.store.embedded import (
            EmbeddedStore,  # late: most have a real store, and no memory for a web server
        )

        store = EmbeddedStore(embedded.dir, embedded.host, embedded.port)
        store.start()
        stack.callback(store.stop)
        self.store_url = store.url
        log.info("embedded store", url=store.url, folder=str(embedded.dir))

    def _man(self) -> None:
        """As many workers as are wanted, each with its duty."""
        while len(self._workers) > self._config.workers:
            worker = self._workers.pop()
            worker.duty = Duty.NONE
            self._leaving.append(worker)
        for number, worker in enumerate(self._workers):
            worker.duty = self._duty_of(number)
        while len(self._workers) < self._config.workers:
            self._workers.append(self._new_worker(len(self._workers)))
        self.dispatcher.wake()

    def _new_worker(self, number: int) -> Worker:
        worker = Worker(f"upload-{number + 1}", self._tools, self._new_store(), self._duty_of(number))
        worker.start()
        return worker

    def _new_store(self) -> LateStore:
        return LateStore(self._new_client)

    def _new_client(self) -> Store:
        with loading():
            from pixstored.store.client import HttpStore  # late: see `LateStore`

        return HttpStore.of(self._config.store, self.store_url, self._read_key)

    def _duty_of(self, number: int) -> Duty:
        """Where there are several, one is kept for fresh files."""
        return Duty.FRESH if number == 0 and self._config.workers > 1 else Duty.ALL

    # --- what the workers ask

    def _open(self, claim: Claim) -> tuple[int, WatchConfig | None]:
        handed = self.publisher.descriptor(claim.path)
        watched = self._judge(claim) if handed is None else self._above(claim.path)
        config = watched.config if watched and claim.watch is not None else None
        if handed is not None:
            return handed, config
        try:
            return open_named(claim.path) if watched is None else _open_in(watched, claim.path), config
        except NotRegular as error:
            raise Changed(f"it became {error}") from error

    def _judge(self, claim: Claim) -> Watched | None:
        """The watch a claimed file lies in, which takes it: another configuration may have come since it was queued.

        Raises `TurnedAway`.
        """
        watched = self._above(claim.path)
        if claim.watch is not None:
            why = watched.turns_away(claim.path, claim.stamp.size) if watched else WATCH_REMOVED
            if why and not self._ledger.was_named(claim):
                raise TurnedAway(why)
        return watched

    def _changed(self, claim: Claim) -> None:
        watched = self._above(claim.path)
        if watched:
            self._settle_again(claim.path, watched.path, claim.lane)

    def _read_key(self) -> Secret | None:
        """The key for the next request; a key file that has turned bad stops the sending until it is mended."""
        try:
            self._sent_key = self._key.read()
            return self._sent_key
        except ConfigError as error:
            self._sent_key = None
            raise StoreDown(str(error), StoreState.AUTH_FAILED) from error

    def _look_at_failed(self) -> None:
        """A failed file gets one try every `retry.again`; when its last one was is told by the ledger."""
        again, now = self._config.retry.again, time.monotonic()
        if now < self._look_at_failed_at:
            return
        self._look_at_failed_at = now + min(again, _LOOK_AT_FAILED)
        count = self._ledger.retry_failed(time.time(), again)
        if count:
            log.info("failed files are tried again", files=count)

    def _load_rest(self, now: float) -> None:
        """Before it is needed: the files of the program may be replaced, or become unreadable, while it runs."""
        if self._load_rest_at is not None and now >= self._load_rest_at:
            self._load_rest_at = None
            with loading():
                schedule.load()

    def _look_at_key(self) -> None:
        """A changed key file counts at once. There are stores that refuse everything for want of a good key."""
        if self.dispatcher.report().state not in (StoreState.AUTH_FAILED, StoreState.REFUSING):
            return
        try:
            key = self._key.read()
        except ConfigError:
            return
        if key is not None and key != self._sent_key:
            self.dispatcher.poke()


def _await(worker: Worker, deadline: float) -> None:
    """Waits for the end of this worker, unless a disk that does not answer holds it: it has sent nothing then."""
    while worker.is_alive() and (now := time.monotonic()) < deadline and not worker.work.stuck_in(now):
        worker.join(min(deadline - now, _LOOK_EVERY))


def _settings_of(config: Config) -> Settings:
    return Settings(Schedule(config.retry), config.store.filename, config.store.uncertain)


def _open_in(watched: Watched, path: str) -> int:
    """Opens a file of a watch. What is not to be found because its folder is away has not vanished."""
    if not watched.present:
        raise Away(_AWAY)
    try:
        return open_beneath(watched.root, watched.relative(path))
    except Gone:
        if watched.is_itself():
            raise
        raise Away(_AWAY) from None
