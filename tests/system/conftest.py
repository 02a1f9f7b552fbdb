"""Fixtures of the tests that run pixstored under a real systemd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from system.machine import Machine, missing
from system.service import PREPARED, SHOWN, Service


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with nothing of pixstored on it but its source, and the Python that runs the tests."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    machine = Machine(SHOWN, PREPARED)
    yield machine
    machine.close()


@pytest.fixture(scope="module")
def installed(machine: Machine) -> Service:
    """The service, installed as docs/service.md says, not configured yet."""
    service = Service(machine)
    service.install()
    return service


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """The installed service, as if it had never run: no configuration, no key, no state, no drop-ins of a test."""
    installed.forget()
    yield installed
    installed.machine.run("systemctl stop pixstored")
