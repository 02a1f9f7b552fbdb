"""`pixstored service` where nothing may be installed, and what `check` says of folders that may not be read.

What it does on a machine of its own is in tests/system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.app import App
from support.files import jpeg, write

NOBODY = 65534
WITHOUT_RIGHTS = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
]
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv, to be another user"
)


def as_somebody(app: App, prefix: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [*prefix, sys.executable, "-m", "pixstored", "-c", str(app.file), *arguments]
    return subprocess.run(argv, env=app.environ, capture_output=True, text=True)


@pytest.mark.parametrize("whose", [(), ("--user",)], ids=["the machine's", "my own"])
def test_the_unit_is_shown_for_the_configuration_at_hand(app: App, whose: tuple[str, ...]) -> None:
    app.configure(watch="create: true", top="stop_timeout: 20s")
    shown = app.command("service", "install", "--print", *whose)
    assert shown.returncode == 0, shown.stderr
    assert f"-c {app.file} run\n" in shown.stdout
    assert "\nTimeoutStopSec=35s\n" in shown.stdout
    assert (f"\nReadWritePaths=-{app.inbox}\n" in shown.stdout) is (not whose)


def test_a_faulty_configuration_is_not_installed(app: App) -> None:
    app.file.write_text("wacth: []\n")
    done = app.command("service", "install")
    assert done.returncode == 78
    assert "wacth" in done.stderr


@needs_root
@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_only_root_may_and_others_are_told_how(app: App, verb: str) -> None:
    app.file.write_text("ledger: /var/lib/pixstored/ledger.db\nstore: {url: embedded}\nwatch: [{path: /srv/photos}]\n")
    for folder in (app.home, *app.home.parents[:3]):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(0o755)
    done = as_somebody(app, ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"], "service", verb)
    assert done.returncode == 1
    assert "`sudo " in done.stderr
    assert done.stderr.count("\n") == 1


@needs_root
def test_a_folder_behind_a_closed_door_is_told_with_the_lines_that_open_it(app: App) -> None:
    app.configure()
    write(app.inbox / "a.jpg", jpeg(seed=1))
    app.home.chmod(0o755)
    closed = app.home / "home of anna"
    closed.mkdir()
    photos = closed / "Pictures"
    app.inbox.rename(photos)
    app.file.write_text(app.file.read_text().replace(str(app.inbox), str(photos)))
    os.chown(closed, NOBODY, NOBODY)
    closed.chmod(0o700)
    done = as_somebody(app, WITHOUT_RIGHTS, "check")
    assert done.returncode == 1
    enter = f"setfacl -m u:root:x '{closed}'"
    read = f"setfacl -R -m u:root:rX,d:u:root:rX '{photos}'"
    assert (
        f"NO  watch    {photos} may not be read by root, who may not enter {closed}; {enter} && {read}" in done.stdout
    )


@needs_root
def test_files_and_folders_in_a_folder_that_may_not_be_read_are_told_too(app: App) -> None:
    app.configure()
    for name in ("a.jpg", "b.jpg", "below/c.jpg"):
        write(app.inbox / name, jpeg(seed=1))
    for path in (app.inbox / "b.jpg", app.inbox / "below"):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o700)
    done = as_somebody(app, WITHOUT_RIGHTS, "check")
    cure = "setfacl -R -m u:root:rX,d:u:root:rX"
    assert f"1 file may not be read by root, like {app.inbox}/b.jpg; {cure} {app.inbox}\n" in done.stdout
    assert f"{app.inbox}/below may not be read by root; {cure} {app.inbox}/below\n" in done.stdout


@needs_root
def test_for_a_folder_that_is_watched_alone_nothing_below_it_is_opened(app: App) -> None:
    app.configure(watch="recursive: false")
    os.chown(app.inbox, NOBODY, NOBODY)
    app.inbox.chmod(0o700)
    told = as_somebody(app, WITHOUT_RIGHTS, "check").stdout
    assert f"setfacl -m u:root:rx,d:u:root:r {app.inbox} && find {app.inbox} -maxdepth 1 -type f " in told
    assert " -R " not in told
