"""Fixtures of the tests that use a few rooms of the program together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from support.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    ledger = open_ledger(tmp_path / "ledger.db", "shop")
    yield ledger
    ledger.close()
