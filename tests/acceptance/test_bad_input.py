"""Whatever a user gets wrong is told in clear words, with the contract's exit code, and never with a traceback."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.app import App
from support.faults import DropAnswer
from support.faulty_store import FaultyStore
from support.files import jpeg, noise, write

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_LEDGER = 74
EXIT_BUSY = 75
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130

CANARY = "canary"
"""A part of every key in these tests."""

COMMANDS = ["run", "status", "links", "check"]
"""Whatever opens the ledger."""

WATCH = "watch: [{path: ./inbox}]\n"
LOOPBACK = "url: http://127.0.0.1:9/store"


def assert_told(done: subprocess.CompletedProcess[str], code: int, *words: str) -> str:
    """It failed in the contract's way: this exit code, these words, our name in front of one message; no key."""
    told = done.stderr
    assert done.returncode == code, told + done.stdout
    for word in words:
        assert word in told
    assert told.count("pixstored: ") == 1
    assert told.endswith("\n")
    assert "Traceback" not in told
    assert CANARY not in told + done.stdout
    return told


# --- the configuration


@dataclass(frozen=True)
class Case:
    """A file that is wrong, and what must be said of it: one text for each fault, in order."""

    name: str
    text: str
    faults: tuple[str, ...]


CASES = [
    Case("not YAML", "watch: [\n  - {path: ./inbox\n", ("line 2: not YAML",)),
    Case("a tab", "watch:\n\t- path: x\n", ("line 2: not YAML: a tab",)),
    Case("a set without quotes", "watch:\n  - path: x\n    include: [@media]\n", ("line 3: not YAML",)),
    Case("empty", "", ("is empty",)),
    Case("a list", "- a\n", ("line 1: must be a mapping",)),
    Case(
        "unknown keys",
        "stor: {}\nwatch:\n  - path: x\n    recursiv: true\n",
        (
            'line 1: stor: unknown key, did you mean "store"?',
            'line 4: watch[0].recursiv: unknown key, did you mean "recu',
        ),
    ),
    Case("a duplicate key", "workers: 2\nworkers: 3\n" + WATCH, ("line 2: workers: stands in line 1 already",)),
    Case(
        "wrong kinds",
        "workers: many\nrescan_every: 30\nlog: loud\n"
        "watch:\n  - path: x\n    recursive: perhaps\n    min_size: 5 apples\n",
        (
            "line 1: workers: must be a whole number",
            'line 2: rescan_every: has no unit: say "30s"',
            "line 3: log: ",
            "line 6: watch[0].recursive: must be true or false",
            "line 7: watch[0].min_size: has a unit that is none of",
        ),
    ),
    Case("no watch", "store: {url: embedded}\n", ("watch: names no folder",)),
    Case("an empty watch", "watch: []\n", ("line 1: watch: names no folder",)),
    Case("no path", "watch:\n  - name: x\n", ("line 2: watch[0].path: is missing",)),
    Case("plain http", "store: {url: http://media.example/store}\n" + WATCH, ("line 1: store.url: plain http://",)),
    Case(
        "a folder twice",
        "watch:\n  - path: ./inbox\n  - path: ./other/../inbox/\n",
        ("line 3: watch[1].path: is the same folder as watch[0]",),
    ),
    Case(
        "a folder in another",
        "watch:\n  - path: ./inbox\n  - path: ./inbox/raw\n",
        ("line 3: watch[1].path: ",),
    ),
    Case("the ledger in a watch", "ledger: ./inbox/l.db\n" + WATCH, ("line 2: watch[0].path: holds the ledger",)),
    Case("no name", "ledger: /\ncontrol: //\n" + WATCH, ("line 1: ledger: is the", "line 2: control: is the")),
    Case("an unknown set", "watch:\n  - path: x\n    include: ['@pictures']\n", ("line 3: watch[0].include[0]: ",)),
    Case("two keys", "store: {key: canary-1, key_file: k}\n" + WATCH, ("line 1: store.key_file: stands beside",)),
    Case("a key in the URL", "store: {url: 'https://x.example/?key=canary'}\n" + WATCH, ("line 1: store.url: ",)),
    Case("a key of two lines", "store:\n  key: |\n    canary\n    canary\n" + WATCH, ("line 2: store.key: ",)),
    Case("a list as key", "store:\n  key: [canary]\n" + WATCH, ("line 2: store.key: must be one value",)),
    Case("a key that breaks the YAML", "store:\n  key: canary: @canary\n" + WATCH, ("line 2: not YAML",)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_fault_of_a_configuration_is_told_with_its_line(app: App, case: Case) -> None:
    app.file.write_text(case.text)
    told = assert_told(app.command("run"), EXIT_CONFIG, str(app.file))
    head, *faults = told.splitlines()
    assert head.endswith("1 fault" if len(case.faults) == 1 else f"{len(case.faults)} faults")
    assert len(faults) == len(case.faults)
    for fault, expected in zip(faults, case.faults, strict=True):
        assert fault.strip().startswith(expected)


@pytest.mark.parametrize("command", ["status", "links", "check"])
def test_every_command_refuses_a_faulty_configuration(app: App, command: str) -> None:
    app.file.write_text("wotch: []\n" + WATCH)
    assert_told(app.command(command), EXIT_CONFIG, 'did you mean "watch"?')


def test_a_configuration_that_is_no_text_is_refused(app: App) -> None:
    app.file.write_bytes(noise(100_000))
    assert_told(app.command("run"), EXIT_CONFIG, str(app.file), "not UTF-8")


def test_a_missing_configuration_is_told_with_where_one_is_looked_for(app: App) -> None:
    assert_told(app.command("run"), EXIT_CONFIG, str(app.file), "there is no such file", "--config")
    app.file.mkdir()
    assert_told(app.command("run"), EXIT_CONFIG, str(app.file), "is a folder")
    if not os.path.lexists("/etc/pixstored/config.yaml"):
        nowhere = bare(app, "status")
        assert_told(nowhere, EXIT_CONFIG, str(app.home / ".config" / "pixstored" / "config.yaml"))
    app.environ["PIXSTORED_CONFIG"] = "/nowhere/config.yaml"
    assert_told(bare(app, "status"), EXIT_CONFIG, "/nowhere/config.yaml", "$PIXSTORED_CONFIG")


def bare(app: App, *words: str) -> subprocess.CompletedProcess[str]:
    """The command without -c."""
    command = [sys.executable, "-m", "pixstored", *words]
    return subprocess.run(command, env=app.environ, capture_output=True, text=True, timeout=30)


# --- the key


def test_without_a_key_run_says_the_ways_to_give_one(app: App) -> None:
    del app.environ["PIXSTORED_KEY"]
    app.file.write_text(f"ledger: ledger.db\nstore: {{{LOOPBACK}}}\n{WATCH}")
    assert_told(app.command("run"), EXIT_CONFIG, "store.key_file", "$PIXSTORED_KEY", "embedded")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        (b"", "is empty"),
        (b"canary-1\ncanary-2\n", "more than one line"),
        (b"\xff\xfe\0canary", "is not text"),
        (b"canary" * 100_000, "must hold the bare key"),
    ],
    ids=["missing", "empty", "two keys", "not text", "huge"],
)
def test_a_key_file_that_cannot_be_used_is_named(app: App, content: bytes | None, words: str) -> None:
    key_file = app.home / "key"
    if content is not None:
        key_file.write_bytes(content)
        key_file.chmod(0o600)
    app.file.write_text(f"ledger: ledger.db\nstore: {{{LOOPBACK}, key_file: key}}\n{WATCH}")
    assert_told(app.command("run"), EXIT_CONFIG, str(key_file), words)


def test_check_says_what_a_key_is_for_that_a_service_is_to_have(app: App) -> None:
    del app.environ["PIXSTORED_KEY"]
    app.file.write_text(f"ledger: ledger.db\nstore: {{{LOOPBACK}}}\n{WATCH}")
    assert "pixstored service install" not in app.command("check").stdout
    write(app.home / "store-key", b"canary")
    checked = app.command("check")
    assert checked.returncode == EXIT_FAILED, "a `run` by hand does not have it"
    assert f"{app.home}/store-key is for the service: `pixstored service install`" in checked.stdout


def test_a_folder_given_as_key_file_is_named(app: App) -> None:
    app.file.write_text(f"ledger: ledger.db\nstore: {{{LOOPBACK}, key_file: inbox}}\n{WATCH}")
    assert_told(app.command("run"), EXIT_CONFIG, str(app.inbox), "not a regular file")


# --- the ledger


@pytest.fixture
def ledger(app: App) -> Path:
    """Where the ledger of `app` lies, its folder made."""
    app.configure()
    place = app.home / "state" / "ledger.db"
    place.parent.mkdir()
    return place


def used(app: App, ledger: Path) -> None:
    """Makes a ledger with something in it."""
    with app.running():
        for seed in range(20):
            write(app.inbox / f"{seed}.jpg", jpeg(seed=seed))
        app.wait_for(published=20)
    assert ledger.stat().st_size > 3 * 4096


@pytest.mark.parametrize("command", COMMANDS)
def test_a_ledger_that_is_none_is_not_touched(app: App, ledger: Path, command: str) -> None:
    for content in (noise(20_000), b"these are my notes\n" * 100):
        ledger.write_bytes(content)
        assert_told(app.command(command), EXIT_LEDGER, str(ledger), "not a pixstored ledger")
        assert ledger.read_bytes() == content


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_of_another_program_is_not_touched(app: App, ledger: Path, command: str) -> None:
    with sqlite3.connect(ledger) as database:
        database.execute("CREATE TABLE note (text)")
    database.close()
    before = ledger.read_bytes()
    assert_told(app.command(command), EXIT_LEDGER, str(ledger), "not a pixstored ledger", "`ledger`")
    assert ledger.read_bytes() == before


def test_a_damaged_ledger_is_told_with_the_way_out(app: App, ledger: Path) -> None:
    used(app, ledger)
    damaged = bytearray(ledger.read_bytes())
    damaged[4096:] = noise(len(damaged) - 4096)
    ledger.write_bytes(damaged)
    for command in COMMANDS:
        assert_told(app.command(command), EXIT_LEDGER, str(ledger), "damaged", "pixstored ledger restore")


def test_a_ledger_of_a_newer_program_is_left_to_that(app: App, ledger: Path) -> None:
    used(app, ledger)
    with sqlite3.connect(ledger) as database:
        database.execute("PRAGMA user_version = 1000")
    database.close()
    before = ledger.read_bytes()
    for command in COMMANDS:
        assert_told(app.command(command), EXIT_LEDGER, str(ledger), "version 1000", "newer pixstored")
    assert ledger.read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_in_the_place_of_the_ledger_is_told(app: App, ledger: Path, command: str) -> None:
    ledger.mkdir()
    assert_told(app.command(command), EXIT_LEDGER, str(ledger), "not a file", "`ledger`")


def test_a_ledger_whose_folder_cannot_be_made_is_told(app: App) -> None:
    app.configure()
    (app.home / "state").write_text("a file where the folder should be")
    assert_told(app.command("run"), EXIT_LEDGER, str(app.home / "state"), "`ledger`")
    check = app.command("check")
    assert check.returncode == EXIT_FAILED
    assert f"NO  ledger   {app.home}/state/ledger.db: cannot be made" in check.stdout


# --- what another process holds


def test_a_second_daemon_of_one_ledger_is_refused_and_the_first_goes_on(app: App) -> None:
    app.configure()
    process = app.start()
    assert_told(app.command("run"), EXIT_BUSY, str(app.home / "state" / "ledger.db"), f"pid {process.pid}")
    write(app.inbox / "a.jpg", jpeg())
    app.wait_for(published=1)
    assert app.stop() == 0


def test_two_daemons_with_one_control_socket_are_told_apart(app: App, tmp_path: Path) -> None:
    app.configure()
    other = App(tmp_path / "other")
    other.configure(top=f"control: {app.home}/state/control.sock")
    with app.running():
        assert_told(other.command("run"), EXIT_CONFIG, "control", str(app.home / "state" / "control.sock"))
        told = assert_told(other.command("status"), EXIT_FAILED, "another ledger", "`control`")
        assert str(other.home / "state" / "ledger.db") in told
        assert app.status()["running"]


def test_a_control_path_that_is_no_socket_is_told(app: App) -> None:
    app.configure(top=f"control: {app.inbox}")
    assert_told(app.command("run"), EXIT_CONFIG, "control", str(app.inbox), "is no socket")


def test_what_no_command_of_ours_says_to_the_socket_does_no_harm(app: App) -> None:
    app.configure()
    with app.running():
        for said in (b"junk", b"\xff", b"[" * 100_000, b"5", b'{"command": "outcome"}', b'{"command": "offer"}'):
            with socket.socket(socket.AF_UNIX) as peer, peer.makefile("rb") as answers:
                peer.connect(str(app.home / "state" / "control.sock"))
                peer.sendall(said + b"\n")
                peer.shutdown(socket.SHUT_WR)
                answers.read()
        assert app.status()["running"]
    assert "Traceback" not in app.log.read_text()


def test_a_taken_port_of_the_embedded_store_is_told_with_its_key(app: App) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app.file.write_text(
            f"ledger: ledger.db\nstore: {{url: embedded, embedded: {{listen: '127.0.0.1:{port}'}}}}\n{WATCH}"
        )
        assert_told(app.command("run"), EXIT_CONFIG, "store.embedded.listen", f"127.0.0.1:{port}", "another port")
        check = app.command("check")
    assert check.returncode == EXIT_FAILED
    assert f"NO  store    store.embedded.listen: 127.0.0.1:{port} is taken" in check.stdout


def test_check_finds_one_address_for_two_things_and_none_that_the_daemon_has_taken_itself(app: App) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app.file.write_text(
        f"ledger: ledger.db\nstore: {{url: embedded, embedded: {{listen: '127.0.0.1:{port}'}}}}\n{WATCH}"
        f"metrics: {{listen: '127.0.0.1:{port}'}}\n"
    )
    twice = app.command("check")
    assert twice.returncode == EXIT_FAILED
    assert f"NO  metrics  metrics.listen: 127.0.0.1:{port} is taken" in twice.stdout
    app.file.write_text(app.file.read_text().replace("metrics: ", "metrics: {} # "))
    with app.running():
        assert app.command("check").returncode == 0


def test_an_address_that_nothing_can_be_sent_to_is_told_before_anything_starts(app: App) -> None:
    app.file.write_text(f"ledger: ledger.db\nstore: {{url: 'https://.example/store'}}\n{WATCH}")
    words = "store.url: not an http:// or https:// address that can be used"
    told = assert_told(app.command("run"), EXIT_CONFIG, words)
    assert told == f"pixstored: {words}\n"
    assert not (app.home / "ledger.db").exists()
    checked = app.command("check")
    assert checked.returncode == EXIT_FAILED
    assert words in checked.stdout


def test_certificates_that_cannot_be_used_are_told_by_check(app: App) -> None:
    app.file.write_text(f"ledger: ledger.db\nstore: {{ca_file: ca.pem}}\n{WATCH}")
    (app.home / "ca.pem").write_text("no certificate")
    checked = app.command("check")
    assert checked.returncode == EXIT_FAILED
    assert f"the CA certificates in {app.home}/ca.pem cannot be loaded" in checked.stdout


# --- the command line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Missing command"),
        (["pubish"], "pubish"),
        (["--cofnig", "x", "run"], "--cofnig"),
        (["status", "--jsno"], "--jsno"),
        (["links", "--format", "xml"], "xml"),
        (["links", "--since", "noon"], "noon"),
        (["run", "surplus"], "surplus"),
        (["publish", ""], "it is empty"),
        (["retry", ""], "it is empty"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_with_how_to_get_help(app: App, words: list[str], says: str) -> None:
    app.configure()
    done = bare(app, *words) if words[:1] == ["--cofnig"] else app.command(*words)
    assert done.returncode == EXIT_USAGE
    assert says in done.stderr
    assert "--help" in done.stderr
    assert "Traceback" not in done.stderr


def shell(app: App, line: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $P is our command."""
    environ = {**app.environ, "P": f"{sys.executable} -m pixstored -c {app.file}"}
    return subprocess.run(
        ["bash", "-c", line], env=environ, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def with_links(app: App) -> Iterator[App]:
    """More links than a pipe can hold, so that whoever writes them sees that nobody reads."""
    app.configure()
    with app.running():
        for seed in range(600):
            write(app.inbox / f"{seed:0100}.jpg", jpeg(seed=seed % 5))
        app.wait_for(published=600)
        yield app


def test_a_reader_that_has_seen_enough_is_no_error(with_links: App) -> None:
    for command in ("links", "links --format csv", "links --format jsonl", "links --json", "status", "--help"):
        for reader in ("head -c 1 >&2", "true"):
            done = shell(with_links, f"$P {command} | {reader}; exit ${{PIPESTATUS[0]}}")
            assert done.returncode == 0, done.stderr
            assert len(done.stderr) <= 1


def test_the_exit_code_tells_though_nobody_takes_the_error(app: App) -> None:
    app.file.write_text("wotch: []\n")
    for command, code in (("status", EXIT_CONFIG), ("statsu", EXIT_USAGE)):
        for nobody in ("2> /dev/full", "2>&1 | true"):
            assert shell(app, f"$P {command} {nobody}; exit ${{PIPESTATUS[0]}}").returncode == code


def test_in_a_folder_that_was_removed_only_names_cannot_be_asked_for(app: App) -> None:
    app.configure()
    nowhere = f"mkdir {app.home}/nowhere && cd {app.home}/nowhere && rmdir {app.home}/nowhere && "
    assert shell(app, nowhere + "$P pause && $P status").returncode == 0
    for command in ("why a.jpg", "publish a.jpg", "ledger backup copy.db"):
        assert_told(shell(app, nowhere + f"$P {command}"), EXIT_FAILED, "`cd` to another one")


@pytest.mark.parametrize("place", ["/proc/demo", "/dev/null/demo"])
def test_a_demo_that_can_have_no_folder_says_so(app: App, place: str) -> None:
    assert_told(app.command("demo", "--dir", place), EXIT_FAILED, place)


def test_output_that_cannot_be_written_is_told(with_links: App) -> None:
    for command in ("links", "links --json", "status", "--help"):
        done = shell(with_links, f"$P {command} > /dev/full")
        assert_told(done, EXIT_FAILED, "No space left on device")


def test_streams_that_are_closed_already_do_not_matter(with_links: App) -> None:
    for closed in (">&-", "<&-", "<&- >&- 2>&-"):
        done = shell(with_links, f"$P links {closed}")
        assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_the_daemon_in_order(app: App) -> None:
    app.configure()
    app.start()
    assert app.stop(signal.SIGINT) == 0
    assert "Traceback" not in app.log.read_text()


def test_exit_codes_tell_whether_somebody_is_needed(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    assert app.command("status", "--check").returncode == 3
    assert app.command("check").returncode == 0
    with app.running():
        assert app.command("status", "--check").returncode == 0
        store.next(DropAnswer(stored=True))
        write(app.inbox / "a.jpg", jpeg())
        app.wait_for(uncertain=1)
        assert app.command("status", "--check").returncode == EXIT_FAILED
    app.inbox.rename(app.home / "away")
    check = app.command("check")
    assert check.returncode == EXIT_FAILED
    assert str(app.inbox) in check.stdout


INTERRUPTED_WHILE_IMPORTING = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from pixstored.__main__ import main
main()
"""


def test_ctrl_c_in_the_first_moment_is_no_traceback(app: App) -> None:
    words = [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTING, "status"]
    done = subprocess.run(words, env=app.environ, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (EXIT_INTERRUPTED, "")


INTERRUPTED_WHILE_WRITING = """
import io, os, signal, sys
class Full(io.FileIO):
    def write(self, data):
        os.kill(os.getpid(), signal.SIGINT)
sys.stdout = io.TextIOWrapper(io.BufferedWriter(Full(1, "w")))
from pixstored.__main__ import main
main()
"""


def test_ctrl_c_does_not_wait_for_who_reads_the_output(app: App) -> None:
    app.configure()
    words = [sys.executable, "-c", INTERRUPTED_WHILE_WRITING, "-c", str(app.file), "status"]
    done = subprocess.run(words, env=app.environ, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (EXIT_INTERRUPTED, "")
