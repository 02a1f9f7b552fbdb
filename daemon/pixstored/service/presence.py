"""Whether a watched folder is there, which one it is, and whether it is the one that was adopted."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pixstored.config.schema import WatchConfig
from pixstored.errors import WatchError
from pixstored.eventlog import EventLog
from pixstored.ledger.base import Ledger, LedgerReader
from pixstored.model import Adoption
from pixstored.publish.watched import Watched
from pixstored.service.reach import hidden_by_unit, nearest_above
from pixstored.shown import path_on_screen
from pixstored.slotted import dataclass
from pixstored.watch.mounts import FileSystem, adoption_moment, filesystem_of, is_mounted

log = EventLog("pixstored.watch")

NOT_THERE = "it is not there; it is waited for"
LED_TO_NOTHING = "{}, where it led to, is not there; it is waited for (`pixstored reload` looks where it leads now)"
LEADS_ELSEWHERE = "its path leads elsewhere than to {} by now: `pixstored reload` watches what it leads to"
BECAME_A_SYMLINK = "it has become a symlink, which is not followed: `pixstored reload` watches what it leads to"
NOT_MOUNTED = "no file system is mounted there; it is waited for"


class Absent(WatchError):
    """The folder cannot be watched now: its text says why. `is_fault`: not for being absent, but by some failure."""

    def __init__(self, why: str, *, is_fault: bool = False) -> None:
        super().__init__(why)
        self.is_fault = is_fault


@dataclass(frozen=True, slots=True)
class Presence:
    """A folder that is there: its device and inode, and what it lies on."""

    identity: tuple[int, int]
    filesystem: FileSystem

    def is_like(self, other: Presence) -> bool:
        """True if it is the same folder, and the same mount."""
        return self.identity == other.identity and self.filesystem.mount_id == other.filesystem.mount_id


def look(config: WatchConfig) -> Presence:
    """Looks for the folder, and makes it if it is to be made. Raises `Absent`."""
    root = str(config.root)
    try:
        if config.create and not os.path.lexists(root):
            _make(config)
        identity = identity_of(config)
        os.close(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        filesystem = filesystem_of(root)
    except OSError as error:
        raise Absent(f"it cannot be read: {error.strerror or error}", is_fault=True) from error
    except Absent:
        raise
    except WatchError as error:
        raise Absent(str(error), is_fault=True) from error
    return Presence(identity, filesystem)


def identity_of(config: WatchConfig) -> tuple[int, int]:
    """Device and inode of the folder. Raises `Absent`."""
    try:
        found = os.lstat(config.root)
    except (FileNotFoundError, NotADirectoryError):
        hidden = hidden_by_unit(config.root)
        away = NOT_THERE if config.root == config.path else LED_TO_NOTHING.format(path_on_screen(str(config.root)))
        raise Absent(hidden or away, is_fault=hidden is not None) from None
    except OSError as error:
        raise Absent(f"it cannot be reached: {error.strerror or error}", is_fault=True) from error
    if stat.S_ISLNK(found.st_mode):
        raise Absent(BECAME_A_SYMLINK, is_fault=True)
    if not stat.S_ISDIR(found.st_mode):
        raise Absent("it is not a folder", is_fault=True)
    identity = found.st_dev, found.st_ino
    if config.root != config.path and _leads_elsewhere(config.path, identity):
        raise Absent(LEADS_ELSEWHERE.format(path_on_screen(str(config.root))), is_fault=True)
    return identity


def _leads_elsewhere(path: Path, identity: tuple[int, int]) -> bool:
    """True if something else is there. If nothing is, its folder is still the one that was meant."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) != identity


def adopted(ledger: Ledger, config: WatchConfig, presence: Presence, step: Callable[[], None]) -> int | None:
    """The moment (ns) of the folder's adoption; None if it is to be adopted now: it never was, or is another one.

    To find that out may take long; `step` is called between two steps of the file I/O. Raises `Absent` if this is the
    empty place where the adopted one was mounted, and LedgerError.
    """
    path, filesystem = str(config.path), presence.filesystem
    known = ledger.adoption(path)
    if why := not_mounted(config, known, filesystem):
        raise Absent(why)
    if known is None:
        return None
    if filesystem.is_another_than(known.filesystem):
        before = _adopted_before(ledger, path, filesystem)
        if before is None and not _has_a_known_file(ledger, path, step):
            return None
        if before is not None:
            ledger.other_disk(path)
            known = Adoption(path, before, None)  # what was noted is of the other one
    note = filesystem.noted_after(known.filesystem)
    if note != known.filesystem:
        ledger.adopt([replace(known, filesystem=note)])
    return known.adopted_at_ns


def as_run_would(ledger: LedgerReader, watched: Watched) -> tuple[int | None, Watched]:
    """When (ns) the folder was adopted, as it lies there now, None if `run` would adopt it; and the folder by that.

    Records nothing. Whoever looks into a folder that cannot be looked at is told what is the matter.
    """
    adoption = ledger.adoption(watched.path)
    moment = adoption.adopted_at_ns if adoption else None
    with suppress(OSError, WatchError):
        filesystem = filesystem_of(watched.root)
        watched = replace(watched, keeps_inodes=filesystem.keeps_inodes)
        is_another = adoption and filesystem.is_another_than(adoption.filesystem)
        if is_another and not not_mounted(watched.config, adoption, filesystem):
            before = _adopted_before(ledger, watched.path, filesystem)
            if before is not None or not _has_a_known_file(ledger, watched.path, lambda: None):
                moment = before
    if moment is None:
        return None, watched.adopted_now(adoption_moment())
    return moment, replace(watched, adopted_at_ns=moment)


def _adopted_before(ledger: LedgerReader, path: str, filesystem: FileSystem) -> int | None:
    """When (ns) this disk was adopted in the folder, if it is known that it was: then another one was there since."""
    return None if filesystem.identity is None else ledger.adopted_on(path, filesystem.identity)


def adopt(ledger: Ledger, found: Sequence[tuple[WatchConfig, Presence]]) -> int:
    """Adopts all these folders at one moment (ns), which is returned. Raises LedgerError.

    They have been looked at before, so that moment is after whatever was there then. Each for itself would wait for a
    tick of the clock and for the disk: a thousand took four seconds (measured).
    """
    for config, presence in found:
        known = ledger.adoption(str(config.path))
        if known and presence.filesystem.is_another_than(known.filesystem):
            ledger.other_disk(known.root)
    moment = adoption_moment()
    ledger.adopt([Adoption(str(config.path), moment, presence.filesystem.noted) for config, presence in found])
    for config, presence in found:
        filesystem = presence.filesystem.identity
        log.info("folder adopted", path=str(config.path), existing=config.existing.value, filesystem=filesystem)
    return moment


def not_mounted(config: WatchConfig, adoption: Adoption | None, filesystem: FileSystem) -> str | None:
    """Why what is there is only the place where the folder that is meant is mounted; None if it is that folder."""
    noted = adoption.filesystem if adoption else None
    if config.mount and (not is_mounted(filesystem) or filesystem.lies_under(noted)):
        return NOT_MOUNTED
    is_another = filesystem.is_another_than(noted) and not is_mounted(filesystem)
    if (is_another or filesystem.lies_under(noted)) and not os.listdir(config.root):
        return f"the file system it was on is not mounted ({noted}); it is waited for"
    return None


def waits_for_a_mount(config: WatchConfig) -> bool:
    """True if the folder, which is not there, is not to be made as long as nothing is mounted where it is to lie."""
    return config.mount and not is_mounted(filesystem_of(str(nearest_above(config.root))))


def _has_a_known_file(ledger: LedgerReader, path: str, step: Callable[[], None]) -> bool:
    """True if a file that is on record is there as it was, by its size and the time of its content."""
    for folder in ledger.folders_known(path):
        step()
        try:
            there = set(os.listdir(folder))
        except OSError:
            continue
        for name, known in ledger.known_in(folder).items():
            if name not in there:  # of another disk, nearly all: not to be asked for one by one
                continue
            step()
            try:
                found = os.lstat(os.path.join(folder, name))
            except OSError:
                continue
            if (found.st_size, found.st_mtime_ns) == (known.stamp.size, known.stamp.mtime_ns):
                return True
    return False


def _make(config: WatchConfig) -> None:
    """Makes the folder; where it is to lie on something mounted, not before that is."""
    if waits_for_a_mount(config):
        raise Absent(NOT_MOUNTED)
    try:
        config.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Absent(f"it is not there, and cannot be made: {error.strerror}", is_fault=True) from error
    log.info("folder made", path=str(config.path))
