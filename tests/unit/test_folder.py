"""What is known of one watched folder, told by those who look at it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pixstored.config import load_config
from pixstored.model import WatchState
from pixstored.publish.reconcile import Outcome
from pixstored.service.folder import Folder
from pixstored.service.presence import Presence
from pixstored.watch.mounts import FileSystem

ADOPTED_AT_NS = 1


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """It is polled."""
    return polled(tmp_path)


def polled(path: Path, more: str = "") -> Folder:
    file = path / "config.yaml"
    file.write_text(f"watch: [{{path: {path}, name: a, method: poll{more}}}]\nstore: {{url: embedded}}\n")
    [config] = load_config(file, {}).watches
    return Folder(config)


def come(folder: Folder, *, is_new: bool) -> None:
    folder.came(Presence((1, 1), FileSystem("ext4", "/", None, True, 1)), ADOPTED_AT_NS, is_new=is_new)
    folder.polled(None, 0.0)


def scan(folder: Folder) -> bool:
    """Whether what nothing is known of counts as new. The scan goes through all of it."""
    assert folder.due_in(0.0) < math.inf
    request = folder.whole_scan(lambda outcome: None)
    folder.scanned(Outcome(folder.path, whole=True), 0.0, 3600.0)
    return request.newcomers


def state(folder: Folder) -> WatchState:
    return folder.report(lambda path: 0).state


def test_a_polled_folder_that_has_just_been_adopted_is_scanned_twice_before_anything_in_it_is_new(
    folder: Folder,
) -> None:
    come(folder, is_new=True)
    assert not scan(folder)
    assert (state(folder), folder.due_in(0.0)) == (WatchState.SCANNING, 0.0)
    assert not scan(folder)
    assert (state(folder), folder.due_in(0.0) > 0) == (WatchState.POLLING, True)
    assert scan(folder)


def test_one_that_was_adopted_before_is_scanned_once(folder: Folder) -> None:
    come(folder, is_new=False)
    assert not scan(folder)
    assert state(folder) is WatchState.POLLING
    assert scan(folder)


def test_so_is_one_of_which_nothing_is_to_stay_private(tmp_path: Path) -> None:
    folder = polled(tmp_path, ", existing: publish")
    come(folder, is_new=True)
    scan(folder)
    assert state(folder) is WatchState.POLLING
