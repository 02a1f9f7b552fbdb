"""Who this process is; root becomes the owner of the ledger before it writes there, so that the owner still can."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def my_name() -> str:
    """The user whose rights this process has; the number where there is no name for it."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def owner_to_become(ledger: Path) -> int | None:
    """The user id that root becomes: the ledger's owner, or that of the nearest folder above it that is there.

    None if we are not root, or root owns it.
    """
    if os.geteuid() != 0:
        return None
    for place in (ledger, *ledger.parents):
        try:
            return os.stat(place).st_uid or None
        except OSError:
            continue
    return None


def become_owner(ledger: Path) -> None:
    """Gives up being root for good, if the ledger is another user's. Configuration and key are read before."""
    uid = owner_to_become(ledger)
    if uid is None:
        return
    try:
        entry = pwd.getpwuid(uid)
        os.initgroups(entry.pw_name, entry.pw_gid)
        gid = entry.pw_gid
    except KeyError:
        gid = os.stat(ledger.parent).st_gid
        os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
