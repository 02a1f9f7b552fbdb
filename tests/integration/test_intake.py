"""What the intake decides of real files, with a real ledger and without a daemon around it."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixstored.config import load_config
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.model import BASELINE, Change, FileState, Known, Lane, Missing, Move, Remember, Restamp, Skip, Stamp
from pixstored.publish.compare import compare
from pixstored.publish.decide import Seen
from pixstored.publish.elsewhere import is_spelled_so
from pixstored.publish.glance import Glance, glance
from pixstored.publish.intake import Intake
from pixstored.publish.meaning import Meaning, meaning_of
from pixstored.publish.watched import Watched
from pixstored.watch.filters import Rules
from pixstored.watch.opening import LastFolder
from pixstored.watch.scan import walk
from support.app import eventually
from support.descriptors import open_below
from support.files import jpeg, write

MANY = 3000
"""More files than a scan may name ahead."""

SECONDS = 30.0
"""Longer than any of this takes."""


class Room:
    """A watched folder, adopted after all that is in it, and the intake that decides about it."""

    def __init__(self, home: Path) -> None:
        text = f"watch: [{{path: {home}/in, settle: 0s}}]\nstore: {{url: embedded}}\n"
        [config] = load_config(write(home / "config.yaml", text.encode()), {}).watches
        self.when_missed: Callable[[], None] = lambda: None
        self.is_watched = True
        self.refused = 0
        """How often a scan has waited in vain for a while."""
        self.folder = home / "in"
        self.folder.mkdir()
        self.watched = Watched(config, Rules.of(config), adopted_at_ns=2**62)
        self.begin()

    def begin(self) -> None:
        self.ledger: SqliteLedger = open_ledger(self.folder.with_name("ledger.db"), "shop")
        self.intake = Intake(
            self.ledger,
            self.find,
            missed=lambda watch: self.when_missed(),
            unreached=lambda watch, path: None,
        )

    def end(self) -> None:
        self.intake.stop()
        if self.intake.is_alive():
            self.intake.join(SECONDS)
        self.ledger.close()

    def start_again(self) -> None:
        """What only the old intake knew is forgotten."""
        self.end()
        self.begin()
        self.intake.start()

    def find(self, path: str) -> Watched | None:
        return self.watched if self.is_watched and path == str(self.folder) else None

    def found(self, name: str) -> None:
        while not self.intake.offer_found(str(self.folder / name), str(self.folder), Lane.BACKLOG):
            self.refused += 1

    def scan(self) -> None:
        """Compares the folder with the ledger, as the reconciler does."""
        path = str(self.folder)
        for listing in walk(path, True, self.watched.rules, lambda: False):
            found = compare(self.ledger, self.watched, path, listing)
            for differing in found.differing:
                self.found(os.path.basename(differing.path))
            self.ledger.apply([*found.baseline, *found.missing])

    def event(self, name: str) -> None:
        self.intake.offer(str(self.folder / name), str(self.folder), Lane.FRESH, announced=True)

    def known(self, name: str) -> Known | None:
        return self.ledger.look(str(self.folder / name))

    def stamp(self, name: str) -> Stamp | None:
        known = self.known(name)
        return None if known is None else known.stamp

    def state(self, name: str) -> str | None:
        known = self.known(name)
        return None if known is None else known.reason or known.state.value


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.end()


def scanning(room: Room) -> threading.Thread:
    """A thread that names many files, as fast as it may."""

    def scan() -> None:
        for number in range(MANY):
            room.found(f"{number}.jpg")

    scanner = threading.Thread(target=scan, daemon=True)
    scanner.start()
    return scanner


def test_a_scan_waits_while_much_is_named_and_an_event_does_not(room: Room) -> None:
    scanner = scanning(room)
    named = eventually(room.intake.settling, lambda count: count >= 1000)
    assert named == eventually(room.intake.settling, lambda count: count) < MANY
    room.event("event.jpg")
    assert room.intake.settling() == named + 1
    eventually(lambda: room.refused, lambda count: count)
    assert room.intake.offer_found(str(room.folder / "shot.jpg"), str(room.folder), Lane.FRESH)
    room.intake.start()
    scanner.join(SECONDS)
    assert not scanner.is_alive()
    eventually(room.intake.settling, lambda count: count == 0)


def test_a_scan_that_waits_ends_with_the_intake(room: Room) -> None:
    scanner = scanning(room)
    eventually(room.intake.settling, lambda count: count >= 1000)
    room.intake.stop()
    scanner.join(SECONDS)
    assert not scanner.is_alive()


def test_a_shot_does_not_wait_until_a_slow_disk_has_told_of_all_that_a_scan_has_found(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}.jpg" for number in range(100)]
    for name in (*names, "shot.jpg"):
        write(room.folder / name, jpeg())
    for name in names:
        room.found(name)
    look = os.access

    def slow(*where: Any, **how: Any) -> bool:
        """The first file takes long, and a shot is taken meanwhile."""
        monkeypatch.setattr(os, "access", look)
        room.event("shot.jpg")
        began = time.monotonic()
        eventually(time.monotonic, lambda now: now > began + 1)
        return look(*where, **how)

    monkeypatch.setattr(os, "access", slow)
    room.intake.start()
    eventually(lambda: [room.state(name) for name in (*names, "shot.jpg")], all)
    recorded = {name: known.file_id for name in (*names, "shot.jpg") if (known := room.known(name))}
    assert sorted(recorded, key=recorded.__getitem__).index("shot.jpg") <= 1


@pytest.mark.parametrize("ring", [2, 3, 7])
def test_private_files_that_change_places_stay_private_in_whatever_order_they_are_looked_at(
    room: Room, ring: int
) -> None:
    names = [f"{number}.jpg" for number in range(ring)]
    for number, name in enumerate(names):
        path = write(room.folder / name, jpeg(seed=number))
        room.ledger.apply([Skip(str(path), Stamp.of(path.lstat()), "w", BASELINE)])
    (room.folder / names[0]).rename(room.folder / "away")
    for there, name in itertools.pairwise(names):
        (room.folder / name).rename(room.folder / there)
    (room.folder / "away").rename(room.folder / names[-1])
    room.intake.start()
    for name in (*names[1::2], *names[::2]):
        room.event(name)
    now = {name: Stamp.of((room.folder / name).lstat()) for name in names}
    eventually(lambda: {name: room.stamp(name) for name in names}, lambda stamps: stamps == now)
    assert {name: room.state(name) for name in names} == dict.fromkeys(names, BASELINE)


@pytest.mark.parametrize("seed", range(3))
def test_no_tangle_of_renames_makes_a_private_file_public_or_loses_a_file(room: Room, seed: int) -> None:
    """Renamed, swapped, moved over each other, taken away and put back; events in any order, some lost; scans, and
    stops in between."""
    draw = random.Random(seed)
    names = [f"{number}.jpg" for number in range(12)]
    away = room.folder.parent / "away"
    away.mkdir()
    for number, name in enumerate(names):
        write(room.folder / name, jpeg(200 + number, seed=number))
    private = {(stamp := Stamp.of(path.lstat())).inode: stamp for path in room.folder.iterdir()}
    room.scan()
    room.watched = replace(room.watched, adopted_at_ns=time.time_ns())
    room.intake.start()
    events: list[str] = []
    for _ in range(250):
        here, there = (draw.choice(os.listdir(folder) or ["none"]) for folder in (room.folder, away))
        name = draw.choice([*names, "new.jpg", "other.jpg"])
        match draw.choice(["rename", "swap", "take away", "put back", "tell", "scan", "start again"]):
            case "rename" if here not in ("none", name):
                (room.folder / here).rename(room.folder / name)
            case "swap" if (room.folder / name).exists() and here not in ("none", name):
                (room.folder / here).rename(away / "between")
                (room.folder / name).rename(room.folder / here)
                (away / "between").rename(room.folder / name)
            case "take away" if here != "none":
                (room.folder / here).rename(away / f"{draw.random()}")
            case "put back" if there != "none":
                (away / there).rename(room.folder / name)
            case "tell":
                draw.shuffle(events)
                for each in events[len(events) // 8 :]:
                    room.event(each)
                events.clear()
            case "scan":
                room.scan()
            case "start again":
                room.start_again()
                events.clear()
        events += [here, name]
    for each in (*names, "new.jpg", "other.jpg"):
        room.event(each)
    eventually(room.intake.settling, lambda count: count == 0)
    now = {path.name: Stamp.of(path.lstat()) for path in room.folder.iterdir()}
    eventually(lambda: {name: room.stamp(name) for name in now}, lambda stamps: stamps == now)
    assert {room.state(name) for name in now if now[name].same_file(private[now[name].inode])} <= {BASELINE}


def private(room: Room, *names: str) -> list[Path]:
    """Files that were there before the folder was adopted, which was just now."""
    paths = [write(room.folder / name, jpeg(seed=number)) for number, name in enumerate(names)]
    room.scan()
    room.watched = replace(room.watched, adopted_at_ns=time.time_ns())
    room.intake.start()
    return paths


def take_its_place(room: Room, path: Path, other: Path, how: str) -> None:
    """Another file is at the path of a private one, which is away."""
    match how:
        case "another private file":
            other.rename(path)
        case "a new file":
            write(path.with_name(".new"), jpeg(seed=9)).rename(path)
        case "a symlink":
            path.symlink_to(other)
        case "a new file, after it was seen missing":
            room.event(path.name)
            eventually(lambda: room.ledger.look(str(path)), lambda known: known and known.missing)
            write(path, jpeg(seed=9))
    now = path.lstat().st_ino
    room.event(path.name)
    eventually(lambda: room.stamp(path.name), lambda stamp: stamp and stamp.inode == now)


@pytest.mark.parametrize(
    "how", ["another private file", "a new file", "a symlink", "a new file, after it was seen missing"]
)
@pytest.mark.parametrize("back", ["c.jpg", "a.jpg"])
def test_a_private_file_whose_path_another_one_has_taken_stays_private_though_the_daemon_was_stopped(
    room: Room, how: str, back: str
) -> None:
    path, other = private(room, "a.jpg", "b.jpg")
    away = path.rename(room.folder.parent / "away")
    take_its_place(room, path, other, how)
    room.start_again()
    away.rename(room.folder / back)
    was = (room.folder / back).lstat().st_ino
    room.scan()
    eventually(lambda: room.stamp(back), lambda stamp: stamp and stamp.inode == was)
    assert room.state(back) == BASELINE
    room.start_again()
    (room.folder / back).rename(room.folder / "d.jpg")
    room.scan()
    assert eventually(lambda: room.state("d.jpg"), lambda state: state is not None) == BASELINE


OTHER_NUMBER = 1
"""As the number of a device is another one after each start of the machine, for btrfs and for disks on USB."""


def test_a_private_file_stays_private_though_its_device_has_got_another_number(room: Room) -> None:
    path = write(room.folder / "a.jpg", jpeg(seed=1))
    seen = Stamp.of(path.lstat())
    before = replace(seen, device=OTHER_NUMBER, ctime_ns=0)
    room.ledger.apply([Skip(str(path), before, "w", BASELINE), Missing(str(path))])
    assert meaning(room, path, seen).changes == (Restamp(str(path), seen),), "it is back"
    renamed = path.rename(path.with_name("b.jpg"))
    assert meaning(room, renamed, seen).changes == (Move(1, str(renamed), seen, "w"),)


def test_a_displaced_private_file_is_known_again_though_its_device_has_got_another_number(room: Room) -> None:
    path = write(room.folder / "b.jpg", jpeg(seed=1))
    seen, gone = Stamp.of(path.lstat()), str(room.folder / "gone" / "a.jpg")
    room.ledger.apply([Skip(gone, replace(seen, device=OTHER_NUMBER), "w", BASELINE)])
    room.ledger.apply([Restamp(gone, replace(seen, inode=OTHER_NUMBER))])
    assert meaning(room, path, seen).changes == (Skip(str(path), seen, "w", BASELINE),)


def test_a_published_file_that_is_renamed_after_its_device_has_got_another_number_is_the_same(room: Room) -> None:
    path = write(room.folder / "b.jpg", jpeg(seed=1))
    seen, old = Stamp.of(path.lstat()), str(room.folder / "a.jpg")
    room.ledger.apply([Remember(old, replace(seen, device=OTHER_NUMBER, ctime_ns=0), Lane.FRESH, "w", 0.0)])
    assert meaning(room, path, seen).changes[0] == Move(1, str(path), seen, "w")


@pytest.mark.parametrize("displaced", [False, True])
@pytest.mark.parametrize("is_there", [False, True], ids=["its disk is away", "its disk is there"])
def test_a_file_that_looks_like_a_private_one_of_another_disk_is_another(
    room: Room, is_there: bool, displaced: bool
) -> None:
    """Of two disks that were filled alike, one after the other: size, mtime and inode are the same."""
    path = write(room.folder / "a.jpg", jpeg(seed=1))
    seen = Stamp.of(path.lstat())
    there = "/dev/null" if is_there else "/proc/self/away/a.jpg"  # on a file system of their own
    room.ledger.apply([Skip(there, replace(seen, device=OTHER_NUMBER), "w", BASELINE)])
    if displaced:
        room.ledger.apply([Restamp(there, replace(seen, inode=OTHER_NUMBER))])
    [change] = meaning(room, path, seen).changes
    assert isinstance(change, Remember)


def test_a_private_file_that_is_there_was_not_renamed_though_another_disk_has_its_number_now(room: Room) -> None:
    path = write(room.folder / "a.jpg", jpeg(seed=1))
    elsewhere = replace(Stamp.of(path.lstat()), device=OTHER_NUMBER)
    room.ledger.apply([Skip(str(path), elsewhere, "w", BASELINE)])
    [change] = meaning(room, room.folder / "b.jpg", elsewhere).changes
    assert isinstance(change, Remember)


def test_a_private_file_that_is_asked_for_is_private_no_more_wherever_it_goes(room: Room) -> None:
    path, other = private(room, "a.jpg", "b.jpg")
    path.rename(asked := room.folder / "c.jpg")
    other.rename(path)
    room.event("a.jpg")
    eventually(lambda: room.stamp("a.jpg"), lambda stamp: stamp and stamp.inode == path.lstat().st_ino)
    seen = Stamp.of(asked.lstat())
    assert room.ledger.displaced(seen)
    room.ledger.apply([Remember(str(asked), seen, Lane.FRESH, "w", 0.0)])  # as `publish PATH` does
    assert not room.ledger.displaced(seen)


def with_other_inodes(room: Room, *names: str) -> list[Path]:
    """Private files on a disk that makes up inodes: what is recorded of them is of an earlier mount."""
    room.watched = replace(room.watched, keeps_inodes=False, adopted_at_ns=0)
    paths = [write(room.folder / name, jpeg(500 + number, seed=number)) for number, name in enumerate(names)]
    for number, path in enumerate(paths):
        was = replace(Stamp.of(path.lstat()), inode=1_000_000_007 + number, ctime_ns=0)
        room.ledger.apply([Skip(str(path), was, "w", BASELINE)])
    return paths


def test_where_inodes_are_made_up_a_private_file_is_known_by_its_size_and_time_under_its_new_name(room: Room) -> None:
    first, second, third = with_other_inodes(room, "a.jpg", "b.jpg", "c.jpg")
    renamed = first.rename(room.folder / "d.jpg")
    copy = room.folder / "copy.jpg"
    shutil.copy2(second, copy)
    room.intake.start()
    room.event("d.jpg")
    room.event("copy.jpg")
    eventually(lambda: (room.state("d.jpg"), room.state("copy.jpg")), all)
    assert room.state("d.jpg") == BASELINE
    assert room.known("a.jpg") is None, "its record has gone along"
    assert room.state("copy.jpg") == "pending", "the private one is where it was"
    shutil.copy2(renamed, room.folder / "e.jpg")
    room.event("e.jpg")
    assert eventually(lambda: room.state("e.jpg"), bool) == "pending", "a copy is new here, too"
    third.rename(second)
    room.event("b.jpg")
    eventually(lambda: room.stamp("b.jpg"), lambda at: at and at.inode == second.lstat().st_ino)
    assert room.state("b.jpg") == BASELINE


def test_where_inodes_are_made_up_a_private_file_stays_so_though_another_one_has_its_path(room: Room) -> None:
    path, other, published = *with_other_inodes(room, "a.jpg", "b.jpg"), room.folder / "p.jpg"
    away = path.rename(room.folder.parent / "away")
    other.rename(path)
    write(published, jpeg(seed=9))
    room.intake.start()
    room.event("p.jpg")
    eventually(lambda: room.state("p.jpg"), lambda state: state == "pending")
    away.rename(published)  # before anybody has looked at its old path again
    room.event("p.jpg")
    assert eventually(lambda: room.state("p.jpg"), lambda state: state != "pending") == BASELINE
    room.event("a.jpg")
    eventually(lambda: room.stamp("a.jpg"), lambda at: at and at.inode == path.lstat().st_ino)
    published.rename(room.folder / "q.jpg")
    room.event("q.jpg")
    assert eventually(lambda: room.state("q.jpg"), bool) == BASELINE
    assert room.state("a.jpg") == BASELINE


def test_where_inodes_are_made_up_a_private_file_that_was_away_is_private_when_it_is_back(room: Room) -> None:
    [path] = with_other_inodes(room, "a.jpg")
    room.ledger.apply([Missing(str(path))])
    room.intake.start()
    room.event("a.jpg")
    eventually(lambda: room.known("a.jpg"), lambda known: known and not known.missing)
    assert room.state("a.jpg") == BASELINE


def test_what_is_missing_from_a_folder_that_is_told_in_parts_is_missing(room: Room) -> None:
    for number in range(2500):
        write(room.folder / f"{number}.jpg", b"x")
    room.scan()
    (room.folder / "7.jpg").unlink()
    (room.folder / "2400.jpg").unlink()
    room.scan()
    known = room.ledger.known_in(str(room.folder))
    assert len(known) == 2500
    assert {name for name in known if known[name].missing} == {"7.jpg", "2400.jpg"}


def test_what_the_notes_of_a_download_say_counts_for_the_file_itself(room: Room) -> None:
    write(room.folder / "a.jpg", jpeg())
    notes = write(room.folder / "a.jpg.aria2", b"")
    room.intake.start()
    room.event("a.jpg")
    why = eventually(lambda: room.intake.waiting(str(room.folder / "a.jpg")), lambda it: it and "aria2" in it.why)
    assert why and why.why == "a.jpg.aria2 beside it says that it is still being downloaded"
    notes.unlink()
    room.event("a.jpg.aria2")
    eventually(lambda: room.state("a.jpg"), lambda state: state == FileState.PENDING)


def test_a_file_is_spelled_as_its_folder_lists_it(tmp_path: Path) -> None:
    write(tmp_path / "day" / "a.jpg", b"")
    os.link(tmp_path / "day" / "a.jpg", tmp_path / "day" / "B.jpg")
    here = str(tmp_path / "day")
    assert is_spelled_so(f"{here}/a.jpg", f"{here}/B.jpg"), "two names that differ in more than case"
    assert not is_spelled_so(f"{here}/A.JPG", f"{here}/a.jpg")
    assert not is_spelled_so(f"{tmp_path}/DAY/a.jpg", f"{here}/a.jpg")
    os.link(tmp_path / "day" / "a.jpg", tmp_path / "day" / "A.jpg")
    assert is_spelled_so(f"{here}/A.jpg", f"{here}/a.jpg"), "two hard links"


def test_a_private_file_from_where_nobody_may_look_any_more_stays_private(room: Room) -> None:
    """It was moved, or has a second name: as its old path cannot be looked at, nobody can tell."""
    path = write(room.folder / "day" / "a.jpg", jpeg(seed=1))
    room.ledger.apply([Skip(str(path), Stamp.of(path.lstat()), "w", BASELINE)])
    path.rename(room.folder / "b.jpg")
    path.parent.rmdir()
    path.parent.symlink_to("day")  # a look at what was in it fails, and not because it is not there
    room.intake.start()
    room.event("b.jpg")
    eventually(lambda: room.state("b.jpg"), lambda state: state is not None)
    assert room.state("b.jpg") == BASELINE


def meaning(room: Room, path: Path, stamp: Stamp) -> Meaning:
    """Of a file that an event has brought, as it looked when it was quiet."""
    return meaning_of(room.ledger, room.watched, Seen(str(path), stamp, Lane.FRESH, "w", 0.0, announced=True))


def test_a_second_name_takes_nothing_from_a_file_that_is_touched_meanwhile(room: Room) -> None:
    first, second = write(room.folder / "a.jpg", jpeg(seed=1)), room.folder / "b.jpg"
    seen = Stamp.of(first.lstat())
    room.ledger.apply([Skip(str(first), seen, "w", BASELINE)])
    os.link(first, second)
    with first.open("ab") as file:
        file.write(b"tag")
    os.utime(first, ns=(0, 0))
    [change] = meaning(room, second, seen).changes
    assert isinstance(change, Remember), "the private file keeps its record, and the second name gets one of its own"


def test_a_private_file_that_is_back_by_the_time_it_is_decided_about_is_looked_at_once_more(room: Room) -> None:
    """Else it was taken for a hard link, and sent as soon as it was moved again."""
    path, elsewhere = write(room.folder / "day" / "a.jpg", jpeg(seed=1)), room.folder / "night" / "a.jpg"
    write(elsewhere, jpeg(seed=2))
    seen = Stamp.of(path.lstat())  # in the other folder: the two had changed places
    room.ledger.apply([Skip(str(path), seen, "w", BASELINE)])
    found = meaning(room, elsewhere, seen)
    assert (found.changes, found.is_outdated) == ((), True)

    os.link(elsewhere, room.folder / "b.jpg")
    second = meaning(room, room.folder / "b.jpg", Stamp.of(elsewhere.lstat()))
    assert isinstance(second.changes[0], Remember)
    assert not second.is_outdated


def test_a_private_file_whose_old_path_is_too_long_to_look_at_stays_private(room: Room) -> None:
    path = write(room.folder / "a.jpg", jpeg(seed=1))
    seen = Stamp.of(path.lstat())
    long = "/".join([str(room.folder), *["d" * 200] * 25, "a.jpg"])
    room.ledger.apply([Skip(long, seen, "w", BASELINE)])
    assert meaning(room, path, seen).changes == (Skip(str(path), seen, "w", BASELINE),)


def test_a_renamed_file_is_kept_in_mind_until_its_rename_can_be_recorded(room: Room) -> None:
    old, new = write(room.folder / "a.jpg", jpeg(seed=1)), room.folder / "b.jpg"
    room.ledger.apply([Skip(str(old), Stamp.of(old.lstat()), "w", BASELINE)])
    old.rename(new)
    # Nothing is written to a ledger that is not in its place.
    room.ledger.path.rename(room.ledger.path.with_suffix(".aside"))
    room.intake.start()
    room.event("b.jpg")
    eventually(lambda: room.ledger.condition, lambda condition: condition == "error")
    eventually(lambda: room.intake.waiting(str(new)), lambda waiting: waiting is not None)  # again: it had settled
    assert room.state("b.jpg") is None


def test_what_was_decided_for_a_watch_that_is_removed_meanwhile_is_not_recorded(room: Room) -> None:
    path = write(room.folder / "a.jpg", jpeg(seed=1))
    room.watched = replace(room.watched, adopted_at_ns=0)
    removed = threading.Event()

    def remove() -> None:
        room.is_watched = False
        removed.set()

    room.when_missed = remove  # which is between the decision and its record
    room.intake.start()
    assert room.intake.offer_found(str(path), str(room.folder), Lane.BACKLOG, expected=True)
    assert removed.wait(SECONDS)
    room.intake.stop()
    room.intake.join(SECONDS)
    assert room.state("a.jpg") is None


def test_a_file_that_its_server_loses_as_it_is_looked_at_is_hidden_and_does_not_stay_open(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(room.folder / "a.jpg", jpeg(seed=1))
    looks = itertools.count()
    look = os.stat

    def stale(descriptor: int) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def stale_at_last(name: str, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        if next(looks) == 0:  # what it is, before it is opened
            return look(name, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        return stale(dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", stale)
        patched.setattr(os, "stat", stale_at_last)
        with LastFolder() as last:
            seen = glance(room.watched, str(path), last)
    seen.close()
    assert seen == Glance(hidden=True)
    assert open_below(room.folder) == []


def test_what_an_event_has_named_stays_so_though_it_is_named_otherwise_meanwhile(room: Room) -> None:
    room.event("a.jpg")
    room.intake.offer(str(room.folder / "a.jpg"), str(room.folder), Lane.BACKLOG)
    waiting = room.intake.waiting(str(room.folder / "a.jpg"))
    assert waiting and (waiting.lane, waiting.announced) == (Lane.FRESH, True)


def test_only_the_record_of_a_new_file_does_not_wait_for_the_disk(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next scan would find it again, and decide alike."""
    lasting: list[bool] = []
    apply = room.ledger.apply

    def seen(changes: Sequence[Change], *, is_lasting: bool = True) -> None:
        apply(changes, is_lasting=is_lasting)
        lasting.append(is_lasting)

    monkeypatch.setattr(room.ledger, "apply", seen)
    room.watched = replace(room.watched, adopted_at_ns=0)
    room.intake.start()
    picture = write(room.folder / "a.jpg", jpeg(seed=1))
    room.event("a.jpg")
    eventually(lambda: len(lasting), lambda times: times == 1)
    write(picture, jpeg(seed=2))
    room.event("a.jpg")
    eventually(lambda: len(lasting), lambda times: times == 2)
    picture.unlink()
    room.event("a.jpg")
    eventually(lambda: len(lasting), lambda times: times == 3)
    assert lasting == [False, True, True]
