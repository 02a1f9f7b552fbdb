"""A link as programs get it: one entry of `links --format json`, and one line of the links file."""

from __future__ import annotations

from pixstored.model import Link
from pixstored.service.when import when
from pixstored.shown import path_in_json


def link_document(link: Link) -> dict[str, object]:
    """One entry of `links --format json`."""
    return {
        "path": path_in_json(link.path),
        "link": link.link,
        "id": link.id,
        "sha256": link.sha256,
        "size": link.size,
        "published_at": when(link.published_at),
        "watch": None if link.watch is None else path_in_json(link.watch),
        "comment": link.comment,
        "store": link.store,
    }
