"""Disks of several kinds that are mounted and pulled: real file systems in a mount namespace of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.files import jpeg, write
from support.mount_space import MountSpace
from support.mounting import ext4_image

KINDS = ("tmpfs", "ext4", "overlay", "fuse")


class Disks:
    """A folder for each kind of file system, on which it is mounted or not; what is written there, by its content."""

    def __init__(self, home: Path, space: MountSpace) -> None:
        self._space = space
        self._home = home
        self._fuse: subprocess.Popen[bytes] | None = None
        self._number = 0
        self.folders = {kind: home / "mnt" / kind for kind in KINDS}
        for folder in (*self.folders.values(), *(home / name for name in ("lower", "upper", "work", "back"))):
            folder.mkdir(parents=True)
        self.image = ext4_image(home / "disk.img")
        """What is mounted as the ext4."""

    def mount(self, *kinds: str) -> None:
        """Each as it was when it was mounted last; a tmpfs is empty."""
        for kind in kinds:
            self._mount(kind, self.folders[kind])

    def _mount(self, kind: str, at: Path) -> None:
        if kind == "tmpfs":
            self._space.run("mount", "-t", "tmpfs", "tmpfs", at)
        elif kind == "ext4":
            self._space.run("mount", "-o", "loop", self.image, at)
        elif kind == "overlay":
            where = ",".join(f"{name}dir={self._home}/{name}" for name in ("lower", "upper", "work"))
            self._space.run("mount", "-t", "overlay", "-o", where, "overlay", at)
        else:
            self._fuse = self._space.fat_like(self._home / "back", at)

    def pull(self, *kinds: str) -> None:
        """As somebody does who does not ask first."""
        for kind in kinds:
            self._space.run("umount", "-l", self.folders[kind])

    def kill_fuse(self) -> None:
        """The file system stays mounted, and answers nothing but that it is not connected."""
        assert self._fuse
        self._fuse.kill()
        self._fuse.wait()

    def put(self, kind: str, name: str, size: int | None = None) -> str:
        """A new picture there."""
        self._number += 1
        path = write(self._space.seen(self.folders[kind]) / name, jpeg(size, seed=self._number))
        return str(path)

    def write_elsewhere(self, kind: str, name: str) -> None:
        """As another machine does while the disk is away."""
        elsewhere = self._home / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        self._mount(kind, elsewhere)
        self._number += 1
        write(self._space.seen(elsewhere) / name, jpeg(seed=self._number))
        self._space.run("umount", elsewhere)
