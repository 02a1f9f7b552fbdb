"""The URLs of a configuration: what is accepted, and what one says about the store and the key's safety.

No message repeats a URL: it may hold the key.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

EMBEDDED = "embedded"
"""The word in place of a URL, and the store's id, for the built-in store."""

_SCHEMES = ("https", "http")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_UNFIT = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
"""Characters that no URL has, and that `urlsplit` would quietly drop or let through."""
_PLAIN = re.compile(r"https?://[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::[0-9]+)?(?:[/?][!-~]*)?", re.IGNORECASE | re.ASCII)
"""An address whose host is a name of ASCII labels, or an IPv4 address."""
_SECRET_NAME = re.compile("key|token|secret|pass|auth|sig|cred", re.IGNORECASE)


def parse_store_url(text: str) -> str:
    """The endpoint, or the word `embedded`. Raises ValueError."""
    if text.lower() == EMBEDDED:
        return EMBEDDED
    parts = _split(text, "must be a URL like https://api.pixlab.io/store, or the word embedded")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password: the key goes into store.key_file")
    if any(_SECRET_NAME.search(field.partition("=")[0]) for field in re.split("[&;]", parts.query)):
        raise ValueError("must not hold the key: put it into store.key_file")
    if parts.fragment or text.endswith("#"):
        raise ValueError("must not have a # part: it would never be sent")
    return text


def parse_proxy(text: str) -> str:
    """A proxy's URL, or `env` or `none`. Raises ValueError."""
    if text.lower() in ("env", "none"):
        return text.lower()
    _split(text, "must be env, none, or a URL like http://proxy.example:3128")
    return text


def store_id(url: str) -> str:
    """Which store an endpoint is: lower-case host, port if it is not the scheme's, path without a last slash."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{host}{port}{parts.path.rstrip('/')}"


def shows_the_key(url: str) -> bool:
    """True for plain HTTP to another machine: everybody on the way could read the key."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def is_plain(url: str) -> bool:
    """True for an endpoint to which HTTP libraries can send, whatever else they think of addresses; of others they have
    to be asked."""
    return url == EMBEDDED or _PLAIN.fullmatch(url) is not None


def _split(text: str, otherwise: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        fits = parts.scheme in _SCHEMES and bool((parts.hostname or "").strip(".")) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or _UNFIT.search(text):
        raise ValueError(otherwise)
    return parts


def _is_loopback(host: str) -> bool:
    if host.rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
