"""When a try is made again: tenacity's stopping and waiting, told the number of the try.

Between tries nothing waits here: the time of the next one is kept in the ledger. tenacity is not imported along with
this module: a start takes 6 ms less without it (measured).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from pixstored.config.schema import RetryConfig
from pixstored.errors import Stale

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying

T = TypeVar("T")

_STALE_TRIES = 3
"""A pool may hold one dead connection a worker; a fresh connection that dies too is a failure like any other."""


def load() -> None:
    """Imports tenacity, which else is when a try has failed."""
    importlib.import_module("tenacity")


class Schedule:
    """The backoff of a file whose tries fail while the store is well."""

    def __init__(self, retry: RetryConfig) -> None:
        self.first = retry.first
        """Seconds to the second try."""
        self._longest = retry.longest
        self._tries = retry.tries

    def delay(self, tries: int) -> float:
        """Seconds to wait after that many failed tries (1 is the first)."""
        from tenacity import wait_exponential_jitter

        wait = wait_exponential_jitter(multiplier=self.first, max=self._longest, jitter=self.first)
        return wait(_after(tries))

    def exhausted(self, tries: int) -> bool:
        """True if no try is left after that many."""
        from tenacity import stop_after_attempt

        return bool(stop_after_attempt(self._tries)(_after(tries)))


def again_after_stale(send: Callable[[], T]) -> T:
    """Calls `send` once more, at once, after a stale connection, which cannot have stored anything; and once again."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

    again = Retrying(stop=stop_after_attempt(_STALE_TRIES - 1), retry=retry_if_exception_type(Stale), reraise=True)
    return again(send)


def _after(tries: int) -> RetryCallState:
    from tenacity import RetryCallState

    # The strategies look at nothing but the number of the attempt (measured with tenacity 9.2).
    state = RetryCallState(cast("Retrying", None), None, (), {})
    state.attempt_number = tries
    return state
