"""`status` as somebody sees it who looks on while the daemon comes and goes."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import NoneType
from typing import Any

from support.app import App, eventually
from support.faults import Answer, DropAnswer, Hang, says
from support.faulty_store import FaultyStore
from support.files import jpeg, write

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


NUMBER = (int, float)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
IN_FLIGHT = ("settling", "pending", "uploading")
ENDED = ("published", "uncertain", "rejected", "failed", "skipped", "gone", "withdrawn")

CONTRACT: dict[str, Any] = {
    "schema": {1},
    "running": {True, False},
    "version": str,
    "uptime_s": (*NUMBER, NoneType),
    "paused": {True, False},
    "needs_you": int,
    "config": {"path": str, "loaded_at": TIME, "error": (str, NoneType)},
    "ledger": {"path": str, "state": {"ok", "full", "readonly", "error"}},
    "counts": dict.fromkeys((*IN_FLIGHT, *ENDED), int),
    "contents": {"published": int, "uncertain": int},
    "store": {
        "id": str,
        "url": str,
        "state": {"ok", "unknown", "unreachable", "auth_failed", "rate_limited", "refusing", "misconfigured"},
        "since": TIME,
        "error": (str, NoneType),
        "next_try": (TIME, None),
    },
    "watches": [
        {
            "name": str,
            "path": str,
            "state": {"watching", "polling", "scanning", "offline", "error", "stopped"},
            "method": {"native", "poll"},
            "directories": int,
            "missed_events": int,
            "error": (str, NoneType),
        }
    ],
    "uploads": [{"path": str, "size": int, "sent": int, "rate": NUMBER, "since": TIME}],
    "oldest_unpublished": (TIME, None),
    "seconds_to_link": {"p50": (*NUMBER, NoneType), "p95": (*NUMBER, NoneType), "n": int},
}
"""A type, or several; a set of values; the form of a text; or what lies in it."""


def check(value: Any, rule: Any, where: str = "status") -> None:
    """Fails with the place where a document is not as the contract says."""
    match rule:
        case dict():
            assert list(value) == list(rule), where
            for key, inner in rule.items():
                check(value[key], inner, f"{where}.{key}")
        case [inner]:
            for each in value:
                check(each, inner, f"{where}[]")
        case set():
            assert value in rule, (where, value)
        case re.Pattern():
            assert rule.fullmatch(value), (where, value)
        case (re.Pattern() as form, None):
            assert value is None or form.fullmatch(value), (where, value)
        case _:
            assert isinstance(value, rule) and not (rule is int and isinstance(value, bool)), (where, value)


def test_the_document_is_the_contracts_whatever_is_going_on(app: App, store: FaultyStore) -> None:
    app.configure(store.url, watch="settle: 0s")
    seen = [app.status()]
    release = threading.Event()
    store.next(None, DropAnswer(stored=True), Hang(release, at=100))
    with app.running():
        seen.append(app.status())
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        seen.append(eventually(app.status, lambda status: status["store"]["state"] == "ok"))
        write(app.inbox / "b.jpg", jpeg(seed=2))
        app.wait_for(published=1, uncertain=1)
        seen.append(app.status())
        write(app.inbox / "c.jpg", jpeg(seed=3))
        app.configure(store.url, watch="settle: 0s", top="retry: {first: 100ms}")
        app.command("reload")
        seen.append(eventually(app.status, lambda status: status["uploads"]))
        release.set()
        app.wait_for(published=2, uncertain=1)
    seen.append(app.status())
    for document in seen:
        check(document, CONTRACT)
    before, fresh, published, uncertain, busy, after = seen
    assert [document["running"] for document in seen] == [False, True, True, True, True, False]
    assert (before["store"]["state"], before["uptime_s"], before["watches"][0]["state"]) == ("unknown", None, "stopped")
    assert (fresh["store"]["state"], published["store"]["state"]) == ("unknown", "ok")
    assert published["seconds_to_link"]["n"] == 1 and published["seconds_to_link"]["p50"] >= 0
    assert (uncertain["needs_you"], uncertain["contents"]) == (1, {"published": 1, "uncertain": 1})
    assert uncertain["store"]["state"] == "unreachable" and uncertain["store"]["next_try"]
    [upload] = busy["uploads"]
    assert (upload["path"], busy["counts"]["uploading"]) == (str(app.inbox / "c.jpg"), 1)
    assert busy["oldest_unpublished"]
    assert (after["counts"]["published"], after["needs_you"], after["paused"]) == (2, 1, False)


def test_a_followed_status_outlives_the_daemon_and_ends_without_a_word_too_many(app: App) -> None:
    app.configure()
    follow = [sys.executable, "-m", "pixstored", "-c", str(app.file), "status", "--follow", "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(follow, env=app.environ, **pipes) as process:
        assert process.stdout
        documents = map(json.loads, process.stdout)

        def read_until(is_so: Callable[[dict[str, Any]], bool]) -> None:
            assert any(map(is_so, documents))

        read_until(lambda status: not status["running"])
        with app.running():
            read_until(lambda status: status["running"])
        read_until(lambda status: not status["running"])
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (EXIT_INTERRUPTED, "")


def test_to_look_once_and_for_ever_is_told_apart(app: App) -> None:
    app.configure()
    done = app.command("status", "--check", "--follow")
    assert (done.returncode, "--check looks once" in done.stderr) == (EXIT_USAGE, True)


def test_a_need_is_told_with_a_command_that_works_as_it_stands(app: App, store: FaultyStore) -> None:
    app.configure(store.url, watch="settle: 0s", top="retry: {tries: 1}")
    store.next(Answer(says(500, 500)))
    with app.running():
        write(app.inbox / "a.jpg", jpeg())
        app.wait_for(failed=1)
        page = app.command("status").stdout
        assert "! 1 file failed" in page
        [line] = [each for each in page.split("`") if "retry --failed" in each]
        program, *words = shlex.split(line)
        assert (program, words[:2]) == ("pixstored", ["-c", str(app.file)])
        done = app.command(*words[2:])
        assert done.returncode == 0, done.stderr
        app.wait_for(published=1)
        check = app.command("status", "--check")
        assert (check.returncode, check.stdout) == (0, "OK: 1 watching, 1 published, store ok\n")
