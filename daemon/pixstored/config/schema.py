"""The configuration as the rest of the program sees it: frozen, complete, every default filled in.

Durations are float seconds, sizes are bytes, paths are absolute.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pixstored.config.comment import Template
from pixstored.slotted import dataclass


class Secret:
    """A text that is never shown: neither `str`, `repr` nor a format of it says what it is."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class KeyIn(StrEnum):
    """Where the key travels."""

    FORM = "form"
    HEADER = "header"


class FilenameRule(StrEnum):
    """Which name is told to the store."""

    ORIGINAL = "original"
    NEUTRAL = "neutral"


class Doubt(StrEnum):
    """What becomes of an upload the store may have or not."""

    HOLD = "hold"
    RESEND = "resend"


class Existing(StrEnum):
    """What becomes of the files that are there when a folder is adopted."""

    IGNORE = "ignore"
    PUBLISH = "publish"


class WhenChanged(StrEnum):
    """What becomes of a published path that has new content."""

    PUBLISH = "publish"
    IGNORE = "ignore"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class EmbeddedConfig:
    """`store.embedded`: where the built-in store keeps files, and where it listens (port 0: any free one)."""

    dir: Path
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """`store`. `url` is None where the built-in store is used."""

    url: str | None
    id: str
    key: Secret | None
    key_file: Path | None
    key_in: KeyIn
    connect_timeout: float
    stall_timeout: float
    answer_timeout: float
    uncertain: Doubt
    filename: FilenameRule
    proxy: str
    """A proxy URL, `env` or `none`."""
    ca_file: Path | None
    embedded: EmbeddedConfig

    @property
    def is_embedded(self) -> bool:
        return self.url is None


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """`retry`: the backoff of a file whose tries fail while the store is well."""

    first: float
    longest: float
    tries: int
    again: float
    """From the last try of a failed file to the one it is given nevertheless."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """`log`. `level` is a standard level's name in lower case."""

    level: str
    format: LogFormat


class Method(StrEnum):
    """How new files are found out about."""

    AUTO = "auto"
    NATIVE = "native"
    POLL = "poll"


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """One of `watch`. `path` is absolute as configured, not resolved; `root` is its real path."""

    path: Path
    root: Path
    name: str
    recursive: bool
    create: bool
    mount: bool
    method: Method
    poll_every: float
    settle: float | None
    """Seconds, None for `auto`."""
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    exclude_defaults: bool
    min_size: int
    max_size: int | None
    existing: Existing
    changed: WhenChanged
    comment: Template | None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration."""

    path: Path
    """The file it came from, absolute."""
    store: StoreConfig
    workers: int
    ledger: Path
    control: Path
    retry: RetryConfig
    rescan_every: float
    stop_timeout: float
    log: LogConfig
    metrics_listen: tuple[str, int] | None
    """Host and port of the metrics; None for none."""
    watches: tuple[WatchConfig, ...]
    warnings: tuple[str, ...]
    """What does not stop the daemon, but should be told: one sentence each."""
