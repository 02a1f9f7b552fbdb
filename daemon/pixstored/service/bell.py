"""What wakes the main thread: rung by signal handlers and by other threads."""

from __future__ import annotations

import os
import select

_MILLISECONDS = 1000.0


class Bell:
    """Rings until somebody has waited for it. An eventfd, not a `threading.Event`: a signal handler runs in the very
    thread that waits, and would wait for ever for a lock which that thread holds."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def ring(self) -> None:
        """Ends the wait that is under way, or else the next one."""
        os.eventfd_write(self._descriptor, 1)

    def wait(self, timeout: float) -> None:
        """Waits until it rings, `timeout` seconds at most."""
        if self._poll.poll(max(timeout, 0.0) * _MILLISECONDS):
            os.eventfd_read(self._descriptor)
