"""What Prometheus is told: read from what `status` reads when somebody asks, so that nobody asking costs nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from pixstored.ledger.places import logs_of
from pixstored.model import StoreState, WatchState
from pixstored.publish.tally import LIMITS, Sums
from pixstored.service.metrics_server import Page
from pixstored.service.when import moment_of
from pixstored.slotted import dataclass

_LEDGER_STATES = ("ok", "full", "readonly", "error")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the values come from: each is asked once a scrape."""

    status: Callable[[], Mapping[str, Any]]
    """The document of `status --json`."""
    sums: Callable[[], Sums]
    ledger: Path


def page_of(sources: Sources) -> Callable[[str], Page]:
    """Makes the page of metrics in the form that a request's `Accept` header asks for."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(sources))

    def page(accept: str) -> Page:
        encode, content_type = choose_encoder(accept)
        return Page(content_type, encode(registry))

    return page


class _Collector:
    """Everything that is ours. Names as Prometheus wants them: base units, and `_total` for what only grows."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> list[Metric]:
        """Nothing is looked at before somebody asks."""
        return []

    def collect(self) -> Iterator[Metric]:
        status, sums = self._sources.status(), self._sources.sums()
        yield InfoMetricFamily("pixstored_build", "The program that runs.", {"version": status["version"]})
        yield from _files(status)
        yield from _uploads(sums)
        yield from _store(status)
        yield from _watches(status)
        yield from _ledger(status, self._sources.ledger)
        yield from _service(status)


def _files(status: Mapping[str, Any]) -> Iterator[Metric]:
    files = GaugeMetricFamily("pixstored_files", "Files by state, at the current store.", labels=["state"])
    for state, count in status["counts"].items():
        files.add_metric([state], count)
    yield files
    contents = GaugeMetricFamily("pixstored_contents", "Contents by state, at the current store.", labels=["state"])
    for state, count in status["contents"].items():
        contents.add_metric([state], count)
    yield contents
    oldest = status["oldest_unpublished"]
    yield GaugeMetricFamily(
        "pixstored_oldest_unpublished_seconds",
        "Since the oldest file that is still to be published last changed; 0 if there is none.",
        value=0.0 if oldest is None else max(time.time() - moment_of(oldest), 0.0),
    )


def _uploads(sums: Sums) -> Iterator[Metric]:
    uploads = CounterMetricFamily("pixstored_uploads", "Uploads by how they ended.", labels=["outcome"])
    for outcome, count in sums.outcomes.items():
        uploads.add_metric([outcome], count)
    yield uploads
    yield CounterMetricFamily(
        "pixstored_sent_bytes", "Bytes of files sent, whatever became of the upload.", value=sums.sent
    )
    limits = [*(str(limit) for limit in LIMITS), "+Inf"]
    counted = list(zip(limits, map(float, accumulate(sums.linked)), strict=True))
    yield HistogramMetricFamily(
        "pixstored_time_to_link_seconds",
        "From the last change of a fresh file to its link.",
        buckets=counted,
        sum_value=sums.seconds,
    )


def _store(status: Mapping[str, Any]) -> Iterator[Metric]:
    store = status["store"]
    yield InfoMetricFamily("pixstored_store", "The store that is published to.", {"id": store["id"]})
    yield _one_of("pixstored_store_state", "1 for the state the store is in.", StoreState, store["state"])


def _watches(status: Mapping[str, Any]) -> Iterator[Metric]:
    watches = status["watches"]
    states = GaugeMetricFamily("pixstored_watches", "Watched folders by state.", labels=["state"])
    for state in WatchState:
        states.add_metric([state.value], sum(watch["state"] == state for watch in watches))
    yield states
    directories = GaugeMetricFamily("pixstored_watch_directories", "Directories watched.", labels=["watch"])
    missed = CounterMetricFamily(
        "pixstored_missed_events", "Files a scan found that no event had announced.", labels=["watch"]
    )
    for watch in watches:
        directories.add_metric([watch["name"]], watch["directories"])
        missed.add_metric([watch["name"]], watch["missed_events"])
    yield directories
    yield missed


def _ledger(status: Mapping[str, Any], path: Path) -> Iterator[Metric]:
    size = sum(_size_of(file) for file in (path, *logs_of(path)))
    yield GaugeMetricFamily("pixstored_ledger_size_bytes", "The ledger's files.", value=size)
    state = status["ledger"]["state"]
    yield _one_of("pixstored_ledger_state", "1 for the state the ledger is in.", _LEDGER_STATES, state)


def _service(status: Mapping[str, Any]) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "pixstored_needs_you", "How many things wait for a person, as `status` counts them.", value=status["needs_you"]
    )
    yield GaugeMetricFamily("pixstored_paused", "1 while somebody has stopped the sending.", value=status["paused"])
    yield GaugeMetricFamily(
        "pixstored_config_last_reload_successful",
        "0 if the configuration was faulty when it was last read.",
        value=status["config"]["error"] is None,
    )
    yield GaugeMetricFamily(
        "pixstored_config_last_reload_success_timestamp_seconds",
        "When the configuration in use was read.",
        value=moment_of(status["config"]["loaded_at"]),
    )


def _one_of(name: str, words: str, states: type[StrEnum] | tuple[str, ...], current: str) -> Metric:
    family = GaugeMetricFamily(name, words, labels=["state"])
    for state in states:
        family.add_metric([str(state)], state == current)
    return family


def _size_of(file: Path) -> int:
    try:
        return os.stat(file).st_size
    except OSError:
        return 0
