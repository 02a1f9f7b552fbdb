"""The unit that is installed on this machine, as systemd reads it: its files and drop-ins, asked of nobody.

`systemctl show` would need the message bus, which not every user may ask, and says nothing of credentials.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from pixstored.config.key import CREDENTIAL
from pixstored.service.unit_file import UNIT
from pixstored.service.unit_places import TEMPORARY, home_of, is_below
from pixstored.slotted import dataclass

SYSTEM_PLACES = (
    Path("/etc/systemd/system"),
    Path("/run/systemd/system"),
    Path("/usr/local/lib/systemd/system"),
    Path("/usr/lib/systemd/system"),
    Path("/lib/systemd/system"),
)
"""Where units are, the first to be found counts (systemd.unit(5))."""

_CONTINUED = re.compile(r"\\\n")
_HOMES_ARE_SEEN = frozenset({"", "0", "no", "n", "false", "f", "off", "read-only"})
_YES = frozenset({"1", "yes", "y", "true", "t", "on"})


@dataclass(frozen=True, slots=True)
class Installed:
    """The service as it is installed. `settings` are the lists of its [Service] section, in their order."""

    settings: dict[str, list[str]]

    def runs(self, config: Path) -> bool:
        """True if it is the daemon of this configuration."""
        return str(config) in _words(self._last("ExecStart"))

    @property
    def user(self) -> str:
        return self._last("User") or "root"

    def credential(self) -> Path | None:
        """The file from which systemd gives it the API key."""
        for line in self.settings.get("LoadCredential", []):
            name, _, place = line.partition(":")
            if name == CREDENTIAL and place:
                return Path(place.replace("%%", "%"))
        return None

    def hides(self, place: Path) -> str | None:
        """The line for a drop-in that shows the service this place; None if it sees it."""
        if is_below(place, [Path(each) for key in ("BindReadOnlyPaths", "BindPaths") for each in self._paths(key)]):
            return None
        if home := home_of(place):
            emptied = is_below(place, [Path(each) for each in self._paths("TemporaryFileSystem")])
            seen = self._last("ProtectHome") in _HOMES_ARE_SEEN and not emptied
            return None if seen else f"BindReadOnlyPaths=-{home}"
        return "PrivateTmp=no" if is_below(place, TEMPORARY) and self._is_on("PrivateTmp") else None

    def keeps_from_writing(self, place: Path) -> str | None:
        """The line for a drop-in that lets it write there, as far as the sandbox goes; None if it does."""
        if self._last("ProtectSystem") != "strict":
            return None
        writable = [Path(each) for key in ("ReadWritePaths", "BindPaths") for each in self._paths(key)]
        writable += [Path("/var/lib", each) for each in self._paths("StateDirectory")]
        writable += [Path("/run", each) for each in self._paths("RuntimeDirectory")]
        return None if is_below(place, writable) else f"ReadWritePaths=-{place}"

    def _last(self, key: str) -> str:
        return (self.settings.get(key) or [""])[-1]

    def _is_on(self, key: str) -> bool:
        return self._last(key).lower() in _YES

    def _paths(self, key: str) -> Iterator[str]:
        """The paths of a list setting: without the signs before them, and what they are bound to."""
        for line in self.settings.get(key, []):
            for word in _words(line):
                yield word.lstrip("-+").split(":")[0]


def installed_unit(places: Sequence[Path] = SYSTEM_PLACES) -> Installed | None:
    """The unit of this machine's service; None if there is none that can be read."""
    main = next((place / UNIT for place in places if os.path.lexists(place / UNIT)), None)
    if main is None:
        return None
    drop_ins: dict[str, Path] = {}
    for place in reversed(places):
        drop_ins |= {file.name: file for file in (place / f"{UNIT}.d").glob("*.conf")}
    settings: dict[str, list[str]] = {}
    for file in (main, *(drop_ins[name] for name in sorted(drop_ins))):
        try:
            _read_into(settings, file.read_text(encoding="utf-8", errors="surrogateescape"))
        except OSError:
            return None  # what it says there is not known
    return Installed(settings)


def _read_into(settings: dict[str, list[str]], text: str) -> None:
    """The assignments of [Service]; an empty one takes back those before it."""
    section = ""
    for line in map(str.strip, _CONTINUED.sub(" ", text).splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            earlier = settings.setdefault(key.strip(), [])
            if value.strip():
                earlier.append(value.strip())
            else:
                earlier.clear()


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError:
        return []
    return [word.replace("%%", "%").replace("$$", "$") for word in words]
