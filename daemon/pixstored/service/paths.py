"""Where a path that a person names lies: in which watch, and by which name the ledger knows it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pixstored.config import Config
from pixstored.publish.watched import Watched, watch_above
from pixstored.watch.filters import Rules


def watches_of(config: Config) -> dict[str, Watched]:
    """The watches by their paths, for a process that watches nothing itself."""
    return {str(watch.path): Watched(watch, Rules.of(watch), 0) for watch in config.watches}


def above(watches: Mapping[str, Watched], path: str) -> Watched | None:
    """The watch that a file lies in."""
    return watch_above(watches.get, path)


def as_configured(watches: Mapping[str, Watched], path: str) -> str:
    """The path as the configuration would name it: absolute, and a watch's real folder by the name of the watch."""
    absolute = os.path.abspath(path)
    if above(watches, absolute) or absolute in watches:
        return absolute
    return behind_symlinks(watches, absolute) or absolute


def behind_symlinks(watches: Mapping[str, Watched], path: str) -> str | None:
    """The name in a watch of the file that is found at this path when the symlinks above it are followed."""
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    for watched in watches.values():
        if real == watched.root or real.startswith(watched.root.rstrip("/") + "/"):
            return watched.path.rstrip("/") + real[len(watched.root.rstrip("/")) :]
    return None
