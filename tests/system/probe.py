"""What the sandbox of the unit allows: run in the daemon's place, writes a line to FILE for each thing it tried."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_RIGHTS = {0: "none", 1 << 28: "cap_lease"}
"""Of <linux/capability.h>, as CapBnd in proc(5) has them."""


def main() -> None:
    for folder in ("/run/pixstored", "/tmp", "/srv/open", "/home/open", "/root", "/var/open", "/etc", "/usr"):
        _try(f"write {folder}", partial(Path(folder, "probe").write_text, "x"))
    _try("read /home/open", lambda: os.listdir("/home/open"))
    _try("read /home/watched", lambda: os.listdir("/home/watched"))
    _try("write /home/watched", Path("/home/watched/probe").touch)
    _try("read the key's file", Path("/etc/pixstored/store-key").read_bytes)
    _say("capabilities", _rights())
    _try("become root", lambda: os.setuid(0))
    _try("new namespace", lambda: _call("unshare", _CLONE_NEWUSER))
    _try("mount", lambda: _call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
    _try("raw packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
    _try("writable code", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close())
    _try("see PID 1", lambda: os.stat("/proc/1"))


def _try(what: str, deed: Callable[[], object]) -> None:
    try:
        deed()
    except OSError as error:
        _say(what, os.strerror(error.errno or 0))
    else:
        _say(what, "done")


def _say(what: str, how: str) -> None:
    print(f"{what}: {how}")


def _rights() -> str:
    """What it may do beyond other users, and could ever get to do."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sets = {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapAmb", "CapBnd")}
    return ", ".join(_RIGHTS.get(each, hex(each)) for each in sorted(sets))


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), name)


with open(sys.argv[1], "w") as told, redirect_stdout(told):
    main()
