"""What must hold between keys: folders that do not overlap, names that differ, secrets that stay secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from pixstored.config.faults import Faults
from pixstored.config.schema import WatchConfig
from pixstored.slotted import dataclass

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_EVERYBODY = stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Placed:
    """A watch with its place in the file's list, `watch[0]`, and whether it has a name of its own there."""

    key: str
    watch: WatchConfig
    named: bool


def check_names(watches: Sequence[Placed], faults: Faults) -> None:
    """Adds a fault for each name that an earlier watch has."""
    seen: dict[str, Placed] = {}
    for placed in watches:
        first = seen.setdefault(placed.watch.name, placed)
        if first is not placed and (first.named or placed.named):
            at = f"{placed.key}.name" if placed.named else f"{first.key}.name"
            faults.add(at, f"is the name of {first.key if placed.named else placed.key} too: names must differ")


def check_overlaps(watches: Sequence[Placed], faults: Faults) -> None:
    """Adds a fault for each folder that is watched already: named before, or inside a recursive watch."""
    by_root: dict[Path, list[int]] = {}
    for index, placed in enumerate(watches):
        by_root.setdefault(placed.watch.root, []).append(index)
    for index, placed in enumerate(watches):
        root = placed.watch.root
        same = [place for place in by_root[root] if place < index]
        above = [place for folder in root.parents for place in by_root.get(folder, ())]
        outer = [place for place in above if watches[place].watch.recursive]
        if same or outer:
            faults.add(f"{placed.key}.path", _overlap(placed, watches[min(same + outer)]))


def check_ledger(watches: Sequence[Placed], ledger: Path, faults: Faults) -> bool:
    """Adds a fault for each watch that holds the ledger; True if there was none."""
    beside = {Path(os.path.realpath(ledger.parent)), Path(os.path.realpath(ledger)).parent}
    holders = [placed for placed in watches if _looks_into(placed.watch, beside)]
    for placed in holders:
        faults.add(f"{placed.key}.path", f"holds the ledger ({ledger}): put the ledger or the photos elsewhere")
    return not holders


def check_embedded(watches: Sequence[Placed], folder: Path, faults: Faults) -> None:
    """Adds a fault if the built-in store would publish what it has stored."""
    real = Path(os.path.realpath(folder))
    for placed in watches:
        root = placed.watch.root
        if real == root or (placed.watch.recursive and real.is_relative_to(root)):
            message = f"lies inside {placed.key}, which would publish what it stores: put it elsewhere"
            faults.add("store.embedded.dir", message)


def exposed(path: Path, found: os.stat_result, what: str) -> str | None:
    """The warning that others can read a file with the key in it; None if they cannot.

    A file of another owner that we read as its group was shared with us on purpose: then only the rest of the
    world counts.
    """
    own = found.st_uid == os.geteuid()
    if not found.st_mode & (_OTHERS if own else _EVERYBODY):
        return None
    return f"{path} holds {what} and can be read by others: chmod {'600' if own else 'o='} {path}"


def _overlap(placed: Placed, other: Placed) -> str:
    """What is wrong with this folder beside another one, which is the same or above it."""
    outer = other.watch.root
    if placed.watch.root == outer:
        return f"is the same folder as {other.key} ({outer}): leave one of them out"
    return f"lies inside {other.key} ({outer}), which is recursive: leave one out, or set {other.key}.recursive: false"


def _looks_into(watch: WatchConfig, folders: Iterable[Path]) -> bool:
    """True if files in one of these folders would be looked at by the watch."""
    return any(folder == watch.root or (watch.recursive and folder.is_relative_to(watch.root)) for folder in folders)
