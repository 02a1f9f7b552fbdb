"""`pixstored service`, and an upgrade of the program, on a real systemd. The plain way is in test_service_docs.py."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.faults import Fault, Hang
from support.faulty_store import FaultyStore
from support.files import jpeg
from support.wheel import make_wheel
from system.machine import Machine
from system.service import CONFIG, KEY_FILE, PHOTOS, Service, sections

UNIT = "/etc/systemd/system/pixstored.service"
KEY = "canary-key-never-shown"
INSTALL = "pixstored service install"
BEYOND_BUFFERS = 24_000_000
"""Bytes that the kernel does not take from a sender whose receiver has stopped."""


@pytest.fixture(scope="module")
def program(machine: Machine) -> Service:
    """The program, and neither a user nor a unit for it."""
    service = Service(machine)
    service.walk(sections()["As a service"][0])
    return service


@pytest.fixture
def fresh(program: Service) -> Iterator[Service]:
    """Afterwards there is nothing of a service."""
    program.forget()
    yield program
    program.machine.run("systemctl disable --now pixstored")
    program.machine.run(f"rm -rf {UNIT} {UNIT}.d /etc/sysusers.d/pixstored.conf; userdel pixstored")
    program.machine.ok("systemctl daemon-reload")


def test_what_is_done_once_is_not_done_again_and_what_has_changed_is(fresh: Service) -> None:
    machine = fresh.machine
    fresh.configure(watch=f"path: {PHOTOS}, create: true", top="stop_timeout: 20s")
    first = machine.ok(INSTALL).splitlines()
    assert first[:4] == [
        "wrote /etc/sysusers.d/pixstored.conf",
        "made the user pixstored",
        "made /var/lib/pixstored, which belongs to pixstored",
        f"wrote {UNIT}",
    ]
    assert first[4] == "enabled: it starts at each boot"
    assert first[5].startswith("started: ")
    assert machine.ok("systemd-analyze verify pixstored.service") == ""
    pid, unit = fresh.show("MainPID"), machine.ok(f"cat {UNIT}")

    assert machine.ok(INSTALL) == f"nothing to change: the service runs {CONFIG}\n"
    assert fresh.show("MainPID") == pid

    fresh.configure(watch=f"path: {PHOTOS}, create: true", top="stop_timeout: 20s\nworkers: 2")
    [restarted, _] = machine.ok(INSTALL).splitlines()
    assert restarted.startswith("restarted: ")
    assert machine.ok(f"cat {UNIT}") == unit, "workers are nothing the unit knows of"

    fresh.configure(watch="path: /srv/new/incoming, create: true", top="stop_timeout: 30s")
    [made, wrote, restarted, _] = machine.ok(f"umask 077; {INSTALL}").splitlines()
    assert made == "made /srv/new/incoming, which belongs to pixstored"
    assert machine.ok("stat -c '%U %a' /srv/new /srv/new/incoming") == "root 755\npixstored 2775\n"
    assert wrote == f"wrote {UNIT}"
    assert fresh.show("TimeoutStopUSec") == "45s"
    assert fresh.show("ReadWritePaths") == "-/srv/new/incoming"

    fresh.stop()
    machine.put("/etc/systemd/system/pixstored.service.d/mine.conf", "[Service]\nNice=5\n")
    [started, _] = machine.ok(INSTALL).splitlines()
    assert started.startswith("started: ")
    assert fresh.show("Nice") == "5"
    removed = machine.ok("pixstored service uninstall").splitlines()
    assert removed[:3] == ["stopped, and disabled", f"removed {UNIT}", "removed /etc/sysusers.d/pixstored.conf"]
    for kept in (f"{UNIT}.d", CONFIG, "/var/lib/pixstored/ledger.db", "the user pixstored"):
        assert kept in removed[3]
    assert machine.run("systemctl is-enabled pixstored").code != 0
    assert machine.ok("pixstored service uninstall") == f"nothing to remove: there is no {UNIT}\n"
    assert machine.ok("ls /etc/systemd/system/pixstored.service.d") == "mine.conf\n"


def test_what_is_in_the_way_is_told_in_a_sentence_and_nothing_is_changed(fresh: Service) -> None:
    machine = fresh.machine

    def refused(code: int, *words: str) -> None:
        done = machine.run(INSTALL)
        assert done.code == code, done.out
        assert done.out.count("\n") == 1
        assert [word for word in words if word not in done.out] == []

    fresh.configure("url: 'http://127.0.0.1:9/store'")
    refused(78, "no API key", "store.key_file", KEY_FILE)
    machine.put(KEY_FILE, "two\nlines\n", 0o600)
    refused(78, KEY_FILE)
    fresh.configure(top="ledger: /home/anna/ledger.db")
    refused(1, "/home/anna/ledger.db", "--user")
    assert machine.run(f"ls {UNIT} /etc/sysusers.d/pixstored.conf").out.count("No such file") == 2
    assert machine.run("id pixstored").code != 0

    fresh.configure()
    machine.put(UNIT, "[Service]\nExecStart=/bin/true\n")
    refused(1, UNIT, "not written by")
    assert machine.run("pixstored service uninstall").code == 1
    assert machine.ok(f"cat {UNIT}") == "[Service]\nExecStart=/bin/true\n"
    machine.ok(f"rm {UNIT} && systemctl daemon-reload")

    machine.ok(INSTALL)
    machine.put(
        "/srv/other.yaml", f"ledger: /srv/state/ledger.db\nstore: {{url: embedded}}\nwatch: [{{path: {PHOTOS}}}]\n"
    )
    done = machine.run("pixstored -c /srv/other.yaml service install")
    assert (done.code, "another configuration" in done.out) == (1, True)
    machine.ok(f"chmod 600 {CONFIG}")
    refused(1, f"setfacl -m u:pixstored:rX /etc/pixstored {CONFIG}")


def test_a_daemon_that_does_not_start_ends_the_command_with_its_code_and_its_words(fresh: Service) -> None:
    fresh.configure()
    fresh.machine.put("/var/lib/pixstored/ledger.db", "no database at all" * 100)
    done = fresh.machine.run(INSTALL)
    assert done.code == 74
    assert "installed, but it did not start (exit code 74): /var/lib/pixstored/ledger.db is not" in done.out


def test_check_tells_what_the_unit_keeps_from_the_service(fresh: Service) -> None:
    machine = fresh.machine
    fresh.configure()
    machine.ok(INSTALL)
    machine.ok("install -d -m 755 /home/anna /home/anna/Pictures /tmp/in")
    fresh.configure(
        watch="path: /home/anna/Pictures}, {path: /tmp/in}, {path: /srv/made, create: true",
    )
    machine.ok("install -d -o pixstored /srv/made")
    look = ["runuser", "-u", "pixstored", "--", "pixstored", "check", "--json"]
    assert "as the service: `runuser -u pixstored -- pixstored -c" in machine.run("pixstored check").out
    told = [found["says"] for found in json.loads(machine.run(look).out)["findings"] if not found["ok"]]
    lines = ("BindReadOnlyPaths=-/home/anna", "PrivateTmp=no", "ReadWritePaths=-/srv/made")
    assert [line for line in lines if sum(f"add `{line}` below [Service]" in says for says in told) != 1] == []
    machine.put(f"{UNIT}.d/mine.conf", "\n".join(["[Service]", *lines, ""]))
    assert json.loads(machine.ok(look))["ok"] is True
    machine.ok(f"rm {UNIT}.d/mine.conf; rmdir /srv/made; chown daemon /srv")
    installed = machine.ok(INSTALL)
    assert "/srv/made is to be made below /srv, which root leaves to" in installed
    machine.ok(installed.partition("to you: `")[2].partition("`")[0])
    machine.ok("chown root /srv")
    assert json.loads(machine.ok(look))["ok"] is True
    machine.put("/home/anna/Pictures/a.jpg", jpeg(seed=1))
    machine.put("/tmp/in/b.jpg", jpeg(seed=2))
    fresh.wait_for(published=2)


def test_an_upgrade_in_the_middle_of_uploads_loses_nothing_and_sends_nothing_twice(
    fresh: Service, tmp_path: Path
) -> None:
    machine, answer, never = fresh.machine, threading.Event(), threading.Event()
    store = FaultyStore(keys=frozenset({KEY}))
    faults: dict[str | None, Fault] = {"complete.jpg": Hang(answer), "half.jpg": Hang(never, at=20_000)}
    store.decide(lambda asked: faults.pop(asked.filename, None) if asked.sha256 is None else None)
    for version in ("0.0.1", "99.0.0"):
        machine.put(f"/opt/{make_wheel(tmp_path, version).name}", next(tmp_path.glob(f"*-{version}-*")).read_bytes())
    pip = "/opt/pixstored/bin/python -m pip install --quiet --no-index --no-deps --root-user-action=ignore"
    with machine.network(), store:
        machine.ok(f"{pip} --force-reinstall /opt/pixstored-0.0.1-*.whl")
        fresh.configure(f"url: '{store.url}'", top="stop_timeout: 20s")
        machine.put(KEY_FILE, KEY, 0o600)
        machine.ok(INSTALL)
        assert fresh.status()["version"] == "0.0.1"
        for seed, name in enumerate(("complete.jpg", "half.jpg", "after.jpg")):
            machine.put(f"{PHOTOS}/{name}", jpeg(BEYOND_BUFFERS if name == "half.jpg" else 20_000, seed=seed))
        store.wait_for(
            lambda seen: seen.stored.total() == 2 and any(20_000 <= r.received < r.length for r in seen.requests)
        )
        machine.ok(f"{pip} --upgrade /opt/pixstored-99.0.0-*.whl")
        machine.put(f"{PHOTOS}/meanwhile.jpg", jpeg(20_000, seed=9))
        threading.Timer(0.5, answer.set).start()
        assert "restarted: " in machine.ok(INSTALL)
        assert fresh.status()["version"] == "99.0.0"
        fresh.wait_for(published=4)
        never.set()
    assert set(store.stored.values()) == {1}
    assert len(store.stored) == 4
    assert store.begun["complete.jpg"] == 1, "its answer was waited for"
