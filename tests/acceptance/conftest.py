"""Fixtures of the tests that use the installed command as a black box."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app import App
from support.faulty_store import FaultyStore


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path)
    yield app
    app.close()


@pytest.fixture
def store() -> Iterator[FaultyStore]:
    with FaultyStore(keep_bodies=True) as store:
        yield store
