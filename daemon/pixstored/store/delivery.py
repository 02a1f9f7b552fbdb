"""How one upload goes over a wire, and how far it got: the last bytes only after the ledger's note."""

from __future__ import annotations

from pixstored.errors import Changed
from pixstored.store.base import Upload
from pixstored.store.body import Form
from pixstored.store.connection import Answered, Wire, WireError

BLOCK = 1024 * 1024
"""Bytes asked of the upload at once, at most: memory does not grow with the file."""
HELD_BACK = 1
"""Bytes of the file that leave with the closing boundary, after the note. Without them the body is incomplete,
whatever a server makes of a missing boundary."""


class UploadFault(Exception):
    """Carries an OSError of the upload past the HTTP libraries, which would take it for one of the socket."""

    def __init__(self, error: OSError) -> None:
        super().__init__("the upload itself failed")
        self.error = error


class Delivery:
    """One upload on its way. After `run`, or when it raised, the attributes say how far it got."""

    def __init__(self, upload: Upload, form: Form, answer_timeout: float) -> None:
        self._upload = upload
        self._form = form
        self._answer_timeout = answer_timeout
        self.released = False
        """All of it has gone to the kernel: the store may have it."""
        self.early = False
        """The store answered before that: the connection is of no more use."""
        self.reused = False
        """The connection had served before."""
        self.sent = 0
        """Bytes of the file that have gone to the kernel."""

    @property
    def size(self) -> int:
        return self._upload.size

    def run(self, wire: Wire, head: bytes) -> None:
        """Sends the request, which begins with this head, and waits for the first bytes of its answer.

        Raises a `WireError`, an `UploadFault`, or what the upload raised.
        """
        try:
            self.reused = wire.used
            wire.begin()
            self._release(wire, self._send_all_but_the_end(wire, head))
        except Answered:
            self.early = True
        except OSError as err:
            raise UploadFault(err) from None
        wire.await_answer(self._answer_timeout)

    def _send_all_but_the_end(self, wire: Wire, head: bytes) -> bytes:
        upload = self._upload
        size = left = upload.size
        end = b""
        while left:
            block = upload.read(BLOCK)
            if not 0 < len(block) <= left:
                raise Changed("the file did not give as many bytes as it has")
            first, left = left == size, left - len(block)
            if not left:
                end = bytes(block[-HELD_BACK:])
                block = block[:-HELD_BACK]
            if first:  # in one piece with what stands before it (two pieces in one system call gain nothing: measured)
                wire.send_first(b"".join((head, self._form.head, block)))
            else:
                wire.send(block)
            self._moved(size - left - len(end))
        return end + self._form.tail

    def _release(self, wire: Wire, end: bytes) -> None:
        self._upload.before_release()
        # True before the fact: if anything but the wire interrupts us here, it must count as perhaps stored.
        self.released = True
        try:
            wire.send(end)
        except WireError:
            self.released = False
            self._upload.take_back()
            raise
        wire.past_recall()
        self._moved(self._upload.size)

    def _moved(self, sent: int) -> None:
        self.sent = sent
        self._upload.progress(sent)
