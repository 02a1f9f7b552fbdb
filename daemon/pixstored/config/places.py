"""Where things are: the configuration file itself, what its relative paths mean, and where the ledger lies by default.

All of it depends on the file (its folder and its owner) rather than on who runs the command: one configuration is one
ledger, for the daemon, for its owner at a terminal and for `sudo`.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

from pixstored.errors import ConfigError
from pixstored.slotted import dataclass

SYSTEM_FOLDER = Path("/etc")
"""A configuration below it is the machine's, not a person's."""
SYSTEM_FILE = Path("/etc/pixstored/config.yaml")
SYSTEM_LEDGER = Path("/var/lib/pixstored/ledger.db")
SYSTEM_CONTROL = Path("/run/pixstored/control.sock")

_OWN_FILE = Path("pixstored", "config.yaml")
_OWN_LEDGER = Path("pixstored", "ledger.db")
_CONTROL_NAME = "control.sock"
_EMBEDDED_NAME = "store"
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>[A-Za-z_]\w*)\}|(?P<bare>[A-Za-z_]\w*))", re.ASCII)
_PLAIN_NAME = re.compile("[A-Z_]{1,40}")
"""What a variable's name looks like. Anything else may be a part of the API key in the wrong line: not repeated."""


def find_config(explicit: str | None, environ: Mapping[str, str]) -> Path:
    """The configuration file, absolute: `-c`, `$PIXSTORED_CONFIG`, the user's own, the machine's.

    Raises ConfigError if there is none; what is named by the first two must be there.
    """
    if explicit is not None:
        return _named(explicit, "-c/--config")
    if environ.get("PIXSTORED_CONFIG"):
        return _named(environ["PIXSTORED_CONFIG"], "$PIXSTORED_CONFIG")
    own = _own_file(environ)
    looked_at = [own, SYSTEM_FILE] if own is not None else [SYSTEM_FILE]
    for place in looked_at:
        if _is_there(place):
            return place
    raise ConfigError(
        f"there is no configuration: -c/--config and $PIXSTORED_CONFIG name none, and neither is there "
        f"{' nor '.join(str(place) for place in looked_at)}; to begin, write these lines to {looked_at[0]}: "
        "'store: {key_file: key}' (a file beside it with your API key) and 'watch: [{path: ~/Pictures}]'"
    )


@dataclass(frozen=True, slots=True)
class Places:
    """How one configuration file sees the file system. `home` and `state` (its XDG state folder) are its owner's."""

    file: Path
    home: str | None
    state: str | None
    environ: Mapping[str, str]

    @classmethod
    def of(cls, file: Path, owner: int, environ: Mapping[str, str]) -> Places:
        """For the absolute path of a file and the user id that owns it; our environment counts if that is us."""
        if owner != os.geteuid():
            home = _home_of(owner)
            return cls(file, home, _below(home, ".local/state"), environ)
        home = _own_home(environ)
        return cls(file, home, _absolute(environ, "XDG_STATE_HOME") or _below(home, ".local/state"), environ)

    def resolve(self, text: str) -> Path:
        """The absolute path that a text of the file means, symlinks kept. Raises ValueError."""
        joined = os.path.join(self.file.parent, self._at_home(self._with_variables(text)))
        plain = os.path.normpath(joined)
        if ".." in joined.split("/") and os.path.realpath(plain) != os.path.realpath(joined):
            plain = os.path.realpath(joined)  # a ".." after a symlink: the kernel's way, not the spelling's
        _check_encodable(plain)
        return Path("/" + plain.lstrip("/"))

    def ledger(self) -> Path:
        """Where the ledger lies unless the file says so. Raises ValueError if that is nowhere."""
        if self._is_system():
            return SYSTEM_LEDGER
        if self.state is None:
            raise ValueError("is needed: the owner of this file has no home folder to keep it in")
        return Path(self.state) / _OWN_LEDGER

    def control(self, ledger: Path) -> Path:
        """Where the daemon's socket lies unless the file says so."""
        return SYSTEM_CONTROL if self._is_system() else ledger.parent / _CONTROL_NAME

    @staticmethod
    def embedded(ledger: Path) -> Path:
        """Where the built-in store keeps files unless the file says so."""
        return ledger.parent / _EMBEDDED_NAME

    def _is_system(self) -> bool:
        return self.file.is_relative_to(SYSTEM_FOLDER)

    def _with_variables(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            if match["dollar"]:
                return "$"
            name = match["braced"] or match["bare"]
            if not self.environ.get(name):
                shown = f"${name}" if _PLAIN_NAME.fullmatch(name) else "a variable"
                raise ValueError(f"names {shown}, which is not set (a plain $ is written $$)")
            return self.environ[name]

        return _VARIABLE.sub(value, text)

    def _at_home(self, text: str) -> str:
        if not text.startswith("~"):
            return text
        user, slash, rest = text[1:].partition("/")
        home = _home_called(user) if user else self.home
        if home is None:
            whose = "that user" if user else "the owner of this file"
            raise ValueError(f"begins with ~, but {whose} has no home folder: write the path out")
        return f"{home}{slash}{rest}"


def _named(text: str, by: str) -> Path:
    path = Path(os.path.abspath(text))
    if not _is_there(path):
        raise ConfigError(f"{path}: there is no such file, but {by} names it")
    return path


def _own_file(environ: Mapping[str, str]) -> Path | None:
    folder = _absolute(environ, "XDG_CONFIG_HOME") or _below(_own_home(environ), ".config")
    return None if folder is None else Path(folder) / _OWN_FILE


def _is_there(path: Path) -> bool:
    """False only if it is surely not there: one that may not be looked at is the one meant."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


def _absolute(environ: Mapping[str, str], name: str) -> str | None:
    """A folder named by the environment; relative ones do not count (XDG Base Directory Specification)."""
    folder = environ.get(name, "")
    return folder if folder.startswith("/") else None


def _own_home(environ: Mapping[str, str]) -> str | None:
    return _absolute(environ, "HOME") or _home_of(os.geteuid())


def _home_of(user: int) -> str | None:
    try:
        return pwd.getpwuid(user).pw_dir
    except KeyError:
        return None


def _home_called(user: str) -> str | None:
    try:
        return pwd.getpwnam(user).pw_dir
    except (KeyError, ValueError):
        return None


def _below(home: str | None, folder: str) -> str | None:
    return None if home is None else os.path.join(home, folder)


def _check_encodable(path: str) -> None:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError("holds a character that no path can") from None
