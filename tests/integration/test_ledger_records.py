"""The ledger's records: what is written out comes back whole, and merging never makes anything less known."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.ledger_suite import NASTY_NAMES, NOW, content, fresh, publish, receipt_of, stamp, state, take
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.ledger.sqlite_check import check_ledger
from pixstored.ledger.sqlite_copy import copy_ledger
from pixstored.ledger.sqlite_merge import BadRecord
from pixstored.ledger.sqlite_salvage import salvaged
from pixstored.model import BASELINE, Adoption, Claim, FileState, Missing, Skip, Standing

PATHS = ["/p/a.jpg", "/p/b.jpg", "/q/c.png", "/p/" + os.fsdecode(b"\xff\xe9.jpg")]
PAGE = 4096
"""Bytes of a page of SQLite's."""

SIZES = {content(name): size for size, name in enumerate(("red", "green", "blue"), start=1000)}

deeds = st.lists(
    st.tuples(
        st.sampled_from(["publish", "hold", "refuse", "give up", "wait", "skip", "miss", "adopt"]),
        st.sampled_from(PATHS),
        st.sampled_from(sorted(SIZES)),
    ),
    max_size=8,
)


@contextmanager
def a_ledger(*stores: str) -> Iterator[SqliteLedger]:
    folder = Path(tempfile.mkdtemp(prefix="pixstored-records-"))
    ledger = open_ledger(folder / "ledger.db", stores[0] if stores else "shop")
    try:
        yield ledger
    finally:
        ledger.close()
        assert not check_ledger(folder / "ledger.db")
        shutil.rmtree(folder)


def live(ledger: SqliteLedger, lived: list[tuple[str, str, bytes]], first_inode: int = 1) -> None:
    """Does these things to a ledger as the daemon would."""
    for inode, (deed, path, sha256) in enumerate(lived, start=first_inode):
        seen = stamp(inode, size=SIZES[sha256])
        match deed:
            case "skip":
                ledger.apply([Skip(path, seen, "photos", BASELINE)])
                continue
            case "miss":
                ledger.apply([Missing(path)])
                continue
            case "adopt":
                ledger.record_link(path, seen, "photos", sha256, receipt_of(sha256), NOW)
                continue
        ledger.apply([fresh(path, seen)])
        claim = ledger.claim_path("worker", path)
        if deed == "wait" or claim is None or ledger.sending(claim, sha256, "a comment", NOW) is not Standing.CLEAR:
            if claim:
                ledger.release(claim)
            continue
        match deed:
            case "publish":
                ledger.published(claim, receipt_of(sha256), NOW)
            case "hold":
                ledger.hold(claim, "no answer", NOW)
            case "refuse":
                ledger.refuse(claim, "415", NOW)
            case "give up":
                ledger.give_up(claim, "500", NOW)


def merge(ledger: SqliteLedger, records: list[Any]) -> None:
    ledger.merge(records)
    ledger.merged()


def through_json(ledger: SqliteLedger) -> list[Any]:
    return [json.loads(json.dumps(record)) for record in ledger.records()]


def known(ledger: SqliteLedger) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """The states of contents and of files."""
    records = through_json(ledger)
    contents = {(each["store"], each["sha256"]): each["state"] for each in records if each["kind"] == "content"}
    files = {json.dumps(each["path"]): each["state"] for each in records if each["kind"] == "file"}
    return contents, files


@settings(max_examples=40, deadline=None)
@given(lived=deeds)
def test_an_empty_ledger_that_takes_the_records_knows_the_same(lived: list[tuple[str, str, bytes]]) -> None:
    with a_ledger() as here, a_ledger() as there:
        live(here, lived)
        here.adopt([Adoption("/p", 41, "UUID=1 at /p")])
        here.adopt([Adoption("/p", 42, "UUID=2 at /p")])
        merge(there, through_json(here))
        assert known(there) == known(here)
        assert [record for record in through_json(there) if record["kind"] != "file"] == [
            record for record in through_json(here) if record["kind"] != "file"
        ]
        assert {(link.path, link.link, link.state) for link in there.links(everything=True)} == {
            (link.path, link.link, link.state) for link in here.links(everything=True)
        }


@settings(max_examples=40, deadline=None)
@given(ours=deeds, theirs=deeds)
def test_merging_makes_nothing_less_known_and_twice_is_once(
    ours: list[tuple[str, str, bytes]], theirs: list[tuple[str, str, bytes]]
) -> None:
    rank = {"uncertain": 1, "withdrawn": 2, "published": 3}
    with a_ledger() as here, a_ledger() as there:
        live(here, ours)
        live(there, theirs, first_inode=100)
        before, their_contents = known(here)[0], known(there)[0]
        links_before = {(link.path, link.link) for link in here.links(everything=True)}
        records = through_json(there)
        merge(here, records)
        after = known(here)[0]
        for key in {*before, *their_contents}:
            assert rank[after[key]] == max(rank[each[key]] for each in (before, their_contents) if key in each)
        links = {(link.path, link.link) for link in here.links(everything=True)}
        assert links >= links_before
        assert links >= {(link.path, link.link) for link in there.links(everything=True)}
        once = through_json(here)
        merge(here, records)
        assert through_json(here) == once


def test_every_name_comes_back_as_it_was() -> None:
    with a_ledger() as here, a_ledger() as there:
        for number, name in enumerate(NASTY_NAMES):
            publish(here, f"/p/{name}", content(str(number)), stamp(number, size=number + 1))
        merge(there, through_json(here))
        assert [link.path for link in there.links()] == [link.path for link in here.links()]


def test_a_file_that_waits_gets_the_link_its_content_has_elsewhere() -> None:
    with a_ledger() as here, a_ledger() as there:
        publish(there, "/p/a.jpg", content("red"), stamp(1))
        here.apply([fresh("/p/other.jpg", stamp(7))])
        claim = take(here)
        here.hashed(claim, content("red"))
        here.postpone(claim, "500", NOW + 60, NOW)
        merge(here, through_json(there))
        assert state(here, "/p/other.jpg") is FileState.PUBLISHED


def test_what_is_refused_by_the_records_is_refused_here_and_stays_so_when_it_is_touched() -> None:
    with a_ledger() as source, a_ledger() as target:
        source.refuse(a_claim_that_sends(source, "/p/a.TIF", bytes(32)), "415", NOW)
        merge(target, through_json(source))
        for inode, path in ((8, "/p/a.TIF"), (9, "/q/copy.tif")):
            target.apply([fresh(path, stamp(inode))])
            claim = take(target)
            assert claim.hash_first
            assert target.hashed(claim, bytes(32)) is Standing.REJECTED


def a_claim_that_sends(ledger: SqliteLedger, path: str, sha256: bytes) -> Claim:
    ledger.apply([fresh(path, stamp(7))])
    claim = take(ledger)
    assert ledger.sending(claim, sha256, None, NOW) is Standing.CLEAR
    return claim


@pytest.mark.parametrize("ending", ["release", "refuse", "postpone"])
def test_what_may_be_stored_by_the_records_stays_so_though_it_is_kept_back_here(ending: str) -> None:
    with a_ledger() as here, a_ledger() as there:
        live(there, [("hold", "/p/a.jpg", content("red"))])
        claim = a_claim_that_sends(here, "/p/b.jpg", content("red"))
        merge(here, through_json(there))
        match ending:
            case "release":
                here.release(claim)
            case "refuse":
                here.refuse(claim, "415", NOW)
            case "postpone":
                here.postpone(claim, "500", NOW, NOW)
        assert here.census().contents_uncertain == 1
        here.apply([fresh("/p/c.jpg", stamp(8))])
        assert here.hashed(take(here), content("red")) is Standing.UNCERTAIN


def test_an_upload_under_way_settles_what_the_records_hold() -> None:
    with a_ledger() as here, a_ledger() as there:
        live(there, [("hold", "/p/a.jpg", content("red"))])
        claim = a_claim_that_sends(here, "/p/b.jpg", content("red"))
        merge(here, through_json(there))
        linked: list[int] = []
        here.on_links(linked.extend)
        here.published(claim, receipt_of(content("red")), NOW)
        assert {link.path for link in here.links()} == {"/p/a.jpg", "/p/b.jpg"}
        assert len(linked) == here.census().files[FileState.PUBLISHED] == 2


def test_an_upload_without_an_answer_gets_the_link_that_the_records_tell() -> None:
    with a_ledger() as here, a_ledger() as there:
        publish(there, "/p/a.jpg", content("red"), stamp(1))
        claim = a_claim_that_sends(here, "/p/b.jpg", content("red"))
        merge(here, through_json(there))
        here.hold(claim, "no answer", NOW)
        assert {link.path for link in here.links()} == {"/p/a.jpg", "/p/b.jpg"}
        assert here.census().files[FileState.UNCERTAIN] == 0


def test_records_written_while_files_are_published_can_be_merged() -> None:
    with a_ledger() as here, a_ledger() as there:
        publish(here, "/p/a.jpg", content("red"), stamp(1))
        here.apply([fresh("/p/b.jpg", stamp(2))])
        under_way = take(here)
        here.sending(under_way, content("blue"), None, NOW)
        records = here.records()
        written = [next(records), next(records)]
        here.published(under_way, receipt_of(content("blue")), NOW)
        publish(here, "/p/c.jpg", content("green"), stamp(3, size=3))
        merge(there, [*written, *records])
        assert sorted(link.path for link in there.links()) == ["/p/a.jpg", "/p/b.jpg", "/p/c.jpg"]


def test_a_private_file_stays_private_though_another_of_its_name_was_published_elsewhere() -> None:
    with a_ledger() as here, a_ledger() as there:
        publish(there, "/p/a.jpg", content("red"), stamp(1, size=1000))
        here.apply([Skip("/p/a.jpg", stamp(7, size=2000), "photos", BASELINE)])
        merge(here, through_json(there))
        assert state(here, "/p/a.jpg") is FileState.SKIPPED
        assert [link.state for link in here.links(everything=True)] == ["superseded"]


def test_records_of_other_stores_stay_at_those() -> None:
    with a_ledger("gallery") as there, a_ledger("shop") as here:
        publish(there, "/p/a.jpg", content("red"), stamp(1))
        merge(here, through_json(there))
        assert not list(here.links())
        assert [link.store for link in here.links(all_stores=True)] == ["gallery"]


CONTENT = {
    "kind": "content",
    "store": "shop",
    "sha256": "00" * 32,
    "state": "published",
    "size": 1,
    "link": "https://media.example/a.jpg",
    "id": "a.jpg",
    "comment": None,
    "sent_at": None,
    "published_at": 0.0,
    "why": None,
}


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"kind": "rumour"},
        {"kind": "content", "store": "shop", "sha256": "00", "state": "published", "size": 1},
        {"kind": "content", "store": "shop", "sha256": 7},
        {"kind": "superseded", "store": "shop", "path": {"hex": "zz"}, "sha256": "00" * 32, "at": 0},
        {"kind": "file", "store": "shop", "path": "/p/a"},
        {**CONTENT, "comment": {}},
        {**CONTENT, "link": ["https://media.example/a.jpg"]},
        {**CONTENT, "link": "javascript:alert(1)"},
        {**CONTENT, "link": None},
    ],
)
def test_a_faulty_record_is_refused_and_nothing_of_its_batch_is_kept(record: dict[str, Any]) -> None:
    with a_ledger() as here, a_ledger() as there:
        publish(there, "/p/a.jpg", content("red"), stamp(1))
        with pytest.raises(BadRecord):
            here.merge([*through_json(there), record])
        assert not list(here.links())


def test_a_published_file_without_its_content_is_refused() -> None:
    with a_ledger() as here, a_ledger() as there:
        publish(there, "/p/a.jpg", content("red"), stamp(1))
        with pytest.raises(BadRecord, match="no record tells of its content"):
            here.merge([record for record in through_json(there) if record["kind"] == "file"])


# --- copies, checks, salvage


NOT_UTF8 = os.fsdecode(b"copy-\xff.db")


def test_a_copy_made_while_somebody_writes_is_whole_whatever_its_name(tmp_path: Path) -> None:
    with a_ledger() as ledger:
        publish(ledger, "/p/a.jpg", content("red"), stamp(1))
        copy_ledger(ledger.path, tmp_path / "copy.db")
        copy_ledger(ledger.path, tmp_path / NOT_UTF8)
        publish(ledger, "/p/b.jpg", content("blue"), stamp(2))
    assert not check_ledger(tmp_path / "copy.db")
    assert not check_ledger(tmp_path / NOT_UTF8)
    copy = open_ledger(tmp_path / "copy.db", "shop")
    assert [link.path for link in copy.links()] == ["/p/a.jpg"]
    copy.close()
    assert {each.name for each in tmp_path.iterdir()} == {"copy.db", NOT_UTF8}


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("DELETE FROM content", "without a link"),
        ("UPDATE census SET published = published + 1", "a count that is wrong: files at shop"),
        ("UPDATE census SET contents_uncertain = 1", "a count that is wrong: contents at shop"),
        ("UPDATE content SET link = 'nowhere'", "link is no link"),
        ("DELETE FROM content_size", "size is not known"),
        ("DELETE FROM folder", "refers to a folder"),
    ],
)
def test_what_contradicts_itself_is_told(tmp_path: Path, damage: str, told: str) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, "shop")
    publish(ledger, "/p/a.jpg", content("red"), stamp(1))
    ledger.close()
    assert not check_ledger(path)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(damage)
    assert any(told in fault for fault in check_ledger(path)), check_ledger(path)


def test_what_is_on_its_way_is_in_the_records_and_what_is_salvaged() -> None:
    with a_ledger() as ledger:
        ledger.apply([fresh("/p/a.jpg", stamp(1))])
        assert ledger.sending(take(ledger), content("red"), None, NOW) is Standing.CLEAR
        sent, file = ledger.records()
        assert (sent["kind"], sent["state"], sent["sha256"]) == ("content", "sent", content("red").hex())
        assert (file["kind"], file["state"], file["sha256"]) == ("file", "pending", content("red").hex())
        assert list(salvaged(ledger.path)) == [[sent]]
        with a_ledger() as other:
            other.merge([sent, file])
            other.merged()
            assert state(other, "/p/a.jpg") is FileState.UNCERTAIN


def test_what_can_still_be_read_of_a_damaged_ledger_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, "shop")
    for number in range(200):
        publish(ledger, f"/p/{number}.jpg", content(str(number)), stamp(number, size=number + 1))
    ledger.close()
    assert len(list(salvaged(path))) == 2 * 200, "from both ends"
    with path.open("r+b") as file:
        for page in range(20, path.stat().st_size // PAGE, 3):
            file.seek(page * PAGE)
            file.write(os.urandom(PAGE))
    assert check_ledger(path)
    found = {thing[0]["sha256"] for thing in salvaged(path)}
    assert found <= {content(str(number)).hex() for number in range(200)}
