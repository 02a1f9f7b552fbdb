"""Uploads made of bytes and of files, which remember what the store made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


class BytesUpload:
    """Gives its bytes in blocks, from one buffer that is used again, as a file would."""

    def __init__(
        self,
        data: bytes,
        filename: str = "IMG_0001.jpg",
        comment: str | None = None,
        *,
        on_read: Callable[[int], None] = lambda offset: None,
        on_release: Callable[[], None] = lambda: None,
        on_progress: Callable[[int], None] = lambda sent: None,
    ) -> None:
        self.data = data
        self.size = len(data)
        self.filename = filename
        self.comment = comment
        self.noted = 0
        self.taken_back = 0
        self.moved: list[int] = []
        self._offset = 0
        self._buffer = bytearray(1 << 20)
        self._on_read = on_read
        self._on_release = on_release
        self._on_progress = on_progress

    @property
    def on_record(self) -> bool:
        """The ledger says that the store may have it."""
        return self.noted > self.taken_back

    def read(self, limit: int) -> memoryview:
        self._on_read(self._offset)
        block = self.data[self._offset : self._offset + limit]
        self._offset += len(block)
        self._buffer[: len(block)] = block
        return memoryview(self._buffer)[: len(block)]

    def before_release(self) -> None:
        assert self._offset == self.size, "the note comes when all bytes are read"
        self._on_release()
        self.noted += 1

    def take_back(self) -> None:
        self.taken_back += 1

    def progress(self, sent: int) -> None:
        self.moved.append(sent)
        self._on_progress(sent)


class FileUpload:
    """A real file on its way, read block by block and hashed as it goes; it remembers as `BytesUpload` does."""

    def __init__(self, path: Path, comment: str | None = None, *, filename: str | None = None) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.filename = path.name if filename is None else filename
        self.comment = comment
        self.noted = 0
        self.taken_back = 0
        self.moved: list[int] = []
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None

    @property
    def sha256(self) -> str:
        """Of what has been read so far."""
        return self._hash.hexdigest()

    def read(self, limit: int) -> memoryview:
        if self._file is None:
            self._file = self.path.open("rb")
        block = self._file.read(limit)
        assert block, "the store asks for more than the file has"
        self._hash.update(block)
        return memoryview(block)

    def before_release(self) -> None:
        assert self._file is not None and self._file.tell() == self.size, "the note comes when all bytes are read"
        self._file.close()
        self.noted += 1

    def take_back(self) -> None:
        self.taken_back += 1

    def progress(self, sent: int) -> None:
        self.moved.append(sent)

    def close(self) -> None:
        """Lets go of the file, if the store did not come to its end."""
        if self._file is not None:
            self._file.close()
