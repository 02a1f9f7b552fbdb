"""What a running daemon tells of itself: to commands, to systemd and to whoever scrapes its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pixstored.config import Config
from pixstored.errors import LedgerError
from pixstored.ledger.base import LedgerReader
from pixstored.ledger.sqlite import SqliteLedger
from pixstored.service.engine import Engine
from pixstored.service.folders import Folders
from pixstored.service.status import Life, Stock, status_document
from pixstored.service.status_words import in_words
from pixstored.service.stories import Live, why_document


class Reporter:
    """Asks all parts when it is asked. For any thread. `started` is monotonic seconds."""

    def __init__(self, config: Config, ledger: SqliteLedger, folders: Folders, engine: Engine, started: float) -> None:
        self._ledger = ledger
        self._folders = folders
        self._engine = engine
        self._started = started
        self._stock = Stock()
        self.loaded(config)

    def loaded(self, config: Config) -> None:
        """This configuration counts from now on."""
        self._config = config
        self._loaded_at = time.time()
        self._config_error: str | None = None

    def not_loaded(self, error: str) -> None:
        """A configuration was not taken; told until one is."""
        self._config_error = error

    def document(self) -> dict[str, Any]:
        """What `status` tells; where the ledger cannot be read, with the counts it had when it could."""
        return self._document(Stock.of)

    def counts(self) -> dict[str, Any]:
        """The same without how long links took."""
        return self._document(Stock.counted)

    def words(self) -> str:
        """One line for `systemctl status`."""
        return in_words(self.counts())

    def why(self, path: str) -> dict[str, Any]:
        """What `why` tells of a path. Raises `NobodyKnows` or `LedgerError`."""
        return why_document(self._config, self._ledger, path, self._live_of, "running")

    def _document(self, stock_of: Callable[[LedgerReader], Stock]) -> dict[str, Any]:
        ledger_state = self._ledger.condition
        try:
            self._stock = stock_of(self._ledger)
        except LedgerError:
            ledger_state = "error" if ledger_state == "ok" else ledger_state
        return status_document(self._config, self._loaded_at, self._stock, self._life(ledger_state))

    def _live_of(self, path: str) -> Live:
        return Live(
            settling=self._folders.intake.waiting(path),
            upload=next((upload for upload in self._engine.uploads() if upload.path == path), None),
            store=self._engine.dispatcher.report(),
        )

    def _life(self, ledger_state: str) -> Life:
        return Life(
            uptime=time.monotonic() - self._started,
            store_url=self._engine.store_url,
            store=self._engine.dispatcher.report(),
            folders=self._folders.reports(),
            uploads=self._engine.uploads(),
            settling=self._folders.intake.settling(),
            oldest_settling=self._folders.intake.oldest(),
            ledger_state=ledger_state,
            config_error=self._config_error,
        )
