"""The service after a boot: nobody starts it, and a disk of its is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.files import jpeg
from system.machine import Machine, missing
from system.service import CLONE, PREPARED, SHOWN, Service, at_home, sections

DISK = "/srv/disk"
INSTALLED = f"""{PREPARED}
cd '{CLONE}'
{at_home(sections()["By hand, and in a package"][0])}
mkdir -p /etc/pixstored {DISK}
cat > /etc/pixstored/config.yaml <<'END'
store: {{url: embedded}}
watch: [{{path: {DISK}/photos, existing: publish, settle: 300ms}}]
END
cat > /etc/systemd/system/srv-disk.mount <<'END'
[Mount]
What=/dev/disk/by-uuid/not-there
Where={DISK}
END
mkdir -p /etc/systemd/system/machine.target.d
cat > /etc/systemd/system/machine.target.d/boot.conf <<'END'
[Unit]
Wants=multi-user.target srv-disk.mount
After=multi-user.target
END
systemctl enable pixstored
"""
"""A machine as a package leaves it: the service enabled, and a disk that is to be mounted at boot."""


@pytest.fixture
def booted() -> Iterator[Service]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    machine = Machine(SHOWN, INSTALLED)
    yield Service(machine)
    machine.close()


def test_it_starts_at_boot_without_its_disk_and_publishes_when_that_comes(booted: Service) -> None:
    assert booted.machine.show("srv-disk.mount", "ActiveState") != "active"
    assert booted.show("ActiveState") == "active", "it waits for no disk and no network"
    booted.wait_for_watch(f"{DISK}/photos", "offline")
    booted.machine.ok(f"mount -t tmpfs -o mode=755 disk {DISK}")
    booted.machine.put(f"{DISK}/photos/a.jpg", jpeg(20_000, seed=1))
    booted.wait_for_watch(f"{DISK}/photos", "watching")
    booted.wait_for(published=1)
