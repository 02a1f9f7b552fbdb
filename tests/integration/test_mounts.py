"""File systems and their clocks, as the kernel tells them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pixstored.errors import WatchError
from pixstored.watch.mounts import (
    FileSystem,
    _identity,
    _parsed,
    adoption_moment,
    filesystem_of,
    watch_limit,
    watch_limit_warning,
)


def test_the_file_system_of_proc_is_told() -> None:
    found = filesystem_of("/proc/self")
    assert (found.kind, found.mount_point, found.identity) == ("proc", "/proc", None)


def test_a_folder_below_a_mount_point_has_its_file_system(tmp_path: Path) -> None:
    found = filesystem_of(str(tmp_path))
    assert os.stat(found.mount_point).st_dev == os.stat(tmp_path).st_dev
    assert os.path.commonpath([found.mount_point, str(tmp_path)]) == found.mount_point


def test_a_folder_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(WatchError, match="No such file"):
        filesystem_of(str(tmp_path / "none"))


def test_a_mount_on_top_of_another_and_blanks_in_its_name_are_told_right(tmp_path: Path) -> None:
    below, above = tmp_path / "a b" / "c", tmp_path / "a b"
    below.mkdir(parents=True)
    code = (
        "import subprocess, sys\n"
        "from pixstored.watch.mounts import filesystem_of\n"
        "below, above = sys.argv[1:]\n"
        "subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', below], check=True)\n"
        "print(filesystem_of(below).mount_point == below)\n"
        "subprocess.run(['mount', '-t', 'ramfs', 'ramfs', above], check=True)\n"
        "subprocess.run(['mkdir', below], check=True)\n"
        "print(filesystem_of(below).kind, filesystem_of(below).mount_point == above)\n"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", sys.executable, "-c", code, str(below), str(above)],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["True", "ramfs", "True"], done.stderr


def test_a_folder_bound_to_its_own_place_lies_where_its_file_system_is_mounted(tmp_path: Path) -> None:
    """As systemd does it for ReadWritePaths= and BindReadOnlyPaths=; one that is bound elsewhere is mounted there."""
    own, elsewhere, homes = tmp_path / "a" / "b", tmp_path / "c", tmp_path / "home"
    own.mkdir(parents=True)
    elsewhere.mkdir()
    homes.mkdir()
    code = (
        "import subprocess, sys\n"
        "from pixstored.watch.mounts import filesystem_of\n"
        "own, elsewhere, homes = sys.argv[1:]\n"
        "before = filesystem_of(own)\n"
        "subprocess.run(['mount', '--bind', own, own], check=True)\n"
        "subprocess.run(['mount', '--bind', own, elsewhere], check=True)\n"
        "after = filesystem_of(own)\n"
        "print(after.mount_id != before.mount_id, after.mount_point == before.mount_point)\n"
        "print(filesystem_of(elsewhere).mount_point == elsewhere)\n"
        "subprocess.run(['mount', '-t', 'ramfs', 'ramfs', homes], check=True)\n"
        "subprocess.run(['mkdir', homes + '/anna'], check=True)\n"
        "subprocess.run(['mount', '--bind', homes + '/anna', elsewhere], check=True)\n"
        "subprocess.run(['mount', '-t', 'tmpfs', 'hidden', homes], check=True)\n"
        "subprocess.run(['mkdir', homes + '/anna'], check=True)\n"
        "subprocess.run(['mount', '--bind', elsewhere, homes + '/anna'], check=True)\n"
        "print(filesystem_of(homes + '/anna').kind, filesystem_of(homes + '/anna').mount_point == homes)\n"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", sys.executable, "-c", code, str(own), str(elsewhere), str(homes)],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["True", "True", "True", "ramfs", "True"], done.stderr


def test_what_is_known_to_be_the_noted_file_system_does_not_lie_under_it() -> None:
    """It may be seen whole here, and only a part of it in a sandbox."""
    here = FileSystem("ext4", "/home", "UUID=1", True, 1)
    assert not here.lies_under("UUID=1 at /home/anna")
    assert here.lies_under("UUID=2 at /home/anna")


@pytest.mark.parametrize(
    ("line", "kind", "identity"),
    [
        ("36 25 0:31 / /mnt/nas rw - nfs4 nas:/photos\\040all rw,vers=4.2", "nfs4", "nas:/photos all"),
        ("36 25 0:31 / /mnt/nas rw shared:1 master:2 - cifs //nas/photos rw", "cifs", "//nas/photos"),
        ("36 25 0:31 / /tmp rw - tmpfs tmpfs rw", "tmpfs", None),
        ("36 25 0:31 / / rw - overlay overlay rw,lowerdir=/a", "overlay", None),
        ("36 25 0:31 / /mnt/x rw - fuse.sshfs me@host:/x rw", "fuse.sshfs", None),
    ],
)
def test_remote_file_systems_are_known_by_server_and_export_and_memory_by_nothing(
    line: str, kind: str, identity: str | None
) -> None:
    mount = _parsed(line + "\n")
    assert (mount.kind, _identity(mount)) == (kind, identity)


def test_adoption_divides_what_was_there_from_what_comes_later(tmp_path: Path) -> None:
    for number in range(50):
        old, new = tmp_path / f"old{number}", tmp_path / f"new{number}"
        old.write_bytes(b"x")
        old.stat()
        old.chmod(0o600)  # changed again after somebody looked: stamped with the exact time, not with the tick
        moment = adoption_moment()
        new.write_bytes(b"x")
        assert old.stat().st_ctime_ns <= moment < new.stat().st_ctime_ns


def test_more_folders_than_inotify_may_watch_are_warned_of_with_the_way_out() -> None:
    limit = watch_limit()
    assert limit is not None
    assert watch_limit_warning(limit) is None
    warning = watch_limit_warning(limit + 1)
    assert warning is not None
    assert "sysctl fs.inotify.max_user_watches=" in warning
