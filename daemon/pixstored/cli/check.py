"""`pixstored check`: what `run` would find and do, without doing it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixstored.cli.common import EXIT_FAILED, Context, print_json
from pixstored.config import Config, KeySource
from pixstored.config.key import CREDENTIAL
from pixstored.config.schema import Existing, Method, WatchConfig
from pixstored.errors import ConfigError, StoreDown
from pixstored.ledger.base import LedgerReader
from pixstored.model import Known
from pixstored.shown import path_in_json, path_on_screen, text_on_screen
from pixstored.slotted import dataclass

if TYPE_CHECKING:
    from pixstored.service.installed import Installed
    from pixstored.watch.mounts import FileSystem


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `ok` False: `run` could not use it."""

    what: str
    ok: bool
    says: str


@click.command("check", short_help="Say what `run` would do, and what is in its way.")
@click.option("--config-only", is_flag=True, help="Look at nothing but the configuration file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_obj
def command(context: Context, config_only: bool, as_json: bool) -> None:
    """Look at the configuration, each folder, the ledger and the key, and say what `run` would do.

    Exit 0: `run` would work; 1: something is in its way; 74: the ledger cannot be used; 78: the configuration is wrong.
    """
    config = context.config()
    findings = [Finding("config", True, f"{config.path}: loads, {_counted(len(config.watches), 'watch', 'watches')}")]
    findings += [Finding("warning", True, warning) for warning in config.warnings]
    if not config_only:
        findings += _look_around(config, context)
    if as_json:
        print_json(_document(findings))
    else:
        for finding in findings:
            print(f"{'ok' if finding.ok else 'NO':<3} {finding.what:<8} {text_on_screen(finding.says)}")
    if not all(finding.ok for finding in findings):
        raise click.exceptions.Exit(EXIT_FAILED)


def _document(findings: list[Finding]) -> dict[str, Any]:
    rows = [asdict(finding) | {"says": path_in_json(finding.says)} for finding in findings]
    return {"ok": all(finding.ok for finding in findings), "findings": rows}


def _look_around(config: Config, context: Context) -> list[Finding]:
    from pixstored.ledger.sqlite_reader import read_ledger
    from pixstored.service.listening import kept_from_listening

    service = _service(config)
    others = _as_others(config, service) if service else []
    ledger = read_ledger(config.ledger, config.store.id)
    try:
        closed = kept_from_listening(config)
        findings = [*others, _ledger(config, ledger), _store(config, closed), _key(config, context, service)]
        findings += _metrics(config, closed)
        for watch in config.watches:
            findings += _folder(watch, ledger)
            findings += _sandbox(watch, service) if service else []
    finally:
        if ledger:
            ledger.close()
    return findings


def _ledger(config: Config, ledger: LedgerReader | None) -> Finding:
    if ledger is None:
        above = next(folder for folder in config.ledger.parents if folder.exists())
        if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
            reason = f"cannot be made, because {above} is no folder that this user may write to"
            return Finding("ledger", False, f"{config.ledger}: {reason}")
        return Finding("ledger", True, f"{config.ledger}: not there yet, `run` makes it")
    published = _counted(ledger.census().contents_published, "content")
    return Finding("ledger", True, f"{config.ledger}: {published} published")


def _store(config: Config, closed: Mapping[str, str]) -> Finding:
    from pixstored.service.engine import checked_url
    from pixstored.service.listening import STORE_LISTEN

    if config.store.is_embedded:
        embedded = config.store.embedded
        if STORE_LISTEN in closed:
            return Finding("store", False, closed[STORE_LISTEN])
        return Finding("store", True, f"the built-in one, at {embedded.host}:{embedded.port}, files in {embedded.dir}")
    try:
        checked_url(config)
        _load_cas(config.store.ca_file)
    except (ConfigError, StoreDown) as error:
        return Finding("store", False, str(error))
    return Finding("store", True, f"{config.store.url} (records belong to `{config.store.id}`)")


def _load_cas(ca_file: Path | None) -> None:
    """Raises StoreDown if these are no certificates, or cannot be read."""
    if ca_file:
        from pixstored.store.client_adapter import tls_context  # late: it takes what speaks HTTP

        tls_context(str(ca_file))


def _metrics(config: Config, closed: Mapping[str, str]) -> list[Finding]:
    if config.metrics_listen is None:
        return []
    from pixstored.service.listening import METRICS_LISTEN
    from pixstored.service.metrics_door import what_is_missing

    fault = what_is_missing() or closed.get(METRICS_LISTEN)
    host, port = config.metrics_listen
    return [Finding("metrics", fault is None, fault or f"for Prometheus, at {host}:{port}")]


def _service(config: Config) -> Installed | None:
    """The machine's service, if it is the daemon of this configuration."""
    from pixstored.service.installed import installed_unit

    unit = installed_unit()
    return unit if unit and unit.runs(config.path) else None


def _as_others(config: Config, service: Installed) -> list[Finding]:
    """What root has to know: root may read everything, and the service may not."""
    if os.geteuid() != 0 or service.user == "root":
        return []
    line = shlex.join(["runuser", "-u", service.user, "--", "pixstored", "-c", str(config.path), "check"])
    return [Finding("warning", True, f"run by root, who may read everything; as the service: `{line}`")]


def _key(config: Config, context: Context, service: Installed | None) -> Finding:
    if config.store.is_embedded:
        return Finding("key", True, "none needed")
    try:
        source = KeySource.of(config.store, context.environ)
        found = source.read() is not None
    except ConfigError as error:
        return Finding("key", False, str(error))
    if found:
        return Finding("key", True, f"from {source.describe()}")
    credential = service.credential() if service else None
    if credential is None:
        return Finding(
            "key", False, f"none: name a file in store.key_file, or set $PIXSTORED_KEY{_for_a_service(config)}"
        )
    if not credential.exists():
        return Finding(
            "key", False, f"none: put it into {credential}, which the service reads, or name a store.key_file"
        )
    return Finding("key", True, f"for the service, from systemd credential {CREDENTIAL} ({credential})")


def _for_a_service(config: Config) -> str:
    """What becomes of a key that lies where the machine's service, not installed yet, will have it from."""
    from pixstored.service.unit_file import credential_file
    from pixstored.service.unit_places import home_of

    file = credential_file(config)
    is_there = os.path.exists(file) and not home_of(config.ledger)
    return f"; the one in {file} is for the service: `pixstored service install`" if is_there else ""


def _folder(watch: WatchConfig, ledger: LedgerReader | None) -> list[Finding]:
    """A watched folder: is it there, readable, on what, how many directories, and what `run` would do with it."""
    from pixstored.service.reach import obstacle

    root = str(watch.root)
    blocked = obstacle(watch.root, recursive=watch.recursive)
    if blocked:
        return [Finding("watch", False, f"{_called(watch)} {blocked}")]
    if not os.path.isdir(root):
        if watch.create and not os.path.lexists(root):
            return [_to_be_made(watch)]
        reason = (
            "is not a folder" if os.path.lexists(root) else "is not there: `run` waits for it (or say create: true)"
        )
        return [Finding("watch", False, f"{_called(watch)} {reason}")]
    return _survey(watch, ledger)


def _to_be_made(watch: WatchConfig) -> Finding:
    from pixstored.service.presence import NOT_MOUNTED, waits_for_a_mount

    if waits_for_a_mount(watch):
        return Finding("watch", False, f"{_called(watch)}: {NOT_MOUNTED}")
    above = next(folder for folder in watch.root.parents if folder.exists())
    if os.access(above, os.W_OK | os.X_OK):
        return Finding("watch", True, f"{_called(watch)} is not there, `run` makes it")
    reason = f"is not there, and cannot be made: {above} may not be written to by this user"
    return Finding("watch", False, f"{_called(watch)} {reason}")


def _sandbox(watch: WatchConfig, service: Installed) -> list[Finding]:
    """What keeps the service from a folder that its user could use."""
    lines = {service.hides(place) for place in (watch.path, watch.root)}
    if watch.create:
        lines.add(service.keeps_from_writing(watch.root))
    return [
        Finding(
            "watch",
            False,
            f"{watch.name}: the service is kept from it: run `pixstored service install` again, or add `{line}` "
            "below [Service] by `systemctl edit pixstored`, and restart it",
        )
        for line in sorted(filter(None, lines))
    ]


def _survey(watch: WatchConfig, ledger: LedgerReader | None) -> list[Finding]:
    from pixstored.service.presence import not_mounted
    from pixstored.service.reach import obstacle
    from pixstored.watch.filters import Rules
    from pixstored.watch.mounts import filesystem_of
    from pixstored.watch.scan import path_below, walk

    adoption = ledger.adoption(str(watch.path)) if ledger else None
    filesystem = filesystem_of(str(watch.root))
    away = not_mounted(watch, adoption, filesystem)
    if away:
        return [Finding("watch", False, f"{_called(watch)}: {away}")]
    directories = files = new = 0
    known: Mapping[str, Known] = {}
    unreadable: list[str] = []
    closed: list[str] = []
    for listing in walk(str(watch.root), watch.recursive, Rules.of(watch), lambda: False):
        folder = path_below(str(watch.path), listing.folder)
        directories += listing.is_first
        if listing.error:
            blocked = obstacle(watch.root / listing.folder)
            unreadable.append(f"{folder} {blocked}" if blocked else f"{folder}: {listing.error}")
        closed += [path for name in listing.files if not _may_read(path := os.path.join(folder, name))]
        known = ledger.known_in(folder, listing.span) if ledger else {}
        files += len(listing.files)
        new += sum(name not in known for name in listing.files)
    method, warning = _method(watch, filesystem, directories)
    summary = f"{_called(watch)} on {filesystem.kind}, {method}"
    findings = [Finding("watch", True, f"{summary}; {_plan(watch, files, new, adoption is not None)}")]
    findings += [Finding("watch", False, f"{watch.name}: {error}") for error in unreadable]
    if closed:
        findings.append(Finding("watch", False, f"{watch.name}: {_closed(watch, closed)}"))
    return findings + ([Finding("watch", False, f"{watch.name}: {warning}")] if warning else [])


def _method(watch: WatchConfig, filesystem: FileSystem, directories: int) -> tuple[str, str | None]:
    """How `run` would find out what is new, with the directories that takes; and what is in its way."""
    from pixstored.watch.mounts import watch_limit, watch_limit_warning

    size = _counted(directories, "directory", "directories")
    polled = f"polled every {watch.poll_every:g} s"
    if watch.method is Method.POLL:
        return f"{polled}, {size}", None
    if watch.method is Method.AUTO and not filesystem.gives_events:
        return f"{polled}, as this gives no events, {size}", None
    limit = watch_limit()
    allowed = f" (inotify allows {limit})" if limit is not None else ""
    return f"watched by inotify, {size}{allowed}", watch_limit_warning(directories)


def _may_read(path: str) -> bool:
    return os.access(path, os.R_OK) or not os.path.lexists(path)


def _closed(watch: WatchConfig, files: list[str]) -> str:
    from pixstored.service.identity import my_name
    from pixstored.service.reach import cure_for_content

    cure = " && ".join(cure_for_content(watch.root, recursive=watch.recursive))
    return f"{_counted(len(files), 'file')} may not be read by {my_name()}, like {path_on_screen(files[0])}; {cure}"


def _plan(watch: WatchConfig, files: int, new: int, adopted: bool) -> str:
    if adopted:
        return f"{_counted(files, 'file')} taken by the rules, {new} of them new"
    if watch.existing is Existing.PUBLISH:
        return f"not adopted yet: `run` would publish what is there ({_counted(new, 'file')})"
    return f"not adopted yet: what is there ({_counted(new, 'file')}) would stay private (existing: ignore)"


def _called(watch: WatchConfig) -> str:
    """A watch by its name and its path, where the name is not the path."""
    return str(watch.path) if watch.name == str(watch.path) else f"{watch.name}: {watch.path}"


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
