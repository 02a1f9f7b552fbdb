"""Each command that changes the ledger does the same, whether the daemon runs or not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from support.app import App, eventually
from support.faults import DropAnswer, Early, Hang, Reply, says
from support.faulty_store import FaultyStore
from support.files import jpeg, write

NOBODY = 65534

LINK = "https://media.example/a/b/0123.jpg"

Life = Callable[[App], AbstractContextManager[None]]


@pytest.fixture(params=["daemon", "no daemon"])
def served(request: pytest.FixtureRequest) -> Life:
    """A context in which commands are run: a daemon is there, or none."""

    def life(app: App) -> AbstractContextManager[None]:
        return app.running() if request.param == "daemon" else nullcontext()

    return life


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def oops() -> Early:
    return Early(Reply(500, body=b'{"status": 500, "error": "oops"}'), at=0)


# --- retry


def test_retry_names_what_it_puts_back_and_it_is_published(app: App, store: FaultyStore, served: Life) -> None:
    store.next(Early(says(415, 415, error="no such format"), at=0))
    app.configure(store.url)
    with app.running():
        picture = write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(rejected=1)
    with served(app):
        done = app.command("retry", str(picture))
        assert (done.returncode, done.stdout) == (0, f"{picture}  (was rejected)\n")
    with app.running():
        app.wait_for(published=1)
        again = app.command("retry", str(picture))
    assert again.returncode == 1
    assert "published already" in again.stderr
    assert store.stored == {sha(jpeg(seed=1)): 1}


def test_all_failed_files_are_put_back_at_once(app: App, store: FaultyStore) -> None:
    store.always(oops())
    app.configure(store.url, top="retry: {first: 10ms, longest: 20ms, tries: 1}")
    with app.running():
        for seed in range(3):
            write(app.inbox / f"{seed}.jpg", jpeg(seed=seed))
        app.wait_for(failed=3)
        store.heal()
        done = app.command("retry", "--failed", "--json")
        assert {each["was"] for each in json.loads(done.stdout)["put_back"]} == {"failed"}
        app.wait_for(published=3)
    assert app.command("retry", "--failed").stdout.startswith("nothing to put back")


def test_retry_without_anything_named_is_wrong_usage(app: App) -> None:
    app.configure()
    assert app.command("retry").returncode == 2
    unknown = app.command("retry", str(app.inbox / "nobody.jpg"))
    assert unknown.returncode == 1
    assert "does not know it" in unknown.stderr


def test_an_uncertain_file_is_sent_again_only_if_that_is_said_and_its_copies_go_with_it(
    app: App, store: FaultyStore, served: Life
) -> None:
    store.next(DropAnswer(stored=True))
    app.configure(store.url, top="retry: {first: 50ms}")
    with app.running():
        first = write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(uncertain=1)
        write(app.inbox / "copy.jpg", jpeg(seed=1))
        app.wait_for(uncertain=2)
    with served(app):
        refused = app.command("retry", str(first))
        assert refused.returncode == 1
        assert "--uncertain" in refused.stderr
        assert app.counts()["uncertain"] == 2
        done = app.command("retry", "--uncertain", str(first))
        assert done.returncode == 0
        assert "stored twice" in done.stderr
        assert len(done.stdout.splitlines()) == 2
    with app.running():
        app.wait_for(published=2)
    assert store.stored == {sha(jpeg(seed=1)): 2}


# --- adopt


def test_an_adopted_file_is_never_sent(app: App, store: FaultyStore, served: Life, tmp_path: Path) -> None:
    outside = write(tmp_path / "elsewhere" / "a.jpg", jpeg(seed=1))
    app.configure(store.url)
    with served(app):
        done = app.command("adopt", str(outside), LINK, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"path": str(outside), "link": LINK, "sha256": sha(jpeg(seed=1))}
        assert app.command("adopt", str(outside), LINK).returncode == 0, "the same again changes nothing"
        other = app.command("adopt", str(outside), LINK + "x")
        assert other.returncode == 1
        assert LINK in other.stderr
    with app.running():
        write(app.inbox / "copy.jpg", jpeg(seed=1))
        app.wait_for(published=2)
    assert {(link["link"], link["id"]) for link in app.links()} == {(LINK, "0123.jpg")}
    assert not store.stored


def test_adopt_settles_an_uncertain_file(app: App, store: FaultyStore, served: Life) -> None:
    store.next(DropAnswer(stored=True))
    app.configure(store.url)
    with app.running():
        picture = write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(uncertain=1)
    with served(app):
        assert app.command("adopt", str(picture), LINK).returncode == 0
        counts = app.counts()
        assert (counts["published"], counts["uncertain"]) == (1, 0)
    [link] = app.links()
    assert (link["path"], link["link"], link["watch"]) == (str(picture), LINK, str(app.inbox))


@pytest.mark.parametrize(
    "link", ["ftp://x/a.jpg", "a.jpg", "https://x", "https://x/", "https://x/a b", "https://[x/a.jpg", ""]
)
def test_what_is_no_link_is_not_adopted(app: App, link: str) -> None:
    app.configure()
    assert app.command("adopt", str(write(app.inbox / "a.jpg", jpeg())), link).returncode == 2
    assert not app.links()


def test_a_file_that_is_not_there_is_not_adopted(app: App) -> None:
    app.configure()
    done = app.command("adopt", str(app.inbox / "a.jpg"), LINK)
    assert done.returncode == 1
    assert "not there" in done.stderr


def test_a_name_that_is_not_utf8_is_taken_as_other_commands_show_it(app: App, served: Life) -> None:
    app.configure(watch="settle: 1h")  # a daemon that publishes it first would be in the way
    odd = app.inbox / os.fsdecode(b"caf\xe9\\.jpg")
    with served(app):
        shown = str(app.inbox) + r"/caf\xe9\\.jpg"
        write(odd, jpeg(seed=1))
        assert app.command("adopt", "--escaped", shown, LINK).returncode == 0
        assert [link["path"] for link in app.links()] == [shown]
        assert app.command("forget", "--yes", "--escaped", shown).stdout == f"forgotten: {shown}\n"


# --- forget


def test_a_forgotten_content_is_published_anew_when_it_is_seen_again(
    app: App, store: FaultyStore, served: Life
) -> None:
    app.configure(store.url)
    with app.running():
        picture = write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
    with served(app):
        unasked = app.command("forget", str(picture), stdin=subprocess.DEVNULL)
        assert unasked.returncode == 2
        assert "--yes" in unasked.stderr
        assert app.counts()["published"] == 1
        done = app.command("forget", "--yes", str(picture))
        assert (done.returncode, done.stdout) == (0, f"forgotten: {picture}\n")
        again = app.command("forget", "--yes", str(picture))
        assert (again.returncode, f"{picture}: the ledger does not know it" in again.stderr) == (1, True)
        assert not app.links()
    with app.running():
        app.wait_for(published=1)
    assert store.stored == {sha(jpeg(seed=1)): 2}


def test_a_private_file_cannot_be_forgotten_into_the_open(app: App, store: FaultyStore) -> None:
    private = write(app.inbox / "private.jpg", jpeg(seed=1))
    app.configure(store.url)
    with app.running():
        app.wait_for(skipped=1)
        assert app.command("forget", "--yes", str(private)).returncode == 1
    assert not store.stored


# --- pause, resume


def test_while_paused_nothing_is_sent_and_nothing_is_missed_across_restarts(
    app: App, store: FaultyStore, served: Life
) -> None:
    app.configure(store.url)
    with served(app):
        assert app.command("pause").returncode == 0
        assert app.status()["paused"] is True
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        eventually(app.counts, lambda counts: counts["pending"] == 1)
        by_hand = app.command("publish", str(write(app.home / "b.jpg", jpeg(seed=2))))
        assert by_hand.returncode == 1
        assert "paused" in by_hand.stderr
        assert "pixstored resume" in by_hand.stderr
    assert not store.requests
    assert app.status()["paused"] is True
    with served(app):
        assert app.command("resume").stdout == "resumed\n"
        assert app.command("resume").stdout == "it was not paused\n"
    with app.running():
        assert app.status()["paused"] is False
        eventually(lambda: app.counts()["published"], lambda published: published >= 1)


def test_a_pause_ends_by_itself(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    with app.running():
        answer = json.loads(app.command("pause", "--for", "1s", "--json").stdout)
        assert answer["paused"] is True
        assert answer["until"].endswith("Z")
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        assert app.status()["paused"] is False
    assert app.command("pause", "--for", "soon").returncode == 2
    assert app.command("pause", "--for", "0").returncode == 2


def test_an_upload_under_way_is_not_cut_by_a_pause(app: App, store: FaultyStore) -> None:
    release = threading.Event()
    store.next(Hang(release, stored=True))
    app.configure(store.url)
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        store.wait_for(lambda s: s.stored)
        assert app.command("pause").returncode == 0
        release.set()
        app.wait_for(published=1)


# --- who may


@pytest.fixture
def everybodys() -> Iterator[App]:
    """A configuration in a folder that any user can reach, for commands of several users."""
    if os.geteuid() != 0:
        pytest.skip("only root can be several users")
    home = Path(tempfile.mkdtemp(prefix="pixstored-", dir="/tmp"))
    home.chmod(0o755)
    app = App(home)
    yield app
    app.close()
    shutil.rmtree(home)


def test_root_writes_as_the_owner_of_the_ledger(everybodys: App) -> None:
    everybodys.configure()
    for place in (everybodys.home, everybodys.inbox, everybodys.file):
        os.chown(place, NOBODY, NOBODY)
    root_only = write(everybodys.home / "root.jpg", jpeg(seed=1))
    root_only.chmod(0o600)
    assert everybodys.command("pause").returncode == 0
    assert everybodys.command("adopt", str(root_only), LINK).returncode == 0
    state = everybodys.home / "state"
    assert {each.stat().st_uid for each in (state, *state.iterdir())} == {NOBODY}
    assert everybodys.status()["paused"] is True


AS_NOBODY = f"""
import difflib, encodings.utf_8_sig, os
import pixstored.cli.resume, pixstored.config.key, pixstored.service.logs, pixstored.service.verbs
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
pixstored.cli.main()
"""
"""The command as a user who may not even be allowed to start this interpreter: all is imported before."""


def test_somebody_else_is_told_the_line_that_works(everybodys: App) -> None:
    everybodys.configure()
    assert everybodys.command("pause").returncode == 0
    for readable in (False, True):
        if readable:
            (everybodys.home / "state").chmod(0o755)
        named = {**everybodys.environ, "PIXSTORED_CONFIG": str(everybodys.file)}
        for way, environ in ((["-c", str(everybodys.file)], everybodys.environ), ([], named)):
            words = [sys.executable, "-c", AS_NOBODY, *way, "resume"]
            done = subprocess.run(words, env=environ, capture_output=True, text=True)
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
            [line] = re.findall("try `sudo ([^`]*)`", done.stderr)
            assert shlex.split(line)[-3:] == ["-c", str(everybodys.file), "resume"]
    as_sudo = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    assert subprocess.run(shlex.split(line), env=as_sudo).returncode == 0
    assert everybodys.status()["paused"] is False
