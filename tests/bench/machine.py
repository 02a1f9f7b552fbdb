"""What figures were measured on: without it they mean nothing."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import tempfile
from importlib.metadata import version
from pathlib import Path


def facts() -> dict[str, str]:
    """What to tell beside the figures, in order."""
    return {
        "pixstored": version("pixstored"),
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        "Memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "Kernel": f"Linux {platform.release()} ({platform.machine()})",
        "Python": f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "requests": f"{version('requests')}, urllib3 {version('urllib3')}",
        "File system": _file_system(Path(tempfile.gettempdir())),
    }


def _processor() -> str:
    matched = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return matched[1] if matched else platform.machine()


def _file_system(folder: Path) -> str:
    """The kind of file system the measured files lie on, by the longest mount point above them."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(above)[1] if above else "unknown"
