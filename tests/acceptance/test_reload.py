"""Another configuration counts without a restart; a faulty one changes nothing, and is shown."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any

from pixstored.ledger.lock import LedgerLock
from support.app import App, eventually
from support.faults import Hang
from support.faulty_store import FaultyStore
from support.files import jpeg, write

EXIT_FAILED = 1
EXIT_LEDGER = 74
EXIT_CONFIG = 78

LARGE = 16 * 1024 * 1024
"""Bytes: more than the kernel keeps for a server that does not read."""


def reload(app: App) -> dict[str, Any]:
    done = app.command("reload", "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def names_at(store: FaultyStore) -> list[str | None]:
    return [seen.filename for seen in store.requests if seen.stored]


def test_another_configuration_counts_at_once_and_disturbs_no_upload(
    app: App, store: FaultyStore, tmp_path: Path
) -> None:
    app.configure(store.url, top="workers: 1", watch="settle: 0s")
    release = threading.Event()
    store.next(Hang(release, at=300))
    with app.running():
        write(app.inbox / "first.jpg", jpeg(seed=1))
        store.wait_for(lambda s: s.in_flight == 1)

        write(tmp_path / "key", b"another-canary-key")
        (tmp_path / "second").mkdir()
        app.configure(
            store.url,
            top="workers: 3\nretry: {first: 1s}\nlog: {format: json, level: debug}",
            store=f"key_file: {tmp_path}/key\nfilename: neutral\nanswer_timeout: 1m",
            watch="settle: 0s\nname: inbox\ncomment: 'from {watch}'",
        )
        with open(app.file, "a") as file:
            file.write(f"  - path: {tmp_path}/second\n    settle: 0s\n")
        loaded_at = app.status()["config"]["loaded_at"]
        answer = reload(app)
        keys = "store.key_file store.answer_timeout store.filename workers retry.first log.level log.format watch"
        assert answer == {"changed": keys.split(), "needs_restart": [], "warnings": answer["warnings"]}
        assert app.status()["config"]["loaded_at"] > loaded_at

        write(app.inbox / "with-comment.jpg", jpeg(seed=2))
        write(tmp_path / "second" / "there.jpg", jpeg(seed=3))
        store.wait_for(lambda s: len(s.stored) == 2)
        assert store.in_flight == 1, "the first one still hangs, so there are more workers than one"
        later = [seen for seen in store.requests if seen.stored]
        assert {seen.filename for seen in later} == {"upload.jpg"}
        assert {seen.fields["key"] for seen in later} == {"another-canary-key"}
        assert "from inbox" in {seen.fields.get("comment") for seen in later}

        app.configure(store.url, top="workers: 1", watch="settle: 0s")
        assert set(reload(app)["changed"]) >= {"workers", "watch"}
        release.set()
        app.wait_for(published=3)
        assert names_at(store).count("first.jpg") == 1, "by the name it had when it began"
        write(tmp_path / "second" / "not-watched.jpg", jpeg(seed=4))
        write(app.inbox / "still-watched.jpg", jpeg(seed=5))
        app.wait_for(published=4)
        assert "still-watched.jpg" in names_at(store)
        assert [watch["path"] for watch in app.status()["watches"]] == [str(app.inbox)]
    assert all(count == 1 for count in store.stored.values())
    lines = app.log.read_text().splitlines()
    assert any(line.startswith('{"time"') for line in lines)
    assert not any("canary-key" in line for line in lines)


def test_what_the_rules_do_not_take_any_more_is_not_published_once_they_are_reloaded(
    app: App, store: FaultyStore, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    app.configure(store.url, watch="settle: 0s")
    one_watch = app.file.read_text()
    app.file.write_text(f"{one_watch}  - path: {second}\n    settle: 0s\n")
    release = threading.Event()
    store.next(Hang(release, at=300), Hang(release, at=300))
    with app.running():
        flying = write(app.inbox / "flying.jpg", jpeg(LARGE, seed=1))
        write(second / "flying too.jpg", jpeg(LARGE + 1, seed=2))
        store.wait_for(lambda s: s.in_flight == 2)
        assert app.command("pause").returncode == 0
        write(app.inbox / "x" / "waits.jpg", jpeg(seed=3))
        write(second / "waits.jpg", jpeg(seed=4))
        eventually(app.counts, lambda now: now["pending"] + now["uploading"] == 4)
        named = write(app.inbox / "named.txt", b"no rule takes it, but somebody has asked for it")
        assert "stays queued" in app.command("publish", str(named)).stderr

        app.file.write_text(f"{one_watch}    exclude: [x/, flying.jpg]\n")
        assert reload(app)["changed"] == ["watch"]
        release.set()
        eventually(app.counts, lambda now: now["skipped"] == 4 and now["uploading"] == 0)
        assert "flying.jpg" in json.loads(app.command("why", "--json", str(flying)).stdout)["reason"]
        app.stop()
        app.start()
        assert app.command("resume").returncode == 0
        app.wait_for(skipped=4, published=1)
        assert names_at(store) == ["named.txt"] and sum(store.completed.values()) == 1

        app.file.write_text(one_watch)
        reload(app)
        app.wait_for(skipped=2, published=3)
        assert set(names_at(store)) == {"named.txt", "flying.jpg", "waits.jpg"}


def test_what_needs_a_restart_is_named_and_everything_else_counts(app: App, store: FaultyStore) -> None:
    app.configure(store.url, watch="settle: 0s")
    with app.running():
        app.configure(store.url, top="workers: 2", store="id: another\nkey_in: header", watch="settle: 0s")
        done = app.command("reload")
        assert done.returncode == 0, done.stderr
        assert "reloaded: workers" in done.stdout
        assert "needs a restart: store.id, store.key_in" in done.stdout
        assert app.status()["store"]["id"] != "another"

        moved = app.file.read_text().replace("state/ledger.db", "other/ledger.db")
        app.file.write_text(moved + f"\ncontrol: {app.home}/state/control.sock\n")
        assert reload(app)["needs_restart"] == ["store.id", "store.key_in", "ledger"]
        refused = app.command("status")
        assert (refused.returncode, "restart it" in refused.stderr) == (EXIT_FAILED, True)


def test_a_faulty_file_changes_nothing_and_is_shown_until_it_is_mended(app: App, store: FaultyStore) -> None:
    app.configure(store.url, top="metrics: {listen: '127.0.0.1:0'}", watch="settle: 0s")
    good = app.file.read_text()
    with app.running():
        assert app.process
        app.file.write_text(good + "wokrers: 2\nrescan_every: soon\n")
        done = app.command("reload")
        assert (done.returncode, done.stdout) == (EXIT_CONFIG, "")
        assert "2 faults" in done.stderr and 'did you mean "workers"' in done.stderr and "rescan_every" in done.stderr
        status = app.status()
        assert "rescan_every" in status["config"]["error"] and "\n" not in status["config"]["error"]
        assert status["needs_you"] == 1
        assert "the configuration is faulty" in app.command("status").stdout
        check = app.command("status", "--check")
        assert (check.returncode, check.stdout.startswith("NEEDS YOU: the configuration")) == (EXIT_FAILED, True)

        app.process.send_signal(signal.SIGHUP)
        eventually(app.log.read_text, lambda log: log.count("configuration not reloaded key=rescan_every") == 2)
        write(app.inbox / "a.jpg", jpeg())
        app.wait_for(published=1)

        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            app.file.write_text(good.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
            done = app.command("reload")
            assert (done.returncode, "metrics.listen" in done.stderr) == (EXIT_CONFIG, True)
        # They are served where they were.
        eventually(app.log.read_text, lambda log: len(re.findall(r"metrics url=", log)) == 2)

        ledger = app.home / "state" / "ledger.db"
        aside = ledger.rename(ledger.with_name("aside"))
        app.file.write_text(good.replace("settle: 0s", "settle: 2s") + "workers: 2\n")
        loaded_at = app.status()["config"]["loaded_at"]
        done = app.command("reload")
        assert (done.returncode, "put it back" in done.stderr) == (EXIT_LEDGER, True)
        assert app.status()["config"]["loaded_at"] == loaded_at
        aside.rename(ledger)
        assert reload(app)["changed"] == ["workers", "watch"], "what could not be recorded had changed nothing"

        app.file.write_text(good)
        app.process.send_signal(signal.SIGHUP)
        status = eventually(app.status, lambda now: now["config"]["error"] is None)
        assert status["needs_you"] == 0


def test_a_hangup_before_the_daemon_is_ready_is_heeded_when_it_is(app: App) -> None:
    app.configure()
    lock = LedgerLock(app.home / "state" / "ledger.db")
    lock.acquire("command")  # which a daemon that starts waits for
    process = app.launch()
    signals = Path(f"/proc/{process.pid}/status")
    eventually(signals.read_text, lambda status: re.search(r"^SigBlk:\s*0*1$", status, re.MULTILINE))
    app.file.write_text(app.file.read_text() + "workers: 2\n")
    process.send_signal(signal.SIGHUP)
    lock.release()
    eventually(app.log.read_text, lambda log: "configuration reloaded" in log)
    assert app.stop() == 0


def test_a_daemon_is_asked_by_the_configuration_it_runs_with(app: App) -> None:
    app.configure()
    with app.running():
        real = app.file
        app.file = app.home / "link.yaml"
        app.file.symlink_to(real)
        assert reload(app)["changed"] == []
        app.file = write(app.home / "copy.yaml", real.read_bytes())
        done = app.command("reload")
        assert (done.returncode, str(real) in done.stderr) == (EXIT_FAILED, True)


def test_without_a_daemon_there_is_nothing_to_reload(app: App) -> None:
    app.configure()
    done = app.command("reload")
    assert (done.returncode, "no daemon" in done.stderr) == (EXIT_FAILED, True)
    app.file.write_text(app.file.read_text() + "wokrers: 2\n")
    done = app.command("reload")
    assert (done.returncode, "did you mean" in done.stderr) == (EXIT_CONFIG, True)
