"""How one thread ends what another is waiting for on the network."""

from __future__ import annotations

import errno
import os
import socket
import threading
import weakref


class Alarm:
    """Lets any thread end the waits of the one that sends. It rings only between `arm` and `disarm`."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)
        self._lock = threading.Lock()
        self._armed = False
        self._rung = False
        self._may_drop = False
        self._only_dropped = False
        self._doomed: socket.socket | None = None

    def fileno(self) -> int:
        """Readable while the alarm rings."""
        return self._fd

    @property
    def rung(self) -> bool:
        return self._rung

    def arm(self) -> None:
        """A request begins."""
        with self._lock:
            self._armed = self._may_drop = True

    def past_recall(self) -> None:
        """The request's last bytes are out: a `drop` has no effect any more, not even one that came just now."""
        with self._lock:
            self._may_drop = False
            if self._rung and self._only_dropped:
                self._quieten()

    def disarm(self) -> None:
        """The request has ended."""
        with self._lock:
            self._armed = self._may_drop = False
            self._quieten()

    def drop(self) -> None:
        """Ends a request whose last bytes are not out; does nothing otherwise."""
        with self._lock:
            if self._may_drop and not self._rung:
                self._only_dropped = True
                self._ring()

    def cut(self) -> None:
        """Ends the request that is under way; does nothing if none is."""
        with self._lock:
            if not self._armed:
                return
            self._only_dropped = False
            if not self._rung:
                self._ring()

    def doom(self, sock: socket.socket) -> None:
        """Shuts this socket when it rings: for the library's own waits (proxy, TLS handshake).

        Works on a duplicate, because a TLS socket takes the descriptor away from the plain one.
        """
        with self._lock:
            self._doomed = sock.dup()
            if self._rung:
                _shut(self._doomed)

    def spare(self) -> None:
        """Takes `doom` back."""
        with self._lock:
            if self._doomed is not None:
                self._doomed.close()
            self._doomed = None

    def _ring(self) -> None:
        self._rung = True
        os.eventfd_write(self._fd, 1)
        if self._doomed is not None:
            _shut(self._doomed)

    def _quieten(self) -> None:
        if self._rung:
            os.eventfd_read(self._fd)
        self._rung = False


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError as err:
        if err.errno != errno.ENOTCONN:
            raise
