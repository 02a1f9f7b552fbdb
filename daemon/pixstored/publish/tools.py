"""What every uploader works with, and what the configuration says of each upload."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pixstored.config.schema import Doubt, FilenameRule, WatchConfig
from pixstored.errors import UploadError
from pixstored.ledger.base import Ledger
from pixstored.model import Claim
from pixstored.publish.dispatcher import Dispatcher
from pixstored.publish.processors import Processors
from pixstored.publish.schedule import Schedule
from pixstored.publish.tally import Tally
from pixstored.publish.turnstile import Turnstile
from pixstored.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says of each upload; another one may count from the next look on."""

    schedule: Schedule
    filename: FilenameRule
    doubt: Doubt


@dataclass(frozen=True, slots=True)
class Tools:
    """What every worker works with."""

    ledger: Ledger
    dispatcher: Dispatcher
    settings: Callable[[], Settings]
    tally: Tally
    processors: Processors
    turnstile: Turnstile
    config_file: str
    """For command lines that are told."""
    open: Callable[[Claim], tuple[int, WatchConfig | None]]
    """Opens a claimed file for reading, and tells the watch whose comment it carries (None for a file outside any
    watch); raises `Gone`, `Away`, `Unreadable`, `Changed` or `TurnedAway`."""
    judge: Callable[[Claim], object]
    """Raises `TurnedAway` if no watch takes the claimed file any more."""
    settle_again: Callable[[Claim], None]
    """The claimed file has changed: look at it again when it is quiet."""
    ended: Callable[[Claim, UploadError | None], None]
    """Told of each claim when its outcome is recorded, and of what went wrong."""
    stopping: threading.Event
