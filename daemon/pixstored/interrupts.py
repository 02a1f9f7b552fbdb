"""Ctrl-C ends a command at once, wherever that is in this moment.

Python alone does not promise that. Its own handler only notes the signal, and the main thread looks at the note
between two of its steps: a signal that comes just before it waits for a key, a lock or a socket is heeded when that
wait is over, which may be never. So is one that another thread gets. And a `KeyboardInterrupt` that happens to be
raised in a callback or a destructor is told on standard error, and forgotten: in the midst of imports, one of 150
(measured).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

EXIT_INTERRUPTED = 130

_LOOK_AGAIN = 0.05
"""Seconds after which an interrupt that was not heeded is sent once more."""

_LOOKS = 20
"""So often; then the main thread is within something that cannot be interrupted, such as SQLite's copying."""

_BYTES = 512
"""As many signals are read at once: more than ever come."""


def end_at_once(code: int, *numbers: signal.Signals) -> None:
    """From now on these signals end the process as it stands, with this exit code: nothing need be put in order.

    What whoever started us wants to be ignored stays so.
    """
    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: os._exit(code))


def raise_interrupts() -> None:
    """From now on Ctrl-C is a `KeyboardInterrupt` in the main thread, which calls this, whatever it waits for.

    What is then put in order may be interrupted once more. If the main thread is nowhere to be interrupted within a
    second, the process ends as it stands. An interrupt that is to be ignored stays so.
    """
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        _Interrupts().begin()


class _Interrupts:
    """Sends an interrupt to the main thread until that has heeded it."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._heeded = False
        self._signals, self._noted = os.pipe()
        os.set_blocking(self._noted, False)

    def begin(self) -> None:
        threading.Thread(target=self._insist, name="interrupts", daemon=True).start()
        sys.unraisablehook = self._not_raised
        signal.set_wakeup_fd(self._noted, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, self._raise)

    def _raise(self, number: int, frame: object) -> None:
        self._heeded = True
        raise KeyboardInterrupt

    def _not_raised(self, thrown_away: sys.UnraisableHookArgs) -> None:
        """What was raised where nobody could take it."""
        if not issubclass(thrown_away.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(thrown_away)
            return
        self._heeded = False
        os.write(self._noted, bytes([signal.SIGINT]))

    def _insist(self) -> None:
        """The thread: gets the number of each signal, as a byte, even before the main thread has looked at its note."""
        while True:
            if signal.SIGINT in os.read(self._signals, _BYTES) and not self._is_heeded():
                os._exit(EXIT_INTERRUPTED)

    def _is_heeded(self) -> bool:
        for _ in range(_LOOKS):
            time.sleep(_LOOK_AGAIN)
            if self._heeded:
                return True
            signal.pthread_kill(self._main, signal.SIGINT)
        return False
