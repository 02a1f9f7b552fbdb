"""The store's client, made when it is first needed: what speaks HTTP takes a fifth of a start to import (measured)."""

from __future__ import annotations

from collections.abc import Callable

from pixstored.errors import ConfigError, StoreDown
from pixstored.model import Receipt, StoreState
from pixstored.store.base import Store, Upload


class LateStore:
    """Implements `Store`. `make` makes what it stands for, and may raise `ConfigError`."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self._store: Store | None = None

    def send(self, upload: Upload) -> Receipt:
        """See `Store.send`; what cannot be made is a store that is `misconfigured`."""
        if self._store is None:
            try:
                self._store = self._make()
            except ConfigError as error:
                raise StoreDown(str(error), StoreState.MISCONFIGURED) from error
        return self._store.send(upload)

    def drop(self) -> None:
        """See `Store.drop`."""
        if self._store:
            self._store.drop()

    def cut(self) -> None:
        """See `Store.cut`."""
        if self._store:
            self._store.cut()

    def close(self) -> None:
        """See `Store.close`."""
        if self._store:
            self._store.close()
