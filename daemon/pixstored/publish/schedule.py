"""When a try is made again: tenacity's stopping and waiting, told the number of the try.

Between tries nothing waits here: the time of the next one is kept in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from pixstored.config.schema import RetryConfig
from pixstored.errors import Stale

T = TypeVar("T")

_STALE_TRIES = 3
"""A pool may hold one dead connection a worker; a fresh connection that dies too is a failure like any other."""


class Schedule:
    """The backoff of a file whose tries fail while the store is well."""

    def __init__(self, retry: RetryConfig) -> None:
        self.first = retry.first
        """Seconds to the second try."""
        self._wait: wait_base = wait_exponential_jitter(multiplier=retry.first, max=retry.longest, jitter=retry.first)
        self._stop: stop_base = stop_after_attempt(retry.tries)

    def delay(self, tries: int) -> float:
        """Seconds to wait after that many failed tries (1 is the first)."""
        return self._wait(_after(tries))

    def exhausted(self, tries: int) -> bool:
        """True if no try is left after that many."""
        return self._stop(_after(tries))


def at_once_if_stale(send: Callable[[], T]) -> T:
    """Calls `send`, and again at once where a stale connection cannot have stored anything."""
    try:
        # Nearly always all there is to do: asking tenacity first took a tenth of a small upload (measured).
        return send()
    except Stale:
        pass
    again = Retrying(stop=stop_after_attempt(_STALE_TRIES - 1), retry=retry_if_exception_type(Stale), reraise=True)
    return again(send)


def _after(tries: int) -> RetryCallState:
    # The strategies look at nothing but the number of the attempt (measured with tenacity 9.2).
    state = RetryCallState(cast(Retrying, None), None, (), {})
    state.attempt_number = tries
    return state
