"""What this process has open in a folder, whatever else its threads open and close meanwhile."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_OWN = Path("/proc/self/fd")


def open_below(folder: Path) -> list[str]:
    """The folder itself, and what lies below it, as often as it is open."""
    top = os.path.realpath(folder)
    found: list[str] = []
    for descriptor in os.listdir(_OWN):
        with suppress(FileNotFoundError):  # the one that listed them, or one that was closed just now
            path = os.readlink(_OWN / descriptor)
            if path == top or path.startswith(f"{top}/"):
                found.append(path)
    return found
