"""What a process has used, from proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

_KIB = 1024


def peak_memory(pid: int | str) -> int:
    """The most memory the process has had resident so far, in bytes (VmHWM)."""
    return int(_status(Path(f"/proc/{pid}/status"), "VmHWM").removesuffix("kB")) * _KIB


def processor_time(pid: int) -> float:
    """Seconds of processor time the process has used so far, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_time(pid: int) -> float:
    """The same of all threads that live now, to the microsecond where the kernel counts so finely."""
    try:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in _tasks(pid)) / 1e9
    except OSError:
        return processor_time(pid)


def wake_ups(pid: int) -> int:
    """How often a thread that lives now has gone to sleep by itself, and so has been woken up."""
    return sum(int(_status(task / "status", "voluntary_ctxt_switches")) for task in _tasks(pid))


def available_memory() -> int:
    """Bytes that can be had without swapping."""
    return int(_status(Path("/proc/meminfo"), "MemAvailable").removesuffix("kB")) * _KIB


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _status(file: Path, name: str) -> str:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    raise ValueError(f"{file} has no {name}")
