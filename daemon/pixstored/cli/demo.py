"""`pixstored demo`: the whole thing on the built-in store, in a folder of its own, with pictures it makes."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from pixstored.cli.common import EXIT_FAILED, Context, complain
from pixstored.config import Config, load_config

_PICTURES = 3
_SIDE = 96
"""Pixels of a picture's width and height."""

_PATIENCE = 30.0
"""Seconds in which the links should be there; they take two."""

_ENDED_BY = 128
"""As shells count: more than the number of the signal that ended a command."""

_CONFIG = """\
# Made by `pixstored demo`. The built-in store keeps everything in this folder.
store:
  url: embedded
  embedded:
    listen: 127.0.0.1:{port}
ledger: state/ledger.db
watch:
  - path: inbox
    create: true
    settle: 300ms
"""


@click.command("demo", short_help="Show the whole thing at work, in a folder of its own.")
@click.option("--dir", "folder", type=click.Path(file_okay=False, path_type=Path), help="Where (default: a new one).")
@click.pass_obj
def command(context: Context, folder: Path | None) -> None:
    """Show the whole thing at work: a daemon on the built-in store, pictures made here, and their links.

    Nothing leaves this machine, no key is needed, and nothing is written outside the folder, which is kept.
    """
    try:
        folder = _fresh(folder)
        config = folder / "config.yaml"
        config.write_text(_CONFIG.format(port=_free_port()), encoding="utf-8")
    except OSError as error:
        complain(f"the demo cannot have its folder: {error.strerror} ({error.filename or 'its files'})")
        raise click.exceptions.Exit(EXIT_FAILED) from None
    print(f"A folder for the demo: {folder}")
    ours = [sys.executable, "-m", "pixstored", "-c", str(config)]
    with _daemon(ours, config, context):
        for number in range(_PICTURES):
            name = f"picture-{number + 1}.png"
            (folder / "inbox" / name).write_bytes(_picture(number))
        (folder / "inbox" / "copy-of-1.png").write_bytes(_picture(0))
        print(f"{_PICTURES} pictures, and a copy of the first, dropped into {folder / 'inbox'}")
        found = _wait_for_links(config, context)
    _tell(folder, config, found)


def _fresh(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="pixstored-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} is not empty: the demo wants a folder of its own")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


@contextmanager
def _daemon(ours: list[str], config: Path, context: Context) -> Iterator[None]:
    """The daemon as a process of its own, its log in the folder; entered when it watches."""
    log_file = config.with_name("daemon.log")
    loaded = load_config(config, context.environ)
    with open(log_file, "wb") as log:
        daemon = subprocess.Popen(  # noqa: S603 - this very program
            [*ours, "run"], stdout=log, stderr=log, env=dict(context.environ)
        )
        for number in (signal.SIGTERM, signal.SIGHUP):  # a terminal that is closed stops no daemon: it would outlive us
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _leave)
        try:
            if not _wait_until(lambda: _is_watching(loaded) or daemon.poll() is not None) or daemon.poll() is not None:
                complain(f"the daemon did not start: see {log_file}")
                raise click.exceptions.Exit(EXIT_FAILED)
            yield
        finally:
            daemon.terminate()
            daemon.wait()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(_ENDED_BY + number)


def _is_watching(config: Config) -> bool:
    from pixstored.cli.status import status_of

    return bool(status_of(config)["watches"][0]["state"] == "watching")


def _free_port() -> int:
    """A port nobody listens on now: the links should open again when the demo is run again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_for_links(config: Path, context: Context) -> list[tuple[str, str]]:
    from pixstored.ledger.sqlite_reader import read_ledger

    loaded = load_config(config, context.environ)
    found: list[tuple[str, str]] = []

    def all_there() -> bool:
        ledger = read_ledger(loaded.ledger, loaded.store.id)
        if ledger:
            found[:] = [(link.path, link.link) for link in ledger.links()]
            ledger.close()
        return len(found) > _PICTURES

    if not _wait_until(all_there):
        complain(f"the links did not come: see {config.parent / 'daemon.log'}")
        raise click.exceptions.Exit(EXIT_FAILED)
    return sorted(found)


def _wait_until(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.05)
    return False


def _tell(folder: Path, config: Path, found: list[tuple[str, str]]) -> None:
    print()
    for path, link in found:
        print(f"  {os.path.basename(path):<15} {link}")
    program = f"pixstored -c {shlex.quote(str(config))}"
    print(
        f"""
The copy has the link of the picture it is a copy of: a content is sent once. While the daemon runs, the links open.

What to do next:
  {program} run               # start it again: nothing is sent twice
  {program} links             # every link, at any time
  {program} why {shlex.quote(str(folder / "inbox" / "picture-1.png"))}
  rm -r {shlex.quote(str(folder))}   # the demo is gone

For your own folders: write a configuration (config.example.yaml shows every key), `pixstored check` it, and
`pixstored run`."""
    )


def _picture(number: int) -> bytes:
    """A small PNG with a colour gradient of its own."""
    rows = b"".join(b"\0" + bytes(value for x in range(_SIDE) for value in _pixel(number, x, y)) for y in range(_SIDE))
    size = _SIDE.to_bytes(4, "big")
    header = size + size + bytes([8, 2, 0, 0, 0])  # 8 bits, RGB (PNG specification, 11.2.2)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _pixel(number: int, x: int, y: int) -> tuple[int, int, int]:
    red, green, blue = 255 * x // _SIDE, 255 * y // _SIDE, 80 * (number + 1) % 256
    return (red, green, blue) if number % 2 == 0 else (blue, red, green)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
