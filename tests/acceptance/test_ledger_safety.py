"""The ledger is lost, damaged, copied, taken along: nothing that is published is published again."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from support.app import App, eventually
from support.faults import DropAnswer
from support.faulty_store import FaultyStore
from support.files import jpeg, write


@pytest.fixture
def state(app: App) -> Path:
    return app.home / "state"


def published(app: App, store: FaultyStore, *seeds: int) -> None:
    """Publishes these pictures, and stops; the daily copy was made before the last of them."""
    app.configure(store.url)
    with app.running():
        eventually((app.home / "state" / "ledger.bak").exists, bool)
        for seed in seeds:
            write(app.inbox / f"{seed}.jpg", jpeg(seed=seed))
        app.wait_for(published=len(seeds))


def damage(ledger: Path) -> None:
    with ledger.open("r+b") as file:
        for page in range(2, ledger.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(os.urandom(4096))


def links_lines(app: App) -> list[dict[str, str]]:
    return [json.loads(line) for line in (app.home / "state" / "ledger.links.jsonl").read_text().splitlines()]


# --- the links file


def test_each_link_is_a_line_of_the_links_file(app: App, store: FaultyStore) -> None:
    published(app, store, 1, 2, 3)
    assert {line["path"]: line for line in links_lines(app)} == {link["path"]: link for link in app.links()}


def test_a_links_file_that_is_torn_or_lacks_lines_is_mended_at_the_next_start(app: App, store: FaultyStore) -> None:
    published(app, store, 1, 2, 3)
    file = app.home / "state" / "ledger.links.jsonl"
    whole = file.read_text().splitlines(keepends=True)
    file.write_text(whole[0] + "half a li\n" + whole[2][:40])
    with app.running():
        eventually(lambda: len(file.read_text().splitlines()) == 3 and "half" not in file.read_text(), bool)
    assert {line["path"] for line in links_lines(app)} == {link["path"] for link in app.links()}


def test_the_links_file_is_not_read_again_unless_it_was_touched_or_the_last_run_was_killed(
    app: App, store: FaultyStore
) -> None:
    published(app, store, 1, 2, 3)
    file = app.home / "state" / "ledger.links.jsonl"

    def keep_its_look(change: Callable[[bytes], bytes]) -> None:
        st = file.stat()
        file.write_bytes(change(file.read_bytes()))
        os.utime(file, ns=(st.st_atime_ns, st.st_mtime_ns))

    keep_its_look(lambda whole: whole.replace(b"inbox/1.jpg", b"inbox/#.jpg"))
    with app.running():
        write(app.inbox / "4.jpg", jpeg(seed=4))
        app.wait_for(published=4)
        app.kill()
    assert b"inbox/1.jpg" not in file.read_bytes()  # nobody could see that it was touched
    with app.running():
        eventually(file.read_bytes, lambda now: b"inbox/1.jpg" in now)
    file.write_bytes(b"")
    with app.running():
        eventually(lambda: len(links_lines(app)), lambda count: count == 4)


def test_imported_links_are_lines_of_the_links_file(app: App, store: FaultyStore, tmp_path: Path) -> None:
    published(app, store, 1, 2)
    other = App(tmp_path / "other")
    other.configure(store.url)
    records = write(tmp_path / "records.jsonl", app.command("ledger", "export").stdout.encode())
    assert other.command("ledger", "import", str(records)).returncode == 0
    assert {line["link"] for line in links_lines(other)} == {link["link"] for link in app.links()}


# --- lost, damaged, restored


def test_a_lost_ledger_is_not_taken_for_a_first_start(app: App, store: FaultyStore, state: Path) -> None:
    published(app, store, 1)
    (state / "ledger.db").unlink()
    assert app.launch().wait(30) == 74
    assert "pixstored ledger restore" in app.log.read_text()
    picture = str(app.inbox / "1.jpg")
    for command in ("status --check", "links", "scan", "check", f"why {picture}", f"publish {picture}"):
        done = app.command(*command.split())
        assert (done.returncode, done.stdout) == (74, ""), command
        assert "is missing, but" in done.stderr
    assert app.command("ledger", "check").returncode == 74
    assert store.stored


@pytest.mark.parametrize("lost", ["lost", "damaged", "lost with its copy", "lost after a crash"])
def test_a_restored_ledger_publishes_nothing_again(app: App, store: FaultyStore, state: Path, lost: str) -> None:
    published(app, store, 1, 2, 3)
    before = {(link["path"], link["link"]) for link in app.links()}
    if lost == "damaged":
        damage(state / "ledger.db")
        assert app.command("ledger", "check").returncode == 74
    else:
        if lost == "lost after a crash":
            app.start()
            app.kill()
            assert (state / "ledger.db-wal").stat().st_size > 0
        (state / "ledger.db").unlink()
    if lost == "lost with its copy":
        (state / "ledger.bak").unlink()
    done = app.command("ledger", "restore", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["from_links"], told["kept"] is not None) == (3, lost == "damaged")
    assert (told["kept"] is None) or Path(told["kept"]).exists()
    assert {(link["path"], link["link"]) for link in app.links()} == before
    assert app.command("ledger", "check").returncode == 0
    with app.running():
        write(app.inbox / "copy.jpg", jpeg(seed=1))
        write(app.inbox / "new.jpg", jpeg(seed=9))
        app.wait_for(published=5)
    assert sorted(store.stored.values()) == [1, 1, 1, 1]


def test_an_upload_uncertain_since_the_copy_is_still_known_to_be_uncertain(
    app: App, store: FaultyStore, state: Path
) -> None:
    published(app, store, 1)
    store.next(DropAnswer(stored=True))
    with app.running():
        write(app.inbox / "uncertain.jpg", jpeg(seed=2))
        app.wait_for(published=1, uncertain=1)
    with closing(sqlite3.connect(state / "ledger.db")) as raw:
        [page] = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'file_inode'").fetchone()
    with (state / "ledger.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    assert app.command("ledger", "check").returncode == 74
    told = json.loads(app.command("ledger", "restore", "--json").stdout)
    assert told["salvaged"] >= 2
    with app.running():
        app.wait_for(published=1, uncertain=1)
    assert set(store.stored.values()) == {1}


def test_a_sound_ledger_and_a_running_daemon_are_not_restored(app: App, store: FaultyStore) -> None:
    published(app, store, 1)
    sound = app.command("ledger", "restore")
    assert (sound.returncode, "in order" in sound.stderr) == (1, True)
    with app.running():
        running = app.command("ledger", "restore")
        assert (running.returncode, "stop it first" in running.stderr) == (1, True)


def test_without_copy_and_links_file_there_is_nothing_to_restore_from(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    assert app.command("ledger", "restore").returncode == 74
    assert app.command("ledger", "check").returncode == 0


def test_a_new_ledger_keeps_what_is_left_of_the_old_one_under_other_names(
    app: App, store: FaultyStore, state: Path
) -> None:
    published(app, store, 1)
    (state / "ledger.db").unlink()
    words = [sys.executable, "-m", "pixstored", "-c", str(app.file), "run", "--new-ledger"]
    with subprocess.Popen(words, env=app.environ, stderr=subprocess.DEVNULL) as daemon:
        eventually(lambda: app.command("status", "--check").returncode, lambda code: code == 0)
        daemon.terminate()
    names = {each.name.partition("-")[0] for each in state.iterdir()}
    assert names >= {"ledger.db", "ledger.bak.old", "ledger.links.jsonl.old"}
    assert not app.links()


# --- copies and records


@pytest.mark.parametrize("running", [True, False])
def test_a_copy_can_be_made_at_any_time_and_replaces_nothing_unasked(
    app: App, store: FaultyStore, state: Path, running: bool
) -> None:
    published(app, store, 1)
    if running:
        app.start()
    copy = app.home / "copy.db"
    assert app.command("ledger", "backup", str(copy)).returncode == 0
    again = app.command("ledger", "backup", str(copy))
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert app.command("ledger", "backup", "--force", str(copy)).returncode == 0
    nowhere = app.command("ledger", "backup", str(app.home / "nowhere" / "copy.db"))
    assert (nowhere.returncode, "No such file or directory" in nowhere.stderr) == (74, True)
    if running:
        app.stop()
    shutil.copy(copy, state / "ledger.db")
    assert len(app.links()) == 1
    assert app.command("ledger", "check").returncode == 0


@pytest.mark.parametrize("what", ["backup", "export"])
def test_nothing_of_the_ledger_is_written_over_nor_what_is_no_file(app: App, state: Path, what: str) -> None:
    app.configure()
    with app.running():
        eventually((state / "ledger.bak").exists, bool)
        files = {path: path.stat().st_ino for path in state.iterdir() if path.is_file()}
        assert state / "ledger.db" in files
        for path in files:
            done = app.command("ledger", what, "--force", str(path))
            assert (done.returncode, "is a file of the ledger itself" in done.stderr) == (2, True), path
        device = app.home / "pipe"
        os.mkfifo(device)
        done = app.command("ledger", what, "--force", str(device))
        assert (done.returncode, "no regular file" in done.stderr) == (2, True)
        assert {path: path.stat().st_ino for path in files} == files
        loop = app.home / "loop"
        loop.symlink_to(loop)
        for odd in (loop, app.home / ("x" * 300), app.file / "in a file"):
            done = app.command("ledger", what, str(odd))
            assert done.returncode in (1, 2, 74) and len(done.stderr.splitlines()) <= 4, done.stderr
            assert "Traceback" not in done.stderr
    as_unfinished = (state / "ledger.db").rename(state / "copy.new")
    (state / "ledger.bak").rename(state / "copy.new.bak")
    app.file.write_text(app.file.read_text().replace("ledger.db", as_unfinished.name))
    as_it_was = as_unfinished.read_bytes()
    done = app.command("ledger", what, str(state / "copy"))
    assert (done.returncode, "is a file of the ledger itself" in done.stderr) == (2, True), done.stderr
    assert as_unfinished.read_bytes() == as_it_was


@pytest.mark.parametrize("running", [True, False])
def test_records_taken_along_keep_everything_from_being_published_again(
    app: App, store: FaultyStore, tmp_path: Path, running: bool
) -> None:
    published(app, store, 1, 2)
    records = app.home / "records.jsonl"
    assert app.command("ledger", "export", str(records)).returncode == 0
    assert app.command("ledger", "export").stdout == records.read_text()
    assert app.command("ledger", "export", str(records)).returncode == 1
    other = App(tmp_path / "other")
    try:
        other.configure(store.url)
        if running:
            other.start()
        done = other.command("ledger", "import", str(records), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["records"] == len(records.read_text().splitlines()) - 1
        assert {link["link"] for link in other.links()} == {link["link"] for link in app.links()}
        if not running:
            other.start()
        write(other.inbox / "one.jpg", jpeg(seed=1))
        write(other.inbox / "three.jpg", jpeg(seed=3))
        eventually(lambda: len(other.links()), lambda count: count == 4)
    finally:
        other.close()
    assert sorted(store.stored.values()) == [1, 1, 1]


def test_records_go_from_one_command_to_another(app: App, store: FaultyStore, tmp_path: Path) -> None:
    published(app, store, 1, 2)
    other = App(tmp_path / "other")
    other.configure(store.url)
    records = app.command("ledger", "export", "-").stdout
    assert records == app.command("ledger", "export").stdout
    for number in range(2):
        done = other.command("ledger", "import", "-", input=records)
        assert (done.returncode, done.stderr) == (0, ""), number
    assert other.links() == app.links()
    torn = other.command("ledger", "import", "-", input=records[:-20])
    assert torn.returncode == 1
    assert "/dev/stdin, line" in torn.stderr


def test_a_faulty_file_of_records_is_refused_with_its_line_and_nothing_is_merged(app: App, store: FaultyStore) -> None:
    published(app, store, 1)
    lines = app.command("ledger", "export").stdout.splitlines()
    records = app.home / "records.jsonl"
    for text, told in (
        ("\n".join([*lines, '{"kind": "content", "store": "x"}']), f"line {len(lines) + 1}"),
        ("\n".join([*lines, "half a li"]), f"line {len(lines) + 1}"),
        ("\n".join([*lines, "[" * 100_000]), f"line {len(lines) + 1}"),
        ("\n".join(lines[1:]), "line 1: this is no file that"),
        ("", "line 1: this is no file that"),
        ('{"pixstored_ledger": 99}\n', "newer"),
    ):
        records.write_text(text)
        done = app.command("ledger", "import", str(records))
        assert done.returncode == 1
        assert f"{records}, line" in done.stderr and told in done.stderr
        assert done.stderr.count("\n") == 1
    assert app.command("ledger", "import", str(app.home / "nothing")).returncode == 1
