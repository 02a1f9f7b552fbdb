"""Where the API key comes from, and the key itself whenever it is needed; it is told to nobody else."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pixstored.config.kinds import LONGEST_KEY, parse_secret
from pixstored.config.schema import Secret, StoreConfig
from pixstored.errors import ConfigError
from pixstored.slotted import dataclass

VARIABLE = "PIXSTORED_KEY"
CREDENTIAL = "store-key"
"""The name of the systemd credential (`LoadCredential=store-key:…`)."""


class _Source(Protocol):
    def describe(self) -> str: ...

    def read(self) -> Secret | None: ...


class KeySource:
    """The one place a configuration takes its key from. Safe to use from any thread."""

    def __init__(self, source: _Source) -> None:
        self._source = source

    @classmethod
    def of(cls, config: StoreConfig, environ: Mapping[str, str]) -> KeySource:
        """`store.key`, `store.key_file`, `$PIXSTORED_KEY` or the systemd credential, the first there is.

        The built-in store needs none and gets none. Raises ConfigError for a variable or credential that is no key.
        """
        if config.is_embedded:
            return cls(_Fixed("none", None))
        if config.key is not None:
            return cls(_Fixed("store.key", config.key))
        if config.key_file is not None:
            return cls(_File(config.key_file))
        if environ.get(VARIABLE, "").strip():
            return cls(_Fixed(f"${VARIABLE}", _judged(environ[VARIABLE], f"${VARIABLE}", "set it to the bare key")))
        credential = _credential(environ)
        if credential is not None:
            return cls(_Fixed(f"systemd credential {CREDENTIAL}", _read(credential)[1]))
        return cls(_Fixed("none", None))

    def describe(self) -> str:
        """Where the key comes from, like `file /etc/pixstored/key`, `$PIXSTORED_KEY` or `none`; never the key."""
        return self._source.describe()

    def read(self) -> Secret | None:
        """The key as it is now; None if there is none. A changed key file counts at once, the others never change.

        Raises ConfigError, naming the file and the way out, if the key file cannot be read or holds no key.
        """
        return self._source.read()

    def __repr__(self) -> str:
        return f"KeySource({self.describe()})"


@dataclass(frozen=True, slots=True)
class _Fixed:
    place: str
    key: Secret | None

    def describe(self) -> str:
        return self.place

    def read(self) -> Secret | None:
        return self.key


class _File:
    """A key file, read again only when its stat differs: one `stat` an upload."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: tuple[tuple[int, ...], Secret] | None = None

    def describe(self) -> str:
        return f"file {self._path}"

    def read(self) -> Secret:
        last = self._last
        if last is not None and last[0] == self._look():
            return last[1]
        self._last = now = _read(self._path)  # one assignment: another thread sees the old pair or the new one
        return now[1]

    def _look(self) -> tuple[int, ...] | None:
        try:
            return _stamp(os.stat(self._path))
        except OSError:
            return None  # reading it says why


def _credential(environ: Mapping[str, str]) -> Path | None:
    """The credential's file; None if the unit loads none, which systemd allows, or a blank one."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / CREDENTIAL if folder else None
    return path if path is not None and os.path.lexists(path) and not _is_blank(path) else None


def _is_blank(path: Path) -> bool:
    """True for white space alone: the default (`SetCredential=`) that lets a unit start where no key was put."""
    try:
        data = _open(path)[1]
    except OSError:
        return False  # reading it says why
    return data is not None and not data.strip()


def _read(path: Path) -> tuple[tuple[int, ...], Secret]:
    """The stat of a key file from before it was read, so that a change meanwhile is seen next time; and its key."""
    try:
        found, data = _open(path)
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {_reason(error)}") from None
    if data is None:
        raise ConfigError(f"the key file {path} is not a regular file: put the bare key into one")
    if len(data) > LONGEST_KEY:
        raise ConfigError(
            f"the key file {path} is over {LONGEST_KEY} bytes: it must hold the bare key and nothing else"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"the key file {path} is not text: it must hold the bare key and nothing else") from None
    return _stamp(found), _judged(text, f"the key file {path}", "it must hold the bare key and nothing else")


def _open(path: Path) -> tuple[os.stat_result, bytes | None]:
    """A file's stat, and its first bytes if it is a regular one. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # not waiting for a pipe's writer
    try:
        found = os.fstat(descriptor)
        return found, os.read(descriptor, LONGEST_KEY + 1) if stat.S_ISREG(found.st_mode) else None
    finally:
        os.close(descriptor)


def _judged(text: str, place: str, way_out: str) -> Secret:
    try:
        return parse_secret(text)
    except ValueError as error:
        raise ConfigError(f"{place} {error}; {way_out}") from None


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "there is no such file; write the bare key into it, or correct store.key_file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not; let the user that runs pixstored (uid {os.geteuid()}) read it"
    return error.strerror or "it is not readable"
