"""pixstored as a service of a machine: installed by the words of docs/service.md, and what a user does with it."""

from __future__ import annotations

import json
import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pixstored
from pixstored.cli.status import running
from pixstored.service.unit_places import home_of
from support.app import eventually
from system.machine import Machine

CLONE = Path(__file__).parents[2]
"""Where a user stands while they follow docs/service.md."""

_PYTHON_HOME = "/opt/shown/python" if home_of(Path(sys.base_prefix)) else sys.base_prefix
"""Where the Python of these tests is in a machine: not in a home, of which the service sees none."""

PREPARED = f"""mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\\nDefaultEnvironment=LD_LIBRARY_PATH={_PYTHON_HOME}/lib\\n' > /etc/systemd/system.conf.d/python.conf
"""
"""Makes services find the libraries of a Python that is not where it was built to be."""

SHOWN = {
    CLONE: str(CLONE),
    Path(sys.base_prefix): _PYTHON_HOME,
    Path(pixstored.__file__).parents[1]: "/opt/shown/source",
    Path(sysconfig.get_paths()["purelib"]): "/opt/shown/packages",
}
"""What a machine needs of this one: what the user stands in, and the Python, program and libraries of these tests."""

CONFIG = "/etc/pixstored/config.yaml"
LEDGER = "/var/lib/pixstored/ledger.db"
CONTROL = "/run/pixstored/control.sock"
KEY_FILE = "/etc/pixstored/store-key"
PHOTOS = "/srv/photos"
QUICK = f"path: {PHOTOS}, settle: 300ms"
"""A watch for tests to which it does not matter how settling is told."""

_DROP_IN = "/etc/systemd/system/pixstored.service.d/test.conf"
_FORGOTTEN = f"/etc/pixstored /var/lib/pixstored /srv/* /home/* {_DROP_IN}"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def sections() -> dict[str, list[str]]:
    """The blocks of shell commands in docs/service.md, in order, by the heading they stand under."""
    _, *parts = (CLONE / "docs" / "service.md").read_text().split("\n## ")
    return {part.partition("\n")[0]: _BLOCK.findall(part) for part in parts}


def at_home(block: str) -> str:
    """A block with what it takes from the net replaced: the venv gets the test's own packages, pip is not run."""
    return "".join(_at_home(line) + "\n" for line in block.splitlines())


def _at_home(line: str) -> str:
    if line.startswith("python3 -m venv "):
        return f"{_PYTHON} {line.removeprefix('python3 ')} --without-pip\n{_INSTALL}"
    if "/bin/pip install --upgrade " in line:
        return "touch /opt/pixstored/bin/pixstored"
    if "/bin/pip install " in line:
        return "test -f pyproject.toml"
    return line


_PYTHON = f"{_PYTHON_HOME}/bin/python{sys.version_info.major}.{sys.version_info.minor}"

_INSTALL = """printf '/opt/shown/%s\\n' source packages > "$(echo /opt/pixstored/lib/python3*/site-packages)/test.pth"
cat > /opt/pixstored/bin/pixstored <<'END'
#!/opt/pixstored/bin/python
from pixstored.cli import main
main()
END
chmod 755 /opt/pixstored/bin/pixstored"""


class Service:
    """The unit `pixstored` of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._since = ""
        """Where the journal was at the last `forget`."""

    # --- the documentation

    def walk(self, block: str, *, typed: str = "", user: str = "root") -> str:
        """Does what one block says; `typed` is what the user types meanwhile. Returns what was printed."""
        stdin = f"{typed}\n".encode()
        return self.machine.ok(["sh", "-euc", at_home(block)], cwd=str(CLONE), stdin=stdin, user=user)

    def install(self) -> None:
        """The program, by the page's first block, and the unit for a configuration that needs nothing special."""
        self.walk(sections()["As a service"][0])
        self.machine.ok(f"mkdir -p {PHOTOS}")
        self.configure()
        self.command("service install")
        self.machine.ok("systemctl disable --now pixstored")

    # --- the configuration

    def forget(self) -> None:
        """As after `install`."""
        self.machine.run("systemctl stop pixstored; systemctl reset-failed pixstored")
        self.machine.ok(f"rm -rf {_FORGOTTEN} && mkdir -p -m 755 {PHOTOS} && systemctl daemon-reload")
        cursor = self.machine.ok("journalctl --sync; journalctl -q -n 0 --show-cursor")
        self._since = cursor.rpartition("cursor: ")[2].strip()

    def configure(self, store: str = "url: embedded", watch: str = QUICK, top: str = "") -> None:
        """Writes /etc/pixstored/config.yaml; `store` and `watch` are the inside of YAML mappings, in flow style."""
        self.machine.put(CONFIG, f"store: {{{store}}}\nwatch: [{{{watch}}}]\n{top}\n")

    def drop_in(self, *lines: str) -> None:
        """Lines for the unit's [Service], until the next `forget`."""
        self.machine.put(_DROP_IN, "\n".join(["[Service]", *lines, ""]))
        self.machine.ok("systemctl daemon-reload")

    # --- its life

    def start(self) -> None:
        code, out = self.machine.run("systemctl start pixstored")
        assert code == 0, f"{out}\n{self.journal()}"

    def stop(self) -> None:
        self.machine.ok("systemctl stop pixstored")

    def show(self, field: str) -> str:
        return self.machine.show("pixstored", field)

    def send(self, signal: str) -> str:
        """Sends a signal to the daemon itself; returns the PID that it has."""
        pid = self.show("MainPID")
        self.machine.ok(f"kill -{signal} {pid}")
        return pid

    def wait_for_another(self, pid: str) -> None:
        """Waits until another daemon than the one with this PID is up."""
        eventually(
            lambda: (self.show("ActiveState"), self.show("MainPID")),
            lambda now: now[0] == "active" and now[1] != pid,
        )

    def journal(self, *arguments: str) -> list[str]:
        """What the journal has for this unit since the last `forget`: the daemon's words, and systemd's about it."""
        entries = self.machine.journal("--unit=pixstored", f"--after-cursor={self._since}", *arguments)
        return [entry["MESSAGE"] for entry in entries]

    def wait_for_line(self, part: str, *arguments: str) -> None:
        """Waits until there is this in the journal, which a daemon's words reach a moment after what they tell of."""
        eventually(lambda: self.journal(*arguments), lambda lines: any(part in line for line in lines))

    # --- what users ask

    def command(self, arguments: str, user: str = "root") -> str:
        return self.machine.ok(f"pixstored {arguments}", user=user)

    def status(self, user: str = "root") -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.command("status --json", user))
        return document

    def glance(self, user: str = "root") -> dict[str, Any]:
        """What `status` tells, without a process for it where the machine's daemon runs: to look again and again."""
        document = running(self.machine.inside(CONTROL), Path(LEDGER)) if user == "root" else None
        return document or self.status(user)

    def links(self, user: str = "root") -> list[dict[str, Any]]:
        links: list[dict[str, Any]] = json.loads(self.command("links --json", user))
        return links

    def wait_for(self, user: str = "root", **counts: int) -> dict[str, int]:
        """Waits until `status` counts just so many files in these states, and none in flight."""
        in_flight = dict.fromkeys(("settling", "pending", "uploading"), 0)
        return eventually(
            lambda: self.glance(user)["counts"],
            lambda now: all(now[state] == count for state, count in (in_flight | counts).items()),
        )

    def wait_for_links(self, *names: str) -> None:
        """Waits until just these files of the watched folder have links."""
        wanted = {f"{PHOTOS}/{name}" for name in names}
        eventually(lambda: {link["path"] for link in self.links()}, lambda paths: paths == wanted)

    def wait_for_watch(self, path: str, state: str) -> None:
        """Waits until `status` says this of a watched folder."""
        eventually(
            lambda: {watch["path"]: watch["state"] for watch in self.glance()["watches"]},
            lambda states: states[path] == state,
        )
