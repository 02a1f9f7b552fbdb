"""What is not worth sending: what follows from the refusals the store has taught us with, told as a reason."""

from __future__ import annotations

from pixstored.model import Lessons

ENOUGH = 3
"""Refusals with 415 of an extension it never took, from which on it is known that the store does not take it."""

_WORDS = {3: "three", 4: "four", 5: "five"}


def why_not_sent(lessons: Lessons, extension: str, size: int) -> str | None:
    """Why a file of this extension (its dot included, may be empty) and size is not sent; None if it is."""
    if lessons.refused_kind >= ENOUGH:
        number = _WORDS.get(lessons.refused_kind, str(lessons.refused_kind))
        files = f"{extension} files" if extension else "files without an extension"
        return f"{number} {files} were refused (415), none was taken: not sent"
    if lessons.refused_size is not None and size >= lessons.refused_size:
        return f"a file of {lessons.refused_size} bytes was refused as too large (413), this one has {size}: not sent"
    return None
