"""What a process has used, from proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

_KIB = 1024


def peak_memory(pid: int | str) -> int:
    """The most memory the process has had resident so far, in bytes (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * _KIB
    raise ValueError(f"no VmHWM of {pid}")


def processor_time(pid: int) -> float:
    """Seconds of processor time the process has used so far, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
