"""`adopt PATH LINK`: what the ledger is told of a file that is published already, read by whoever runs the command."""

from __future__ import annotations

import hashlib
import os

from pixstored.config import Config
from pixstored.errors import PixstoredError
from pixstored.model import Stamp
from pixstored.service.control import Answer
from pixstored.service.paths import above, as_configured, watches_of
from pixstored.service.verbs import VERBS, Refusal
from pixstored.service.writing import writer
from pixstored.shown import path_on_screen
from pixstored.watch.opening import being_written, open_named


def adopt(config: Config, path: str, link: str, remote_id: str) -> Answer:
    """Hashes the file and records its content as published with this link. Sends nothing.

    Raises `Refusal` where that makes no sense, and what `writer` raises.
    """
    watches = watches_of(config)
    named = as_configured(watches, path)
    try:
        stamp, sha256 = _read(named)
    except PixstoredError as error:
        raise Refusal(f"{path_on_screen(path)}: {error}") from error
    watched = above(watches, named)
    with writer(config, VERBS) as ask:
        return ask(
            "adopt",
            path=named,
            link=link,
            id=remote_id,
            sha256=sha256,
            stamp=[stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, stamp.device],
            watch=watched.config.name if watched else None,
        )


def _read(path: str) -> tuple[Stamp, str]:
    descriptor = open_named(path)
    with open(descriptor, "rb", buffering=0) as file:
        before = Stamp.of(os.fstat(descriptor))
        if being_written(descriptor):
            raise Refusal("a program has it open for writing: try again when it is complete")
        if before.size == 0:
            raise Refusal("it is empty")
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if not before.unchanged(Stamp.of(os.fstat(descriptor))):
            raise Refusal("it is changing: try again when it is complete")
    return before, sha256
