"""Fixtures of the tests that use the installed command as a black box."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app import App
from support.disks import Disks
from support.faulty_store import FaultyStore
from support.mount_space import MountSpace


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path)
    yield app
    app.close()


@pytest.fixture
def store() -> Iterator[FaultyStore]:
    with FaultyStore(keep_bodies=True) as store:
        yield store


@pytest.fixture
def unprivileged(app: App) -> App:
    """A daemon that file permissions apply to: root without the capabilities to pass over them."""
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("as root, needs setpriv")
        without = "-dac_override,-dac_read_search"
        app.before += ["setpriv", f"--inh-caps={without}", f"--bounding-set={without}"]
    return app


@pytest.fixture
def disks(app: App, space: MountSpace) -> Disks:
    """A daemon to be, that sees what is mounted in the namespace and waits for a mount at each folder."""
    app.before = [*space.before, *app.before]
    return Disks(app.home, space)
