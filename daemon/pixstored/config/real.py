"""Where paths really lead, as far as their disks answer: a share that is gone must not hang whoever only asks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

_PATIENCE = 2.0
"""Seconds a disk may take to answer."""
_MOST_SYMLINKS = 40
"""As many as the kernel follows in one path (path_resolution(7))."""


def real_path(named: Path) -> str:
    """As os.path.realpath, but nothing on the way is looked at: a mount point whose server is gone would not let
    us go, though it is no symlink whatever the server says."""
    path = os.path.abspath(named)
    found, to_come, symlinks = "/", path.split("/")[::-1], 0
    while to_come:
        name = to_come.pop()
        if name in ("", "."):
            continue
        if name == "..":
            found = os.path.dirname(found)
            continue
        here = os.path.join(found, name)
        try:
            target = os.readlink(here)
        except OSError:
            found = here
            continue
        symlinks += 1
        if symlinks > _MOST_SYMLINKS:
            return path
        to_come += target.split("/")[::-1]
        found = "/" if target.startswith("/") else found
    return found


def real_paths(
    paths: Sequence[Path], resolve: Callable[[Path], str] = real_path, patience: float = _PATIENCE
) -> list[Path]:
    """The paths without symlinks; one for which `resolve` does not answer within `patience` seconds, as it is.

    A thread that waits for a dead share ends when that answers, or with the process.
    """
    found: list[Path] = []
    while len(found) < len(paths):
        found += _until_stuck(paths[len(found) :], resolve, patience)
        found += paths[len(found) : len(found) + 1]
    return found


def _until_stuck(paths: Sequence[Path], resolve: Callable[[Path], str], patience: float) -> list[Path]:
    """The first of them, up to one that does not answer."""
    answers: list[Path] = []

    def ask() -> None:
        for path in paths:
            answers.append(Path(resolve(path)))

    thread = threading.Thread(target=ask, name="real-paths", daemon=True)
    thread.start()
    before = -1
    while thread.is_alive() and len(answers) > before:
        before = len(answers)
        thread.join(patience)
    return answers[:]
