"""The scan, on real folders."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pixstored.errors import WatchError
from pixstored.model import WHOLE, Mark, Span, Stamp
from pixstored.watch.filters import Rules
from pixstored.watch.scan import Listing, walk
from support.descriptors import open_below
from support.mounting import mount, unmounted_after

PICTURES = Rules(("@media",), ())


def never() -> bool:
    return False


def scanned(root: Path, rules: Rules = PICTURES, *, below: str = "", recursive: bool = True) -> dict[str, Listing]:
    return {listing.folder: listing for listing in walk(str(root), recursive, rules, never, below=below)}


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_every_folder_is_told_with_the_files_that_the_rules_take_and_their_stamps(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "notes.txt", "x/b.png", "x/y/c.mp4")
    (tmp_path / "empty").mkdir()
    found = scanned(tmp_path)
    assert {folder: set(listing.files) for folder, listing in found.items()} == {
        "": {"a.jpg"},
        "x": {"b.png"},
        "x/y": {"c.mp4"},
        "empty": set(),
    }
    assert found[""].files["a.jpg"] == Stamp.of(os.lstat(tmp_path / "a.jpg"))
    assert found[""].names == {"a.jpg", "notes.txt", "x", "empty"}
    assert found[""].turned_away == 1


def test_files_that_look_as_they_are_known_to_are_only_counted(tmp_path: Path) -> None:
    make(tmp_path, "same.jpg", "changed.jpg", "new.jpg", "x/b.jpg")
    marks = {name: _mark(tmp_path / name) for name in ("same.jpg", "changed.jpg")}
    (tmp_path / "changed.jpg").write_bytes(b"more")
    known = {"": marks, "x": {"b.jpg": _mark(tmp_path / "x" / "b.jpg"), "lost.jpg": (1, 2, 3, 4)}}
    top, below = walk(str(tmp_path), True, PICTURES, never, at_rest=lambda folder, span: known[folder])
    assert (set(top.files), top.at_rest, top.is_short) == ({"changed.jpg", "new.jpg"}, 1, False)
    assert (set(below.files), below.at_rest, below.is_short) == (set(), 1, True)
    assert top.names == {"same.jpg", "changed.jpg", "new.jpg", "x"}


def _mark(path: Path) -> Mark:
    st = os.lstat(path)
    return st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino


def test_an_excluded_folder_is_not_entered(tmp_path: Path) -> None:
    make(tmp_path, "@eaDir/a.jpg", "x/.hidden/b.jpg", "x/c.jpg")
    assert set(scanned(tmp_path)) == {"", "x"}


def test_a_watch_that_is_not_recursive_stays_in_its_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "x/b.jpg")
    assert set(scanned(tmp_path, recursive=False)) == {""}
    assert scanned(tmp_path, recursive=False, below="x") == {}


def test_only_one_folder_and_what_lies_below_can_be_scanned(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "x/b.jpg", "x/y/c.jpg", "z/d.jpg", ".h/e.jpg")
    assert set(scanned(tmp_path, below="x")) == {"x", "x/y"}
    assert scanned(tmp_path, below=".h") == {}
    assert scanned(tmp_path, below="none") == {}


def test_symlinks_are_told_and_neither_followed_nor_entered(tmp_path: Path) -> None:
    make(tmp_path, "out/secret.jpg", "in/a.jpg")
    (tmp_path / "in" / "link.jpg").symlink_to(tmp_path / "out" / "secret.jpg")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    found = scanned(tmp_path / "in")
    assert set(found) == {""}
    assert found[""].others == {"link.jpg": "a symlink"}
    assert scanned(tmp_path / "in", below="folder") == {}


def test_pipes_and_sockets_with_a_pictures_name_are_told_and_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("a.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("b.jpg")
        assert scanned(tmp_path)[""].others == {"a.jpg": "a named pipe", "b.jpg": "a socket"}


def test_a_file_that_aria2_still_downloads_is_told_apart(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "a.mp4.aria2", "b.mp4")
    listing = scanned(tmp_path)[""]
    assert set(listing.files) == {"b.mp4"}
    assert listing.unfinished == {"a.mp4"}


def test_extensions_that_the_rules_do_not_take_are_counted_if_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "a.CR2", "b.cr2", "c.txt", "README", "d.jpg")
    (listing,) = walk(str(tmp_path), True, PICTURES, never, count_unknown=True)
    assert listing.unknown == {".cr2": 2, ".txt": 1, "": 1}
    assert listing.turned_away == 4


def test_names_that_are_not_utf8_are_told_as_the_system_gives_them(tmp_path: Path) -> None:
    make(tmp_path, os.fsdecode(b"\xff/\xfe\n.jpg"))
    found = scanned(tmp_path)
    assert set(found["\udcff"].files) == {"\udcfe\n.jpg"}


def test_a_hundred_levels_and_paths_longer_than_the_kernel_takes_are_walked(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(100):
        os.mkdir("d" * 60, dir_fd=folder)
        above, folder = folder, os.open("d" * 60, os.O_RDONLY, dir_fd=folder)
        os.close(above)
    os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    found = list(walk(str(tmp_path), True, PICTURES, never))
    assert len(found) == 101
    assert len(found[-1].folder) > 4096
    assert set(found[-1].files) == {"a.jpg"}
    subprocess.run(["rm", "-rf", str(tmp_path / ("d" * 60))], check=True)


def test_a_folder_that_may_not_be_read_is_told_and_the_walk_goes_on(tmp_path: Path) -> None:
    make(tmp_path, "closed/a.jpg", "open/b.jpg")
    (tmp_path / "closed").chmod(0)
    code = (
        "import os, sys\n"
        "from pixstored.watch.filters import Rules\n"
        "from pixstored.watch.scan import walk\n"
        "os.chdir(sys.argv[2])\n"
        "if os.getuid() == 0: os.setgroups([]); os.setuid(65534)\n"
        "for l in walk('.', True, Rules(('@media',), ()), lambda: False, below=sys.argv[1]):\n"
        "    print(l.folder or '.', sorted(l.files), l.error)\n"
    )
    tmp_path.chmod(0o755)

    def run(below: str) -> list[str]:
        done = subprocess.run([sys.executable, "-c", code, below, str(tmp_path)], capture_output=True, text=True)
        assert not done.stderr
        return done.stdout.splitlines()

    try:
        assert run("") == [". [] None", "closed [] Permission denied", "open ['b.jpg'] None"]
        assert run("closed") == ["closed [] Permission denied"]
    finally:
        (tmp_path / "closed").chmod(0o755)


def test_a_watched_folder_that_is_not_there_is_an_error_not_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(WatchError, match="No such file"):
        scanned(tmp_path / "none")


def test_a_folder_that_vanishes_during_the_walk_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    found = []
    for listing in walk(str(tmp_path), True, PICTURES, never):
        found.append(listing.folder)
        if listing.folder == "a":
            shutil.rmtree(tmp_path / "b")
    assert found == ["", "a", "c"]


def test_a_folder_replaced_by_a_symlink_during_the_walk_is_not_entered(tmp_path: Path) -> None:
    make(tmp_path, "in/a/1.jpg", "in/b/2.jpg", "out/secret.jpg")
    found = []
    for listing in walk(str(tmp_path / "in"), True, PICTURES, never):
        found.append(listing.folder)
        if listing.folder == "a":
            shutil.rmtree(tmp_path / "in" / "b")
            (tmp_path / "in" / "b").symlink_to(tmp_path / "out")
    assert found == ["", "a"]


def test_a_folder_moved_away_during_the_walk_does_not_lead_the_walk_astray(tmp_path: Path) -> None:
    make(tmp_path, "in/a/x/1.jpg", "out/x/secret.jpg")
    walking = walk(str(tmp_path / "in"), True, PICTURES, never)
    assert [next(walking).folder, next(walking).folder] == ["", "a"]
    (tmp_path / "in" / "a").rename(tmp_path / "moved")
    (tmp_path / "in" / "a").symlink_to(tmp_path / "out")
    assert [set(listing.files) for listing in walking] == [{"1.jpg"}]


def test_a_folder_that_is_mounted_again_below_itself_is_told_and_not_entered(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "x/loop/b.jpg")
    loop = tmp_path / "x" / "loop"
    mount(tmp_path, loop, "--bind")
    with unmounted_after(loop):
        found = scanned(tmp_path)
    assert set(found) == {"", "x", "x/loop"}
    assert found["x/loop"].error == "it is a folder above itself, mounted again"


def test_the_walk_ends_when_it_is_told_to_and_tells_no_half_folder(tmp_path: Path) -> None:
    make(tmp_path, *(f"{folder}/{number}.jpg" for folder in "abc" for number in range(600)))
    asked = 0

    def after_five() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    for listing in walk(str(tmp_path), True, PICTURES, after_five):
        assert len(listing.files) == (600 if listing.folder else 0)
    assert asked <= 7


def test_a_large_folder_is_told_in_parts_and_each_file_once(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(4500)]
    make(tmp_path, *names, "a.mov", "a.mov.aria2", "below/1.jpg")
    first, second, third, below = walk(str(tmp_path), True, PICTURES, never)
    parts = (first, second, third)
    assert [name for part in parts for name in part.files] == sorted(names)
    assert [part.is_first for part in parts] == [True, False, False]
    assert set().union(*(part.unfinished for part in parts)) == {"a.mov"}
    assert sum(part.turned_away for part in parts) == 1
    assert (below.folder, below.span, below.is_first) == ("below", WHOLE, True)


def test_what_is_known_of_a_large_folder_is_asked_in_the_parts_it_is_told_in(tmp_path: Path) -> None:
    names = [os.fsdecode(odd + b"%d.jpg" % number) for number in range(1500) for odd in (b"\xff", b"\xc3\xbc")]
    make(tmp_path, *names)
    known = {name: _mark(tmp_path / name) for name in names}
    (tmp_path / names[0]).write_bytes(b"changed")
    (tmp_path / names[1]).unlink()
    asked: list[Span] = []

    def at_rest(folder: str, span: Span) -> dict[str, Mark]:
        asked.append(span)
        return {name: mark for name, mark in known.items() if _lies_in(span, name)}

    parts = list(walk(str(tmp_path), True, PICTURES, never, at_rest=at_rest))
    assert asked == [part.span for part in parts]
    assert (asked[0].after, asked[0].upto, asked[1].upto) == (None, asked[1].after, None)
    assert {name for part in parts for name in part.files} == {names[0]}
    assert sum(part.at_rest for part in parts) == len(names) - 2
    assert [part.is_short for part in parts] == [_lies_in(part.span, names[1]) for part in parts]


def _lies_in(span: Span, name: str) -> bool:
    """As a ledger sees it, whose names are bytes."""
    after, upto = os.fsencode(span.after or ""), span.upto
    return after < os.fsencode(name) and (upto is None or os.fsencode(name) <= os.fsencode(upto))


def test_a_tree_deeper_than_a_program_may_have_files_open_is_walked_to_its_end(tmp_path: Path) -> None:
    script = """
import os, resource, sys
from pixstored.watch.filters import Rules
from pixstored.watch.scan import walk
os.chdir(sys.argv[1])
for level in range(300):
    for side in "ab":
        os.mkdir(f"{side}")
        open(f"{side}/{level}.jpg", "w").close()
    os.chdir("a")
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
listings = list(walk(sys.argv[1], True, Rules(("@media",), ()), lambda: False))
assert not any(listing.error for listing in listings), [listing.error for listing in listings if listing.error]
print(len(listings), sum(len(listing.files) for listing in listings))
"""
    try:
        done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
        assert done.stdout.split() == ["601", "600"], done.stderr
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "a"], check=True)


def test_folders_above_that_were_moved_meanwhile_are_found_again_or_said_to_be_gone(tmp_path: Path) -> None:
    deep = "/".join("d" for _ in range(80))
    make(tmp_path, f"in/{deep}/1.jpg", "in/d/d/later/2.jpg", "in/z/3.jpg")
    walking = walk(str(tmp_path / "in"), True, PICTURES, never)
    while next(walking).folder != deep:
        pass
    (tmp_path / "in/d/d/d").rename(tmp_path / "in/elsewhere")
    rest = {listing.folder: listing.error or set(listing.files) for listing in walking}
    assert rest == {"d/d/later": {"2.jpg"}, "z": {"3.jpg"}}


def test_no_descriptor_is_left_open_by_a_walk_that_is_given_up(tmp_path: Path) -> None:
    make(tmp_path, "a/b/c/1.jpg")
    walking = walk(str(tmp_path), True, PICTURES, never)
    for _ in range(3):
        next(walking)
    walking.close()
    list(walk(str(tmp_path), True, PICTURES, never))
    list(walk(str(tmp_path), True, PICTURES, never, below="a/none"))
    assert open_below(tmp_path) == []


def test_no_descriptor_is_left_open_by_a_walk_that_goes_deeper_than_it_keeps_folders_open(tmp_path: Path) -> None:
    make(tmp_path, "/".join("d" for _ in range(100)) + "/1.jpg")
    listings = list(walk(str(tmp_path), True, PICTURES, never))
    assert (len(listings), [each.error for each in listings if each.error]) == (101, [])
    assert open_below(tmp_path) == []
