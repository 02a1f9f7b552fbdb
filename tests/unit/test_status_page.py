"""The status in words: for a person, for a line of systemd's, and what waits for somebody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pixstored.cli.status_page import page
from pixstored.service.status_words import in_words, needs

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STATES = ("settling", "pending", "uploading", "published", "uncertain", "rejected", "failed", "skipped", "gone")


def a_watch(name: str = "camera", state: str = "watching", **fields: Any) -> dict[str, Any]:
    usual = {"path": f"/srv/{name}", "method": "native", "directories": 12, "missed_events": 0, "error": None}
    return {"name": name, "state": state} | usual | fields


def a_document(
    counts: dict[str, int] | None = None,
    store: dict[str, Any] | None = None,
    watches: list[dict[str, Any]] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A daemon that is well, but for what is said."""
    store_state = {"id": "api.pixlab.io/store", "state": "ok", "since": "2026-11-25T08:00:00.000Z", "error": None}
    return {
        "running": True,
        "version": "1.2.3",
        "uptime_s": 11_520.0,
        "paused": False,
        "needs_you": 0,
        "config": {"path": "/etc/pixstored/config.yaml", "loaded_at": "2026-11-25T08:00:00.000Z", "error": None},
        "ledger": {"path": "/var/lib/pixstored/ledger.db", "state": "ok"},
        "counts": dict.fromkeys((*STATES, "withdrawn"), 0) | (counts or {}),
        "store": store_state | {"next_try": None} | (store or {}),
        "watches": watches if watches is not None else [a_watch()],
        "uploads": [],
        "oldest_unpublished": None,
        "seconds_to_link": {"p50": None, "p95": None, "n": 0},
    } | fields


def shown(document: dict[str, Any]) -> str:
    return "\n".join(page(document, NOW))


def test_one_line_says_how_all_is_doing() -> None:
    watches = [a_watch(), a_watch("card", "offline"), a_watch("nas")]
    document = a_document({"published": 1204, "pending": 2, "rejected": 7}, watches=watches)
    assert in_words(document) == "2 watching, 1 offline, 1,204 published, 2 pending, store ok"


def test_one_line_says_what_is_wrong() -> None:
    document = a_document({"uncertain": 1, "failed": 3}, {"state": "unreachable"}, paused=True)
    document["ledger"]["state"], document["config"]["error"] = "full", "line 3"
    said = (
        "1 watching, 0 published, 1 uncertain, 3 failed, store unreachable, ledger full, configuration faulty, paused"
    )
    assert in_words(document) == said


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (a_document({"uncertain": 1}), "1 file uncertain: sent whole"),
        (a_document({"failed": 1200}), "1,200 files failed"),
        (a_document(store={"state": "auth_failed", "error": "wrong key"}), "the API key: wrong key"),
        (a_document(store={"state": "refusing", "error": "no"}), "the store: no"),
        (a_document(store={"state": "misconfigured", "error": "404"}), "the store's address: 404"),
        (a_document(watches=[a_watch(state="error", error="too many")]), "camera is in error: too many"),
        (a_document(ledger={"path": "/l.db", "state": "readonly"}), "the ledger cannot be written"),
    ],
)
def test_each_need_comes_first_and_with_a_way_out(document: dict[str, Any], words: str) -> None:
    ((what, way_out),) = needs(document)
    assert words in what
    assert way_out
    lines = shown(document).splitlines()
    assert words in lines[1]
    assert lines[2].strip() == way_out


@pytest.mark.parametrize("state", ["unreachable", "rate_limited", "unknown"])
def test_what_heals_by_itself_needs_nobody(state: str) -> None:
    assert not list(needs(a_document({"rejected": 3, "skipped": 9}, {"state": state, "error": "gone"})))


def test_the_page_of_a_quiet_daemon_is_short() -> None:
    said = shown(a_document({"published": 1204}, seconds_to_link={"p50": 1.24, "p95": 4.6, "n": 24}))
    assert said.startswith("pixstored 1.2.3 runs, up 3 h 12 min; nothing needs you\n\n")
    assert "store    api.pixlab.io/store  ok\n" in said
    assert "watch    camera (/srv/camera)  watching, 12 directories\n" in said
    assert "files    1,204 published\n" in said
    assert "speed    a link after 1.24 s, for 95 % within 4.60 s (24 fresh files in 24 h)\n" in said


def test_the_page_of_a_busy_daemon_shows_what_goes_out() -> None:
    upload = {"path": "/srv/camera/a.mp4", "size": 2_000_000_000, "sent": 500_000_000, "rate": 12_345_678.0}
    said = shown(
        a_document({"uploading": 1, "pending": 12_000}, uploads=[upload], oldest_unpublished="2026-11-25T11:30:00.000Z")
    )
    assert "sending  /srv/camera/a.mp4  25 % of 2.0 GB, 12.3 MB/s\n" in said
    assert "waiting  the oldest for 30 min 0 s" in said
    assert "files    12,000 pending, 1 uploading\n" in said


def test_a_store_that_is_away_says_when_it_is_tried_again() -> None:
    said = shown(
        a_document(store={"state": "unreachable", "error": "no route", "next_try": "2026-11-25T12:04:30.000Z"})
    )
    assert "unreachable since" in said
    assert ": no route\n         next try in 4 min 30 s\n" in said


def test_the_page_without_a_daemon_says_how_to_start_one() -> None:
    document = a_document({"published": 3}, running=False, uptime_s=None, watches=[a_watch(state="stopped")])
    assert shown(document).startswith("pixstored is not running: start it with")
    assert in_words(document) == "3 published"
