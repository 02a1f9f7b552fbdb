"""A picture dropped into a folder has its link a second later, once, whatever happens in between."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import urllib.request
from pathlib import Path

from support.app import App, eventually
from support.faults import DropAnswer, Early, Hang, Reply, page, rate_limited, says
from support.faulty_store import FaultyStore
from support.files import jpeg, mp4, png, write


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_picture_dropped_in_has_a_link_that_opens_it(app: App) -> None:
    app.configure()
    picture = jpeg(50_000, seed=1)
    with app.running():
        write(app.inbox / "a.jpg", picture)
        app.wait_for(published=1)
        [link] = app.links()
        with urllib.request.urlopen(link["link"]) as answer:
            assert answer.read() == picture
            assert answer.headers["Content-Type"] == "image/jpeg"
    assert link["path"] == str(app.inbox / "a.jpg")
    assert link["sha256"] == sha(picture)
    assert link["size"] == 50_000
    assert link["watch"] == str(app.inbox)
    assert link["store"] == "embedded"


def test_commands_tell_the_same_when_the_daemon_is_gone(app: App) -> None:
    app.configure()
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        before = app.links()
        assert app.status()["running"] is True
    after = app.status()
    assert app.links() == before
    assert after["running"] is False
    assert after["counts"]["published"] == 1
    assert [watch["state"] for watch in after["watches"]] == ["stopped"]


def test_what_was_there_before_stays_private_and_what_comes_later_does_not(app: App) -> None:
    write(app.inbox / "old" / "old.jpg", jpeg(seed=1))
    app.configure()
    with app.running():
        write(app.inbox / "new.jpg", jpeg(seed=2))
        app.wait_for(published=1, skipped=1)
        # moved with its folder, renamed, retagged: still private
        (app.inbox / "old").rename(app.inbox / "moved")
        (app.inbox / "moved" / "old.jpg").rename(app.inbox / "renamed.jpg")
        write(app.inbox / "second.jpg", jpeg(seed=3))
        app.wait_for(published=2, skipped=1)
        with open(app.inbox / "renamed.jpg", "ab") as file:
            file.write(b"tag")
        write(app.inbox / "third.jpg", jpeg(seed=4))
        app.wait_for(published=3, skipped=1)
    assert f"pixstored -c {app.file} publish {app.inbox}" in app.log.read_text()
    with app.running():
        write(app.inbox / "fourth.jpg", jpeg(seed=5))
        app.wait_for(published=4, skipped=1)


def test_existing_publish_sends_what_was_there(app: App, store: FaultyStore) -> None:
    for seed in range(20):
        write(app.inbox / f"{seed}.jpg", jpeg(seed=seed))
    app.configure(store.url, watch="existing: publish")
    with app.running():
        app.wait_for(published=20)
    assert set(store.stored.values()) == {1}


def test_one_content_under_many_names_is_sent_once(app: App, store: FaultyStore) -> None:
    picture = jpeg(400_000, seed=1)
    app.configure(store.url)
    with app.running():
        for number in range(8):
            write(app.inbox / f"copy-{number}.jpg", picture)
        app.wait_for(published=8)
        write(app.inbox / "later.jpg", picture)
        app.wait_for(published=9)
    assert store.stored == {sha(picture): 1}
    assert len({link["link"] for link in app.links()}) == 1
    assert len(app.links()) == 9


def test_what_came_while_it_was_down_is_published_and_nothing_is_sent_again(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
    write(app.inbox / "b.jpg", jpeg(seed=2))
    (app.inbox / "a.jpg").rename(app.inbox / "renamed.jpg")
    with app.running():
        app.wait_for(published=2)
    assert sorted(store.stored.values()) == [1, 1]
    assert {Path(link["path"]).name for link in app.links()} == {"renamed.jpg", "b.jpg"}


def test_another_content_of_the_same_size_and_time_is_not_taken_for_a_file_that_was_renamed(
    app: App, store: FaultyStore
) -> None:
    """Size, mtime and inode are those of the published file: a tagger can do that, and inodes are used again."""
    app.configure(store.url)
    with app.running():
        picture = write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        status = picture.stat()
        outside = picture.rename(app.home / "a.jpg")
        outside.write_bytes(jpeg(seed=2))
        os.utime(outside, ns=(status.st_atime_ns, status.st_mtime_ns))
        outside.rename(app.inbox / "b.jpg")
        eventually(app.links, lambda links: [link["sha256"] for link in links] == [sha(jpeg(seed=2))])
    assert store.stored == {sha(jpeg(seed=1)): 1, sha(jpeg(seed=2)): 1}


def test_files_moved_renamed_and_written_into_new_folders_are_each_published_once(
    app: App, store: FaultyStore, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    write(outside / "card" / "deep" / "1.jpg", jpeg(seed=1))
    write(outside / "2.jpg", jpeg(seed=2))
    app.configure(store.url)
    with app.running():
        (outside / "card").rename(app.inbox / "card")
        (outside / "2.jpg").rename(app.inbox / "2.jpg")
        write(app.inbox / "card" / "deep" / "later" / "3.png", png(seed=3))
        write(app.inbox / ".4.jpg.part", jpeg(seed=4)).rename(app.inbox / "4.jpg")
        app.wait_for(published=4)
        shutil.copytree(app.inbox / "card", app.inbox / "copy")
        app.wait_for(published=6)
    assert sorted(store.stored.values()) == [1, 1, 1, 1]


def test_a_changed_picture_gets_a_new_link_and_the_old_one_stays_on_record(app: App, store: FaultyStore) -> None:
    app.configure(store.url)
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        write(app.inbox / "a.jpg", jpeg(seed=2))
        eventually(app.links, lambda links: [link["sha256"] for link in links] == [sha(jpeg(seed=2))])
        os.utime(app.inbox / "a.jpg")
        app.wait_for(published=1)
    assert len(app.links("--all")) == 2
    assert store.stored == {sha(jpeg(seed=1)): 1, sha(jpeg(seed=2)): 1}


def test_a_file_still_open_for_writing_is_not_sent_however_long_it_pauses(app: App, store: FaultyStore) -> None:
    app.configure(store.url, watch="settle: 300ms")
    whole = mp4(300_000, seed=1)
    with app.running():
        with open(app.inbox / "slow.mp4", "wb") as file:
            file.write(whole[:100_000])
            file.flush()
            write(app.inbox / "other.jpg", jpeg(seed=2))
            eventually(app.counts, lambda counts: counts["published"] == 1 and counts["settling"] == 1)
            file.write(whole[100_000:])
        app.wait_for(published=2)
    assert store.stored == {sha(whole): 1, sha(jpeg(seed=2)): 1}


def test_a_file_that_changes_while_it_is_sent_is_never_published_in_a_mixed_form(app: App, store: FaultyStore) -> None:
    release = threading.Event()
    store.next(Hang(release, at=200_000))
    app.configure(store.url)
    first, second = mp4(30_000_000, seed=1), mp4(30_000_000, seed=2)
    with app.running():
        write(app.inbox / "a.mp4", first)
        store.wait_for(lambda s: s.in_flight == 1)
        write(app.inbox / "a.mp4", second)
        release.set()
        app.wait_for(published=1)
    assert store.stored == {sha(second): 1}


def test_an_upload_whose_answer_is_lost_is_held_and_never_repeated_by_itself(app: App, store: FaultyStore) -> None:
    store.next(DropAnswer(stored=True))
    app.configure(store.url, top="retry: {first: 100ms}")
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(uncertain=1)
        assert app.status()["needs_you"] == 1
        write(app.inbox / "b.jpg", jpeg(seed=2))
        app.wait_for(uncertain=1, published=1)
        write(app.inbox / "again.jpg", jpeg(seed=1))
        app.wait_for(uncertain=2, published=1)
    with app.running():
        app.wait_for(uncertain=2, published=1)
    assert store.stored == {sha(jpeg(seed=1)): 1, sha(jpeg(seed=2)): 1}


def test_an_outage_spends_no_tries_and_ends_by_itself(app: App, store: FaultyStore) -> None:
    store.always(Early(page(503), at=0))
    app.configure(store.url, top="retry: {first: 100ms, longest: 300ms, tries: 2}")
    with app.running():
        for seed in range(5):
            write(app.inbox / f"{seed}.jpg", jpeg(seed=seed))
        store.wait_for(lambda s: len(s.requests) >= 6)
        status = app.status()
        assert status["store"]["state"] == "unreachable"
        assert status["counts"]["pending"] + status["counts"]["uploading"] == 5
        assert status["oldest_unpublished"]
        store.heal()
        app.wait_for(published=5)
        assert app.status()["store"]["state"] == "ok"
    assert set(store.stored.values()) == {1}
    log = app.log.read_text()
    assert log.count("state=unreachable") == 1
    assert log.count("state=ok") == 1


def test_a_refused_key_stops_the_sending_and_a_changed_key_file_resumes_it_at_once(app: App) -> None:
    with FaultyStore(keys=frozenset({"right"})) as store:
        key_file = write(app.home / "key", b"wrong\n")
        key_file.chmod(0o600)
        app.configure(store.url, store=f"key_file: {key_file}", top="retry: {first: 1h}")
        with app.running():
            write(app.inbox / "a.jpg", jpeg(seed=1))
            eventually(app.glance, lambda status: status["store"]["state"] == "auth_failed")
            assert app.status()["needs_you"] == 1
            key_file.write_text("right\n")
            app.wait_for(published=1)
    assert store.stored == {sha(jpeg(seed=1)): 1}


def test_a_rate_limit_is_kept(app: App, store: FaultyStore) -> None:
    store.next(Early(rate_limited("1"), at=0))
    app.configure(store.url)
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        eventually(app.log.read_text, lambda log: "store state=rate_limited" in log)


def test_a_file_the_store_refuses_is_rejected_with_its_reason_in_the_log(app: App, store: FaultyStore) -> None:
    store.next(Early(says(415, 415, error="File format\x1b[2J not supported"), at=0))
    app.configure(store.url)
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(rejected=1)
        write(app.inbox / "b.jpg", jpeg(seed=2))
        app.wait_for(rejected=1, published=1)
    assert "File format" in app.log.read_text()
    assert "\x1b" not in app.log.read_text()


def test_a_file_whose_tries_all_fail_is_failed_and_tried_at_the_next_start(app: App, store: FaultyStore) -> None:
    store.always(Early(Reply(500, body=b'{"status": 500, "error": "oops"}'), at=0))
    app.configure(store.url, top="retry: {first: 50ms, longest: 100ms, tries: 3}")
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(failed=1)
        assert app.status()["needs_you"] == 1
    assert len(store.requests) == 3
    store.heal()
    with app.running():
        app.wait_for(published=1)
    assert store.stored == {sha(jpeg(seed=1)): 1}


def test_stopping_drops_a_body_under_way_at_once_and_sends_it_at_the_next_start(app: App, store: FaultyStore) -> None:
    release = threading.Event()
    store.next(Hang(release, at=100_000))
    app.configure(store.url)
    video = mp4(30_000_000, seed=1)
    app.start()
    write(app.inbox / "a.mp4", video)
    store.wait_for(lambda s: s.in_flight == 1 and s.requests[0].received >= 100_000)
    assert app.stop() == 0
    release.set()
    with app.running():
        app.wait_for(published=1)
    assert store.stored == {sha(video): 1}


def test_stopping_waits_for_the_answer_of_a_complete_body(app: App, store: FaultyStore) -> None:
    release = threading.Event()
    store.next(Hang(release, stored=True))
    app.configure(store.url)
    app.start()
    write(app.inbox / "a.jpg", jpeg(seed=1))
    store.wait_for(lambda s: s.stored)
    timer = threading.Timer(0.5, release.set)
    timer.start()
    assert app.stop() == 0
    timer.join()
    assert [link["sha256"] for link in app.links()] == [sha(jpeg(seed=1))]


def test_an_answer_that_does_not_come_within_stop_timeout_leaves_the_upload_uncertain(
    app: App, store: FaultyStore
) -> None:
    release = threading.Event()
    store.next(Hang(release, stored=True))
    app.configure(store.url, top="stop_timeout: 1s")
    app.start()
    write(app.inbox / "a.jpg", jpeg(seed=1))
    store.wait_for(lambda s: s.stored)
    assert app.stop() == 0
    release.set()
    assert app.counts()["uncertain"] == 1
    with app.running():
        app.wait_for(uncertain=1)
    assert store.stored == {sha(jpeg(seed=1)): 1}


def test_the_key_is_nowhere_to_be_seen(app: App, store: FaultyStore) -> None:
    store.next(Early(says(401, 401, error="key canary-key-never-shown is invalid"), at=0))
    app.configure(store.url, top="log: {level: debug}\nretry: {first: 100ms}")
    with app.running():
        write(app.inbox / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        shown = "".join(
            app.command(*words).stdout for words in (["status"], ["links"], ["check"], ["status", "--json"])
        )
    assert store.requests[-1].fields["key"] == "canary-key-never-shown"
    everything = shown + app.log.read_text() + "".join(str(request.path) for request in store.requests)
    assert "canary" not in everything
    for file in (app.home / "state").iterdir():
        assert not file.is_file() or b"canary" not in file.read_bytes()
