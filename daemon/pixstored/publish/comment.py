"""The comment that goes with a file: the template of its watch, filled in with what is known of the file."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from pixstored.config.comment import Placeholder
from pixstored.config.schema import WatchConfig
from pixstored.model import Claim
from pixstored.publish.exif import taken
from pixstored.shown import path_in_json, without_control_characters

LONGEST_COMMENT = 1000
"""Characters (docs/configuration.md, Comments); the STORE documentation names no limit."""


def needs_hash(watch: WatchConfig) -> bool:
    """True if the comment tells the hash, so that the file is hashed before the request begins."""
    return watch.comment is not None and watch.comment.asks_for(Placeholder.SHA256)


def comment_for(watch: WatchConfig, claim: Claim, sha256: bytes | None, descriptor: int) -> str | None:
    """The comment for a claimed file of this watch, open at `descriptor`; None if there is nothing to say.

    Only what the template asks for is looked up. `sha256` must be there where `needs_hash` says so.
    """
    if watch.comment is None:
        return None
    said = "".join(
        _value(part, watch, claim, sha256, descriptor) if isinstance(part, Placeholder) else part
        for part in watch.comment.parts
    )
    return without_control_characters(said)[:LONGEST_COMMENT].strip() or None


def _value(placeholder: Placeholder, watch: WatchConfig, claim: Claim, sha256: bytes | None, descriptor: int) -> str:
    name = os.path.basename(claim.path)
    match placeholder:
        case Placeholder.NAME:
            return path_in_json(name)
        case Placeholder.STEM:
            return path_in_json(os.path.splitext(name)[0])
        case Placeholder.FOLDER:
            below = os.path.relpath(os.path.dirname(claim.path), watch.path)
            return "" if below == os.curdir else path_in_json(below)
        case Placeholder.WATCH:
            return path_in_json(watch.name)
        case Placeholder.SHA256:
            return sha256.hex() if sha256 else ""
        case Placeholder.SIZE:
            return str(claim.stamp.size)
        case Placeholder.MTIME:
            return _moment(claim.stamp.mtime_ns)
        case Placeholder.TAKEN:
            return taken(lambda offset, length: os.pread(descriptor, length, offset))


def _moment(nanoseconds: int) -> str:
    """RFC 3339 in UTC, whole seconds; empty for a time outside the years that can be written so."""
    try:
        moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return moment.isoformat().replace("+00:00", "Z")
