"""What keeps this process's user from reading a folder, and the command lines that would let it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from pixstored.errors import WatchError
from pixstored.service.identity import my_name
from pixstored.service.unit_places import HOMES, home_of
from pixstored.slotted import dataclass
from pixstored.watch.mounts import filesystem_of

_ENTER = os.X_OK
_READ_FOLDER = os.R_OK | os.X_OK

_OWNED_AS_A_WHOLE = frozenset(
    {"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfs", "iso9660", "udf", "cifs", "smb3"}
)
"""File systems without users or ACLs of their own: who may read what is said when they are mounted."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """`reason` goes after the folder's name; `cure` are command lines for root, or one hint in words."""

    reason: str
    cure: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.reason}; {' && '.join(self.cure)}"


def obstacle(folder: Path, *, recursive: bool = True) -> Obstacle | None:
    """Why this user cannot read the folder, an absolute path without symlinks. None if it can, or it is not there."""
    closed = closed_doors(folder)
    if closed:
        reason = f"may not be read by {my_name()}, who may not enter {closed[0]}"
    elif os.path.isdir(folder) and not _may(folder, _READ_FOLDER):
        reason = f"may not be read by {my_name()}"
    else:
        return None
    return Obstacle(reason, _let_in(folder, closed, recursive))


def cure_for_content(folder: Path, *, recursive: bool) -> tuple[str, ...]:
    """Command lines for a folder that can be read itself, but not all that is in it."""
    return _let_in(folder, [], recursive)


def closed_doors(place: Path) -> list[Path]:
    """The folders above this place that its user may not enter, from the first on: what lies behind it is not seen."""
    for number, above in enumerate(doors := list(reversed(place.parents))):
        if os.path.isdir(above) and not _may(above, _ENTER):
            return doors[number:]
    return []


def hidden_by_unit(place: Path) -> str | None:
    """Why a place that is not there may be there for others: the unit of this process hides it. None if it does not."""
    if home_of(place) is None:
        return None
    seen = nearest_above(place)
    try:
        filesystem = filesystem_of(str(seen))
        is_empty_stand_in = os.statvfs(seen).f_flag & os.ST_RDONLY and filesystem.kind == "tmpfs"
    except (OSError, WatchError):
        return None
    if not is_empty_stand_in or Path(filesystem.mount_point) not in HOMES:
        return None
    return "the unit of this service hides it: run `pixstored service install` again, which shows it this home"


def nearest_above(place: Path) -> Path:
    """The nearest folder above it that is there, as far as this process can see."""
    return next(above for above in place.parents if os.path.exists(above))


def _may(place: Path, what: int) -> bool:
    return os.access(place, what, effective_ids=True)


def _let_in(folder: Path, closed: Sequence[Path], recursive: bool) -> tuple[str, ...]:
    """From the first closed door to what is in the folder, now and later."""
    seen = closed[0] if closed else folder
    if (kind := _kind(seen)) in _OWNED_AS_A_WHOLE:
        return (f"mount its file system ({kind}) with the option uid={my_name()}, or one that lets everybody read",)
    user, place = shlex.quote(my_name()), shlex.quote(str(folder))
    doors = [f"setfacl -m u:{user}:x {shlex.join(map(str, closed))}"] if closed else []
    if recursive:
        return (*doors, f"setfacl -R -m u:{user}:rX,d:u:{user}:rX {place}")
    files = f"find {place} -maxdepth 1 -type f -exec setfacl -m u:{user}:r {{}} +"
    return (*doors, f"setfacl -m u:{user}:rx,d:u:{user}:r {place}", files)


def _kind(place: Path) -> str | None:
    try:
        return filesystem_of(str(place)).kind
    except WatchError:
        return None
