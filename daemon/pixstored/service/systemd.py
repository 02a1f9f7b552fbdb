"""What systemd is told of us: the sd_notify(3) protocol, which is one datagram to a socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

_MICROSECONDS = 1e6


class Notifier:
    """Speaks to `$NOTIFY_SOCKET`; does nothing where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_every = self._interval(environ.get("WATCHDOG_USEC", "")) if ours else None
        """Seconds between two signs of life: a third of what systemd allows. None if it asks for none."""

    @property
    def listens(self) -> bool:
        """True if there is somebody to tell."""
        return bool(self._address)

    def tell(self, *assignments: str) -> None:
        """Sends `READY=1`, `STATUS=…` and the like, in one message."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
            try:
                client.connect(self._address)
                client.send("\n".join(assignments).encode())
            except OSError:
                return  # whoever listened has gone: there is nobody to tell

    def reloading(self) -> None:
        """Says that the configuration is being read again, until the next `READY=1` (`Type=notify-reload`)."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    @staticmethod
    def _interval(microseconds: str) -> float | None:
        return int(microseconds) / _MICROSECONDS / 3 if microseconds.isdigit() and int(microseconds) else None
