"""A YAML file -> one frozen Config, or every fault of the file with its key and line.

Nothing but the file is judged here: a folder that is not mounted or a key file that is not there yet is no fault
of it, so that commands that only read work meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pixstored.config import keys
from pixstored.config.checks import Placed, check_embedded, check_ledger, check_names, check_overlaps, exposed
from pixstored.config.document import read_document
from pixstored.config.faults import Faults
from pixstored.config.keys import OpenKey
from pixstored.config.places import SYSTEM_LEDGER, Places
from pixstored.config.real import real_paths
from pixstored.config.schema import Config, EmbeddedConfig, LogConfig, RetryConfig, StoreConfig, WatchConfig
from pixstored.config.section import Section
from pixstored.config.urls import EMBEDDED, shows_the_key, store_id
from pixstored.errors import ConfigError

LARGEST_FILE = 1 << 20
"""Bytes. No configuration is that long; a video named by mistake is."""


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in this file. Raises ConfigError with all its faults, or if it cannot be read."""
    file = Path(os.path.abspath(path))
    data, found = read_file(file)
    faults = Faults()
    document = read_document(data, faults)
    if document is None:
        raise faults.error(file)
    places = Places.of(file, found.st_uid, environ)
    config = _config(Section(faults, document), places, found, faults)
    if faults:
        raise faults.error(file)
    return config


def read_file(file: Path) -> tuple[bytes, os.stat_result]:
    """The bytes of a configuration file, and its stat. Raises ConfigError."""
    try:
        with open(file, "rb") as stream:
            data, found = stream.read(LARGEST_FILE + 1), os.fstat(stream.fileno())
    except FileNotFoundError:
        raise ConfigError(f"{file}: there is no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{file}: is a folder: name the file in it") from None
    except PermissionError:
        raise ConfigError(f"{file}: may not be read by this user: give it to its owner, or use sudo") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or 'not a file name'}") from None
    if len(data) > LARGEST_FILE:
        raise ConfigError(f"{file}: is over 1 MiB: that is no configuration")
    return data, found


def _config(root: Section, places: Places, found: os.stat_result, faults: Faults) -> Config:
    """Asks for every key, so that every fault is on record: what is returned counts only if there is none."""
    ledger = _file(root, keys.LEDGER, places, places.ledger)
    beside = ledger or SYSTEM_LEDGER  # the latter only where a fault is on record
    store = _store(root.section("store"), places, beside)
    watches = _watches(root, places, faults)
    if ledger is not None and check_ledger(watches, ledger, faults) and store.is_embedded:
        check_embedded(watches, store.embedded.dir, faults)
    return Config(
        path=places.file,
        store=store,
        workers=root.value(keys.WORKERS),
        ledger=beside,
        control=_file(root, keys.CONTROL, places, lambda: places.control(beside)) or beside,
        retry=_retry(root.section("retry")),
        rescan_every=root.value(keys.RESCAN_EVERY),
        stop_timeout=root.value(keys.STOP_TIMEOUT),
        log=_log(root.section("log")),
        metrics_listen=root.section("metrics").optional(keys.METRICS_LISTEN),
        watches=tuple(placed.watch for placed in watches),
        warnings=_warnings(places.file, found, store),
    )


def _store(section: Section, places: Places, ledger: Path) -> StoreConfig:
    url = section.value(keys.STORE_URL)
    key, key_file = section.optional(keys.STORE_KEY), _path(section, keys.STORE_KEY_FILE, places, _nowhere)
    if section.has(keys.STORE_KEY) and section.has(keys.STORE_KEY_FILE):
        section.refuse(keys.STORE_KEY_FILE, "stands beside store.key: which of them counts? leave one out")
    allow_http = section.value(keys.STORE_ALLOW_HTTP)
    if url != EMBEDDED and shows_the_key(url) and not allow_http:
        section.refuse(
            keys.STORE_URL, "plain http:// would show the key on its way: use https://, or set store.allow_http: true"
        )
    return StoreConfig(
        url=None if url == EMBEDDED else url,
        id=section.optional(keys.STORE_ID) or (EMBEDDED if url == EMBEDDED else store_id(url)),
        key=key,
        key_file=key_file,
        key_in=section.value(keys.STORE_KEY_IN),
        connect_timeout=section.value(keys.STORE_CONNECT_TIMEOUT),
        stall_timeout=section.value(keys.STORE_STALL_TIMEOUT),
        answer_timeout=section.value(keys.STORE_ANSWER_TIMEOUT),
        uncertain=section.value(keys.STORE_UNCERTAIN),
        filename=section.value(keys.STORE_FILENAME),
        proxy=section.value(keys.STORE_PROXY),
        ca_file=_path(section, keys.STORE_CA_FILE, places, _nowhere),
        embedded=_embedded(section.section("embedded"), places, ledger),
    )


def _embedded(section: Section, places: Places, ledger: Path) -> EmbeddedConfig:
    host, port = section.value(keys.EMBEDDED_LISTEN)
    usual = places.embedded(ledger)
    folder = _path(section, keys.EMBEDDED_DIR, places, lambda: usual)
    return EmbeddedConfig(dir=folder or usual, host=host, port=port)


def _retry(section: Section) -> RetryConfig:
    first, longest = section.value(keys.RETRY_FIRST), section.value(keys.RETRY_LONGEST)
    if longest < first:
        section.refuse(keys.RETRY_LONGEST, "is shorter than retry.first")
    return RetryConfig(
        first=first,
        longest=longest,
        tries=section.value(keys.RETRY_TRIES),
        again=section.value(keys.RETRY_AGAIN),
    )


def _log(section: Section) -> LogConfig:
    return LogConfig(level=section.value(keys.LOG_LEVEL), format=section.value(keys.LOG_FORMAT))


def _watches(root: Section, places: Places, faults: Faults) -> list[Placed]:
    entries = root.sections("watch")
    if not entries:
        if entries is not None:
            faults.add("watch", 'names no folder: it needs at least one, like "- path: ~/Pictures"')
        return []
    read = [(entry, _watch(entry, places)) for entry in entries]
    found = [(entry, watch) for entry, watch in read if watch is not None]
    roots = real_paths([watch.path for _, watch in found])
    watches = [
        Placed(entry.name, replace(watch, root=root), entry.has(keys.WATCH_NAME))
        for (entry, watch), root in zip(found, roots, strict=True)
    ]
    check_overlaps(watches, faults)
    check_names(watches, faults)
    return watches


def _watch(section: Section, places: Places) -> WatchConfig | None:
    """One folder, its root not yet resolved; None if it has no path that counts, its other keys judged all the same."""
    path = _path(section, keys.WATCH_PATH, places, _nowhere)
    if not section.has(keys.WATCH_PATH):
        section.refuse(keys.WATCH_PATH, "is missing: which folder?")
    smallest, largest = section.value(keys.WATCH_MIN_SIZE), section.optional(keys.WATCH_MAX_SIZE)
    if largest is not None and largest < smallest:
        section.refuse(keys.WATCH_MAX_SIZE, "is less than min_size, so nothing would match")
    place = path or places.file
    watch = WatchConfig(
        path=place,
        root=place,
        name=section.optional(keys.WATCH_NAME) or str(place),
        recursive=section.value(keys.WATCH_RECURSIVE),
        create=section.value(keys.WATCH_CREATE),
        mount=section.value(keys.WATCH_MOUNT),
        method=section.value(keys.WATCH_METHOD),
        poll_every=section.value(keys.WATCH_POLL_EVERY),
        settle=section.value(keys.WATCH_SETTLE),
        include=section.texts(keys.WATCH_INCLUDE),
        exclude=section.texts(keys.WATCH_EXCLUDE),
        exclude_defaults=section.value(keys.WATCH_EXCLUDE_DEFAULTS),
        min_size=smallest,
        max_size=largest,
        existing=section.value(keys.WATCH_EXISTING),
        changed=section.value(keys.WATCH_CHANGED),
        comment=section.optional(keys.WATCH_COMMENT),
    )
    return watch if path is not None else None


def _path(section: Section, key: OpenKey[str], places: Places, otherwise: Callable[[], Path | None]) -> Path | None:
    """The absolute path a key means, or what counts without it; None if that is nothing, or faulty and on record."""
    text = section.optional(key)
    if text is None and section.has(key):
        return None
    try:
        return otherwise() if text is None else places.resolve(text)
    except ValueError as error:
        section.refuse(key, str(error))
        return None


def _file(section: Section, key: OpenKey[str], places: Places, otherwise: Callable[[], Path | None]) -> Path | None:
    """As `_path`, for what has files beside it: it must have a name."""
    path = _path(section, key, places, otherwise)
    if path is not None and not path.name:
        section.refuse(key, "is the root folder: name a file")
        return None
    return path


def _nowhere() -> None:
    return None


def _warnings(file: Path, found: os.stat_result, store: StoreConfig) -> tuple[str, ...]:
    told = [exposed(file, found, "store.key")] if store.key is not None else []
    if store.key_file is not None:
        with suppress(OSError):  # not there yet, or not ours to look at: whoever needs the key says so
            told.append(exposed(store.key_file, os.stat(store.key_file), "the API key"))
    return tuple(warning for warning in told if warning is not None)
