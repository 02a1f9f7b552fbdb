"""The API key in what a store says: found, and hidden."""

from __future__ import annotations

from urllib.parse import quote, unquote

from pixstored.config.schema import Secret

PART = 6
"""Characters of the key in a row that are not shown; fewer may be part of any word."""
LEAST_TO_FIND = 12
"""Characters: a shorter key may stand in a link by chance."""
_HIDDEN = "…"


def holds(text: str, secret: Secret | None) -> bool:
    """Whether the whole key can be read from this link or id."""
    key = secret.reveal() if secret else ""
    return len(key) >= LEAST_TO_FIND and (key in text or key in unquote(text))


def without(text: str, secret: Secret | None, limit: int) -> str:
    """The text's first `limit` characters, about, with neither the key nor a part of it, as it is or as in a URL."""
    key = secret.reveal() if secret else ""
    size = min(PART, len(key))
    parts = {
        form[at : at + size] for form in (key, quote(key), quote(key, safe="")) for at in range(len(form) - size + 1)
    }
    shown: list[str] = []
    at = 0
    while at < len(text) and len(shown) < limit:
        if size and text[at : at + size] in parts:
            while text[at + 1 : at + 1 + size] in parts:
                at += 1
            at += size
            shown.append(_HIDDEN)
        else:
            shown.append(text[at])
            at += 1
    return "".join(shown) + (_HIDDEN if at < len(text) else "")
