"""Where the daemon of a configuration can be asked though the file has become faulty since it was started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pixstored.config.document import top_level
from pixstored.config.load import read_file
from pixstored.config.places import Places
from pixstored.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The ledger of a daemon, and its socket."""

    ledger: Path
    control: Path


def whereabouts(path: Path, environ: Mapping[str, str]) -> Whereabouts | None:
    """What the file says of both as far as it can be read, and the usual places for what it does not say.

    None if they cannot be told. Raises ConfigError if the file cannot be read at all.
    """
    file = Path(os.path.abspath(path))
    data, found = read_file(file)
    texts = top_level(data)
    places = Places.of(file, found.st_uid, environ)
    try:
        ledger = places.resolve(texts["ledger"]) if texts.get("ledger") else places.ledger()
        control = places.resolve(texts["control"]) if texts.get("control") else places.control(ledger)
    except ValueError:
        return None
    return Whereabouts(ledger, control)
