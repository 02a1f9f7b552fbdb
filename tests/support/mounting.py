"""File systems that a test mounts, pulls, and brings back. Only root can, and not in every container."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_DISK = 64 * 1024 * 1024
"""Bytes of an ext4, of which few are ever written."""

_LIBC = ctypes.CDLL(None, use_errno=True)

_CLONE_NEWNS = 0x00020000
"""A mount namespace, of <linux/sched.h>; `os.unshare` is of Python 3.12."""
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
"""Of <linux/mount.h>: what is mounted is told to no other namespace."""


def mount_for_ourselves() -> None:
    """What this process mounts from now on is seen by it and its children alone, and is gone with the last of them,
    however they end. To be called before there are threads, which would stay where they are."""
    if _LIBC.unshare(_CLONE_NEWNS) == 0 and _LIBC.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "mount --make-rprivate /")


def mount(source: str | os.PathLike[str], at: Path, *options: str) -> None:
    """Mounts, or skips the test."""
    command = ["mount", *options, os.fspath(source), os.fspath(at)]
    done = None
    if os.geteuid() == 0:
        done = subprocess.run(command, capture_output=True, text=True)
    if done is None or done.returncode != 0:
        pytest.skip(f"only root can mount, and not in every container ({done.stderr.strip() if done else 'not root'})")


def unmount(at: Path) -> None:
    """As a disk that is pulled goes, whoever uses it."""
    subprocess.run(["umount", "--lazy", os.fspath(at)], check=True)


@contextmanager
def unmounted_after(at: Path) -> Iterator[None]:
    """Whatever is mounted there then is unmounted."""
    try:
        yield
    finally:
        while _is_mounted(at):
            unmount(at)


def _is_mounted(at: Path) -> bool:
    """As the kernel has it: `os.path.ismount` takes a folder of the same file system for no mount."""
    mounted = (line.split()[4] for line in Path("/proc/thread-self/mountinfo").read_text().splitlines())
    return os.fspath(at) in mounted


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """An empty disk that is full after so much, which mount(8) takes as "1m"."""
    folder.mkdir()
    mount("tmpfs", folder, "-t", "tmpfs", "-o", f"size={size},mode=755")
    with unmounted_after(folder):
        yield folder


def ext4_image(file: Path) -> Path:
    """An empty ext4 with a UUID of its own."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("there is no mkfs.ext4 (package e2fsprogs)")
    with file.open("wb") as image:
        image.truncate(_DISK)
    subprocess.run(["mkfs.ext4", "-q", os.fspath(file)], check=True)
    return file


@contextmanager
def unanswered_mount(at: Path) -> Iterator[int]:
    """A FUSE file system whose program never answers: whoever touches it waits, until the descriptor is closed."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("only root can mount, and only with FUSE")
    descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0".encode()
        if _LIBC.mount(b"silent", os.fsencode(at), b"fuse", 0, options) != 0:
            pytest.skip(f"FUSE cannot be mounted here: {os.strerror(ctypes.get_errno())}")
        yield descriptor
    finally:
        os.close(descriptor)
        subprocess.run(["umount", "--lazy", os.fspath(at)], check=True)
