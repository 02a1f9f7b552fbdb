"""What holds for all tests: where nothing may be skipped, a skip is a failure; no example is too slow; Ctrl-C ends what
it should; nothing that is mounted outlives the tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from support.mount_space import MountSpace, missing
from support.mounting import mount_for_ourselves

# How long an example takes tells how busy the machine is, not whether it is right.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure() -> None:
    # A shell has its background jobs ignore Ctrl-C, and so would every program that they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    mount_for_ourselves()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if os.environ.get("PIXSTORED_NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report


@pytest.fixture
def space() -> Iterator[MountSpace]:
    """A place of the test's own to mount things in."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with MountSpace() as space:
        yield space
