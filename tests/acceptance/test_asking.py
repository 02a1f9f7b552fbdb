"""Who cannot read the ledger asks the daemon, and is told the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app import App, eventually
from support.faulty_store import FaultyStore
from support.files import jpeg, write

NOBODY = 65534
EXIT_LEDGER = 74

WITHOUT_ROOTS_POWER = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.fixture
def hidden(app: App, store: FaultyStore) -> Iterator[App]:
    """A running daemon with links of several kinds, whose ledger lies behind a door that only it can open."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to be a user who may not read a file")
    state = app.home / "state"
    app.configure(store.url, top=f"control: {app.home}/run/control.sock", watch="settle: 0s\nname: box")
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        write(Path(os.fsdecode(os.fsencode(app.inbox) + b"/\xff.jpg")), jpeg(seed=2))
        app.wait_for(published=2)
        write(app.inbox / "a.jpg", jpeg(seed=3))
        eventually(lambda: app.links("--all"), lambda links: len(links) == 3)
        app.wait_for(published=2)
        write(app.inbox / "notes.txt", b"not taken")
        os.chown(state, NOBODY, NOBODY)
        state.chmod(0o700)
        yield app


def as_somebody(app: App, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*WITHOUT_ROOTS_POWER, sys.executable, "-m", "pixstored", "-c", str(app.file), *words]
    return subprocess.run(command, env=app.environ, capture_output=True, encoding="utf-8", timeout=60)


def test_the_daemon_tells_what_the_ledger_would(hidden: App) -> None:
    for line in (
        "links --all --format json",
        "links --format jsonl --watch box --since 1h",
        "links --format csv --until 1h",
        "links --store another",
        "links --all",
        "scan",
        "-v scan --json",
        "status --check",
    ):
        own, told = hidden.command(*line.split()), as_somebody(hidden, *line.split())
        assert (told.returncode, told.stderr) == (0, ""), line
        assert told.stdout == own.stdout, line
        assert own.stdout or "another" in line


def test_without_a_daemon_there_is_nobody_to_ask(app: App) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to be a user who may not read a file")
    app.configure()
    with app.running():
        pass
    state = app.home / "state"
    os.chown(state, NOBODY, NOBODY)
    state.chmod(0o700)
    control = f"control: {app.home}/run/control.sock\n"
    for more, way_out in (("", "sudo"), (control, "run this as the user it belongs to")):
        app.file.write_text(more + app.file.read_text())
        for command in ("links", "scan"):
            done = as_somebody(app, command)
            assert (done.returncode, way_out in done.stderr) == (EXIT_LEDGER, True), done.stderr
