"""The watched folders of a running daemon, without its sending: what becomes of files, and what folders are."""

from __future__ import annotations

import os
import threading
import time

import pytest

from pixstored.errors import LedgerError
from pixstored.model import FileState
from support.house import House

DAY_NS = 86_400 * 10**9


def test_folders_that_are_new_at_once_are_adopted_at_one_moment(house: House) -> None:
    for name in ("a", "b"):
        house.put(f"{name}/before.jpg")
    house.start("[{path: a, name: a, settle: 0s}, {path: b, name: b, settle: 0s}]")
    house.until_watching("a", "b")
    adoptions = [house.ledger.adoption(str(house.home / name)) for name in ("a", "b")]
    moments = {adoption.adopted_at_ns for adoption in adoptions if adoption}
    assert len(adoptions) == 2 and len(moments) == 1
    for name in ("a", "b"):
        house.put(f"{name}/after.jpg")
        house.until_state(f"{name}/after.jpg", FileState.PENDING)
        assert house.state_of(f"{name}/before.jpg") is FileState.SKIPPED


# --- adoption


def test_what_was_there_stays_private_though_the_clock_was_behind_when_its_folder_was_adopted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixstored.service.presence.adoption_moment", lambda: time.time_ns() - DAY_NS)
    house.put("a/there.jpg")
    house.put("a/x/there.jpg")
    house.start("[{path: a, name: a, settle: 0s}]")
    house.until_watching("a")
    assert {house.state_of("a/there.jpg"), house.state_of("a/x/there.jpg")} == {FileState.SKIPPED}
    house.put("a/told.jpg")
    house.until_state("a/told.jpg", FileState.PENDING)
    house.rest()
    house.put("a/x/meanwhile.jpg")
    house.start("[{path: a, name: a, settle: 0s}]")
    house.until_state("a/x/meanwhile.jpg", FileState.PENDING)


# --- other folders while it runs


def test_folders_come_change_and_go_while_the_others_are_left_alone(house: House) -> None:
    for name in ("stays", "changes", "goes", "comes"):
        (house.home / name).mkdir()
    stays = "{path: stays, name: s, settle: 0s}"
    folders = house.start(f"[{stays}, {{path: changes, name: c, settle: 0s}}, {{path: goes, name: g, settle: 60s}}]")
    house.until_watching("s", "c", "g")
    house.put("goes/late.jpg")
    house.until(lambda: folders.intake.settling() == 1)
    threads = threading.active_count()

    house.reconfigure(
        f"[{stays}, {{path: changes, name: d, settle: 0s, include: ['*.txt']}}, {{path: comes, name: n}}]"
    )
    assert [report.name for report in folders.reports()] == ["s", "d", "n"]
    assert house.ledger.adoption(str(house.home / "comes")) is not None
    assert folders.intake.settling() == 0
    assert threading.active_count() <= threads
    house.until_watching("s", "d", "n")
    for file in ("stays/a.jpg", "changes/a.jpg", "changes/a.txt", "goes/a.jpg", "comes/a.jpg"):
        house.put(file)
    for file in ("stays/a.jpg", "changes/a.txt", "comes/a.jpg"):
        house.until_state(file, FileState.PENDING)
    assert house.state_of("changes/a.jpg") is None
    assert house.state_of("goes/a.jpg") is None
    assert house.state_of("goes/late.jpg") is None


def test_a_folder_inside_one_that_is_watched_no_more_is_left_alone(house: House) -> None:
    inner = "{path: a/b, name: inner, create: true, settle: 60s}"
    folders = house.start(f"[{{path: a, name: outer, recursive: false, create: true, settle: 60s}}, {inner}]")
    house.until_watching("outer", "inner")
    house.put("a/1.jpg")
    inside = house.put("a/b/2.jpg")
    house.until(lambda: folders.intake.settling() == 2)
    house.reconfigure(f"[{inner}]")
    assert folders.intake.settling() == 1
    assert folders.intake.waiting(str(inside))


def test_what_waits_in_a_folder_that_is_watched_no_more_is_skipped(house: House) -> None:
    house.start("[{path: a, create: true, settle: 0s}, {path: b, create: true}]")
    house.put("a/1.jpg")
    house.until_state("a/1.jpg", FileState.PENDING)
    house.reconfigure("[{path: b, create: true}]")
    assert house.state_of("a/1.jpg") is FileState.SKIPPED
    house.reconfigure("[{path: b, create: true}, {path: a, settle: 0s}]")
    assert house.state_of("a/1.jpg") is FileState.PENDING
    assert os.listdir(house.home / "b") == []


def test_what_the_ledger_could_not_be_told_of_other_folders_it_is_told_as_soon_as_it_can_be_written(
    house: House,
) -> None:
    house.start("[{path: a, create: true, settle: 0s}, {path: b, create: true}]")
    house.put("a/1.jpg")
    house.until_state("a/1.jpg", FileState.PENDING)
    aside = house.ledger.path.rename(house.home / "aside")  # nothing is written to a ledger that is not there
    folders = house.reconfigure("[{path: b, create: true}, {path: c, name: c, create: true, settle: 0s}]")
    assert house.state_of("a/1.jpg") is FileState.PENDING
    with pytest.raises(LedgerError):
        folders.tick()
    aside.rename(house.ledger.path)
    house.until(lambda: house.state_of("a/1.jpg") is FileState.SKIPPED)
    house.until_watching("c")
    house.put("c/1.jpg")
    house.until_state("c/1.jpg", FileState.PENDING)
