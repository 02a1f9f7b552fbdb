"""docs/service.md is true: each command in it is given on a machine that has never seen pixstored, in its order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from support.app import eventually
from support.faulty_store import FaultyStore
from support.files import jpeg
from system.machine import Machine
from system.service import CLONE, CONFIG, Service, sections

KEY, NEW_KEY = "canary-key-never-shown", "canary-key-the-second"
PICTURES = "/home/anna/Pictures"

STAND_IN = '#!/bin/sh\nfor last; do :; done\nchmod a+rX "$last"\n'
"""Does for `setfacl` what the rest of the page needs, where there is none."""


@pytest.fixture
def store(machine: Machine) -> Iterator[FaultyStore]:
    store = FaultyStore(keys=frozenset({KEY, NEW_KEY}))
    with machine.network(), store:
        yield store


def test_each_command_of_the_documentation_does_what_it_says(machine: Machine, store: FaultyStore) -> None:
    service = Service(machine)
    reader = Reader(service)
    has_acls = shutil.which("setfacl") is not None
    if not has_acls:
        machine.put("/usr/local/bin/setfacl", STAND_IN, 0o755)
    machine.ok(f"useradd --create-home anna && install -d -o anna -g anna {PICTURES} && chmod 700 /home/anna")

    reader.put(f"{PICTURES}/before.jpg", 0, "anna:anna")

    install_and_start(reader, store)
    look(reader)
    let_it_read_a_home(reader)
    let_it_write(reader)
    change_the_key(reader, store)
    watch_it(reader)
    upgrade_and_uninstall(reader, store)

    assert reader.left == {}, "each block of the page has its place in this test"
    assert set(store.stored.values()) == {1}, "whatever was done to the service, nothing was sent twice"
    if not has_acls:
        pytest.skip("all is well but for the setfacl commands, which were not tried: needs the package acl")


class Reader:
    """Somebody who follows the page, section by section."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.machine = service.machine
        self.left = {heading: blocks for heading, blocks in sections().items() if blocks}

    def follow(self, heading: str, *, typed: str = "") -> list[str]:
        """Does all blocks of a section that are left; returns what each printed."""
        return [self.service.walk(block, typed=typed) for block in self.left.pop(heading)]

    def follow_next(self, heading: str, *, typed: str = "") -> str:
        """Does the section's next block."""
        return self.service.walk(self.left[heading].pop(0), typed=typed)

    def put(self, path: str, seed: int, owner: str = "root") -> None:
        self.machine.put(path, jpeg(20_000, seed=seed), owner=owner)


def install_and_start(reader: Reader, store: FaultyStore) -> None:
    heading = "As a service"
    for _ in range(2):
        reader.follow_next(heading)
    assert "yaml" in reader.left[heading][0]
    reader.follow_next(heading, typed=KEY)
    assert reader.machine.ok("stat -c '%U %a' /etc/pixstored/store-key") == "root 600\n"
    # What is different here: the store is one of ours, and there are folders for the sections to come.
    reader.machine.ok(f"echo '  - path: {PICTURES}' >> {CONFIG} && echo 'store: {{url: \"{store.url}\"}}' >> {CONFIG}")
    reader.follow_next(heading)
    assert reader.machine.ok("systemctl is-enabled pixstored") == "enabled\n"
    reader.put("/srv/photos/first.jpg", 1)
    reader.service.wait_for(published=1)
    [looked] = reader.follow(heading)
    assert "nothing needs you" in looked
    assert "/srv/photos/first.jpg" in looked
    assert store.requests[0].fields["key"] == KEY


def look(reader: Reader) -> None:
    [block] = reader.left.pop("Does it have what it needs?")
    code, looked = reader.machine.run(["sh", "-euc", block], cwd=str(CLONE))
    assert code == 1, "anna's folder may not be read yet"
    assert f"NO  watch    {PICTURES}" in looked
    assert "ok  key      from systemd credential store-key" in looked


def let_it_read_a_home(reader: Reader) -> None:
    reader.follow("Folders it may not read")
    reader.service.wait_for_watch(PICTURES, "watching")
    reader.put(f"{PICTURES}/anna.jpg", 2, "anna:anna")
    eventually(lambda: [link["path"] for link in reader.service.links()], lambda paths: f"{PICTURES}/anna.jpg" in paths)


def let_it_write(reader: Reader) -> None:
    reader.machine.put(
        CONFIG,
        reader.machine.ok(f"cat {CONFIG}").replace("watch:\n", "watch:\n  - {path: /srv/incoming/new, create: true}\n"),
    )
    reader.follow("What the service may not do")
    assert reader.machine.ok("stat -c %U /srv/incoming/new") == "pixstored\n"


def change_the_key(reader: Reader, store: FaultyStore) -> None:
    reader.follow("The API key", typed=NEW_KEY)
    reader.put("/srv/photos/second.jpg", 3)
    store.wait_for(lambda seen: seen.requests[-1].fields.get("key") == NEW_KEY)


def watch_it(reader: Reader) -> None:
    eventually(lambda: reader.machine.run("pixstored status --check").code, lambda code: code == 0)
    told, _ = reader.follow("Seeing what it does")
    assert "active (running)" in told
    assert "published path=/srv/photos/second.jpg" in told
    assert "nothing needs you" in reader.service.command("status", "anna")


def upgrade_and_uninstall(reader: Reader, store: FaultyStore) -> None:
    before = reader.service.show("MainPID")
    known = len(reader.service.links())
    reader.follow("Upgrading")
    assert reader.service.show("MainPID") != before
    assert len(reader.service.links()) == known
    reader.follow_next("Uninstalling")
    assert reader.machine.run("systemctl status pixstored").code == 4, "there is no such unit"
    assert reader.machine.run("test -s /var/lib/pixstored/ledger.db").code == 0
    reader.follow("Uninstalling")
    assert reader.machine.run("id pixstored").code != 0
    leftovers = "/etc/pixstored /var/lib/pixstored /opt/pixstored /etc/*/*pixstored* /etc/systemd/system/*/*pixstored*"
    assert "pixstored\n" not in reader.machine.run(f"ls -d {leftovers} 2>/dev/null").out
