"""A mount namespace of its own: what is mounted in it is seen by nobody else, and goes with it.

with MountSpace() as space:
    space.run("mount", "-t", "tmpfs", "tmpfs", folder)
    space.seen(folder / "a.jpg").write_bytes(b"…")
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from support.dying import DIES_WITH_US

_TESTS = Path(__file__).resolve().parent.parent

PATIENCE = 30.0
"""Seconds after which something that should have happened has not."""

_HOLD = "echo made; exec sleep infinity"


def missing() -> str | None:
    """Why nothing can be mounted here; None if it can."""
    if os.geteuid() != 0:
        return "needs root, to mount file systems"
    for program in ("unshare", "nsenter", "mkfs.ext4", "losetup"):
        if shutil.which(program) is None:
            return f"needs {program}"
    return None if os.path.exists("/dev/fuse") else "needs /dev/fuse"


class MountSpace:
    """Held by a process that only sleeps. `before` is what stands before a command that is to run in it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            [*DIES_WITH_US, "unshare", "--mount", "--propagation", "private", "sh", "-c", _HOLD],
            stdout=subprocess.PIPE,
        )
        self._programs: list[subprocess.Popen[bytes]] = []
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"made\n"
        self.before = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]

    def __enter__(self) -> MountSpace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """All that was mounted goes with its last process."""
        for process in (*self._programs, self._holder):
            process.kill()
            process.wait()
        if self._holder.stdout:
            self._holder.stdout.close()

    def run(self, *words: str | Path) -> None:
        """Runs a program in it to its end."""
        done = subprocess.run([*self.before, *words], capture_output=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{words}: {done.stderr!r}"

    def seen(self, path: Path) -> Path:
        """The same place as it is seen from inside."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def fat_like(self, folder: Path, at: Path) -> subprocess.Popen[bytes]:
        """Shows `folder` as a `support.fatlike` file system, by a process that may be killed."""
        process = subprocess.Popen(
            [*DIES_WITH_US, *self.before, sys.executable, "-m", "support.fatlike", folder, at],
            env={**os.environ, "PYTHONPATH": str(_TESTS)},
        )
        self._programs.append(process)
        deadline = time.monotonic() + PATIENCE
        while not os.path.ismount(self.seen(at)):
            assert process.poll() is None and time.monotonic() < deadline, "it was not mounted"
            time.sleep(0.02)
        return process
