"""The status document of the contract, from the ledger and, where a daemon runs, from its life."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from pixstored import __version__
from pixstored.config.schema import Config, Method, WatchConfig
from pixstored.model import Census, FileState, Latency, StoreState, WatchState
from pixstored.service.status_words import NEEDY_STORE
from pixstored.service.when import when
from pixstored.shown import path_in_json
from pixstored.slotted import dataclass

if TYPE_CHECKING:  # a command that only reads does not wait for what only the daemon needs
    from pixstored.ledger.base import LedgerReader
    from pixstored.publish.dispatcher import StoreReport
    from pixstored.publish.worker import Progress

SCHEMA = 1
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class FolderReport:
    """One watched folder for `status`."""

    name: str
    path: str
    state: WatchState
    method: str
    directories: int
    missed_events: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Life:
    """What only the running daemon knows."""

    uptime: float
    store_url: str
    store: StoreReport
    folders: Sequence[FolderReport]
    uploads: Sequence[Progress]
    settling: int
    oldest_settling: float | None
    ledger_state: str
    config_error: str | None = None


@dataclass(frozen=True, slots=True)
class Stock:
    """What the ledger knows; empty where there is no ledger yet."""

    census: Census = field(default_factory=lambda: Census(dict.fromkeys(FileState, 0), 0, 0, None))
    latency: Latency = field(default_factory=lambda: Latency(None, None, 0))
    paused: bool = False

    @classmethod
    def of(cls, ledger: LedgerReader | None) -> Stock:
        if ledger is None:
            return cls()
        counted = cls.counted(ledger)
        return cls(counted.census, ledger.latency(time.time() - _DAY), counted.paused)

    @classmethod
    def counted(cls, ledger: LedgerReader) -> Stock:
        """Without how long links took: for who looks often, and does not tell that."""
        return cls(census=ledger.census(), paused=ledger.paused(time.time()) is not None)


def status_document(config: Config, loaded_at: float, stock: Stock, life: Life | None) -> dict[str, Any]:
    """The whole `status --json`; without a `life` the daemon is not running."""
    counts = _counts(stock.census, life)
    store = _store(config, life)
    watches = _watches(config, life)
    ledger_state = life.ledger_state if life else "ok"
    error = life.config_error if life else None
    return {
        "schema": SCHEMA,
        "running": life is not None,
        "version": __version__,
        "uptime_s": round(life.uptime, 3) if life else None,
        "paused": stock.paused,
        "needs_you": (
            counts["uncertain"]
            + counts["failed"]
            + (store["state"] in NEEDY_STORE)
            + (ledger_state != "ok")
            + sum(watch["state"] == WatchState.ERROR for watch in watches)
            + (error is not None)
        ),
        "config": {"path": path_in_json(str(config.path)), "loaded_at": when(loaded_at), "error": error},
        "ledger": {"path": path_in_json(str(config.ledger)), "state": ledger_state},
        "counts": counts,
        "contents": {"published": stock.census.contents_published, "uncertain": stock.census.contents_uncertain},
        "store": store,
        "watches": watches,
        "uploads": [_upload(progress) for progress in (life.uploads if life else ())],
        "oldest_unpublished": when(_oldest(stock.census, life)),
        "seconds_to_link": {"p50": stock.latency.p50, "p95": stock.latency.p95, "n": stock.latency.n},
    }


def _method(watch: WatchConfig) -> Method:
    return Method.POLL if watch.method is Method.POLL else Method.NATIVE


def _counts(census: Census, life: Life | None) -> dict[str, int]:
    """Counts by state. The ledger knows no `uploading` and no `settling`: those files wait in it as `pending`, or
    parked (which the census counts as `settling`) if they changed while they waited, or their folder went away."""
    counts = {state.value: census.files.get(state, 0) for state in FileState}
    settling = life.settling if life else 0
    counts["pending"] += max(counts["settling"] - settling, 0)
    counts["settling"] = settling
    if life:
        counts["uploading"] = min(len(life.uploads), counts["pending"])
        counts["pending"] -= counts["uploading"]
    return counts


def _store(config: Config, life: Life | None) -> dict[str, Any]:
    if life is None:
        url = config.store.url or f"http://{config.store.embedded.host}:{config.store.embedded.port}/store"
        state, since, error, next_try = StoreState.UNKNOWN, time.time(), None, None
    else:
        url = life.store_url
        report = life.store
        state, since, error, next_try = report.state, report.since, report.error, report.next_try
    return {
        "id": config.store.id,
        "url": url,
        "state": state.value,
        "since": when(since),
        "error": error,
        "next_try": when(next_try),
    }


def _watches(config: Config, life: Life | None) -> list[dict[str, Any]]:
    reports = (
        life.folders
        if life
        else [
            FolderReport(watch.name, str(watch.path), WatchState.STOPPED, _method(watch), 0, 0, None)
            for watch in config.watches
        ]
    )
    return [
        {
            "name": path_in_json(report.name),
            "path": path_in_json(report.path),
            "state": report.state.value,
            "method": report.method,
            "directories": report.directories,
            "missed_events": report.missed_events,
            "error": report.error,
        }
        for report in reports
    ]


def _upload(progress: Progress) -> dict[str, Any]:
    return {
        "path": path_in_json(progress.path),
        "size": progress.size,
        "sent": progress.sent,
        "rate": round(progress.rate, 1),
        "since": when(progress.since),
    }


def _oldest(census: Census, life: Life | None) -> float | None:
    times = [census.oldest_unpublished, life.oldest_settling if life else None]
    return min((time for time in times if time is not None), default=None)
