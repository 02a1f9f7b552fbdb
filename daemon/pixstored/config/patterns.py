"""Whether an include or exclude pattern means anything: the named sets, and what pathspec can read."""

from __future__ import annotations

import re

PATTERN_SETS = ("@images", "@videos", "@media", "@raw", "@tiff")
"""The named sets of extensions that stand for patterns."""

_SET_WORD = re.compile("@[A-Za-z0-9_-]+")


def check_pattern(text: str) -> str:
    """The pattern as it is, if it can match something. Raises ValueError."""
    word = text.removeprefix("!")
    if word in PATTERN_SETS:
        return text
    if _SET_WORD.fullmatch(word):
        raise ValueError(_unknown_set(word))
    if not text.strip():
        raise ValueError("is empty")
    if "\x00" in text or "\n" in text:
        raise ValueError("holds a character that no name can match: write one pattern an entry")
    if text.startswith("#"):
        raise ValueError('is a comment to gitignore patterns: begin it with "\\#"')
    _check_gitignore(f"\\{word}" if text != word and word.startswith(("!", "#")) else word)
    return text


def _unknown_set(word: str) -> str:
    from difflib import get_close_matches  # late: only a misspelt word needs it

    near = get_close_matches(word.lower(), PATTERN_SETS, n=1)
    if near:
        return f'is not a set, did you mean "{near[0]}"?'
    return f'is not a set (there are {", ".join(PATTERN_SETS)}); a name that begins with @ begins with "\\@" here'


def _check_gitignore(text: str) -> None:
    """Judges a pattern without its leading `!`: what matches nothing takes nothing back either."""
    from pathspec import GitIgnoreSpec  # late: 17 ms that a file with the default patterns need not spend

    try:
        read = GitIgnoreSpec.from_lines([text.lower()])
    except (ValueError, re.error):
        raise ValueError("is not a gitignore pattern") from None
    if all(pattern.include is None for pattern in read.patterns):
        raise ValueError("is a gitignore pattern that matches nothing")
