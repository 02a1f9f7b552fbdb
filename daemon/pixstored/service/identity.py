"""Who this process is; root becomes the owner of the ledger before it writes there, so that the owner still can."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pixstored.config import find_config
from pixstored.errors import ConfigError

_NAMES_THE_FILE = re.compile("-c|--config(=|$)")


def my_name() -> str:
    """The user whose rights this process has; the number where there is no name for it."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def own_program() -> list[str]:
    """The argv of this very program: the script beside its Python, or that Python with its module."""
    script = Path(sys.executable).with_name("pixstored")
    return [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "pixstored"]


def line_for_root(words: Sequence[str], environ: Mapping[str, str]) -> str:
    """The command line by which root does what these words (an argv without the program) ask for. sudo has a PATH and
    an environment of its own: the program is named by its path, and the configuration if `environ` has named it."""
    named = any(map(_NAMES_THE_FILE.match, words))
    return shlex.join(["sudo", *own_program(), *([] if named else _by_option(environ)), *words])


def _by_option(environ: Mapping[str, str]) -> list[str]:
    try:
        return ["-c", str(find_config(None, environ))]
    except ConfigError:
        return []


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
