"""A watched folder as those who decide about its files see it, and which one a path lies in."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace

from pixstored.config.schema import WatchConfig
from pixstored.publish.decide import Rule
from pixstored.slotted import dataclass
from pixstored.watch.filters import Rules

LONGEST_PATH = 4095
"""Bytes of a path that a system call takes (PATH_MAX of limits.h, without the closing NUL)."""

_SURELY_SHORT = LONGEST_PATH // 4
"""Characters, none of which takes more than four bytes."""

_SKEW_NS = 60_000_000_000
"""How much the clock of a file server may be ahead of ours, or the wall clock of the monotonic one."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One watched folder. `adopted_at_ns` is by the clock of its file system."""

    config: WatchConfig
    rules: Rules
    adopted_at_ns: int
    polled: bool = False
    """No events come from it: its files must look the same twice before they count as quiet."""
    present: bool = True
    """False: its file system is away, or does not answer. Nothing in it is to be touched, nor believed missing."""
    identity: tuple[int, int] | None = None
    """Device and inode of the folder that is meant; None if any will do."""
    keeps_inodes: bool = True
    """False: its file system may make them up, anew after each mount."""
    clock_ns: int | None = None
    """From its adoption to the end of its first scan, what the monotonic clock lacks to the one it was adopted by: a
    machine without a clock of its own may begin in the past, where what is in the folder would seem to come later."""

    @property
    def path(self) -> str:
        return str(self.config.path)

    @property
    def root(self) -> str:
        return str(self.config.root)

    def relative(self, path: str) -> str:
        """The part of `path` below this folder."""
        return path[len(self.path.rstrip("/")) + 1 :]

    def is_itself(self) -> bool:
        """True if the folder that is meant is there now: else nobody can tell what is missing in it."""
        if self.identity is None:
            return True
        try:
            st = os.lstat(self.root)  # a symlink in its place is not followed, though it may lead to it
        except OSError:
            return False
        return (st.st_dev, st.st_ino) == self.identity

    def refusal(self, path: str, size: int | None) -> str | None:
        """Why a file that the rules take by its name is refused nevertheless; None if it is not.

        `size` is None if it is not known.
        """
        if len(path) > _SURELY_SHORT and (length := len(os.fsencode(path))) > LONGEST_PATH:
            return f"its path has {length} bytes, and programs can name {LONGEST_PATH} at most"
        return None if size is None else self.rules.size_refusal(size)

    def turns_away(self, path: str, size: int) -> str | None:
        """Why its rules do not take this file; None if they do."""
        below = self.relative(path)
        return self.refusal(path, size) if self.rules.takes(below) else self.rules.verdict(below).reason

    def rule_for(self, path: str, size: int) -> Rule:
        """What is to be decided by for this file."""
        config = self.config
        latest = None if self.clock_ns is None else time.monotonic_ns() + self.clock_ns + _SKEW_NS
        return Rule(config.existing, config.changed, self.adopted_at_ns, self.refusal(path, size), latest)

    def adopted_now(self, moment_ns: int) -> Watched:
        """The same, adopted at this moment, which it is now."""
        return replace(self, adopted_at_ns=moment_ns, clock_ns=moment_ns - time.monotonic_ns())


def _folder_of(path: str) -> str:
    """The folder of an absolute path. As `os.path.dirname` has it, at a fifth of its time (measured)."""
    return path.rpartition(os.sep)[0] or os.sep


def watch_above(find: Callable[[str], Watched | None], path: str) -> Watched | None:
    """The watch that a file lies in, of those that `find` knows by their paths.

    It is the nearest above it, or none: what is below a folder that is not watched recursively is in no watch.
    """
    parent = folder = _folder_of(path)
    while (watched := find(folder)) is None:
        if folder == os.sep:
            return None
        folder = _folder_of(folder)
    return watched if watched.config.recursive or folder == parent else None
