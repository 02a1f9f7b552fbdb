"""The user that the daemon is to run as, and what that user finds in its way: `check`, run as that user."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pixstored.service.identity import my_name
from pixstored.service.manager import ServiceError
from pixstored.slotted import dataclass

_EXIT_OK_OR_PROBLEMS = (0, 1)


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """A user of this machine, with all groups."""

    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> ServiceUser | None:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return None
        return cls(name, entry.pw_uid, entry.pw_gid)

    @classmethod
    def myself(cls) -> ServiceUser:
        return cls(my_name(), os.geteuid(), os.getegid())

    def check_config(self, program: Sequence[str], config: Path) -> None:
        """Raises ServiceError if this user cannot run the program, or not read the configuration."""
        done = self._run([*program, "-c", str(config), "check", "--config-only"])
        if done.returncode:
            places = shlex.join([str(config.parent), str(config)])
            raise ServiceError(
                f"{config} cannot be used by {self.name}, who the service is: {_said(done)}; "
                f"to let that user read it: `setfacl -m u:{self.name}:rX {places}`"
            )

    def problems(self, program: Sequence[str], config: Path) -> list[str]:
        """What this user finds in the way of the daemon, as lines of `check`, each with its cure."""
        done = self._run([*program, "-c", str(config), "check", "--json"])
        if done.returncode not in _EXIT_OK_OR_PROBLEMS:
            return [f"NO  check    {_said(done)}"]
        findings = json.loads(done.stdout)["findings"]
        return [f"NO  {found['what']:<8} {found['says']}" for found in findings if not found["ok"]]

    def _run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """As this user, which takes root if it is another."""
        other = self.uid != os.geteuid()
        try:
            return subprocess.run(  # noqa: S603 - this very program
                argv,
                user=self.uid if other else None,
                group=self.gid if other else None,
                extra_groups=os.getgrouplist(self.name, self.gid) if other else None,
                cwd="/",
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/"} if other else None,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="backslashreplace",
                check=False,
            )
        except OSError as error:
            raise ServiceError(
                f"{shlex.join(argv[:1])} cannot be run by {self.name}, who the service is ({error.strerror}): "
                "install the program where everybody may run it, into /opt/pixstored for instance"
            ) from error


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """A command's error, without who says it."""
    return done.stderr.strip().removeprefix("pixstored: ")
