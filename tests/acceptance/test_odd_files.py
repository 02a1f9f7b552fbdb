"""Whatever lies in a watched folder gets its right state: nothing hangs, nothing is lost, nothing else gets out."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.model import Known
from pixstored.publish.watched import LONGEST_PATH
from pixstored.shown import path_in_json, unescaped
from support.app import App, eventually
from support.faulty_store import FaultyStore
from support.files import jpeg, write

NOBODY = 65534


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def known(app: App, path: Path) -> Known | None:
    """What the ledger has on record of this path."""
    ledger = read_ledger(app.home / "state" / "ledger.db", app.status()["store"]["id"])
    assert ledger, "there is no ledger"
    with ledger:
        return ledger.look(str(path))


def states(app: App, paths: list[Path]) -> dict[str, str]:
    """State and reason of each, by name."""
    found = {path.name: known(app, path) for path in paths}
    return {name: f"{row.state}: {row.reason}" if row else "nothing" for name, row in found.items()}


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A picture outside every watched folder, that nobody asked to publish."""
    return write(tmp_path / "private" / "secret.jpg", jpeg(seed=666))


# --- what is no regular file


def make_odd(folder: Path, private: Path) -> list[Path]:
    """One of everything that has a picture's name and is none."""
    folder.mkdir(exist_ok=True)
    write(folder / "real.jpg", jpeg(seed=1))
    os.mkfifo(folder / "pipe.jpg")
    handle = os.open(folder, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{handle}/socket.jpg")  # the address of a socket is short
    os.close(handle)
    (folder / "to the real one.jpg").symlink_to("real.jpg")
    (folder / "out of the watch.jpg").symlink_to(private)
    (folder / "to a folder.jpg").symlink_to(private.parent)
    (folder / "to nothing.jpg").symlink_to("nothing.jpg")
    (folder / "to itself.jpg").symlink_to("to itself.jpg")
    (folder / "linked").symlink_to(private.parent)
    (folder / "above").symlink_to("..")
    (folder / "folder.jpg").mkdir()
    return [path for path in folder.iterdir() if path.is_symlink() or path.is_fifo() or path.is_socket()]


@pytest.mark.parametrize("when", ["before the start", "while it runs"])
def test_only_regular_files_are_published(app: App, store: FaultyStore, private: Path, when: str) -> None:
    app.configure(store.url, watch="existing: publish")
    card = app.inbox / "card"
    odd = make_odd(card, private) if when == "before the start" else []
    with app.running():
        odd = odd or make_odd(card, private)
        write(card / "folder.jpg" / "inside.jpg", jpeg(seed=2))
        app.wait_for(published=2)
        write(app.inbox / "last.jpg", jpeg(seed=3))
        app.wait_for(published=3)
        for path in odd:
            row = known(app, path)
            assert row is None or row.state == "skipped", states(app, odd)
            assert row is None or "not a regular file" in str(row.reason)
    assert set(store.stored) == {sha(jpeg(seed=seed)) for seed in (1, 2, 3)}
    assert {Path(link["path"]).name for link in app.links()} == {"real.jpg", "inside.jpg", "last.jpg"}


def test_what_becomes_a_symlink_meanwhile_gives_nothing_away(app: App, store: FaultyStore, private: Path) -> None:
    app.configure(store.url, watch="settle: 300ms")
    with app.running():
        for number in range(20):
            picture = write(app.inbox / f"{number}.jpg", jpeg(seed=number))
            if number % 2:
                picture.unlink()
                picture.symlink_to(private)
        folder = write(app.inbox / "day" / "secret.jpg", jpeg(seed=99)).parent
        folder.rename(app.home / "day")
        folder.symlink_to(private.parent)
        app.wait_for(published=10)
        write(app.inbox / "last.jpg", jpeg(seed=100))
        app.wait_for(published=11)
    assert sha(private.read_bytes()) not in store.completed
    assert set(store.stored) == {sha(jpeg(seed=number)) for number in (*range(0, 20, 2), 100)}


def test_a_watched_folder_that_is_a_symlink_itself_is_watched(app: App, store: FaultyStore, tmp_path: Path) -> None:
    """The user named it: what lies in it is reached by its real place."""
    app.inbox.rename(tmp_path / "elsewhere")
    app.inbox.symlink_to(tmp_path / "elsewhere")
    app.configure(store.url)
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        write(tmp_path / "elsewhere" / "below" / "b.jpg", jpeg(seed=2))
        app.wait_for(published=2)
    assert {link["path"] for link in app.links()} == {str(app.inbox / "a.jpg"), str(app.inbox / "below" / "b.jpg")}


def test_an_empty_file_is_skipped_until_something_is_in_it(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    with app.running():
        empty = write(app.inbox / "a.jpg", b"")
        app.wait_for(skipped=1)
        assert "min_size" in states(app, [empty])["a.jpg"]
        write(empty, jpeg(seed=1))
        app.wait_for(published=1)
    assert store.stored == {sha(jpeg(seed=1)): 1}


def test_hard_links_are_files_of_one_content(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    with app.running():
        first = write(app.inbox / "a.jpg", jpeg(seed=1))
        os.link(first, app.inbox / "b.jpg")
        app.wait_for(published=2)
        os.link(first, app.inbox / "c.jpg")
        app.wait_for(published=3)
    assert store.stored == {sha(jpeg(seed=1)): 1}
    assert {Path(link["path"]).name for link in app.links()} == {"a.jpg", "b.jpg", "c.jpg"}


# --- what cannot be read


def test_a_file_that_may_not_be_read_is_tried_again_and_published_once_it_may(
    unprivileged: App, store: FaultyStore
) -> None:
    app = unprivileged
    retry = "retry: {first: 100ms, longest: 500ms, tries: 3}\nrescan_every: 1s"
    app.configure(store.url, watch="settle: 300ms", top=retry)
    with app.running():
        locked = write(app.home / "locked.jpg", jpeg(seed=1))
        locked.chmod(0)
        locked.rename(app.inbox / "locked.jpg")
        write(app.inbox / "open.jpg", jpeg(seed=2))
        app.wait_for(published=1, failed=1)
        assert "Permission denied" in states(app, [app.inbox / "locked.jpg"])["locked.jpg"]
        assert app.status()["needs_you"] == 1
        (app.inbox / "locked.jpg").chmod(0o600)
        app.wait_for(published=2)
        assert app.status()["needs_you"] == 0
    assert set(store.completed.values()) == {1}


def test_a_folder_that_may_not_be_entered_is_told_and_read_once_it_may(unprivileged: App, store: FaultyStore) -> None:
    app = unprivileged
    app.configure(store.url, watch="existing: publish")
    locked = write(app.inbox / "locked" / "a.jpg", jpeg(seed=1)).parent
    locked_too = write(app.inbox / "open" / "b.jpg", jpeg(seed=2)).parent
    locked.chmod(0)
    try:
        with app.running():
            app.wait_for(published=1)
            told = eventually(lambda: app.glance()["watches"][0], lambda watch: watch["state"] == "error")
            assert str(locked) in told["error"]
            assert app.status()["needs_you"] == 1
            with open(locked_too / "c.jpg", "wb") as file:
                file.write(jpeg(seed=3))
                file.flush()
                eventually(app.counts, lambda counts: counts["settling"] == 1)
                locked_too.chmod(0)
            app.wait_for(published=1)
            locked.chmod(0o700)
            locked_too.chmod(0o700)
            app.wait_for(published=3)
            eventually(app.glance, lambda status: status["needs_you"] == 0)
    finally:
        locked.chmod(0o700)
        locked_too.chmod(0o700)


def test_a_known_file_in_a_folder_that_may_not_be_entered_keeps_its_link(unprivileged: App, store: FaultyStore) -> None:
    app = unprivileged
    app.configure(store.url, top="rescan_every: 1s")
    folder = app.inbox / "day"
    with app.running():
        write(folder / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
    folder.chmod(0)
    try:
        with app.running():
            eventually(app.glance, lambda status: status["watches"][0]["state"] == "error")
            app.wait_for(published=1)
            folder.chmod(0o700)
            eventually(app.glance, lambda status: status["watches"][0]["state"] == "watching")
            app.wait_for(published=1)
    finally:
        folder.chmod(0o700)
    assert store.completed == {sha(jpeg(seed=1)): 1}


def test_a_file_of_another_user_is_published_though_the_kernel_may_not_be_asked(app: App, store: FaultyStore) -> None:
    """As an FTP server's files are: the daemon can read them, but not ask who writes to them."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to make files of another user")
    app.before = ["setpriv", "--inh-caps=-lease", "--bounding-set=-lease"]
    app.configure(store.url, watch="settle: 300ms")
    with app.running():
        picture = write(app.home / "a.jpg", jpeg(seed=1))
        os.chown(picture, NOBODY, NOBODY)
        picture.rename(app.inbox / "a.jpg")
        app.wait_for(published=1)


# --- names

NAMES = [
    b"broken \xff\xfe utf-8.jpg",
    b"latin \xe9t\xe9.jpg",
    b"half \xc3.jpg",
    b"two\nlines.jpg",
    b"carriage\rreturn.jpg",
    b"tab\there.jpg",
    b"\"quoted\" 'twice'.jpg",
    b"back\\slash.jpg",
    b"back\\xff.jpg",
    b"escape \x1b[2J\x1b[31m.jpg",
    b"bell\x07 and delete\x7f.jpg",
    b"=cmd|' /C calc'!A0.jpg",
    b"-rf.jpg",
    b"%s %22 %0A &amp; <script>alert(1)</script>.jpg",
    b" leading and trailing .jpg",
    b"comma, semicolon; colon:.jpg",
    "reversed \u202egpj.exe.jpg".encode(),
    "zero\u200bwidth \u2028 line.jpg".encode(),
    "\N{CAT FACE} \u5199\u771f e\u0301.jpg".encode(),
    b"x" * 251 + b".jpg",
    b"\xff" * 251 + b".jpg",
    b"*?[a-z].jpg",
    b"$HOME `id` $(id).jpg",
    b"C:\\fakepath\\a.jpg",
]
"""Each of them a name that Linux allows; 255 bytes is the longest."""

CONTENTS = {name: jpeg(seed=number) for number, name in enumerate(NAMES)}


@pytest.fixture
def named(app: App, store: FaultyStore) -> Iterator[App]:
    """A running daemon that has published a file of each name."""
    app.configure(store.url)
    with app.running():
        for name, content in CONTENTS.items():
            write(app.inbox / os.fsdecode(name), content)
        app.wait_for(published=len(NAMES))
        yield app


def test_every_name_linux_allows_is_published_under_its_own_path(named: App, store: FaultyStore) -> None:
    assert store.completed == {sha(content): 1 for content in CONTENTS.values()}
    assert not any(request.malformed for request in store.requests)
    links = {link["path"]: link["sha256"] for link in named.links()}
    paths = {name: str(named.inbox / os.fsdecode(name)) for name in NAMES}
    assert links == {path_in_json(paths[name]): sha(content) for name, content in CONTENTS.items()}
    broken = [name for name in NAMES if path_in_json(paths[name]) != paths[name]]
    assert len(broken) == 4
    for name in broken:
        assert unescaped(path_in_json(paths[name])) == paths[name]


def test_no_name_breaks_out_of_its_request(named: App, store: FaultyStore) -> None:
    for request in store.requests:
        assert request.parts.count("file") == 1
        assert request.filename and not set('"\r\n') & set(request.filename)
        assert set(request.fields) <= {"key", "comment"}


def test_links_of_odd_names_can_be_read_by_programs_and_people(named: App) -> None:
    documents = named.links()
    lines = named.command("links", "--format", "jsonl").stdout.removesuffix("\n").split("\n")
    assert [json.loads(line) for line in lines] == documents
    table = named.command("links", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [row["sha256"] for row in rows] == [document["sha256"] for document in documents]
    page = named.command("links").stdout
    assert len(page.splitlines()) == len(NAMES)
    assert "\\x1b[2J" in page
    for text in (page, named.log.read_text(), named.command("check").stdout, named.command("status").stdout):
        assert_harmless(text)


def assert_harmless(text: str) -> None:
    """Nothing in it steers a terminal, or turns the text around."""
    assert not set(text) & {*map(chr, range(0x0A)), "\x0b", "\r", "\x1b", "\x7f", "\u202e", "\u200b", "\u2028"}


NOT_UTF8 = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""What gives Python another encoding for names, as a locale like de_DE.ISO-8859-1 does where it is installed."""


def test_links_are_the_same_whatever_the_locale(named: App) -> None:
    asked = (["links"], ["links", "--json"], ["links", "--format", "csv"], ["check"])
    before = [named.command(*words).stdout for words in asked]
    usually = named.environ
    for locale in ({"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}, NOT_UTF8):
        named.environ = usually | locale
        for words, usual in zip(asked, before, strict=True):
            done = named.command(*words)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == usual


def test_a_configuration_names_the_same_folders_whatever_the_locale(app: App) -> None:
    app.inbox = app.home / "Fotos für Oma"
    app.inbox.mkdir()
    app.configure()
    app.environ |= NOT_UTF8
    checked = app.command("check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"ok  watch    {app.inbox} on " in checked.stdout


def test_odd_names_are_known_again_after_a_restart(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    with app.running():
        for name, content in CONTENTS.items():
            write(app.inbox / os.fsdecode(name), content)
        app.wait_for(published=len(NAMES))
    with app.running():
        write(app.inbox / "last.jpg", jpeg(seed=1000))
        app.wait_for(published=len(NAMES) + 1)
    assert set(store.completed.values()) == {1}
    assert len(store.completed) == len(NAMES) + 1


def test_odd_names_of_folders_work_too(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    folders = [name.removesuffix(b".jpg") for name in NAMES]
    with app.running():
        for name, content in zip(folders, CONTENTS.values(), strict=True):
            write(app.inbox / os.fsdecode(name) / "below" / "a.jpg", content)
        app.wait_for(published=len(NAMES))
    assert set(store.completed.values()) == {1}


def test_a_path_as_long_as_linux_allows_is_published(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    folder = app.inbox
    while len(str(folder)) < LONGEST_PATH - 300:
        folder = folder / ("d" * 200)
    picture = folder / ("x" * (LONGEST_PATH - len(str(folder)) - len("/.jpg")) + ".jpg")[-255:]
    with app.running():
        write(picture, jpeg(seed=1))
        app.wait_for(published=1)
    assert app.links()[0]["path"] == str(picture)
    assert store.completed == {sha(jpeg(seed=1)): 1}


def test_a_file_whose_path_no_program_could_say_is_skipped_and_told_once(app: App, store: FaultyStore) -> None:
    """Such a file can be reached only folder by folder; nobody could look at it by its name."""
    app.configure(store.url, watch="existing: publish")
    words = 'cd "$0" && for i in {1..25}; do mkdir $1 && cd -P $1 && cp "$2" $i.jpg || exit 1; done'
    picture = write(app.home / "a.jpg", jpeg(seed=1))
    subprocess.run(["bash", "-c", words, app.inbox, "d" * 200, picture], check=True)
    try:
        for _ in range(2):
            with app.running():
                counts = eventually(app.counts, lambda counts: counts["published"] + counts["skipped"] == 25)
                assert counts["skipped"] > 0
        assert store.completed == {sha(jpeg(seed=1)): 1}
        assert max(len(link["path"]) for link in app.links()) <= LONGEST_PATH
        assert app.log.read_text().count("skipped path=") == counts["skipped"]
        deepest = app.inbox.joinpath(*["d" * 200] * 25, "25.jpg")
        assert app.command("why", str(deepest)).stdout.count(f"programs can name {LONGEST_PATH} at most")
    finally:
        subprocess.run(["rm", "-rf", app.inbox], check=True)  # pytest cannot remove what lies so deep
