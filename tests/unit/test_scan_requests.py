"""What waits to be scanned, and threads that file I/O does not let go."""

from __future__ import annotations

import pytest

from pixstored.model import Adoption
from pixstored.publish.reconcile import Request, Requests
from pixstored.watch.filework import STUCK_AFTER, FileWork, Retired
from pixstored.watch.mounts import FileSystem

LATER = 1e9


def urgent(folder: str, *, announced: bool = True) -> Request:
    return Request("/w", folder, announced=announced, urgent=True)


def all_of(requests: Requests) -> list[str]:
    found = []
    while request := requests.take(urgent=True):
        found.append(request.folder)
    return found


def test_a_folder_that_waits_to_be_scanned_stands_for_those_below_it() -> None:
    requests = Requests()
    for folder in ("/w/a", "/w/a/b", "/w/a/b/c", "/w/ab", "/w/a"):
        requests.add(urgent(folder))
    assert all_of(requests) == ["/w/a", "/w/ab"]


def test_one_that_no_event_announced_does_not_stand_for_one_that_an_event_did() -> None:
    requests = Requests()
    requests.add(urgent("/w/a", announced=False))
    requests.add(urgent("/w/a/b"))
    assert all_of(requests) == ["/w/a", "/w/a/b"]


def test_what_is_urgent_comes_first_and_nothing_comes_after_the_end() -> None:
    requests = Requests()
    requests.add(Request("/w", "/w"))
    requests.add(urgent("/w/a"))
    first, second = requests.take(), requests.take()
    assert first and second
    assert (first.folder, second.folder) == ("/w/a", "/w")
    requests.add(urgent("/w/b"))
    requests.close()
    assert requests.take() is None


def test_a_thread_is_stuck_in_the_folder_whose_file_io_takes_too_long() -> None:
    work = FileWork()
    assert work.stuck_in(LATER) is None
    with work.inside("/w"):
        assert work.stuck_in(0.0) is None
        assert work.stuck_in(LATER) == "/w"
        with work.inside("/other"):
            assert work.stuck_in(LATER) == "/other"
        assert work.stuck_in(LATER) == "/w"
        work.step()
    assert work.stuck_in(LATER) is None
    assert STUCK_AFTER > 10, "a disk that spins up is not gone"


def test_what_waits_in_a_watch_that_is_another_one_by_now_is_not_scanned_for_what_that_was() -> None:
    requests = Requests()
    for request in (urgent("/w/a"), Request("/w", "/w", newcomers=True), Request("/v", "/v/b", urgent=True)):
        requests.add(request)
    requests.forget("/w")
    assert requests.take() == Request("/v", "/v/b", urgent=True)
    requests.add(Request("/w", "/w"))
    assert requests.take() == Request("/w", "/w")


def test_a_thread_that_was_given_up_does_nothing_more_when_it_gets_free() -> None:
    work = FileWork()
    with pytest.raises(Retired), work.inside("/w"):
        work.retire()
    with pytest.raises(Retired):
        work.step()


def filesystem(identity: str | None, mount_point: str) -> FileSystem:
    return FileSystem("ext4", mount_point, identity, True, 1)


def test_what_is_noted_of_a_file_system_tells_another_one_and_an_empty_mount_point() -> None:
    card, disk, other = filesystem("UUID=a", "/card"), filesystem("UUID=d", "/"), filesystem("UUID=b", "/card")
    assert card.noted == "UUID=a at /card"
    assert not card.is_another_than(card.noted)
    assert other.is_another_than(card.noted)
    assert disk.lies_under(card.noted)
    assert not other.lies_under(card.noted)
    assert not filesystem(None, "/card").is_another_than(card.noted), "what cannot be told counts as the same"
    assert not card.is_another_than(filesystem(None, "/card").noted)
    assert not disk.lies_under("UUID=a"), "older notes have no mount point"
    assert other.is_another_than("UUID=a")
    assert not disk.lies_under(None) and not disk.is_another_than(None)
    share = filesystem("//nas/Photos at home", "/mnt/at home")
    assert not share.is_another_than(share.noted)
    assert disk.lies_under(share.noted)
    assert Adoption("/mnt/at home", 1, share.noted).disk == "//nas/Photos at home"


def test_a_note_gets_better_and_loses_nothing() -> None:
    assert filesystem("UUID=a", "/card").noted_after("UUID=a") == "UUID=a at /card"
    assert filesystem(None, "/card").noted_after("UUID=a at /card") == "UUID=a at /card"
    assert filesystem("UUID=a", "/card").noted_after("? at /") == "UUID=a at /card"
    assert filesystem("UUID=d", "/").noted_after("UUID=a at /card") == "UUID=a at /card"
    assert filesystem(None, "/").noted_after(None) == "? at /"
