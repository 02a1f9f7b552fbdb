"""A machine of its own for tests: a real systemd as PID 1 of namespaces, over an overlay of this machine's root.

It shows this machine's programs; what it changes is gone with it, and it has nothing but a loopback network.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from support.app import eventually

_BOOT_SCRIPT = Path(__file__).with_name("boot.sh")
_SYSTEMD = Path("/lib/systemd/systemd")
_TOOLS = ("unshare", "nsenter", "setpriv", "mount", "systemctl", "journalctl")

_UNSHARE = ("unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork")

_PATIENCE = 60.0
"""Seconds for one command in the machine."""

_LAST_ORDERS = 20.0
"""Seconds for the machine to shut down; after that it is killed."""

_UP = frozenset({"running", "degraded"})
"""What `systemctl is-system-running` says once booting is over."""

_CLONE_NEWNET = 0x40000000
"""A network namespace, of <linux/sched.h>."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What boot.sh needs, tried in namespaces that end with it; $0 is an empty folder.
_PROBE = """
mount -t tmpfs probe "$0" && mkdir "$0/up" "$0/work" "$0/root" &&
mount -t overlay -o "lowerdir=/,upperdir=$0/up,workdir=$0/work" overlay "$0/root" &&
mount -t proc proc "$0/root/proc"
"""


_AT_HOME = 'export HOME="$(getent passwd "$(id -u)" | cut -d: -f6)"; exec "$@"'
"""Runs a command as it is run after a login: runuser(1) leaves HOME as it was."""


class Ran(NamedTuple):
    """What became of a command: its exit code, and all it printed."""

    code: int
    out: str


def missing() -> str | None:
    """Why no machine can be booted here; None if one can."""
    if os.geteuid() != 0:
        return "needs root: namespaces and mounts are made"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent or not _SYSTEMD.exists():
        return f"needs systemd and util-linux: {', '.join(absent) or _SYSTEMD} is missing"
    if _cgroups() is None:
        return "needs a cgroup v2 hierarchy that may be written"
    with tempfile.TemporaryDirectory(prefix="machine-") as folder:
        probe = subprocess.run([*_UNSHARE, "--cgroup", "sh", "-c", _PROBE, folder], capture_output=True, text=True)
    return f"needs namespaces and overlay mounts: {probe.stderr.strip()}" if probe.returncode else None


def _cgroups() -> Path | None:
    """Where a cgroup of our own may be made: below the one we are in."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            ours = next(row[3:] for row in Path("/proc/self/cgroup").read_text().splitlines() if row.startswith("0::"))
            place = Path(fields[4]) / os.path.relpath(ours, fields[3])
            return place if os.access(place / "cgroup.procs", os.W_OK) else None
    return None


def _memory_cgroup() -> Path:
    """Where our own processes are in the memory hierarchy of cgroup v1."""
    rows = [row.split(":", 2) for row in Path("/proc/self/cgroup").read_text().splitlines()]
    ours = next(path for _, controllers, path in rows if controllers == "memory")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup" and "memory" in fields[-1].split(","):
            return Path(fields[4]) / os.path.relpath(ours, fields[3])
    raise AssertionError("no memory controller is mounted")


class Machine:
    """Boots when it is made. `shown`: folders of this machine that it needs, and where. `prepared`: by this script."""

    def __init__(self, shown: Mapping[Path, str], prepared: str = "") -> None:
        cgroups = _cgroups()
        assert cgroups, "ask `missing` first"
        self._folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self._cgroup = cgroups / self._folder.name
        self._log = self._folder.with_suffix(".log")
        self._outer: subprocess.Popen[bytes] | None = None
        try:
            self._cgroup.mkdir()
            self._boot([place for pair in shown.items() for place in map(str, pair)], prepared)
        except BaseException:
            self.close()
            raise

    # --- what tests do with it

    def run(self, command: str | Sequence[str], *, stdin: bytes = b"", cwd: str = "/", user: str = "root") -> Ran:
        """Runs a command line of `sh`, or an argv, to its end, as the user and from the folder given."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        environ = ["env", "-i", f"PATH={_PATH}", "LANG=C.UTF-8", "HOME=/root", f"USER={user}"]
        as_user = [] if user == "root" else ["runuser", "-u", user, "--", "sh", "-c", _AT_HOME, "sh"]
        done = subprocess.run(
            [*self._enter(), *environ, "sh", "-c", 'cd "$0" && exec "$@"', cwd, *as_user, *argv],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PATIENCE,
        )
        return Ran(done.returncode, done.stdout.decode("utf-8", "backslashreplace"))

    def ok(self, command: str | Sequence[str], **how: Any) -> str:
        """Runs a command that must succeed, and returns what it printed."""
        code, out = self.run(command, **how)
        assert code == 0, f"{command} ended with {code}: {out}"
        return out

    def put(self, path: str, content: str | bytes, mode: int = 0o644, owner: str = "root") -> None:
        """Writes a file, with the folders that takes, in one step."""
        folder, name = os.path.split(path)
        part = f"{folder}/.{name}.part"
        self.ok(
            f"mkdir -p '{folder}' && cat > '{part}' && chmod {mode:o} '{part}' && chown {owner} '{part}'"
            f" && mv '{part}' '{path}'",
            stdin=content.encode() if isinstance(content, str) else content,
        )

    def inside(self, path: str) -> Path:
        """A file of the machine, as it is reached from here."""
        return Path(f"/proc/{self._pid()}/root{path}")

    def journal(self, *arguments: str) -> list[dict[str, str]]:
        """The journal's entries that these arguments of journalctl(1) choose, oldest first."""
        self.ok("journalctl --sync")
        out = self.ok(["journalctl", "--quiet", "--no-pager", "--output=json", *arguments])
        return [json.loads(line) for line in out.splitlines()]

    def show(self, unit: str, field: str) -> str:
        """One property of a unit, as `systemctl show` has it."""
        return self.ok(["systemctl", "show", unit, f"--property={field}", "--value"]).rstrip("\n")

    @contextmanager
    def without_memory(self, unit: str) -> Iterator[None]:
        """Meanwhile the kernel ends a service of this machine as soon as it takes more memory than it has."""
        if "memory" in (self._cgroup / "cgroup.controllers").read_text().split():
            self.ok(f"systemctl set-property --runtime {unit} MemoryMax=1M")
            try:
                yield
            finally:
                self.ok(f"systemctl set-property --runtime {unit} MemoryMax=infinity")
            return
        # The memory controller is one of cgroup v1 here, and not this machine's to use: it is done to it from outside.
        starved = _memory_cgroup() / f"{self._folder.name}-starved"
        starved.mkdir()
        (starved / "memory.limit_in_bytes").write_text("0")
        processes = (self._cgroup / "system.slice" / f"{unit}.service" / "cgroup.procs").read_text().split()
        try:
            for process in processes:
                (starved / "cgroup.procs").write_text(process)
            yield
        finally:
            eventually((starved / "cgroup.procs").read_text, lambda left: not left)
            starved.rmdir()

    @contextmanager
    def network(self) -> Iterator[None]:
        """Sockets that this thread makes meanwhile are the machine's, and stay so."""
        with open("/proc/thread-self/ns/net") as ours, open(f"/proc/{self._pid()}/ns/net") as theirs:
            _enter_network(theirs.fileno())
            try:
                yield
            finally:
                _enter_network(ours.fileno())

    # --- its life

    def _boot(self, shown: list[str], prepared: str) -> None:
        arguments = [str(_BOOT_SCRIPT), str(self._folder), str(self._cgroup), *shown]
        with open(self._log, "wb") as log:
            self._outer = subprocess.Popen(
                # Dies with us, and all of the machine with it.
                ["setpriv", "--pdeathsig=KILL", *_UNSHARE, "--kill-child=KILL", "sh", *arguments],
                env={**os.environ, "BOOT_PREPARE": prepared},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._is_systemd, bool)
        eventually(lambda: self.run("systemctl is-system-running").out, lambda out: out.strip() in _UP)

    def _is_systemd(self) -> bool:
        assert self._outer
        if self._outer.poll() is not None:
            raise AssertionError(f"the machine did not boot: {self._log.read_text()}")
        pid = self._pid()
        return pid is not None and Path(f"/proc/{pid}/comm").read_text().strip() == "systemd"

    def _pid(self) -> str | None:
        """Of its PID 1, as it is outside."""
        note = self._folder / "pid"
        return (note.read_text().strip() or None) if note.exists() else None

    def _enter(self) -> list[str]:
        pid = self._pid()
        assert pid, "the machine has not begun"
        return ["nsenter", f"--target={pid}", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--"]

    def close(self) -> None:
        """Shuts the machine down, or kills it, and leaves nothing of it behind."""
        try:
            if self._outer and self._outer.poll() is None:
                self._shut_down(self._outer)
        finally:
            for folder, _, _ in os.walk(self._cgroup, topdown=False):
                os.rmdir(folder)
            shutil.rmtree(self._folder)
            self._log.unlink(missing_ok=True)

    def _shut_down(self, outer: subprocess.Popen[bytes]) -> None:
        try:
            if self._pid():
                self.run("systemctl exit")
            outer.wait(_LAST_ORDERS)
        except (subprocess.TimeoutExpired, AssertionError):
            pass
        finally:
            if outer.poll() is None:
                outer.send_signal(signal.SIGKILL)
            outer.wait()
            self._wait_for_the_last()

    def _wait_for_the_last(self) -> None:
        """The kernel ends the processes of a PID namespace one by one; their cgroups go when the last is gone."""
        deadline = time.monotonic() + _LAST_ORDERS
        while "populated 1" in (self._cgroup / "cgroup.events").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)


def _enter_network(descriptor: int) -> None:
    """setns(2) for this thread; `os.setns` is of Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
