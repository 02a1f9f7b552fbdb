"""Whether `run` could listen where it is to: found out by listening there for a moment, as nothing else tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from pixstored.config import Config
from pixstored.errors import ConfigError
from pixstored.service.control import ControlClient, ControlError

STORE_LISTEN = "store.embedded.listen"
METRICS_LISTEN = "metrics.listen"


def kept_from_listening(config: Config) -> dict[str, str]:
    """Why `run` could not listen, by one of the keys above; nothing while a daemon runs, which has them all.

    They are tried at once, as `run` has them: two may be the same.
    """
    if _daemon_runs(config):
        return {}
    found: dict[str, str] = {}
    with ExitStack() as held:
        for listen in _listeners(config):
            try:
                held.callback(listen())
            except ConfigError as error:
                found |= {fault.key: str(fault) for fault in error.faults}
    return found


def _daemon_runs(config: Config) -> bool:
    try:
        client = ControlClient.connect(config.control, config.ledger)
    except ControlError:  # one that may not be asked, or has no answer, is one
        return True
    if client:
        client.close()
    return client is not None


def _listeners(config: Config) -> Iterator[Callable[[], Callable[[], None]]]:
    """What listens, in the order of `run`; each gives what ends that again, and raises `ConfigError`."""
    if config.store.is_embedded:
        yield partial(_store, (config.store.embedded.host, config.store.embedded.port))
    if config.metrics_listen:
        yield partial(_metrics, config.metrics_listen)


def _store(address: tuple[str, int]) -> Callable[[], None]:
    from pixstored.store.embedded import listener_at

    return listener_at(*address).close


def _metrics(address: tuple[str, int]) -> Callable[[], None]:
    from pixstored.service.metrics_server import MetricsServer, Page

    return MetricsServer(address, lambda accept: Page("text/plain", b"")).stop
