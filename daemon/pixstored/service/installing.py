"""`service install` and `service uninstall`: the unit of a configuration is put in its place, and taken from it.

Each step looks first whether it is done, so that a second run changes nothing; each change is told.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pixstored
from pixstored.config import Config, KeySource
from pixstored.errors import ConfigError, LedgerBusy, LedgerError
from pixstored.service.identity import own_program
from pixstored.service.installed import installed_unit
from pixstored.service.manager import Manager, ServiceError, tool, version_of_systemd
from pixstored.service.reach import nearest_above
from pixstored.service.service_user import ServiceUser
from pixstored.service.unit_file import (
    SERVICE_USER,
    UNIT,
    WRITTEN_BY,
    credential_file,
    system_unit,
    sysusers,
    user_unit,
)
from pixstored.service.unit_places import TEMPORARY, home_of, is_below

Say = Callable[[str], None]
"""Takes a line for the person who waits."""

SYSTEM_UNIT = Path("/etc/systemd/system", UNIT)
SYSUSERS = Path("/etc/sysusers.d/pixstored.conf")
_LINGERING = Path("/var/lib/systemd/linger")
"""Has a file for each user whose services run from boot on (loginctl(1))."""

_PASSED_ON = frozenset({LedgerError.exit_code, LedgerBusy.exit_code, ConfigError.exit_code})
"""The exit codes of a daemon that did not start which say why: they are the command's too."""

_AT_REST = frozenset({"inactive", "failed"})
"""The states of a unit from which it is started; in the others it runs, or waits to be started again."""

_OPEN_MODE = 0o755
_STATE_MODE = 0o750
_SHARED_MODE = 0o2775
"""Of a folder that is made for photos: whoever is in the service's group may put some there, for it to read."""


def unit_text(config: Config, environ: Mapping[str, str], *, user: bool) -> str:
    """What `install` would write. Raises PixstoredError for a path that no unit can name."""
    if user:
        return user_unit(config, own_program(), version_of_systemd(), environ)
    return system_unit(config, own_program(), version_of_systemd())


# --- the machine's service


def install_for_machine(config: Config, environ: Mapping[str, str], say: Say) -> None:
    """Raises ConfigError without a key, ServiceError for whatever else is in the way."""
    _check_ledger(config)
    _need_root(["-c", str(config.path), "service", "install"])
    manager = Manager.of_machine(environ)
    _refuse_another(SYSTEM_UNIT, config)
    _check_key(
        config, {"CREDENTIALS_DIRECTORY": str(credential_file(config).parent)}, f"put it into {_key_place(config)}"
    )
    _check_program()
    text = unit_text(config, environ, user=False)
    user = _service_user(say)
    user.check_config(own_program(), config.path)
    changed = _make_folders(config, user, say)
    changed = _write(SYSTEM_UNIT, text, say) or changed
    _run(
        manager, config, user, changed=changed, inputs=[*_inputs(config, SYSTEM_UNIT), credential_file(config)], say=say
    )


def uninstall_from_machine(config: Config | None, environ: Mapping[str, str], say: Say) -> None:
    """Raises ServiceError if the unit is not ours."""
    _need_root(["service", "uninstall"])
    if not _take_away(Manager.of_machine(environ), SYSTEM_UNIT, say):
        return
    if _is_ours(SYSUSERS):
        _remove(SYSUSERS, say)
    left = [SYSTEM_UNIT.with_name(f"{UNIT}.d"), *_kept(config)]
    say(f"left as they are: {', '.join([*(str(each) for each in left if each.exists()), f'the user {SERVICE_USER}'])}")


def _need_root(words: Sequence[str]) -> None:
    if os.geteuid() != 0:
        line = shlex.join(["sudo", *own_program(), *words])
        raise ServiceError(f"only root may change the machine's services: `{line}`, or your own by --user")


def _service_user(say: Say) -> ServiceUser:
    """Whom the unit runs as, which an administrator may have changed by a drop-in."""
    unit = installed_unit()
    name = unit.user if unit else SERVICE_USER
    user = ServiceUser.named(name)
    if user is None and name != SERVICE_USER:
        raise ServiceError(f"the unit has User={name}, and there is no such user")
    return user or _make_user(say)


def _make_user(say: Say) -> ServiceUser:
    if shutil.which("systemd-sysusers") is None:
        raise ServiceError(
            f"there is no user {SERVICE_USER}, and no systemd-sysusers to make it: `useradd --system {SERVICE_USER}`"
        )
    _write(SYSUSERS, sysusers(), say)
    done = tool(["systemd-sysusers", str(SYSUSERS)], os.environ)
    user = ServiceUser.named(SERVICE_USER)
    if done.returncode or user is None:
        raise ServiceError(f"the user {SERVICE_USER} could not be made: {done.stderr.strip()}")
    say(f"made the user {SERVICE_USER}")
    return user


def _make_folders(config: Config, user: ServiceUser, say: Say) -> bool:
    """The ledger's folder, and those to be watched that the service is to make and could not."""
    made = _make(config.ledger.parent, _STATE_MODE, user, say)
    for watch in config.watches:
        # One that is to lie on something mounted is the daemon's to make, when that is.
        if watch.create and not watch.mount and not os.path.lexists(watch.root):
            above = nearest_above(watch.root)
            if _belongs_to_root(above):
                made = _make(watch.root, _SHARED_MODE, user, say) or made
            else:
                say(f"NO  watch    {watch.path} is to be made below {above}, {_made_by_root(watch.root, above, user)}")
    return made


def _made_by_root(folder: Path, above: Path, user: ServiceUser) -> str:
    mode, owner = f"{_SHARED_MODE:o}", str(above.stat().st_uid)
    line = shlex.join(["install", "-d", "-o", owner, "-g", user.name, "-m", mode, str(folder)])
    return f"which root leaves to the one whom that belongs to, or to you: `{line}`"


def _make(folder: Path, mode: int, user: ServiceUser, say: Say) -> bool:
    if folder.exists():
        return False
    try:
        for place in [*reversed([each for each in folder.parents if not each.exists()]), folder]:
            place.mkdir()
            place.chmod(_OPEN_MODE)
        os.chown(folder, user.uid, user.gid)
        folder.chmod(mode)
    except OSError as error:
        raise ServiceError(f"{folder} cannot be made: {error.strerror}") from error
    say(f"made {folder}, which belongs to {user.name}")
    return True


def _belongs_to_root(folder: Path) -> bool:
    """True if nobody but root can put things there, so that root may without being led astray."""
    st = folder.stat()
    return st.st_uid == 0 and not st.st_mode & 0o022


def _check_program() -> None:
    for place in (Path(sys.executable), Path(sys.executable).resolve(), Path(pixstored.__file__)):
        if home_of(place) or is_below(place, TEMPORARY):
            raise ServiceError(
                f"the program lies in {place.parent}, where the service sees nothing: install it somewhere else, into "
                "/opt/pixstored for instance, or run it as a service of your own by `pixstored service install --user`"
            )


def _check_ledger(config: Config) -> None:
    if home_of(config.ledger):
        raise ServiceError(
            f"the ledger of {config.path} is {config.ledger}, in a home, where the machine's service keeps nothing: "
            "move the configuration to /etc/pixstored, or run `pixstored service install --user` as its owner"
        )


def _key_place(config: Config) -> str:
    return f"{credential_file(config)} (root alone needs to read it)"


# --- a person's service


def install_for_user(config: Config, environ: Mapping[str, str], say: Say) -> None:
    """Raises ConfigError without a key, ServiceError for whatever else is in the way."""
    manager = Manager.of_user(environ)
    place = user_unit_file(environ)
    _refuse_another(place, config)
    _check_key(config, {}, "a variable does not reach the service")
    changed = _write(place, unit_text(config, environ, user=True), say)
    me = ServiceUser.myself()
    _run(manager, config, me, changed=changed, inputs=_inputs(config, place), say=say)
    if not (_LINGERING / me.name).exists():
        say(f"it runs while you are logged in; to have it run from boot on: loginctl enable-linger {me.name}")


def uninstall_from_user(config: Config | None, environ: Mapping[str, str], say: Say) -> None:
    """Raises ServiceError if the unit is not ours."""
    place = user_unit_file(environ)
    if not _take_away(Manager.of_user(environ), place, say):
        return
    left = [place.with_name(f"{UNIT}.d"), *_kept(config)]
    say(f"left as they are: {', '.join(str(each) for each in left if each.exists())}")


def user_unit_file(environ: Mapping[str, str]) -> Path:
    """Where a person's own units are (systemd.unit(5))."""
    configured = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(configured) if configured.startswith("/") else Path.home() / ".config"
    return folder / "systemd" / "user" / UNIT


# --- what both do


def _refuse_another(place: Path, config: Config) -> None:
    """Nothing of somebody else's is written over."""
    if not os.path.lexists(place):
        return
    if not _is_ours(place):
        raise ServiceError(
            f"{place} is there, and was not written by `pixstored service install`: remove it first, "
            "or keep it and do without this command"
        )
    unit = installed_unit([place.parent])
    if unit is None or not unit.runs(config.path):
        raise ServiceError(
            f"{place} runs another configuration: `pixstored service uninstall` first, if this one is to take its place"
        )


def _is_ours(file: Path) -> bool:
    try:
        return file.read_text(encoding="utf-8", errors="replace").startswith(WRITTEN_BY)
    except OSError:
        return False


def _check_key(config: Config, environ: Mapping[str, str], way_out: str) -> None:
    if not config.store.is_embedded and KeySource.of(config.store, environ).read() is None:
        raise ConfigError(f"there is no API key: name a file in store.key_file of {config.path}, or {way_out}")


def _write(file: Path, text: str, say: Say) -> bool:
    """Puts a text in its place in one step; False if it is there already."""
    try:
        if file.is_file() and file.read_text(encoding="utf-8", errors="replace") == text:
            return False
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_text(text, encoding="utf-8")
        part.chmod(0o644)
        part.replace(file)
    except OSError as error:
        raise ServiceError(f"{file} cannot be written: {error.strerror}") from error
    say(f"wrote {file}")
    return True


def _run(
    manager: Manager, config: Config, user: ServiceUser, *, changed: bool, inputs: Sequence[Path], say: Say
) -> None:
    """Has the service run now and at each start, with what is configured now; tells what is in its way."""
    told = changed
    if changed := changed or _has_old(manager, inputs):
        manager.tell("daemon-reload")
    if not manager.manages("is-enabled", "--quiet", UNIT):
        manager.tell("enable", "--quiet", UNIT)
        say(f"enabled: it starts {'when you log in' if manager.user else 'at each boot'}")
        told = True
    if _bring_up(manager, config, user, changed=changed, say=say):
        say(f"to see more: {manager.line('status', 'pixstored')}")
    elif not told:
        say(f"nothing to change: the service runs {config.path}")


def _bring_up(manager: Manager, config: Config, user: ServiceUser, *, changed: bool, say: Say) -> bool:
    """Starts the service, or starts it again if something has changed; False if it runs as it should."""
    state = manager.show(UNIT, "ActiveState")
    is_to_start = changed or state != "active"
    verb = "start" if state in _AT_REST else "restart"
    if is_to_start:
        manager.manages("reset-failed", UNIT)  # what it failed by earlier does not count any more
    is_up = not is_to_start or manager.manages(verb, UNIT)
    for problem in user.problems(own_program(), config.path):  # not before: systemd makes its folders when it starts
        say(problem)
    if not is_up:
        raise _not_started(manager)
    if is_to_start:
        say(f"{verb}ed: {manager.show(UNIT, 'StatusText')}")
    return is_to_start


def _inputs(config: Config, unit: Path) -> list[Path]:
    """What the daemon was started from, and by: an upgrade writes the program's script anew."""
    drop_ins = unit.with_name(f"{UNIT}.d").glob("*.conf")
    return [config.path, Path(own_program()[0]), Path(pixstored.__file__), *drop_ins]


def _has_old(manager: Manager, inputs: Sequence[Path]) -> bool:
    """True if something that the daemon reads when it starts has changed since."""
    started = manager.show(UNIT, "ExecMainStartTimestampMonotonic")
    ago = time.clock_gettime(time.CLOCK_MONOTONIC) - int(started or 0) / 1e6
    since = time.time() - ago
    return any(place.exists() and place.stat().st_ctime > since for place in inputs)


def _not_started(manager: Manager) -> ServiceError:
    status = manager.show(UNIT, "ExecMainStatus")
    code = int(status) if status.isdigit() else 0
    said = manager.complaints(manager.show(UNIT, "InvocationID"))
    why = (
        "; ".join(line.removeprefix("pixstored: ") for line in said)
        if said
        else f"see `journalctl {'--user ' if manager.user else ''}-u pixstored`"
    )
    return ServiceError(
        f"installed, but it did not start (exit code {status}): {why}", code if code in _PASSED_ON else 1
    )


def _take_away(manager: Manager, place: Path, say: Say) -> bool:
    """Stops the service and removes its unit; False if there is none."""
    if not os.path.lexists(place):
        say(f"nothing to remove: there is no {place}")
        return False
    if not _is_ours(place):
        raise ServiceError(
            f"{place} was not written by `pixstored service install`: "
            f"`{manager.line('disable', '--now', 'pixstored')}` stops it, its file is yours to remove"
        )
    manager.tell("disable", "--now", "--quiet", UNIT)
    say("stopped, and disabled")
    _remove(place, say)
    manager.tell("daemon-reload")
    manager.manages("reset-failed", UNIT)
    return True


def _remove(file: Path, say: Say) -> None:
    try:
        file.unlink()
    except OSError as error:
        raise ServiceError(f"{file} cannot be removed: {error.strerror}") from error
    say(f"removed {file}")


def _kept(config: Config | None) -> list[Path]:
    """What the service worked with, and the next one will."""
    if config is None:
        return []
    key = config.store.key_file or credential_file(config)
    return [config.path, key, config.ledger]
