"""What would be done with each file, and why each is as it is: told before, meanwhile and after."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.app import PATIENCE, App, eventually
from support.faults import DropAnswer, Early, Reply, page, says
from support.faulty_store import FaultyStore
from support.files import jpeg, png, write


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def scan(app: App, *options: str, code: int = 0) -> dict[str, Any]:
    """The one watch of `scan --json`."""
    done = app.command(*options, "scan", "--json")
    assert done.returncode == code, done.stderr
    [watch] = json.loads(done.stdout)["watches"]
    assert isinstance(watch, dict)
    return watch


def actions(app: App, *options: str) -> dict[str, str]:
    """What `scan` says of each file, by its path below the watch."""
    return {os.path.relpath(file["path"], app.inbox): file["action"] for file in scan(app, *options)["files"]}


def why(app: App, path: str | Path, *options: str, **kwargs: Any) -> dict[str, Any]:
    done = app.command("why", "--json", *options, str(path), **kwargs)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def follow(line: str, app: App) -> subprocess.CompletedProcess[str]:
    """Does what a message told the user to do."""
    program, *arguments = shlex.split(line)
    assert program == "pixstored"
    return subprocess.run(
        [sys.executable, "-m", "pixstored", *arguments],
        env=app.environ,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
    )


# --- scan


def test_a_first_scan_says_what_stays_private_and_leaves_no_trace(app: App) -> None:
    write(app.inbox / "old.jpg", jpeg(seed=1))
    write(app.inbox / "deep" / "old.png", png(seed=1))
    (app.inbox / "link.jpg").symlink_to(app.inbox / "old.jpg")
    write(app.inbox / "loading.jpg", jpeg(seed=2))
    write(app.inbox / "loading.jpg.aria2", b"")
    for name in ("a.xmp", "b.XMP", "README", os.fsdecode(b"a.\xff")):
        write(app.inbox / name, b"text")
    app.configure()
    watch = scan(app)
    assert {os.path.relpath(file["path"], app.inbox): file["action"] for file in watch["files"]} == {
        "old.jpg": "private",
        "deep/old.png": "private",
        "link.jpg": "skip",
        "loading.jpg": "unfinished",
    }
    assert watch["turned_away"] == {"": 1, ".aria2": 1, ".xmp": 2, ".\\xff": 1}
    assert watch["adopted_at"] is None
    assert not (app.home / "state").exists()


def test_a_first_scan_says_what_existing_publish_would_send_and_what_size_forbids(app: App) -> None:
    write(app.inbox / "old.jpg", jpeg(seed=1))
    write(app.inbox / "large.jpg", jpeg(90_000))
    app.configure(watch="existing: publish\nmax_size: 50KB")
    found = {Path(file["path"]).name: (file["action"], file["reason"]) for file in scan(app)["files"]}
    assert found == {
        "old.jpg": ("publish", None),
        "large.jpg": ("skip", "its size is 90000 bytes, and max_size is 50000"),
    }


def test_a_scan_foretells_what_the_daemon_then_does(app: App, store: FaultyStore) -> None:
    write(app.inbox / "private.jpg", jpeg(seed=1))
    app.configure(store.url)
    with app.running():
        for number, name in enumerate(("renamed.jpg", "changed.jpg", "missing.jpg", "left.jpg"), 10):
            write(app.inbox / name, jpeg(seed=number))
        app.wait_for(published=4, skipped=1)
        assert actions(app) == {}
    (app.inbox / "renamed.jpg").rename(app.inbox / "new name.jpg")
    write(app.inbox / "changed.jpg", jpeg(seed=20))
    (app.inbox / "missing.jpg").unlink()
    write(app.inbox / "sub" / "new.jpg", jpeg(seed=21))
    assert actions(app) == {
        "new name.jpg": "renamed",
        "changed.jpg": "changed",
        "missing.jpg": "missing",
        "sub/new.jpg": "publish",
    }
    assert actions(app) == actions(app), "a scan changes nothing"
    with app.running():
        app.wait_for(published=5, skipped=1)
        assert actions(app) == {}
    assert sorted(store.stored.values()) == [1] * 6


def test_what_is_known_is_counted_and_shown_if_asked_for(app: App, store: FaultyStore) -> None:
    store.next(Early(says(415, 415, error="no")))
    app.configure(store.url)
    with app.running():
        write(app.inbox / "bad.jpg", jpeg(seed=1))
        app.wait_for(rejected=1)
        write(app.inbox / "good.jpg", jpeg(seed=2))
        app.wait_for(rejected=1, published=1)
    watch = scan(app)
    assert (watch["counts"]["known"], watch["known"]) == (2, {"published": 1, "rejected": 1})
    assert watch["files"] == []
    assert actions(app, "-v") == {"bad.jpg": "known", "good.jpg": "known"}


def test_a_scan_for_people_names_files_sums_and_what_the_rules_turn_away(app: App) -> None:
    write(app.inbox / "old.jpg", jpeg())
    write(app.inbox / "\x1b[2Jevil.jpg", jpeg())
    write(app.inbox / "notes.txt", b"")
    app.configure(watch="name: camera")
    text = app.command("scan").stdout
    assert re.search(r"camera: .*/inbox, not adopted yet\n", text)
    assert "  private    old.jpg  (it was there before its folder was adopted)\n" in text
    assert r"  private    \x1b[2Jevil.jpg" in text
    assert "  = 2 private\n  not taken by the rules: 1 .txt\n" in text


def test_a_folder_that_is_not_there_is_told_and_the_exit_code_is_1(app: App) -> None:
    app.configure()
    app.inbox.rmdir()
    assert scan(app, code=1)["unreadable"] == [
        {"path": str(app.inbox), "error": "the folder cannot be read: No such file or directory"}
    ]
    app.configure(watch="create: true")
    assert scan(app)["unreadable"] == []


def test_how_a_folder_is_watched_is_told_and_one_that_is_not_mounted_is_neither_scanned_nor_adopted(app: App) -> None:
    (app.inbox / "below").mkdir()
    app.configure()
    assert re.search(r"watched by inotify, 2 directories \(inotify allows \d+\)", app.command("check").stdout)
    app.configure(watch="method: poll\npoll_every: 2m")
    assert "polled every 120 s, 2 directories" in app.command("check").stdout
    app.configure(watch="mount: true")
    check = app.command("check")
    if check.returncode == 0:
        pytest.skip("here the tests lie on a file system that is mounted somewhere else than at /")
    assert "no file system is mounted there" in check.stdout
    assert "no file system is mounted there" in app.command("scan").stdout
    app.configure(watch="mount: true\ncreate: true")
    (app.inbox / "below").rmdir()
    app.inbox.rmdir()
    check = app.command("check")
    assert check.returncode == 1
    assert "no file system is mounted there" in check.stdout
    assert "no file system is mounted there" in app.command("scan").stdout


def test_a_folder_below_that_cannot_be_read_is_told_and_the_rest_is_scanned(app: App) -> None:
    write(app.inbox / "a.jpg", jpeg())
    write(app.inbox / "closed" / "b.jpg", jpeg())
    app.configure()
    (app.inbox / "closed").chmod(0)
    try:
        done = app.command("scan", "--json", preexec_fn=_read_like_anybody)
    finally:
        (app.inbox / "closed").chmod(0o755)
    [watch] = json.loads(done.stdout)["watches"]
    assert done.returncode == 1
    assert watch["unreadable"] == [{"path": str(app.inbox / "closed"), "error": "Permission denied"}]
    assert watch["counts"]["private"] == 1


def test_the_document_is_written_file_by_file_as_one_would_write_it_whole(app: App) -> None:
    app.configure(watch="name: first")
    other, empty = app.home / "other", app.home / "empty"
    for folder in (other, empty):
        folder.mkdir()
    with app.file.open("a") as file:
        file.write(f'  - {{path: {other}, name: sec"ond}}\n  - {{path: {empty}}}\n')
    for folder in (app.inbox, other):
        write(folder / "a.jpg", jpeg())
        write(folder / "line\nbreak {, }.jpg", jpeg())
    done = app.command("scan", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert done.stdout == json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    assert [len(watch["files"]) for watch in document["watches"]] == [2, 2, 0]


def _read_like_anybody() -> None:
    """In a child of root: what it executes has lost what lets root read everything (capabilities(7))."""
    drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
    for capability in (dac_override, dac_read_search):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


# --- why


def test_a_published_file_tells_its_whole_story(app: App, store: FaultyStore) -> None:
    store.next(Early(Reply(500, body=b'{"status": 500, "error": "oops"}')))
    app.configure(store.url, watch="name: camera\ncomment: '{stem}'", top="retry: {first: 50ms}")
    first, second = jpeg(seed=1), jpeg(seed=2)
    with app.running():
        write(app.inbox / "a.jpg", first)
        app.wait_for(published=1)
        write(app.inbox / "a.jpg", second)
        eventually(app.links, lambda links: [link["sha256"] for link in links] == [sha(second)])
        running = why(app, app.inbox / "a.jpg")
    [link] = app.links()
    old = next(link for link in app.links("--all") if link["sha256"] == sha(first))
    stopped = why(app, app.inbox / "a.jpg")
    assert stopped == {**running, "daemon": "stopped"}
    assert stopped["state"] == "published"
    assert stopped["says"] == f"it is published as {link['link']}"
    assert (stopped["link"], stopped["sha256"], stopped["comment"]) == (link["link"], sha(second), "a")
    assert stopped["rule"] == {"taken": True, "reason": "taken by the pattern `@media` of include"}
    assert stopped["watch"]["name"] == "camera"
    assert [each["link"] for each in stopped["before"]] == [old["link"]]
    assert [attempt["outcome"] for attempt in stopped["attempts"]][:2] == ["postponed", "published"]
    assert "oops" in stopped["attempts"][0]["detail"]
    assert stopped["can_do"] == []


def test_a_private_file_says_so_and_the_line_it_names_publishes_it(app: App, store: FaultyStore) -> None:
    write(app.inbox / "it's old.jpg", jpeg(seed=1))
    app.configure(store.url)
    before = why(app, app.inbox / "it's old.jpg")
    assert (before["state"], before["would"]) == (None, "private")
    with app.running():
        app.wait_for(skipped=1)
        story = why(app, app.inbox / "it's old.jpg")
        assert story["state"] == "skipped"
        assert story["says"] == "it stays private: it was there before its folder was adopted"
        assert story["watch"]["adopted_at"]
        [way] = story["can_do"]
        done = follow(way["command"], app)
        assert done.returncode == 0, done.stderr
        app.wait_for(published=1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("notes.txt", "matches no pattern of include"),
        (".hidden.jpg", "excluded by the built-in pattern `.*`"),
        ("draft/a.jpg", "lies in the folder `draft`, excluded by the pattern `draft/` of exclude"),
        ("large.jpg", "its size is 90000 bytes, and max_size is 50000"),
        ("loading.jpg", "loading.jpg.aria2 beside it says that it is still being downloaded"),
    ],
)
def test_a_file_that_a_rule_turns_away_names_the_rule(app: App, name: str, reason: str) -> None:
    write(app.inbox / "loading.jpg.aria2", b"")
    path = write(app.inbox / name, jpeg(90_000 if name == "large.jpg" else None))
    app.configure(watch="exclude: ['draft/']\nmax_size: 50KB\nexisting: publish")
    story = why(app, path)
    assert story["rule"] == {"taken": False, "reason": reason}
    assert story["says"] == f"it is not published: {reason}"
    assert [shlex.split(way["command"])[-2:] for way in story["can_do"]] == [["publish", str(path)]]


def test_what_is_no_regular_file_or_lies_behind_a_symlink_says_so(app: App) -> None:
    outside = write(app.home / "outside" / "a.jpg", jpeg())
    (app.inbox / "link.jpg").symlink_to(outside)
    (app.inbox / "way").symlink_to(outside.parent)
    app.configure()
    link, behind = why(app, app.inbox / "link.jpg"), why(app, app.inbox / "way" / "a.jpg")
    assert why(app, write(app.inbox / "empty.jpg", b""))["can_do"] == []
    assert link["rule"]["reason"] == "a symlink, not a regular file"
    assert link["can_do"] == []
    assert behind["rule"]["reason"] == f"lies behind the symlink {app.inbox}/way, which is not followed"


def test_a_file_that_is_being_written_is_settling_and_says_what_is_waited_for(app: App) -> None:
    app.configure()
    with app.running(), open(app.inbox / "slow.jpg", "wb") as file:
        file.write(jpeg())
        file.flush()
        story = eventually(
            lambda: why(app, app.inbox / "slow.jpg"),
            lambda story: story["settling"] and "writing" in story["settling"]["why"],
        )
    assert story["state"] == "settling"
    assert "somebody has it open for writing" in story["says"]


def test_a_download_that_paused_is_settling_until_its_notes_are_gone(app: App) -> None:
    app.configure(watch="settle: 0s")
    notes = write(app.inbox / "big.jpg.aria2", b"")
    with app.running():
        write(app.inbox / "big.jpg", jpeg(seed=1))
        write(app.inbox / "later.jpg", jpeg(seed=2))
        eventually(app.counts, lambda counts: counts["published"] == 1)
        assert why(app, app.inbox / "big.jpg")["state"] == "settling"
        notes.unlink()
        app.wait_for(published=2)


def test_a_file_that_waits_for_the_store_says_what_is_wrong_with_it(app: App, store: FaultyStore) -> None:
    store.always(Early(page(503)))
    app.configure(store.url, top="retry: {first: 1h}")
    with app.running():
        write(app.inbox / "a.jpg", jpeg())
        eventually(app.glance, lambda status: status["store"]["state"] == "unreachable")
        story = eventually(lambda: why(app, app.inbox / "a.jpg"), lambda story: story["state"] == "pending")
        assert "the store is unreachable" in story["says"]
    story = why(app, app.inbox / "a.jpg")
    assert story["says"] == "it waits to be sent, when pixstored runs"
    assert shlex.split(story["can_do"][0]["command"])[-1] == "run"


def test_a_rejected_a_failed_and_an_uncertain_file_say_what_happened(app: App, store: FaultyStore) -> None:
    app.configure(store.url, top="retry: {first: 50ms, longest: 50ms, tries: 2}")
    failure = Early(Reply(500, body=b'{"status": 500, "error": "oops"}'))
    with app.running():
        store.next(Early(says(415, 415, error="no\x1b[2J such format")))
        write(app.inbox / "rejected.jpg", jpeg(seed=1))
        app.wait_for(rejected=1)
        store.next(failure, failure)
        write(app.inbox / "failed.jpg", jpeg(seed=2))
        app.wait_for(rejected=1, failed=1)
        store.next(DropAnswer(stored=True))
        write(app.inbox / "uncertain.jpg", jpeg(seed=3))
        app.wait_for(rejected=1, failed=1, uncertain=1)
    rejected, failed, uncertain = (why(app, app.inbox / f"{n}.jpg") for n in ("rejected", "failed", "uncertain"))
    assert rejected["says"].startswith("the store refused it: ")
    assert failed["says"].startswith("it could not be sent in 2 tries: ")
    assert [attempt["outcome"] for attempt in failed["attempts"]] == ["postponed", "failed"]
    assert uncertain["says"].startswith("the store may have it or not: ")
    assert uncertain["sha256"] == sha(jpeg(seed=3))
    page = app.command("why", str(app.inbox / "rejected.jpg")).stdout
    assert "such format" in page
    assert "\x1b" not in page


def test_a_file_that_waits_because_of_a_pause_says_how_to_end_it(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    with app.running():
        assert app.command("pause").returncode == 0
        write(app.inbox / "a.jpg", jpeg())
        story = eventually(lambda: why(app, app.inbox / "a.jpg"), lambda story: story["state"] == "pending")
        assert story["says"] == "it waits to be sent; the sending is paused"
        assert follow(story["can_do"][0]["command"], app).returncode == 0
        app.wait_for(published=1)


def test_the_lines_named_for_a_rejected_and_an_uncertain_file_settle_them(app: App, store: FaultyStore) -> None:
    store.next(Early(says(415, 415, error="no")))
    app.configure(store.url)
    with app.running():
        write(app.inbox / "rejected one.jpg", jpeg(seed=1))
        app.wait_for(rejected=1)
        store.next(DropAnswer(stored=True), DropAnswer(stored=False))
        write(app.inbox / "stored.jpg", jpeg(seed=2))
        app.wait_for(rejected=1, uncertain=1)
        write(app.inbox / "not stored.jpg", jpeg(seed=3))
        app.wait_for(rejected=1, uncertain=2)
        [retry] = why(app, app.inbox / "rejected one.jpg")["can_do"]
        adopt, _ = why(app, app.inbox / "stored.jpg")["can_do"]
        _, again = why(app, app.inbox / "not stored.jpg")["can_do"]
        for line in (retry["command"], adopt["command"].replace("LINK", "https://x.example/1.jpg"), again["command"]):
            done = follow(line, app)
            assert done.returncode == 0, done.stderr
        app.wait_for(published=3)
    assert set(store.stored.values()) == {1}


def test_no_line_names_a_command_that_is_refused_as_unknown(app: App, store: FaultyStore) -> None:
    store.next(DropAnswer(stored=True), Early(says(415, 415, error="no")))
    write(app.inbox / "old.jpg", jpeg(seed=9))
    app.configure(store.url)
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(uncertain=1, skipped=1)
        write(app.inbox / "b.jpg", jpeg(seed=2))
        app.wait_for(uncertain=1, skipped=1, rejected=1)
    lines = [way["command"] for name in ("old", "a", "b") for way in why(app, app.inbox / f"{name}.jpg")["can_do"]]
    known = re.findall(r"^  (\w+) ", app.command("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert {shlex.split(line)[3] for line in lines} <= set(known)


def test_a_path_nobody_knows_is_one_sentence_and_exit_code_1(app: App) -> None:
    app.configure()
    write(app.home / "elsewhere.jpg", jpeg())
    sentences = {
        app.inbox / "not.jpg": "is not there, and nothing is on record of it",
        app.home / "elsewhere.jpg": "lies in no watched folder, and nothing is on record of it",
        app.inbox: "is a folder: name a file in it, or see all files with `pixstored scan`",
    }
    for is_running in (False, True):
        if is_running:
            app.start()
        for path, sentence in sentences.items():
            done = app.command("why", str(path))
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == f"pixstored: {path} {sentence}\n"


def test_a_file_is_known_by_every_way_to_it(app: App) -> None:
    real = app.home / "disk" / "photos"
    real.mkdir(parents=True)
    app.inbox.rmdir()
    app.inbox.symlink_to(real)
    app.configure()
    with app.running():
        write(app.inbox / "sub" / "a.jpg", jpeg())
        app.wait_for(published=1)
    (app.home / "shortcut").symlink_to(real / "sub")
    (app.inbox / "latest").symlink_to(real / "sub")
    ways: list[tuple[str | Path, Path | None]] = [
        (app.inbox / "sub" / "a.jpg", None),
        (real / "sub" / "a.jpg", None),
        ("a.jpg", real / "sub"),
        ("./x/../sub/a.jpg", app.inbox),
        (app.home / "shortcut" / "a.jpg", None),
        (app.inbox / "latest" / "a.jpg", None),
    ]
    for way, folder in ways:
        story = why(app, way, cwd=folder)
        assert (story["path"], story["state"]) == (str(app.inbox / "sub" / "a.jpg"), "published"), way


def test_a_name_that_is_not_utf8_is_asked_for_in_the_form_it_is_shown_in(app: App) -> None:
    path = os.fsencode(app.inbox) + b"/na\xefve\\ \n.jpg"
    with open(path, "wb") as file:
        file.write(jpeg())
    app.configure()
    [shown] = [file["path"] for file in scan(app)["files"]]
    assert shown.endswith("/na\\xefve\\\\ \\x0a.jpg")
    story = why(app, shown, "--escaped")
    assert story["path"] == shown
    [way] = story["can_do"]
    assert shlex.split(way["command"])[-3:] == ["publish", "--escaped", shown]
    with app.running():
        app.wait_for(skipped=1)
        assert why(app, shown, "--escaped")["state"] == "skipped"
        assert follow(way["command"], app).returncode == 0
        assert why(app, shown, "--escaped")["state"] == "published"


# --- the comment


def test_the_comment_that_is_sent_is_the_one_on_record(app: App, store: FaultyStore) -> None:
    app.configure(store.url, watch="name: camera\ncomment: '{watch} {folder} {name} {sha256} {size}'")
    picture = jpeg(70_000, seed=1)
    with app.running():
        write(app.inbox / "2026" / "a b.jpg", picture)
        app.wait_for(published=1)
    expected = f"camera 2026 a b.jpg {sha(picture)} 70000"
    [request] = store.requests
    assert request.fields["comment"] == expected
    assert [link["comment"] for link in app.links()] == [expected]


def test_a_comment_without_content_is_not_sent_and_neither_is_one_for_a_file_outside(
    app: App, store: FaultyStore
) -> None:
    app.configure(store.url, watch="comment: '{folder}'")
    outside = write(app.home / "outside.jpg", jpeg(seed=2))
    with app.running():
        write(app.inbox / "top.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        assert app.command("publish", str(outside)).returncode == 0
    assert [request.parts for request in store.requests] == [["key", "file"]] * 2
    assert [link["comment"] for link in app.links()] == [None, None]


def test_a_content_that_is_known_is_not_sent_again_for_its_comment(app: App, store: FaultyStore) -> None:
    app.configure(store.url, watch="comment: '{name} {sha256}'")
    with app.running():
        write(app.inbox / "first.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        write(app.inbox / "second.jpg", jpeg(seed=1))
        app.wait_for(published=2)
    assert store.stored == {sha(jpeg(seed=1)): 1}
    assert {link["comment"] for link in app.links()} == {f"first.jpg {sha(jpeg(seed=1))}"}
