"""The SQLite ledger: all a ledger must do, and what is its own: files, crashes, full disks, many threads."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest

from integration.ledger_suite import (
    NOW,
    LedgerSuite,
    Opened,
    content,
    finish,
    fresh,
    publish,
    receipt_of,
    stamp,
    state,
    take,
    taken,
)
from pixstored.errors import LedgerError, LedgerUnusable
from pixstored.ledger.base import Ledger, LedgerReader
from pixstored.ledger.places import backup_file, links_file
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.ledger.sqlite_file import APPLICATION_ID, SCHEMA_VERSION
from pixstored.ledger.sqlite_reader import read_ledger
from pixstored.ledger.sqlite_schema import back_up, scripts
from pixstored.ledger.sqlite_writer import Writer
from pixstored.model import BASELINE, FileState, Restamp, Skip, Standing
from support.mounting import small_disk

THREADS = 16
SECONDS = 30.0
"""Longer than any of this takes."""
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Opened]:
    before = set(threading.enumerate())
    last: list[SqliteLedger] = []

    def open_again(store: str = "shop") -> Ledger:
        for ledger in last:
            ledger.close()
        last[:] = [open_ledger(path, store)]
        return last[0]

    yield open_again
    for ledger in last:
        ledger.close()
    assert set(threading.enumerate()) <= before, "a thread outlived the ledger"


@contextmanager
def ledger_at(path: Path, store: str = "shop", *, fresh: bool = False) -> Iterator[SqliteLedger]:
    ledger = open_ledger(path, store, fresh=fresh)
    try:
        yield ledger
    finally:
        ledger.close()


def files_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


class TestSqliteLedger(LedgerSuite):
    """The conformance suite."""

    def test_a_withdrawn_content_is_never_sent_again(self, opened: Opened, path: Path) -> None:
        publish(opened(), "/p/a", content("a"), stamp(1))
        ledger = opened()
        assert isinstance(ledger, SqliteLedger)
        ledger.close()
        with sqlite3.connect(path) as raw:  # no verb withdraws yet
            raw.execute("UPDATE content SET state = 'withdrawn'")
            raw.execute("UPDATE file SET state = 'withdrawn'")
        raw.close()
        ledger = opened()
        ledger.apply([fresh("/p/copy", stamp(2))])
        assert ledger.hashed(take(ledger), content("a")) is Standing.WITHDRAWN
        assert state(ledger, "/p/copy") is FileState.WITHDRAWN
        assert list(ledger.links()) == []
        assert [link.state for link in ledger.links(everything=True)] == ["withdrawn", "withdrawn"]

    def test_of_a_great_many_displaced_files_the_oldest_are_forgotten(self, opened: Opened, path: Path) -> None:
        opened()
        with sqlite3.connect(path) as raw:  # a hundred thousand one by one would take long
            raw.execute("INSERT INTO folder (id, path) VALUES (1, x'2f70')")
            raw.executemany("INSERT INTO displaced VALUES (?, 1, ?, 1000, 0, 1, 1)", [(1, 1), (2, 2), (100_001, 3)])
        raw.close()
        ledger = opened()
        ledger.apply([Skip("/p/a", stamp(9), "photos", BASELINE), Restamp("/p/a", stamp(10))])
        assert [bool(ledger.displaced(stamp(inode, at=0))) for inode in (1, 2, 3)] == [False, False, True]
        assert ledger.displaced(stamp(9))


class TestReading:
    """Reading commands open the file themselves, daemon or not."""

    def test_there_is_nothing_to_read_before_the_first_start(self, path: Path) -> None:
        assert read_ledger(path, "shop") is None
        assert not path.parent.exists()

    def test_a_reader_sees_what_was_published_while_the_daemon_writes(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            publish(ledger, "/p/a", content("a"), stamp(1))
            reader = read_ledger(path, "shop")
            assert reader
            with reader:
                assert [link.path for link in reader.links()] == ["/p/a"]
                publish(ledger, "/p/b", content("b"), stamp(2, size=2), NOW + 1)
                assert [link.path for link in reader.links()] == ["/p/b", "/p/a"]

    def test_a_closed_ledger_is_one_file_and_a_reader_leaves_none_beside_it(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            publish(ledger, "/p/a", content("a"), stamp(1))
        assert files_in(path.parent) == {"ledger.db"}
        reader = read_ledger(path, "shop")
        assert reader
        with reader:
            assert [link.path for link in reader.links()] == ["/p/a"]
            story = reader.story("/p/a")
            assert story and story.known.state is FileState.PUBLISHED
        assert files_in(path.parent) == {"ledger.db"}

    def test_a_reader_that_is_open_keeps_no_daemon_from_starting_or_ending(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            publish(ledger, "/p/a", content("a"), stamp(1))
        reader = read_ledger(path, "shop")
        assert reader
        with reader:
            links = reader.links()
            assert next(links).path == "/p/a"
            with ledger_at(path) as ledger:
                publish(ledger, "/p/b", content("b"), stamp(2, size=2), NOW + 1)
            assert [link.path for link in reader.links()] == ["/p/b", "/p/a"]
        with ledger_at(path) as ledger:
            assert ledger.census().contents_published == 2

    def test_a_store_nobody_has_used_has_nothing(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            publish(ledger, "/p/a", content("a"), stamp(1))
        reader: LedgerReader | None = read_ledger(path, "another")
        assert reader
        assert list(reader.links()) == []
        assert [link.store for link in reader.links(all_stores=True)] == ["shop"]
        assert not any(reader.census().files.values())
        reader.close()

    def test_a_reader_cannot_write(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            publish(ledger, "/p/a", content("a"), stamp(1))
        before = path.read_bytes()
        reader = read_ledger(path, "shop")
        assert reader
        with reader:
            reader.census()
        assert path.read_bytes() == before

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_somebody_who_may_not_read_it_is_told_so(self, path: Path) -> None:
        with ledger_at(path):
            pass
        with become(NOBODY), pytest.raises(LedgerUnusable, match="ledger"):
            read_ledger(path, "shop")

    def test_after_closing_every_verb_says_so(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            pass
        for verb in (lambda: ledger.look("/p/a"), lambda: ledger.claim("w", NOW), lambda: ledger.recover(NOW)):
            with pytest.raises(LedgerError, match="closed"):
                verb()


@contextmanager
def become(user: int) -> Iterator[None]:
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class TestOpening:
    """What is not a ledger this program can use is left as it is, and the message says what to do."""

    def test_a_new_ledger_is_not_for_everybody(self, path: Path) -> None:
        with ledger_at(path):
            assert stat.S_IMODE(path.parent.stat().st_mode) & 0o007 == 0
            for each in path.parent.iterdir():
                assert stat.S_IMODE(each.stat().st_mode) & 0o137 == 0, f"{each.name} is open to others"

    def test_a_ledger_may_have_any_name(self, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"led ger%20?#\xff.sqlite")
        with ledger_at(path) as ledger:
            publish(ledger, "/p/a", content("a"), stamp(1))
        reader = read_ledger(path, "shop")
        assert reader and len(list(reader.links())) == 1
        reader.close()
        assert backup_file(path).name == path.name + ".bak"
        assert backup_file(tmp_path / "ledger.db").name == "ledger.bak"

    def test_every_migration_counts_one_version(self, path: Path) -> None:
        assert len(list(scripts(after=0))) == SCHEMA_VERSION
        with ledger_at(path):
            pass
        raw = sqlite3.connect(path)
        assert raw.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert raw.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        raw.close()

    def test_a_newer_ledger_is_not_touched(self, path: Path) -> None:
        with ledger_at(path):
            pass
        raw = sqlite3.connect(path)
        raw.execute("PRAGMA user_version = 99")
        raw.close()
        before = path.read_bytes()
        with pytest.raises(LedgerUnusable, match=f"version 99, .* up to {SCHEMA_VERSION}"):
            open_ledger(path, "shop")
        with pytest.raises(LedgerUnusable, match="99"):
            read_ledger(path, "shop")
        assert path.read_bytes() == before
        assert files_in(path.parent) == {"ledger.db"}

    def test_another_programs_database_is_not_touched(self, path: Path) -> None:
        path.parent.mkdir()
        raw = sqlite3.connect(path)
        raw.execute("CREATE TABLE theirs (x)")
        raw.close()
        before = path.read_bytes()
        for opener in (open_ledger, read_ledger):
            with pytest.raises(LedgerUnusable, match="not a pixstored ledger"):
                opener(path, "shop")
        assert path.read_bytes() == before

    def test_a_text_file_is_not_a_ledger(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_text("my shopping list, which is quite long\n" * 100)
        for opener in (open_ledger, read_ledger):
            with pytest.raises(LedgerUnusable, match="not a pixstored ledger"):
                opener(path, "shop")

    def test_a_folder_is_not_a_ledger(self, path: Path) -> None:
        path.mkdir(parents=True)
        for opener in (open_ledger, read_ledger):
            with pytest.raises(LedgerUnusable, match="not a file"):
                opener(path, "shop")

    @pytest.mark.parametrize("has_backup", [True, False])
    def test_a_cut_off_ledger_is_damaged(self, path: Path, has_backup: bool) -> None:
        with ledger_at(path) as ledger:
            publish(ledger, "/p/a", content("a"), stamp(1))
        if has_backup:
            backup_file(path).touch()
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(LedgerUnusable, match="ledger restore" if has_backup else "without a copy"):
            open_ledger(path, "shop")

    @pytest.mark.parametrize("evidence", [backup_file, links_file])
    @pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "missing"])
    def test_a_ledger_that_is_missing_though_known_is_not_made_anew_unasked(
        self, path: Path, evidence: object, is_empty: bool
    ) -> None:
        assert callable(evidence)
        path.parent.mkdir()
        known: Path = evidence(path)
        known.touch()
        if is_empty:
            path.touch()
        with pytest.raises(LedgerUnusable, match=f"{known.name}.*--new-ledger"):
            open_ledger(path, "shop")
        assert path.exists() is is_empty
        with ledger_at(path, fresh=True) as ledger:
            assert ledger.census().contents_published == 0

    def test_a_ledger_that_exists_is_kept_even_where_a_new_one_is_asked_for(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            publish(ledger, "/p/a", content("a"), stamp(1))
        with ledger_at(path, fresh=True) as ledger:
            assert ledger.census().contents_published == 1

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(LedgerUnusable, match=r"file/state .*`ledger`"):
            open_ledger(tmp_path / "file" / "state" / "ledger.db", "shop")

    def test_the_copy_before_a_migration_is_whole(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            publish(ledger, "/p/a", content("a"), stamp(1))
            (path.parent / "ledger.bak.new").write_text("left by a crash")
            raw = sqlite3.connect(path, isolation_level=None)
            back_up(raw, path)
            raw.close()
        assert files_in(path.parent) == {"ledger.db", "ledger.bak"}
        path.unlink()
        backup_file(path).rename(path)
        with ledger_at(path) as ledger:
            assert [link.path for link in ledger.links()] == ["/p/a"]

    def test_a_copy_that_cannot_be_made_stops_the_migration(self, path: Path) -> None:
        with ledger_at(path):
            (path.parent / "ledger.bak").mkdir()
            raw = sqlite3.connect(path, isolation_level=None)
            with pytest.raises(LedgerUnusable, match=r"ledger\.bak"):
                back_up(raw, path)
            raw.close()
        assert files_in(path.parent) == {"ledger.db", "ledger.bak"}

    @pytest.mark.parametrize("index", ["file_queue", "file_small", "file_due", "file_oldest", "file_failed"])
    def test_a_query_that_names_an_index_finds_it(self, path: Path, index: str) -> None:
        with ledger_at(path):
            pass
        raw = sqlite3.connect(path)
        assert raw.execute("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?", (index,)).fetchone()
        raw.close()


class TestWriting:
    """One thread writes what many want written."""

    def test_what_many_threads_record_at_once_is_all_there(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            ledger.apply([fresh(f"/p/{n}", stamp(n, size=n)) for n in range(THREADS * 10)])

            def work(_: int) -> None:
                for _ in range(10):
                    claim = take(ledger)
                    sha256 = content(claim.path)
                    assert ledger.sending(claim, sha256, None, NOW) is Standing.CLEAR
                    ledger.published(claim, receipt_of(sha256), NOW)

            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(work, range(THREADS)))
        with ledger_at(path) as ledger:
            assert ledger.census().contents_published == THREADS * 10
            assert len(list(ledger.links())) == THREADS * 10

    def test_of_many_copies_claimed_at_once_one_is_sent(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            ledger.apply([fresh(f"/p/{n}", stamp(n)) for n in range(THREADS * 4)])
            sent: list[str] = []

            def work(owner: int) -> None:
                while claim := ledger.claim(str(owner), NOW):
                    if claim.hash_first and ledger.hashed(claim, content("same")) is not Standing.CLEAR:
                        continue
                    if ledger.sending(claim, content("same"), None, NOW) is Standing.CLEAR:
                        sent.append(claim.path)
                        ledger.published(claim, receipt_of(content("same")), NOW)

            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(work, range(THREADS)))
            assert len(sent) == 1
            assert ledger.census().files[FileState.PUBLISHED] == THREADS * 4

    def test_one_step_that_fails_takes_no_other_with_it(self, path: Path) -> None:
        with ledger_at(path) as ledger:

            def work(n: int) -> bool:
                size = 2**64 if n % 2 else n  # does not fit: cannot be recorded
                try:
                    ledger.apply([Skip(f"/p/{n}", stamp(n, size=size), "photos", "too large")])
                except OverflowError:
                    return False
                return True

            with ThreadPoolExecutor(THREADS) as pool:
                recorded = list(pool.map(work, range(THREADS * 10)))
            assert recorded == [n % 2 == 0 for n in range(THREADS * 10)]
            assert ledger.census().files[FileState.SKIPPED] == THREADS * 5
            assert ledger.healthy()

    def test_an_answer_that_cannot_be_recorded_is_told_and_takes_no_other_with_it(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            ledger.apply([fresh("/p/a", stamp(1, size=1)), fresh("/p/b", stamp(2, size=2))])
            with closing(sqlite3.connect(path, isolation_level=None)) as raw:
                raw.execute(
                    "CREATE TRIGGER no_link BEFORE INSERT ON content WHEN new.state = 'published' "
                    "BEGIN SELECT RAISE(ABORT, 'no link can be recorded'); END"
                )
                first, second = take(ledger), take(ledger)
                ledger.sending(first, content("a"), None, NOW)
                told: list[LedgerError | None] = []
                ledger.answered(first, receipt_of(content("a")), NOW, told.append)
                assert ledger.sending(second, content("b"), None, NOW) is Standing.CLEAR
                assert [str(error) for error in told] == [
                    f"the ledger {path} cannot be written: no link can be recorded"
                ]
                assert ledger.claim("another", NOW) is None, "the claim lasts"
                raw.execute("DROP TRIGGER no_link")
            ledger.published(first, receipt_of(content("a")), NOW)
            assert [link.path for link in ledger.links()] == ["/p/a"]

    def test_whoever_waits_for_work_is_told(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            told = threading.Event()
            ledger.on_change(told.set)

            def is_told() -> bool:
                was_told = told.is_set()
                told.clear()
                return was_told

            ledger.apply([fresh("/p/a", stamp(1)), fresh("/p/b", stamp(2))])
            assert is_told()
            first, second = take(ledger), take(ledger)
            assert not is_told(), "taking work makes none"
            assert ledger.hashed(second, content("b")) is Standing.IN_FLIGHT
            assert is_told()
            ledger.sending(first, content("a"), None, NOW)
            assert is_told(), "the other one need not wait any longer"
            ledger.published(first, receipt_of(content("a")), NOW)
            assert is_told()
            ledger.postpone(take(ledger), "503", NOW + 1, NOW)
            assert is_told(), "another time has come to wait for"

    def test_who_is_told_may_ask_for_work_at_once(self, path: Path) -> None:
        with ledger_at(path) as ledger:
            got: list[str] = []

            def ask() -> None:
                with ThreadPoolExecutor(1) as another_thread:
                    claim = another_thread.submit(ledger.claim, "w", NOW).result(timeout=10)
                got.extend([claim.path] if claim else [])

            ledger.on_change(ask)
            ledger.apply([fresh("/p/a", stamp(1))])
            assert got == ["/p/a"]

    def test_closing_waits_for_what_is_being_written(self, path: Path) -> None:
        ledger = open_ledger(path, "shop")
        with ThreadPoolExecutor(THREADS) as pool:
            writes = [pool.submit(ledger.apply, [fresh(f"/p/{n}", stamp(n))]) for n in range(THREADS * 4)]
            ledger.close()
        assert not ledger.healthy()
        recorded = sum(1 for write in writes if not write.exception())
        assert all(isinstance(write.exception(), LedgerError | None) for write in writes)
        with ledger_at(path) as ledger:
            assert len(taken(ledger)) == recorded


CRASHING = """
import os
import sys
from pathlib import Path
from integration.ledger_suite import NOW, content, fresh, receipt_of, stamp, take
from pixstored.ledger.sqlite import open_ledger
from concurrent.futures import ThreadPoolExecutor

ledger = open_ledger(Path(sys.argv[1]), "shop")

def tell(*words):
    os.write(1, " ".join(words).encode() + b"\\n")  # one call: lines of several threads do not mix

def work(worker):
    for n in range(100_000):
        name = f"{worker}-{n}"
        ledger.apply([fresh(f"/p/{name}", stamp(n * 10 + worker, size=n * 10 + worker))])
        claim = take(ledger)
        sha256 = content(claim.path)
        ledger.sending(claim, sha256, None, NOW)
        tell("sent", claim.path)
        ledger.published(claim, receipt_of(sha256), NOW)
        tell("published", claim.path)

with ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(4)))
"""


@pytest.mark.parametrize("lines", [1, 30, 77, 200])
def test_a_process_killed_while_it_writes_forgets_nothing_it_was_told_is_recorded(path: Path, lines: int) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", CRASHING, path], stdout=subprocess.PIPE, text=True, env=environ)
    assert child.stdout
    told = [child.stdout.readline() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    told += child.stdout.read().splitlines()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    sent = {line.split()[1] for line in told if line.startswith("sent ")}
    published = {line.split()[1] for line in told if line.startswith("published ")}
    reader = read_ledger(path, "shop")
    assert reader, "what a dead process left can be read"
    with reader:
        assert published <= {link.path for link in reader.links()}
    with ledger_at(path) as ledger:
        ledger.recover(NOW)
        states = {each: state(ledger, each) for each in sent}
        assert set(states.values()) <= {FileState.PUBLISHED, FileState.UNCERTAIN}
        assert all(states[each] is FileState.PUBLISHED for each in published)
        ledger.apply([fresh("/p/copy", stamp(99, size=5))])
        claim = next(claim for claim in iter(lambda: ledger.claim("w", NOW), None) if claim.path == "/p/copy")
        assert ledger.hashed(claim, content(min(sent))) in {Standing.PUBLISHED, Standing.UNCERTAIN}


def test_a_full_disk_is_told_and_survived(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk, ledger_at(disk / "ledger.db") as ledger:
        publish(ledger, "/p/before", content("before"), stamp(1, size=1))
        ballast = disk / "ballast"
        with pytest.raises(OSError), ballast.open("wb", buffering=0) as filling:
            while filling.write(b"x" * 65536):
                pass
        with pytest.raises(LedgerError, match="the disk is full"):
            ledger.apply([fresh(f"/p/{n}", stamp(n, size=n)) for n in range(10, 5000)])
        assert ledger.condition == "full"
        assert ledger.healthy()
        assert ledger.look("/p/10") is None, "nothing of it was recorded"
        assert [link.path for link in ledger.links()] == ["/p/before"], "what was recorded can be read"
        ballast.unlink()
        ledger.apply([fresh("/p/after", stamp(2, size=2))])
        finish(ledger, content("after"), NOW + 1)
        assert ledger.condition == "ok"
        assert [link.path for link in ledger.links()] == ["/p/after", "/p/before"]


def test_a_note_that_could_not_be_written_lets_nothing_be_sent(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        with ledger_at(disk / "ledger.db") as ledger:
            ledger.apply([fresh(f"/p/{n}", stamp(n, size=n)) for n in range(1, 400)])
            ballast = disk / "ballast"
            with pytest.raises(OSError), ballast.open("wb", buffering=0) as filling:
                while filling.write(b"x" * 4096):
                    pass
            sent = []
            with pytest.raises(LedgerError, match="full"):
                while claim := ledger.claim("w", NOW):
                    if ledger.sending(claim, content(claim.path), None, NOW) is Standing.CLEAR:
                        sent.append(claim.path)
            ballast.unlink()
        with ledger_at(disk / "ledger.db") as ledger:
            assert ledger.recover(NOW) == len(sent)
            assert len(taken(ledger)) == 399 - len(sent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_ledger_on_a_read_only_file_system_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        with ledger_at(disk / "ledger.db") as ledger:
            publish(ledger, "/p/a", content("a"), stamp(1))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(LedgerUnusable, match="read-only"):
            open_ledger(disk / "ledger.db", "shop")
        reader = read_ledger(disk / "ledger.db", "shop")
        assert reader and [link.path for link in reader.links()] == ["/p/a"]
        reader.close()


def test_what_rides_and_is_not_recorded_by_a_fault_of_the_program_is_not_told_to_be_durable(path: Path) -> None:
    with ledger_at(path):
        pass
    writer = Writer(sqlite3.connect(path, isolation_level=None, check_same_thread=False), path)
    told: SimpleQueue[LedgerError | None] = SimpleQueue()

    def faulty(connection: sqlite3.Connection) -> None:
        raise KeyError("a fault")

    try:
        writer.ride(faulty, told.put)
        error = told.get(timeout=SECONDS)
        assert isinstance(error, LedgerError) and "KeyError('a fault')" in str(error)
        assert writer.healthy()
    finally:
        writer.close()
