"""Opening files whose names are untrusted, on a real file system."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixstored.errors import Changed, Gone, Unreadable
from pixstored.watch.opening import (
    LastFolder,
    NotRegular,
    being_written,
    ignore_lease_signals,
    open_beneath,
    open_named,
)
from support.descriptors import open_below

NOBODY = 65534


@pytest.fixture(params=["at once", "step by step"])
def tmp_path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where a whole path cannot be opened at once, it is step by step: here as a folder above the root is a symlink."""
    if request.param == "at once":
        return tmp_path
    (tmp_path / "real" / "watched").mkdir(parents=True)
    (tmp_path / "way").symlink_to("real")
    return tmp_path / "way" / "watched"


@contextlib.contextmanager
def opened(root: Path, rel: str) -> Iterator[int]:
    descriptor = open_beneath(str(root), rel)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def quiet_sigio() -> Iterator[None]:
    before = signal.getsignal(signal.SIGIO)
    ignore_lease_signals()
    yield
    signal.signal(signal.SIGIO, before)


def test_a_regular_file_below_folders_is_opened_for_reading_only(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.jpg").write_bytes(b"picture")
    with opened(tmp_path, "a/b/c.jpg") as descriptor:
        assert os.read(descriptor, 100) == b"picture"
        assert not os.get_inheritable(descriptor)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")


def test_a_name_that_is_not_utf8_is_opened(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\n.jpg")
    (tmp_path / name).write_bytes(b"x")
    with opened(tmp_path, name) as descriptor:
        assert os.read(descriptor, 1) == b"x"


def test_a_path_longer_than_the_kernel_takes_at_once_is_opened(tmp_path: Path) -> None:
    names = ["d" * 200] * 30
    folder = os.open(tmp_path, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=folder)
        above, folder = folder, os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(above)
    os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    with opened(tmp_path, "/".join([*names, "a.jpg"])) as descriptor:
        assert os.fstat(descriptor).st_size == 0
    subprocess.run(["rm", "-rf", str(tmp_path / names[0])], check=True)


def test_a_symlink_is_not_followed_even_to_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "real.jpg").write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to("real.jpg")
    with pytest.raises(NotRegular, match="a symlink, not a regular file"):
        open_beneath(str(tmp_path), "link.jpg")


def test_a_dangling_symlink_is_a_symlink_not_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to("nowhere")
    with pytest.raises(NotRegular, match="a symlink"):
        open_beneath(str(tmp_path), "link.jpg")


def test_no_folder_on_the_way_may_be_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.jpg").write_bytes(b"x")
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched" / "sub").symlink_to(tmp_path / "secret")
    with pytest.raises(NotRegular, match="through a symlink"):
        open_beneath(str(tmp_path / "watched"), "sub/a.jpg")


def test_a_root_that_became_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").write_bytes(b"x")
    (tmp_path / "root").symlink_to("other")
    with pytest.raises(NotRegular):
        open_beneath(str(tmp_path / "root"), "a.jpg")


def test_a_named_pipe_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(NotRegular) as caught:
        open_beneath(str(tmp_path), "a.jpg")
    assert caught.value.kind == "a named pipe"


def test_a_socket_and_a_folder_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("a.jpg")
    (tmp_path / "b.jpg").mkdir()
    with pytest.raises(NotRegular, match="a socket"):
        open_beneath(str(tmp_path), "a.jpg")
    with pytest.raises(NotRegular, match="a folder"):
        open_beneath(str(tmp_path), "b.jpg")


def test_a_device_is_named() -> None:
    with pytest.raises(NotRegular, match="a device"):
        open_beneath("/dev", "null")


@pytest.mark.parametrize("rel", ["missing.jpg", "missing/a.jpg", "a.jpg/b.jpg"])
def test_what_is_not_there_is_gone(tmp_path: Path, rel: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(Gone):
        open_beneath(str(tmp_path), rel)


@pytest.mark.parametrize("rel", ["", "..", "../a.jpg", "a/../../a.jpg", "/etc/passwd", "a//b", ".", "a\0b"])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, rel: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "root").mkdir()
    with pytest.raises(Gone):
        open_beneath(str(tmp_path / "root"), rel)


def test_a_name_longer_than_a_file_system_takes_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="File name too long"):
        open_beneath(str(tmp_path), "x" * 300)


def test_a_file_that_its_server_loses_as_it_is_opened_is_unreadable_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")

    def stale(descriptor: int) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", stale)
        with pytest.raises(Unreadable, match="Stale file handle"):
            open_beneath(str(tmp_path), "a.jpg")
    assert open_below(tmp_path) == []


def test_a_file_one_may_not_read_is_unreadable_and_the_message_names_no_path(tmp_path: Path) -> None:
    code = (
        "import ctypes, os, sys\n"  # while the library may still be read
        "from pixstored.errors import Unreadable\n"
        "from pixstored.watch.opening import open_beneath\n"
        "os.chdir(sys.argv[1])\n"
        f"if os.getuid() == 0: os.setgroups([]); os.setuid({NOBODY})\n"
        "try:\n    open_beneath('.', 'a.jpg')\n"
        "except Unreadable as error:\n    print(error)\n"
    )
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "a.jpg").chmod(0)
    tmp_path.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout == "it cannot be opened: Permission denied\n", done.stderr


def test_no_descriptor_is_left_open_whatever_happens(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.jpg").write_bytes(b"x")
    (tmp_path / "a" / "link").symlink_to("b.jpg")
    os.mkfifo(tmp_path / "a" / "pipe")
    for rel in ("a/b.jpg", "a/link", "a/pipe", "a/none", "none/b.jpg", "a"):
        with contextlib.suppress(Gone, NotRegular):
            os.close(open_beneath(str(tmp_path), rel))
    assert open_below(tmp_path) == []


def test_a_named_file_may_lie_behind_a_symlinked_folder_but_not_be_one_itself(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_bytes(b"x")
    (tmp_path / "real" / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "folder").symlink_to("real")
    os.close(open_named(str(tmp_path / "folder" / "a.jpg")))
    with pytest.raises(NotRegular, match="a symlink"):
        open_named(str(tmp_path / "folder" / "link.jpg"))
    with pytest.raises(NotRegular, match="a folder"):
        open_named(str(tmp_path / "real"))
    with pytest.raises(Gone):
        open_named(str(tmp_path / "none" / "a.jpg"))


def test_a_file_open_for_writing_is_seen_until_it_is_closed(tmp_path: Path, quiet_sigio: None) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with opened(tmp_path, "a.jpg") as descriptor:
        with (tmp_path / "a.jpg").open("ab"):
            assert being_written(descriptor) is True
        assert being_written(descriptor) is False


def test_a_lease_that_the_kernel_has_taken_back_is_as_good_as_a_writer(
    tmp_path: Path, quiet_sigio: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.fcntl

    def taken_back(descriptor: int, command: int, argument: int = 0) -> object:
        if (command, argument) == (fcntl.F_SETLEASE, fcntl.F_UNLCK):
            real(descriptor, command, argument)
        return real(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", taken_back)
    (tmp_path / "a.jpg").write_bytes(b"x")
    with opened(tmp_path, "a.jpg") as descriptor:
        assert being_written(descriptor) is True


def test_a_file_open_for_reading_elsewhere_is_not_being_written(tmp_path: Path, quiet_sigio: None) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with (tmp_path / "a.jpg").open("rb"), opened(tmp_path, "a.jpg") as one, opened(tmp_path, "a.jpg") as other:
        assert being_written(one) is False
        assert being_written(other) is False


def test_no_lease_is_left_that_would_make_a_writer_wait(tmp_path: Path, quiet_sigio: None) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with opened(tmp_path, "a.jpg") as descriptor:
        being_written(descriptor)
        assert fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_UNLCK
        os.close(os.open(tmp_path / "a.jpg", os.O_WRONLY | os.O_NONBLOCK))


def test_where_the_kernel_has_no_leases_nobody_can_say() -> None:
    reading, writing = os.pipe()
    try:
        assert being_written(reading) is None
    finally:
        os.close(reading)
        os.close(writing)


def test_a_file_under_somebodys_lease_is_not_waited_for(tmp_path: Path, quiet_sigio: None) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    holder = os.open(tmp_path / "a.jpg", os.O_RDWR)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(Changed):
            open_beneath(str(tmp_path), "a.jpg")
    finally:
        os.close(holder)


def test_a_folder_is_open_while_files_in_it_are_asked_for_and_no_longer(tmp_path: Path) -> None:
    for name in ("1.jpg", "a/2.jpg", "a/3.jpg", "b/4.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    top = os.path.realpath(tmp_path)
    with LastFolder() as last:
        for rel, folder in (("a/2.jpg", f"{top}/a"), ("a/3.jpg", f"{top}/a"), ("1.jpg", top), ("b/4.jpg", f"{top}/b")):
            descriptor, name = last.beneath(str(tmp_path), rel)
            assert open_below(tmp_path) == [folder]
            assert os.stat(name, dir_fd=descriptor).st_size == len(rel)
        for nameless in ("b/..", "b/", "b/x\0y"):
            with pytest.raises(Gone):
                last.beneath(str(tmp_path), nameless)
        with pytest.raises(Gone):
            last.beneath(str(tmp_path), "away/5.jpg")
        assert open_below(tmp_path) == []
        last.beneath(str(tmp_path), "b/4.jpg")
    assert open_below(tmp_path) == []


def test_folders_of_one_name_in_two_watches_are_not_taken_for_each_other(tmp_path: Path) -> None:
    with LastFolder() as last:
        for watch in ("first", "second"):
            (tmp_path / watch / "day").mkdir(parents=True)
            (tmp_path / watch / "day" / "a.jpg").write_bytes(watch.encode())
            descriptor, name = last.beneath(str(tmp_path / watch), "day/a.jpg")
            assert os.stat(name, dir_fd=descriptor).st_size == len(watch)


def test_what_has_become_a_pipe_since_it_was_looked_at_is_not_taken_for_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"x")
    look = os.stat

    def look_and_replace(path: str, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        found = look(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        os.unlink(path, dir_fd=dir_fd)
        os.mkfifo(path, dir_fd=dir_fd)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", look_and_replace)
        with pytest.raises(NotRegular, match="a named pipe"):
            open_named(str(picture))
    assert open_below(tmp_path) == []
