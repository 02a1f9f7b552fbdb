"""A YAML file as one frozen Config, or every fault of it with its line; and where the API key comes from."""

from pixstored.config.key import KeySource
from pixstored.config.load import load_config
from pixstored.config.places import find_config
from pixstored.config.schema import (
    Config,
    EmbeddedConfig,
    Existing,
    FilenameRule,
    KeyIn,
    LogConfig,
    LogFormat,
    Method,
    RetryConfig,
    Secret,
    StoreConfig,
    WatchConfig,
    WhenChanged,
)

__all__ = [
    "Config",
    "EmbeddedConfig",
    "Existing",
    "FilenameRule",
    "KeyIn",
    "KeySource",
    "LogConfig",
    "LogFormat",
    "Method",
    "RetryConfig",
    "Secret",
    "StoreConfig",
    "WatchConfig",
    "WhenChanged",
    "find_config",
    "load_config",
]
