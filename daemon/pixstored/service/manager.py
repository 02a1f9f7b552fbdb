"""systemctl: the machine's systemd, or the one of this user."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pixstored.errors import PixstoredError
from pixstored.service.identity import my_name
from pixstored.slotted import dataclass

_BOOTED = Path("/run/systemd/system")
"""There where systemd is this machine's first process (sd_booted(3))."""
_VERSION = re.compile(r"systemd (\d+)")


class ServiceError(PixstoredError):
    """The service could not be installed, started or removed."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Manager:
    """Speaks to the systemd that manages the service."""

    user: bool
    environ: Mapping[str, str]

    @classmethod
    def of_machine(cls, environ: Mapping[str, str]) -> Manager:
        """Raises ServiceError where there is none."""
        if not _BOOTED.is_dir() or shutil.which("systemctl") is None:
            raise ServiceError("this machine is not run by systemd: have its own init system run `pixstored run`")
        return cls(False, environ)

    @classmethod
    def of_user(cls, environ: Mapping[str, str]) -> Manager:
        """Raises ServiceError where there is none that answers."""
        manager = cls.of_machine(environ)
        runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
        manager = cls(True, {**environ, "XDG_RUNTIME_DIR": runtime})
        if manager._run("show-environment").returncode:
            raise ServiceError(
                f"no systemd runs for {my_name()}: log in as that user (not by su or sudo), "
                f"or have root say `loginctl enable-linger {my_name()}` first"
            )
        return manager

    def tell(self, *words: str) -> None:
        """Raises ServiceError if systemctl ends with an error."""
        done = self._run(*words)
        if done.returncode:
            raise ServiceError(f"`{self.line(*words)}` failed: {done.stderr.strip()}")

    def manages(self, *words: str) -> bool:
        """True if systemctl ends well."""
        return self._run(*words).returncode == 0

    def show(self, unit: str, field: str) -> str:
        """One property of a unit, empty if there is no such unit."""
        return self._run("show", unit, f"--property={field}", "--value").stdout.strip()

    def complaints(self, invocation: str) -> list[str]:
        """What one run of a service has said in the journal about errors."""
        whose = ["--user"] if self.user else []
        tool(["journalctl", *whose, "--sync"], self.environ)
        choice = ["--priority=err", f"_SYSTEMD_INVOCATION_ID={invocation}"]
        done = tool(["journalctl", *whose, "--quiet", "--no-pager", "--output=cat", *choice], self.environ)
        return done.stdout.splitlines()

    def line(self, *words: str) -> str:
        """The command line that a person would type."""
        return " ".join(["systemctl", *(["--user"] if self.user else []), *words])

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return tool(["systemctl", *(["--user"] if self.user else []), "--no-pager", *words], self.environ)


def version_of_systemd() -> int | None:
    """The machine's, None if it has none."""
    if shutil.which("systemctl") is None:
        return None
    found = _VERSION.match(tool(["systemctl", "--version"], os.environ).stdout)
    return int(found[1]) if found else None


def tool(argv: Sequence[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs one of systemd's tools to its end."""
    return subprocess.run(  # noqa: S603 - systemd's own, with arguments of ours
        argv,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
    )
