"""docs/service.md is true: each command in it is given on a machine that has never seen pixstored, in its order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from support.app import eventually
from support.faulty_store import FaultyStore
from support.files import jpeg
from system.machine import Machine
from system.service import CONFIG, Service, sections

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
    watch_a_home(reader)
    change_the_key(reader, store)
    watch_it(reader)
    upgrade_and_uninstall(reader)
    has_bus = machine.run("systemctl start dbus systemd-logind").code == 0
    if has_bus:
        run_it_as_anna(reader, store)
    else:
        del reader.left["A service of your own"]
    install_by_hand(reader)

    assert reader.left == {}, "each block of the page has its place in this test"
    assert set(store.stored.values()) == {1}, "whatever was done to the service, nothing was sent twice"
    if not (has_acls and has_bus):
        pytest.skip("all is well, but setfacl or a user's own service were not tried: needs the packages acl and dbus")


class Reader:
    """Somebody who follows the page, section by section."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.machine = service.machine
        self.left = {heading: blocks for heading, blocks in sections().items() if blocks}

    def follow(self, heading: str, *, typed: str = "", user: str = "root") -> list[str]:
        """Does all blocks of a section that are left; returns what each printed."""
        return [self.service.walk(block, typed=typed, user=user) for block in self.left.pop(heading)]

    def follow_next(self, heading: str, *, typed: str = "", user: str = "root") -> str:
        """Does the section's next block."""
        return self.service.walk(self.left[heading].pop(0), typed=typed, user=user)

    def put(self, path: str, seed: int, owner: str = "root") -> None:
        self.machine.put(path, jpeg(20_000, seed=seed), owner=owner)


def install_and_start(reader: Reader, store: FaultyStore) -> None:
    heading = "As a service"
    reader.follow_next(heading)
    assert "yaml" in reader.left[heading][0]
    reader.follow_next(heading, typed=KEY)
    assert reader.machine.ok("stat -c '%U %a' /etc/pixstored/store-key") == "root 600\n"
    use_our_store(reader, CONFIG, store)
    told = reader.follow_next(heading)
    assert "wrote /etc/systemd/system/pixstored.service" in told
    assert "started: " in told
    assert reader.machine.ok("systemctl is-enabled pixstored") == "enabled\n"
    reader.put("/srv/photos/first.jpg", 1)
    reader.service.wait_for(published=1)
    [looked] = reader.follow(heading)
    assert "nothing needs you" in looked
    assert "/srv/photos/first.jpg" in looked
    assert store.requests[0].fields["key"] == KEY


def use_our_store(reader: Reader, config: str, store: FaultyStore) -> None:
    """What is different here: the store is one of ours."""
    section = f'store: {{url: "{store.url}"'
    written = reader.machine.ok(f"cat {config}")
    ours = written.replace("store:\n  key_file: key\n", f"{section}, key_file: key}}\n")
    owner = reader.machine.ok(f"stat -c %U {config}").strip()
    reader.machine.put(config, ours if ours != written else f"{section}}}\n{written}", owner=owner)


def watch_a_home(reader: Reader) -> None:
    [told] = reader.follow("What `service install` does")
    enter = "setfacl -m u:pixstored:x /home/anna"
    read = f"setfacl -R -m u:pixstored:rX,d:u:pixstored:rX {PICTURES}"
    assert (
        f"NO  watch    {PICTURES} may not be read by pixstored, who may not enter /home/anna; {enter} && {read}" in told
    )
    assert reader.left["Folders it may not read"] == [f"{enter}\n{read}\n"], "the page has the same advice"
    [look] = reader.left.pop("Does it have what it needs?")
    code, looked = reader.machine.run(["sh", "-euc", look])
    assert code == 1
    assert f"NO  watch    {PICTURES} may not be read" in looked
    assert "ok  key      for the service, from systemd credential store-key" in looked
    reader.follow("Folders it may not read")
    reader.service.wait_for_watch(PICTURES, "watching")
    assert "NO" not in reader.machine.ok(["sh", "-euc", look])
    reader.put(f"{PICTURES}/anna.jpg", 2, "anna:anna")
    eventually(lambda: [link["path"] for link in reader.service.links()], lambda paths: f"{PICTURES}/anna.jpg" in paths)


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


def upgrade_and_uninstall(reader: Reader) -> None:
    before = reader.service.show("MainPID")
    known = len(reader.service.links())
    [told] = reader.follow("Upgrading")
    assert "restarted: " in told
    assert reader.service.show("MainPID") != before
    assert len(reader.service.links()) == known
    told = reader.follow_next("Uninstalling")
    assert "/var/lib/pixstored/ledger.db" in told
    assert reader.machine.run("systemctl status pixstored").code == 4, "there is no such unit"
    assert reader.machine.run("test -s /var/lib/pixstored/ledger.db").code == 0
    reader.follow("Uninstalling")
    assert reader.machine.run("id pixstored").code != 0
    assert_gone(reader)


def assert_gone(reader: Reader) -> None:
    leftovers = "/etc/pixstored /var/lib/pixstored /opt/pixstored /etc/*/*pixstored* /etc/systemd/system/*/*pixstored*"
    assert "pixstored\n" not in reader.machine.run(f"ls -d {leftovers} 2>/dev/null").out


def run_it_as_anna(reader: Reader, store: FaultyStore) -> None:
    machine = reader.machine
    reader.service.walk(sections()["As a service"][0])
    machine.ok('systemctl start "user@$(id -u anna)"')  # she logs in
    heading = "A service of your own"
    edited, install = reader.left[heading][0].rsplit("\n", 2)[0], "pixstored service install --user"
    assert reader.left[heading].pop(0) == f"{edited}\n{install}\n"
    reader.service.walk(edited, typed=KEY, user="anna")
    use_our_store(reader, "/home/anna/.config/pixstored/config.yaml", store)
    told = reader.service.walk(install, user="anna")
    assert "loginctl enable-linger anna" in told
    verify = 'XDG_RUNTIME_DIR="/run/user/$(id -u)" systemd-analyze --user verify pixstored.service'
    assert machine.ok(verify, user="anna") == ""
    reader.put(f"{PICTURES}/own.jpg", 4, "anna:anna")
    reader.service.wait_for(user="anna", published=1)
    reader.follow_next(heading)
    assert "nothing to change" in reader.service.walk(install, user="anna")
    [told] = reader.follow(heading, user="anna")
    assert "/home/anna/.local/state/pixstored/ledger.db" in told
    assert machine.run("ls /home/anna/.config/systemd/user/pixstored.service").code != 0
    machine.ok("rm -r /opt/pixstored /usr/local/bin/pixstored")


def install_by_hand(reader: Reader) -> None:
    heading = "By hand, and in a package"
    reader.follow_next(heading)
    reader.service.configure(watch="path: /srv/incoming/new, create: true")
    reader.machine.ok("systemctl enable --now pixstored")
    reader.follow_next(heading)
    assert eventually(lambda: reader.machine.run("stat -c %U /srv/incoming/new").out, bool) == "pixstored\n"
    reader.follow_next(heading)
    del reader.left[heading]
    reader.machine.ok("rm -r /etc/pixstored /var/lib/pixstored && userdel pixstored")
    assert_gone(reader)
