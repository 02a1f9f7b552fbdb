"""How the store is doing, as far as the uploads tell, and who may try it now: a pure object.

Not thread-safe by itself: whoever shares it between workers holds a lock around each call.
Times are monotonic seconds, given by the caller.
"""

from __future__ import annotations

import math
from random import Random

from pixstored.errors import NotSent, StoreDown, Uncertain
from pixstored.model import StoreState
from pixstored.slotted import dataclass

RATE_LIMIT_WAIT = 60.0
"""Seconds to wait after a 429 that names no time."""
RAREST_PROBE = 15 * 60.0
"""Seconds: a store that is back is noticed within this time, however long it was away."""
SHORTEST_WAIT = 0.1
"""Seconds: a `retry.first` or Retry-After of 0 must not become a busy loop."""
JITTER = 0.25
"""A wait is shortened by up to this share, so that many clients do not come back at one moment."""
MOST_DOUBLINGS = 32
"""Beyond this the longest wait has long been reached."""

_OPEN = (StoreState.OK, StoreState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Go:
    """Send: the store is well, as far as is known. `epoch` counts the outages so far."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Send one file to see whether the store is well again; it spends no try of the file."""

    serial: int


@dataclass(frozen=True, slots=True)
class Look:
    """Send nothing, but find out whether the store has this file already: that can be done at any time."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do not send before `until`; infinity while a probe is out: ask again when it has come back."""

    until: float


Permit = Go | Probe | Look


class Health:
    """The store's state, and the permits to send that follow from it.

    Every permit that `ask` gives goes back exactly once, to `succeeded`, `failed`, `refused`, `refusing` or `done`;
    a probe that never comes back keeps all others waiting. `first` and `longest` are the seconds of `retry`.
    All of these return whether the state has changed: one line in the log each.
    """

    def __init__(self, first: float, longest: float, rng: Random) -> None:
        self.pace(first, longest)
        self._rng = rng
        self._state = StoreState.UNKNOWN
        self._since: float | None = None
        self._error: str | None = None
        self._next_try = 0.0
        self._waits = 0
        self._go = Go(epoch=0)
        self._probe: Probe | None = None
        self._serial = 0

    def pace(self, first: float, longest: float) -> None:
        """Other seconds of `retry` count from the next wait on."""
        self._first = max(first, SHORTEST_WAIT)
        self._longest = max(longest, SHORTEST_WAIT)

    @property
    def state(self) -> StoreState:
        return self._state

    @property
    def is_open(self) -> bool:
        """True while all may send, as far as is known."""
        return self._state in _OPEN

    @property
    def since(self) -> float | None:
        """When the state last changed, None before the first news."""
        return self._since

    @property
    def error(self) -> str | None:
        """Why the store is not well."""
        return self._error

    @property
    def next_try(self) -> float | None:
        """When the next probe may go; None while it is out, or none is needed."""
        return None if self._state in _OPEN or self._probe else self._next_try

    def ask(self, now: float) -> Permit | Wait:
        """May one file be sent now?"""
        if self._state in _OPEN:
            return self._go
        if self._probe is not None:
            return Wait(math.inf)
        if now < self._next_try:
            return Wait(self._next_try)
        self._serial += 1
        self._probe = Probe(self._serial)
        return self._probe

    def succeeded(self, now: float, permit: Permit) -> bool:
        """A file was published: the way is open for all.

        Not so by an upload that was under way when the store asked for fewer: that wait is kept.
        """
        late = isinstance(permit, Go) and permit.epoch != self._go.epoch
        if late and self._state is StoreState.RATE_LIMITED:
            return False
        return self._open(now)

    def refused(self, now: float, permit: Permit) -> bool:
        """The store said no to one file. It answers, so it is not unreachable; other troubles remain."""
        if self._state in (StoreState.UNREACHABLE, StoreState.UNKNOWN):
            return self._open(now)
        if self._is_the_probe(permit):
            self._put_off(now, self._next_wait())
        return False

    def refusing(self, why: str, now: float, permit: Permit) -> bool:
        """The store says no to one file after another: that is its own fault."""
        if not self._is_news(permit):
            return False
        changed = self._enter(StoreState.REFUSING, now)
        self._error = why
        self._put_off(now, self._next_wait())
        return changed

    def failed(self, error: NotSent | Uncertain, now: float, permit: Permit) -> bool:
        """The store could not take a file. A `NotSent` that is not the store's fault changes no state.

        The failure of an upload that was under way when the outage began is no news.
        """
        if not self._is_news(permit):
            return False
        changed = False
        if isinstance(error, StoreDown | Uncertain):
            changed = self._enter(error.state if isinstance(error, StoreDown) else StoreState.UNREACHABLE, now)
            self._error = str(error)
        if self._state not in _OPEN:
            self._put_off(now, self._wait_after(error))
        return changed

    def done(self, now: float, permit: Permit) -> bool:
        """The attempt said nothing about the store (the file changed, is known, we stop): the next may try."""
        if self._is_the_probe(permit):
            self._probe = None
            self._next_try = min(self._next_try, now)
        return False

    def poke(self, now: float) -> None:
        """Something was mended (the key changed): one file may try at once, whatever is still under way."""
        self._probe = None
        self._next_try = now
        self._waits = 0

    def _is_the_probe(self, permit: Permit) -> bool:
        return permit == self._probe

    def _is_news(self, permit: Permit) -> bool:
        if isinstance(permit, Go):
            return permit.epoch == self._go.epoch
        return self._is_the_probe(permit)

    def _open(self, now: float) -> bool:
        self._probe = None
        self._waits = 0
        self._error = None
        return self._enter(StoreState.OK, now)

    def _enter(self, state: StoreState, now: float) -> bool:
        if state is self._state:
            return False
        self._state = state
        self._since = now
        if state not in _OPEN:
            self._go = Go(self._go.epoch + 1)
        return True

    def _put_off(self, now: float, wait: float) -> None:
        self._probe = None
        self._next_try = now + min(wait, self._longest)

    def _wait_after(self, error: NotSent | Uncertain) -> float:
        """Seconds to the next probe. A rate limit's wait is what the store says, however often it says it."""
        retry_after = error.retry_after if isinstance(error, StoreDown) else None
        if isinstance(error, StoreDown) and error.state is StoreState.RATE_LIMITED:
            return max(RATE_LIMIT_WAIT if retry_after is None else retry_after, self._first)
        return max(self._next_wait(), min(retry_after or 0.0, RAREST_PROBE))

    def _next_wait(self) -> float:
        """`first`, then twice as long each time, less some jitter."""
        rarest = min(RAREST_PROBE, self._longest)
        wait = min(self._first * 2.0 ** min(self._waits, MOST_DOUBLINGS), rarest)
        if self._waits:
            wait *= 1 - JITTER * self._rng.random()
        self._waits += 1
        return wait
