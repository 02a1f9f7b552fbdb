"""The text of a unit for one configuration: what systemd/ has, with that configuration's paths and times in it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pixstored.config import Config
from pixstored.config.key import CREDENTIAL
from pixstored.errors import PixstoredError
from pixstored.service.unit_places import HOMES, RUNTIME, STATE, TEMPORARY, home_of, is_below
from pixstored.shown import is_utf8
from pixstored.slotted import dataclass

UNIT = "pixstored.service"
SERVICE_USER = "pixstored"
"""Who the system service runs as, and its group: of the unit and of the sysusers.d file."""

WRITTEN_BY = "# Written by `pixstored service install`; `pixstored service uninstall` removes it."
"""The first line of every file that is ours to change and to remove."""

_LONGER_THAN_OURS = 15
"""Seconds that systemd waits beyond `stop_timeout`: the stop has other things to do than wait for answers."""

_BACK_OFF_SINCE = 254
"""The systemd that can wait longer after each crash (RestartSteps=, systemd.service(5)); older ones warn of it."""

_PLAIN = re.compile(r"[\w./@+,=~-]+", re.ASCII)
"""What needs no quotes in a unit."""


@dataclass(frozen=True, slots=True)
class Access:
    """Which places a sandboxed service needs besides its own."""

    homes: tuple[Path, ...]
    """To be seen, though they are homes."""
    all_homes: bool
    """A folder above all homes is watched."""
    temporary: bool
    """A folder in the machine's /tmp or /var/tmp is watched."""
    writable: tuple[Path, ...]


def access_for(config: Config) -> Access:
    """What the system service must see and write to for this configuration."""
    seen = [place for watch in config.watches for place in dict.fromkeys((watch.path, watch.root))]
    read = [*seen, config.path, *_named_files(config)]
    written = [watch.root for watch in config.watches if watch.create]
    written += [config.ledger.parent, config.control.parent]
    if config.store.is_embedded:
        written.append(config.store.embedded.dir)
    own = (STATE, RUNTIME)
    return Access(
        homes=_sorted(home for place in [*read, *written] if (home := home_of(place))),
        all_homes=any(home_of(place) is None and home.is_relative_to(place) for place in seen for home in HOMES),
        temporary=any(is_below(place, TEMPORARY) for place in [*read, *written]),
        writable=_sorted(place for place in written if not is_below(place, own)),
    )


def credential_file(config: Config) -> Path:
    """Where root keeps the API key for the service, if the configuration has none."""
    return config.path.with_name(CREDENTIAL)


def system_unit(config: Config, program: Sequence[str], systemd: int | None) -> str:
    """The unit that runs `program` (an argv) for this configuration as the machine's service.

    `systemd` is the version it is for, None for any. Raises PixstoredError for a path that no unit can name.
    """
    access = access_for(config)
    settings = {
        **_settings(config, program),
        "LoadCredential": f"{CREDENTIAL}:{_specifier_free(str(credential_file(config)))}",
    }
    if access.all_homes:
        settings |= {"ProtectHome": "read-only", "TemporaryFileSystem": ""}
    if access.temporary:
        settings["PrivateTmp"] = "no"
    homes = () if access.all_homes else access.homes
    more = [f"BindReadOnlyPaths={_optional(home)}" for home in homes]
    more += [f"ReadWritePaths={_optional(place)}" for place in access.writable]
    return _rendered(UNIT, settings, [*more, *_back_off(systemd)], config)


def user_unit(config: Config, program: Sequence[str], systemd: int | None, environ: Mapping[str, str]) -> str:
    """The unit that runs `program` for this configuration while its person, whose `environ` this is, is logged in.

    Raises as `system_unit`.
    """
    more = [*_state_home(environ), *_back_off(systemd)]
    return _rendered("pixstored.user.service", _settings(config, program), more, config)


def sysusers() -> str:
    """The sysusers.d(5) file that makes the service's user."""
    return f"{WRITTEN_BY}\n{_shipped('pixstored.sysusers.conf')}"


def _named_files(config: Config) -> list[Path]:
    """What the daemon reads besides its configuration and its folders."""
    return [place for place in (config.store.key_file, config.store.ca_file) if place]


def _settings(config: Config, program: Sequence[str]) -> dict[str, str]:
    def line(verb: str) -> str:
        return " ".join(_word(each) for each in (*program, "-c", str(config.path), verb))

    return {
        "ExecStart": line("run"),
        "ExecReload": line("reload"),
        "TimeoutStopSec": f"{math.ceil(config.stop_timeout) + _LONGER_THAN_OURS}s",
    }


def _state_home(environ: Mapping[str, str]) -> list[str]:
    """Where the person's ledger lies unless the configuration says so: a service does not get what a shell sets, and
    would begin another ledger, of which the commands know nothing."""
    folder = environ.get("XDG_STATE_HOME", "")
    return [f"Environment={_word(f'XDG_STATE_HOME={folder}', variables=False)}"] if folder.startswith("/") else []


def _back_off(systemd: int | None) -> list[str]:
    if systemd is None or systemd < _BACK_OFF_SINCE:
        return []
    return ["RestartSteps=6", "RestartMaxDelaySec=5min"]


def _rendered(name: str, settings: Mapping[str, str], more: Sequence[str], config: Config) -> str:
    """A shipped unit with these settings in place of its own, and these lines at the end of its [Service]."""
    left = dict(settings)
    lines = [WRITTEN_BY]
    for line in _shipped(name).splitlines():
        key = line.partition("=")[0]
        if line == "[Install]" and more:
            lines += [f"# For {config.path}:", *more, ""]
        lines.append(f"{key}={left.pop(key)}" if key in left else line)
    return "\n".join(lines) + "\n"


def _shipped(name: str) -> str:
    return Path(__file__).with_name("units").joinpath(name).read_text(encoding="utf-8")


def _optional(place: Path) -> str:
    """A path for a sandbox setting; one that is not there does not keep the service from starting."""
    return _word(f"-{place}", variables=False)


def _word(text: str, *, variables: bool = True) -> str:
    """One word of a unit (systemd.syntax(7)). `variables`: where a dollar sign begins one, as in a command line."""
    doubled = _specifier_free(text)
    doubled = doubled.replace("$", "$$") if variables else doubled
    if _PLAIN.fullmatch(doubled):
        return doubled
    return '"' + "".join(_quoted(character) for character in doubled) + '"'


def _quoted(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _specifier_free(text: str) -> str:
    if not is_utf8(text):
        raise PixstoredError(f"{os.fsencode(text)!r} is not UTF-8, and no unit can name it: rename it, or link to it")
    return text.replace("%", "%%")


def _sorted(places: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(sorted(set(places)))
