"""The template of `watch[].comment`, parsed once: texts and placeholders in turn, nothing that could be computed.

The braces are read as `str.format` reads them, but nothing is ever formatted by it: what stands between them is
one of a few fixed words, or a fault.
"""

from __future__ import annotations

import re
from enum import StrEnum

from pixstored.slotted import dataclass

_ECHOED = "[A-Za-z_]{1,16}"
"""What a misspelt placeholder looks like; nothing else is repeated, it may be the API key in the wrong line."""
_WORD = r"\{\s*([^\s{}.!:\[]+)"


class Placeholder(StrEnum):
    """What can be put into a comment."""

    NAME = "name"
    STEM = "stem"
    FOLDER = "folder"
    WATCH = "watch"
    SHA256 = "sha256"
    SIZE = "size"
    MTIME = "mtime"
    TAKEN = "taken"


@dataclass(frozen=True, slots=True)
class Template:
    """A comment with gaps. A part that is a `Placeholder` is a gap, any other is text as it stands."""

    parts: tuple[str | Placeholder, ...]

    def asks_for(self, placeholder: Placeholder) -> bool:
        return any(part is placeholder for part in self.parts)


def parse_comment(text: str) -> Template:
    """The template a text means; `{{` and `}}` are braces. Raises ValueError with one clear clause."""
    if text == "~" or not text.strip():
        raise ValueError("is empty: leave the line out")
    from string import Formatter  # late: few have a comment, and it takes a hundredth of a command's start (measured)

    parts: list[str | Placeholder] = []
    try:
        for literal, word, form, conversion in Formatter().parse(text):
            if literal:
                parts.append(literal)
            if word is not None:
                parts.append(_placeholder(word, plain=not form and conversion is None))
    except _Unknown:
        raise
    except ValueError:
        raise ValueError(f"has a brace too many or too few{_near(text)}; a brace itself is {{{{ or }}}}") from None
    return Template(tuple(parts))


class _Unknown(ValueError):
    """What stands between braces is no placeholder; its text is the clause for the person."""


def _placeholder(word: str, *, plain: bool) -> Placeholder:
    if word not in list(Placeholder):
        shown = f' "{{{word}}}"' if re.fullmatch(_ECHOED, word) else ""
        raise _Unknown(f"has an unknown placeholder{shown}{_near('{' + word)}; a brace itself is {{{{ or }}}}")
    if not plain:
        raise _Unknown(f'has more than a word between braces: say "{{{word}}}"')
    return Placeholder(word)


def _near(text: str) -> str:
    """The placeholder nearest to the first word after a brace that is like one; else all that there are."""
    for word in re.findall(_WORD, text):
        from difflib import get_close_matches  # late: only a misspelt word needs it

        near = get_close_matches(word.lower(), list(Placeholder), n=1)
        if near:
            return f', did you mean "{{{near[0]}}}"?'
    return f" (there are {' '.join('{' + each + '}' for each in Placeholder)})"
