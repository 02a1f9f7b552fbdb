"""The places that the unit hides, and those that are its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_ROOTS_OWN = Path("/root")
HOMES = (Path("/home"), _ROOTS_OWN, Path("/run/user"))
"""What ProtectHome= hides (systemd.exec(5))."""
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 — what PrivateTmp= hides, nothing is written there
STATE = Path("/var/lib/pixstored")
RUNTIME = Path("/run/pixstored")
"""The unit's StateDirectory= and RuntimeDirectory=, which it may write to."""


def home_of(place: Path) -> Path | None:
    """The home that a path lies in, or that it is, as far as ProtectHome= hides it; None elsewhere."""
    for homes in HOMES:
        if place.is_relative_to(homes):
            names = place.relative_to(homes).parts
            if homes == _ROOTS_OWN:
                return homes
            return homes / names[0] if names else None
    return None


def is_below(place: Path, folders: Sequence[Path]) -> bool:
    """True for the folders themselves, too."""
    return any(place.is_relative_to(folder) for folder in folders)
