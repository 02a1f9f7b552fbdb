"""The table of all keys: name, what a value may be, and what it is when the line is not there.

It drives the loader, the test of `config.example.yaml` and the test of `docs/configuration.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pixstored.config.comment import parse_comment
from pixstored.config.kinds import (
    choice,
    one_of,
    parse_bool,
    parse_file_size,
    parse_path,
    parse_secret,
    parse_settle,
    parse_text,
    positive_duration,
    whole_number,
)
from pixstored.config.patterns import check_pattern
from pixstored.config.schema import Doubt, Existing, FilenameRule, KeyIn, LogFormat, Method, Secret, WhenChanged
from pixstored.config.urls import parse_proxy, parse_store_url
from pixstored.config.values import parse_address, parse_duration
from pixstored.slotted import dataclass

T = TypeVar("T")

MOST_WORKERS = 256
"""More uploads at once than any line or store has use for; each is a thread with a connection."""
MOST_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Key(Generic[T]):
    """A key with a default, which is told as one would write it."""

    name: str
    parse: Callable[[str], T]
    default: str


@dataclass(frozen=True, slots=True)
class OpenKey(Generic[T]):
    """A key without a fixed default: `otherwise` tells in words what counts without it."""

    name: str
    parse: Callable[[str], T]
    otherwise: str


@dataclass(frozen=True, slots=True)
class ListKey:
    """A key that holds a list of texts."""

    name: str
    parse: Callable[[str], str]
    default: tuple[str, ...]
    may_be_empty: bool


AnyKey = Key[Any] | OpenKey[Any] | ListKey

STORE_URL = Key("store.url", parse_store_url, "https://api.pixlab.io/store")
STORE_ID = OpenKey("store.id", parse_text, "from `store.url`")
STORE_KEY: OpenKey[Secret] = OpenKey("store.key", parse_secret, "none")
STORE_KEY_FILE = OpenKey("store.key_file", parse_path, "none")
STORE_KEY_IN = Key("store.key_in", choice(KeyIn), "form")
STORE_CONNECT_TIMEOUT = Key("store.connect_timeout", positive_duration, "10s")
STORE_STALL_TIMEOUT = Key("store.stall_timeout", positive_duration, "60s")
STORE_ANSWER_TIMEOUT = Key("store.answer_timeout", positive_duration, "5m")
STORE_UNCERTAIN = Key("store.uncertain", choice(Doubt), "hold")
STORE_FILENAME = Key("store.filename", choice(FilenameRule), "original")
STORE_ALLOW_HTTP = Key("store.allow_http", parse_bool, "false")
STORE_PROXY = Key("store.proxy", parse_proxy, "env")
STORE_CA_FILE = OpenKey("store.ca_file", parse_path, "the system's")
EMBEDDED_DIR = OpenKey("store.embedded.dir", parse_path, "`store` beside the ledger")
EMBEDDED_LISTEN = Key("store.embedded.listen", parse_address, "127.0.0.1:8787")
WORKERS = Key("workers", whole_number(1, MOST_WORKERS), "4")
LEDGER = OpenKey(
    "ledger",
    parse_path,
    "`~/.local/state/pixstored/ledger.db`; file under `/etc`: `/var/lib/pixstored/ledger.db`",
)
CONTROL = OpenKey(
    "control", parse_path, "`control.sock` beside the ledger; file under `/etc`: `/run/pixstored/control.sock`"
)
RETRY_FIRST = Key("retry.first", positive_duration, "5s")
RETRY_LONGEST = Key("retry.longest", positive_duration, "1h")
RETRY_TRIES = Key("retry.tries", whole_number(1, MOST_TRIES), "10")
RETRY_AGAIN = Key("retry.again", positive_duration, "1d")
RESCAN_EVERY = Key("rescan_every", positive_duration, "30m")
STOP_TIMEOUT = Key("stop_timeout", parse_duration, "30s")
LOG_LEVEL = Key("log.level", one_of("debug", "info", "warning", "error", "critical"), "info")
LOG_FORMAT = Key("log.format", choice(LogFormat), "text")
METRICS_LISTEN = OpenKey("metrics.listen", parse_address, "none")
WATCH_PATH = OpenKey("watch[].path", parse_path, "required")
WATCH_NAME = OpenKey("watch[].name", parse_text, "the path")
WATCH_RECURSIVE = Key("watch[].recursive", parse_bool, "true")
WATCH_CREATE = Key("watch[].create", parse_bool, "false")
WATCH_MOUNT = Key("watch[].mount", parse_bool, "false")
WATCH_METHOD = Key("watch[].method", choice(Method), "auto")
WATCH_POLL_EVERY = Key("watch[].poll_every", positive_duration, "10s")
WATCH_SETTLE = Key("watch[].settle", parse_settle, "auto")
WATCH_INCLUDE = ListKey("watch[].include", check_pattern, ("@media",), may_be_empty=False)
WATCH_EXCLUDE = ListKey("watch[].exclude", check_pattern, (), may_be_empty=True)
WATCH_EXCLUDE_DEFAULTS = Key("watch[].exclude_defaults", parse_bool, "true")
WATCH_MIN_SIZE = Key("watch[].min_size", parse_file_size, "1B")
WATCH_MAX_SIZE = OpenKey("watch[].max_size", parse_file_size, "none")
WATCH_EXISTING = Key("watch[].existing", choice(Existing), "ignore")
WATCH_CHANGED = Key("watch[].changed", choice(WhenChanged), "publish")
WATCH_COMMENT = OpenKey("watch[].comment", parse_comment, "none")

KEYS: tuple[AnyKey, ...] = (
    STORE_URL,
    STORE_ID,
    STORE_KEY,
    STORE_KEY_FILE,
    STORE_KEY_IN,
    STORE_CONNECT_TIMEOUT,
    STORE_STALL_TIMEOUT,
    STORE_ANSWER_TIMEOUT,
    STORE_UNCERTAIN,
    STORE_FILENAME,
    STORE_ALLOW_HTTP,
    STORE_PROXY,
    STORE_CA_FILE,
    EMBEDDED_DIR,
    EMBEDDED_LISTEN,
    WORKERS,
    LEDGER,
    CONTROL,
    RETRY_FIRST,
    RETRY_LONGEST,
    RETRY_TRIES,
    RETRY_AGAIN,
    RESCAN_EVERY,
    STOP_TIMEOUT,
    LOG_LEVEL,
    LOG_FORMAT,
    METRICS_LISTEN,
    WATCH_PATH,
    WATCH_NAME,
    WATCH_RECURSIVE,
    WATCH_CREATE,
    WATCH_MOUNT,
    WATCH_METHOD,
    WATCH_POLL_EVERY,
    WATCH_SETTLE,
    WATCH_INCLUDE,
    WATCH_EXCLUDE,
    WATCH_EXCLUDE_DEFAULTS,
    WATCH_MIN_SIZE,
    WATCH_MAX_SIZE,
    WATCH_EXISTING,
    WATCH_CHANGED,
    WATCH_COMMENT,
)
"""In the order of the documentation."""
