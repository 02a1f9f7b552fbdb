"""The built-in store's files on disk: taken in whole or not at all, kept for good, found by their ids only.

DIR/ID                 the media, byte for byte
DIR/.about/ID.json     its original name, comment, size and time
DIR/.incoming/…        what is still arriving; emptied at the next start
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from pixstored.errors import ConfigError, Fault
from pixstored.slotted import dataclass

_ID = re.compile(r"[0-9a-f]{32}\.[a-z0-9]{1,10}")
_TIME_DIGITS = 12
"""Hexadecimal digits of the milliseconds since the epoch: enough until the year 10889."""
_RANDOM_BYTES = 10
"""80 bits that nobody can guess: whoever has a link has it from the store."""
_WRITE_OUT_EVERY = 8 * 1024 * 1024
"""Bytes after which the kernel is asked to begin writing them out: the last sync has little left to wait for then
(200 MiB over loopback onto an SSD, measured: 280 MB/s without, 780 MB/s with)."""
_PRIVATE_DIR = 0o700
_PRIVATE_FILE = 0o600
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class DiskFailure(Exception):
    """The disk did not take, give or remove something; the text says why, without any file's name."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(os.strerror(cause.errno) if cause.errno else "unknown error")


@dataclass(frozen=True, slots=True)
class About:
    """What is kept with a stored file. `size` is bytes, `stored_at` seconds since the epoch."""

    name: str
    comment: str | None
    size: int
    stored_at: float


class Incoming:
    """One file that is arriving. As a context manager it leaves nothing behind unless `keep` was called."""

    def __init__(self, files: EmbeddedFiles) -> None:
        self._files = files
        self._path = f"{files.incoming_dir}/{secrets.token_hex(_RANDOM_BYTES)}"
        self._kept = False
        self.size = 0
        self._written_out = 0
        try:
            self._fd = os.open(self._path, _NEW_FILE, _PRIVATE_FILE)
        except OSError as error:
            raise DiskFailure(error) from error

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        os.close(self._fd)
        if not self._kept:
            with suppress(OSError):
                os.unlink(self._path)

    def write(self, data: memoryview) -> None:
        """Appends these bytes. Raises `DiskFailure`."""
        try:
            while data:
                done = os.write(self._fd, data)
                self.size += done
                data = data[done:]
            if self.size - self._written_out >= _WRITE_OUT_EVERY:
                self._written_out = self.size
                os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise DiskFailure(error) from error

    def keep(self, name: str, comment: str | None, extension: str) -> str:
        """Makes it durable under a new id, and returns that id. Raises `DiskFailure`: nothing is kept then."""
        now = time.time()
        media_id = f"{int(now * 1000):0{_TIME_DIGITS}x}{secrets.token_hex(_RANDOM_BYTES)}.{extension}"
        about = About(name, comment, self.size, now)
        try:
            os.fsync(self._fd)
            self._files.commit(self._path, media_id, about)
        except OSError as error:
            raise DiskFailure(error) from error
        self._kept = True
        return media_id


class EmbeddedFiles:
    """The folder. Safe to use from any thread."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._about = f"{self._root}/.about"
        self.incoming_dir = f"{self._root}/.incoming"
        self._lock_fd: int | None = None

    def open(self) -> None:
        """Makes the folder where it is missing, and clears what a crash left half-arrived.

        Raises `ConfigError` naming `store.embedded.dir` if it cannot be used.
        """
        try:
            for folder in (self._root, self._about, self.incoming_dir):
                os.makedirs(folder, _PRIVATE_DIR, exist_ok=True)
            if not os.access(self._root, os.W_OK | os.X_OK):
                raise PermissionError(f"no permission to write to {self._root}")
            self._lock_fd = os.open(self.incoming_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            reason = error.strerror or str(error)
            message = f"{self._root} cannot be used ({reason}): make it writable, or choose another folder"
            raise ConfigError(
                "the built-in store cannot start", [Fault("store.embedded.dir", None, message)]
            ) from error
        self._sweep(self._lock_fd)

    def _sweep(self, lock_fd: int) -> None:
        """Removes half-arrived files, unless another process is at work in the same folder."""
        with suppress(OSError):  # busy, or a file system without locks: what lies there does no harm
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for entry in os.scandir(self.incoming_dir):
                os.unlink(entry.path)
        with suppress(OSError):
            fcntl.flock(lock_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def close(self) -> None:
        """Lets go of the folder."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def incoming(self) -> Incoming:
        """A place for a file that is about to arrive. Raises `DiskFailure`."""
        return Incoming(self)

    def commit(self, arrived: str, media_id: str, about: About) -> None:
        """Gives an arrived, synced file its place. Durable when it returns; OSError: nothing is kept."""
        sidecar = self._sidecar(media_id)
        fd = os.open(sidecar, _NEW_FILE, _PRIVATE_FILE)
        try:
            try:
                os.write(fd, json.dumps(asdict(about), ensure_ascii=False).encode("utf-8", "replace"))
                os.fsync(fd)
            finally:
                os.close(fd)
            _sync_dir(self._about)
            os.rename(arrived, self._media(media_id))
        except OSError:
            os.unlink(sidecar)
            raise
        try:
            _sync_dir(self._root)
        except OSError:
            self.delete(media_id)
            raise

    def read(self, media_id: str) -> BinaryIO | None:
        """The stored file, open; None if there is none of this id, or if this is no id at all."""
        if not _ID.fullmatch(media_id):
            return None
        try:
            fd = os.open(self._media(media_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DiskFailure(error) from error
        return os.fdopen(fd, "rb", buffering=0)

    def about(self, media_id: str) -> About | None:
        """What is kept with a stored file; None if that is lost or unreadable."""
        if not _ID.fullmatch(media_id):
            return None
        try:
            with open(self._sidecar(media_id), encoding="utf-8") as sidecar:
                return About(**json.load(sidecar))
        except (OSError, ValueError, TypeError):
            return None

    def delete(self, media_id: str) -> bool:
        """Removes a stored file for good; False if there is none of this id. Raises `DiskFailure`."""
        if not _ID.fullmatch(media_id):
            return False
        try:
            os.unlink(self._media(media_id))
            with suppress(FileNotFoundError):
                os.unlink(self._sidecar(media_id))
            _sync_dir(self._root)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise DiskFailure(error) from error
        return True

    def _media(self, media_id: str) -> str:
        return f"{self._root}/{media_id}"

    def _sidecar(self, media_id: str) -> str:
        return f"{self._about}/{media_id}.json"


def _sync_dir(path: str) -> None:
    """A new name is durable only when its folder is."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
