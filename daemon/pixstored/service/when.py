"""Times as the contract shows them."""

from __future__ import annotations

from datetime import UTC, datetime


def when(moment: float | None) -> str | None:
    """RFC 3339 in UTC, milliseconds, from seconds since the epoch."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(shown: str) -> float:
    """Seconds since the epoch, from what `when` has shown."""
    return datetime.fromisoformat(shown).timestamp()
