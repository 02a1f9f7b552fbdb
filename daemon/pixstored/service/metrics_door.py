"""Opens, moves and closes the address of the metrics as `metrics.listen` says.

Prometheus and a web server are imported here, late: whoever does not ask for metrics has no memory for them.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixstored.errors import ConfigError, Fault
from pixstored.publish.tally import Sums

if TYPE_CHECKING:
    from pixstored.service.metrics_server import MetricsServer, Page

Address = tuple[str, int]


def what_is_missing() -> str | None:
    """Why no metrics can be served here, and the way out; None if they can."""
    if importlib.util.find_spec("prometheus_client"):
        return None
    install = shlex.join([sys.executable, "-m", "pip", "install", "prometheus-client"])
    return f"needs the package prometheus-client: `{install}`, or leave the line out"


class MetricsDoor:
    """Open while an address is in use. For the main thread."""

    def __init__(self, status: Callable[[], Mapping[str, Any]], sums: Callable[[], Sums], ledger: Path) -> None:
        self._status = status
        self._sums = sums
        self._ledger = ledger
        self._address: Address | None = None
        self._server: MetricsServer | None = None

    def use(self, address: Address | None) -> None:
        """Listens there from now on; None: nowhere. Raises `ConfigError`, and goes on as before."""
        if address == self._address:
            return
        page = self._page() if address else None
        before = self._address
        self.stop()  # first: the new address may be the old one by another name
        try:
            if address and page:
                self._open(address, page)
        except ConfigError:
            if before and page:
                self._open(before, page)
            raise

    def stop(self) -> None:
        """Listens nowhere."""
        if self._server:
            self._server.stop()
        self._server = self._address = None

    def _open(self, address: Address, page: Callable[[str], Page]) -> None:
        from pixstored.service.metrics_server import MetricsServer

        self._server = MetricsServer(address, page)
        self._server.start()
        self._address = address

    def _page(self) -> Callable[[str], Page]:
        missing = what_is_missing()
        if missing:
            raise ConfigError("the metrics cannot be served", [Fault("metrics.listen", None, missing)])
        from pixstored.service.metrics import Sources, page_of

        return page_of(Sources(self._status, self._sums, self._ledger))
