"""What another reading of the configuration changes in a running daemon, and what waits for a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

from pixstored.config.checks import Placed, check_embedded, check_ledger
from pixstored.config.faults import Faults
from pixstored.config.schema import Config
from pixstored.slotted import dataclass

_NO_SETTING = ("path", "warnings")
"""What a configuration has that no key of it says."""

_BUILT_IN = "store.embedded."

_KEYS = {
    "watches": "watch",
    "metrics_listen": "metrics.listen",
    "store.embedded.host": "store.embedded.listen",
    "store.embedded.port": "store.embedded.listen",
}
"""The keys of fields that have another name."""


@dataclass(frozen=True, slots=True)
class Changes:
    """`config` is what counts from now on; the keys are those of the file."""

    config: Config
    made: tuple[str, ...]
    """Keys whose new value counts."""
    waiting: tuple[str, ...]
    """Keys whose new value counts after a restart."""


def changes(running: Config, wanted: Config) -> Changes:
    """What of `wanted` may count at once in a daemon that runs with `running`.

    The ledger, the socket and the store's place stay as they are. Where the store's place or name changes, all of
    `store` waits with it: its new key belongs to the new place, and must be neither sent to the old one nor recorded
    under the old name. Raises ConfigError for a folder that could be watched only after the restart.
    """
    store = replace(wanted.store, url=running.store.url, id=running.store.id, embedded=running.store.embedded)
    if (wanted.store.url, wanted.store.id) != (running.store.url, running.store.id):
        store = running.store
    config = replace(wanted, ledger=running.ledger, control=running.control, store=store)
    _check(config)
    waiting = _keys(config, wanted)
    if not running.store.is_embedded and not wanted.store.is_embedded:
        waiting = tuple(key for key in waiting if not key.startswith(_BUILT_IN))
    return Changes(config, _keys(running, config), waiting)


def _check(config: Config) -> None:
    """The file was judged by the ledger and the store it names, which are not those that are in use."""
    faults = Faults()
    watches = [Placed(f"watch[{number}]", watch, True) for number, watch in enumerate(config.watches)]
    if check_ledger(watches, config.ledger, faults) and config.store.is_embedded:
        check_embedded(watches, config.store.embedded.dir, faults)
    if faults:
        raise faults.error(config.path)


def _keys(before: Config, after: Config) -> tuple[str, ...]:
    """The keys whose values differ, in the order of the fields, each once."""
    return tuple(dict.fromkeys(_KEYS.get(name, name) for name in _differing(before, after)))


def _differing(before: object, after: object, prefix: str = "") -> Iterator[str]:
    for field in fields(before) if is_dataclass(before) else ():
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old == new or (not prefix and field.name in _NO_SETTING):
            continue
        if is_dataclass(old) and type(old) is type(new):
            yield from _differing(old, new, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name
