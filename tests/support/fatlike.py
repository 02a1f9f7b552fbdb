"""A file system in user space as FAT is one: inodes made up as it goes, times in steps of two seconds, no links.

python -m support.fatlike FOLDER MOUNTPOINT     # shows FOLDER there, until it is killed or unmounted
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from mfusepy import FUSE, Operations  # type: ignore[import-untyped] # it has types, but does not say so

_STEP_NS = 2_000_000_000
"""FAT keeps the time of the last change in steps of two seconds."""


class FatLike(Operations):  # type: ignore[misc] # as above
    """Shows a folder. Without `use_ino` the kernel's numbers for its files are made up, anew after each mount."""

    use_ns = True

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def _real(self, path: str) -> str:
        return self._folder + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        status = os.lstat(self._real(path))
        stepped = status.st_mtime_ns // _STEP_NS * _STEP_NS
        return {
            "st_mode": status.st_mode,
            "st_nlink": 1,
            "st_size": status.st_size,
            "st_blocks": status.st_blocks,
            "st_mtime": stepped,
            "st_ctime": stepped,
            "st_atime": stepped,
        }

    def readdir(self, path: str, fh: int) -> Iterator[str]:
        yield from (".", "..", *os.listdir(self._real(path)))

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._real(path))
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._real(path))
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._real(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._real(old), self._real(new))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._real(path), ns=times) if times else os.utime(self._real(path))
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._real(path), length)
        return 0

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return os.open(self._real(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)

    def open(self, path: str, flags: int) -> int:
        return os.open(self._real(path), flags & ~os.O_NOFOLLOW)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0


if __name__ == "__main__":
    FUSE(FatLike(sys.argv[1]), sys.argv[2], foreground=True, nothreads=True, allow_other=True, fsname="fatlike")
