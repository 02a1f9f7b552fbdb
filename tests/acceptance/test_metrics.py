"""What Prometheus is told is what `status` tells, under the names that the documentation and the alerts use."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from support.app import App
from support.faults import Answer, DropAnswer, says
from support.faulty_store import FaultyStore
from support.files import jpeg, write

DOCS = Path(__file__).parents[2] / "docs"
EXIT_FAILED = 1
EXIT_CONFIG = 78

WITHOUT_PROMETHEUS = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "prometheus_client" else find(name, *rest)
from pixstored.__main__ import main
main()
"""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def address_of(app: App) -> str:
    found = re.findall(r"metrics url=(\S+)", app.log.read_text())
    return str(found[-1])


def scrape(url: str, accept: str = "") -> Samples:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def labelled(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_the_metrics_say_what_status_says(app: App, store: FaultyStore) -> None:
    app.configure(store.url, top="metrics: {listen: '127.0.0.1:0'}", watch="settle: 0s\nname: inbox")
    store.next(None, Answer(says(415, 415)), DropAnswer(stored=True))
    with app.running():
        for number, states in enumerate(
            ({"published": 1}, {"published": 1, "rejected": 1}, {"published": 1, "rejected": 1, "uncertain": 1})
        ):
            write(app.inbox / f"{number}.jpg", jpeg(1000 + number, seed=number))
            app.wait_for(**states)
        status, seen = app.status(), scrape(address_of(app))

        for state, count in status["counts"].items():
            assert seen[labelled("pixstored_files", state=state)] == count
        assert seen[labelled("pixstored_needs_you")] == status["needs_you"] == 1
        outcomes = {"published": 1, "refused": 1, "uncertain": 1, "not_sent": 0}
        for outcome, count in outcomes.items():
            assert seen[labelled("pixstored_uploads_total", outcome=outcome)] == count
        assert seen[labelled("pixstored_sent_bytes_total")] == sum(1000 + number for number in range(3))
        assert seen[labelled("pixstored_time_to_link_seconds_count")] == 1
        assert seen[labelled("pixstored_time_to_link_seconds_bucket", le="+Inf")] == 1
        assert seen[labelled("pixstored_store_state", state=status["store"]["state"])] == 1
        assert sum(value for (name, _), value in seen.items() if name == "pixstored_store_state") == 1
        assert seen[labelled("pixstored_watches", state="watching")] == 1
        assert seen[labelled("pixstored_missed_events_total", watch="inbox")] == 0
        assert seen[labelled("pixstored_build_info", version=status["version"])] == 1
        assert seen[labelled("pixstored_ledger_size_bytes")] >= (app.home / "state/ledger.db").stat().st_size
        assert seen[labelled("process_open_fds")] > 0

        ours = {name for name, _ in seen if name.startswith("pixstored_")}
        documented = set(re.findall(r"^\| `(pixstored_\w+)", (DOCS / "monitoring.md").read_text(), re.MULTILINE))
        assert {re.sub("_(bucket|count|sum)$", "", name) for name in ours} == documented
        assert names_in_alerts() <= ours

        with urllib.request.urlopen(urllib.request.Request(address_of(app), method="HEAD"), timeout=10) as head:
            assert int(head.headers["Content-Length"]) > 0
            assert head.read() == b""
        for method in ("GET", "HEAD"):
            other = urllib.request.Request(address_of(app).replace("/metrics", "/"), method=method)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(other, timeout=10)
        assert "GET" not in app.log.read_text()

        # Whoever connects and says nothing keeps nobody else from asking, and no stop waiting.
        port = int(address_of(app).rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port)):
            assert scrape(address_of(app))
            app.configure(store.url, watch="settle: 0s\nname: inbox")
            assert app.command("reload").returncode == 0
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", port))


def names_in_alerts() -> set[str]:
    """The metrics of ours that the example's alerts ask for."""
    document: dict[str, Any] = yaml.safe_load((DOCS / "monitoring/pixstored.rules.yml").read_text())
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert all({"alert", "expr", "labels", "annotations"} <= rule.keys() for rule in rules)
    assert all({"summary", "description"} == rule["annotations"].keys() for rule in rules)
    return {name for rule in rules for name in re.findall(r"pixstored_\w+", rule["expr"])}


def test_an_address_that_is_taken_is_told_with_its_key(app: App) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app.configure(top=f"metrics: {{listen: '127.0.0.1:{taken.getsockname()[1]}'}}")
        done = app.command("run")
        checked = app.command("check")
    assert done.returncode == EXIT_CONFIG
    assert "metrics.listen" in done.stderr and "taken" in done.stderr
    assert "Traceback" not in done.stderr
    assert checked.returncode == EXIT_FAILED
    assert "NO  metrics  metrics.listen: 127.0.0.1:" in checked.stdout


def test_without_their_package_the_metrics_say_how_to_get_it(app: App) -> None:
    app.configure(top="metrics: {listen: '127.0.0.1:0'}")
    for command, code in (("run", EXIT_CONFIG), ("check", EXIT_FAILED)):
        words = [sys.executable, "-c", WITHOUT_PROMETHEUS, "-c", str(app.file), command]
        done = subprocess.run(words, env=app.environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == code
        assert f"{sys.executable} -m pip install prometheus-client" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
