"""Watched folders whose file systems come, go, change, or do not answer."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixstored.config.schema import WatchConfig
from pixstored.model import BASELINE, Adoption, FileState, Lane, Remember, Skip, Stamp, WatchState
from pixstored.publish.preview import Action
from pixstored.service.presence import Presence, adopted, identity_of
from pixstored.service.survey import surveys
from pixstored.watch.mounts import FileSystem, filesystem_of
from support.house import House
from support.mounting import ext4_image, mount, unanswered_mount, unmount, unmounted_after

CARD = "[{path: card, name: card, settle: 0s}]"


@pytest.fixture
def card(house: House) -> Iterator[Path]:
    """Where a card is mounted."""
    card = house.home / "card"
    card.mkdir()
    with unmounted_after(card):
        yield card


def test_what_is_on_a_disk_that_is_pulled_is_not_missing_and_goes_on_when_it_is_back(house: House, card: Path) -> None:
    first, second = ext4_image(house.home / "first.img"), ext4_image(house.home / "second.img")
    mount(second, card, "-o", "loop")
    (card / "private.jpg").write_bytes(b"private")
    (card / "new.jpg").write_bytes(b"private too, though that name was published from another card")
    unmount(card)
    mount(first, card, "-o", "loop")
    (card / "old.jpg").write_bytes(b"old")
    house.start(CARD)
    house.until_watching("card")
    assert house.state_of("card/old.jpg") is FileState.SKIPPED
    house.put("card/new.jpg", b"new")
    house.until_state("card/new.jpg", FileState.PENDING)

    unmount(card)
    house.until_folder("card", WatchState.OFFLINE)
    assert "not mounted" in (house.report("card").error or "")
    known = house.known("card/new.jpg")
    assert known and known.state is FileState.PENDING and not known.missing
    house.start(CARD)
    assert house.state("card") is WatchState.OFFLINE, "the empty mount point is not taken for the card"

    mount(first, card, "-o", "loop")
    (card / "shot meanwhile.jpg").write_bytes(b"meanwhile")
    house.until_watching("card")
    house.until_state("card/shot meanwhile.jpg", FileState.PENDING)
    adopted = house.ledger.adoption(str(card))

    unmount(card)
    mount(second, card, "-o", "loop")
    house.until(lambda: house.ledger.adoption(str(card)) != adopted)
    house.until_watching("card")
    house.put("card/public.jpg", b"public")
    house.until_state("card/public.jpg", FileState.PENDING)
    assert house.state_of("card/private.jpg") is FileState.SKIPPED
    house.until_state("card/new.jpg", FileState.SKIPPED)


def test_what_settles_on_a_disk_that_makes_room_for_another_one_makes_nothing_new_of_what_is_there(
    house: House, card: Path
) -> None:
    first, second = ext4_image(house.home / "first.img"), ext4_image(house.home / "second.img")
    mount(second, card, "-o", "loop")
    (card / "a.jpg").write_bytes(b"private, and of the same name")
    unmount(card)
    mount(first, card, "-o", "loop")
    intake = house.start("[{path: card, name: card, settle: 3s}]").intake
    house.until_watching("card")
    house.put("card/a.jpg", b"new, and not quiet yet")
    house.until(lambda: intake.settling() == 1)
    adopted = house.ledger.adoption(str(card))
    unmount(card)
    mount(second, card, "-o", "loop")
    house.until(lambda: house.ledger.adoption(str(card)) != adopted)
    house.until(lambda: house.known("card/a.jpg") and not intake.settling())
    assert house.state_of("card/a.jpg") is FileState.SKIPPED


def test_a_folder_that_is_to_be_mounted_is_not_adopted_before_it_is(house: House, card: Path) -> None:
    house.put("card/below the mount point.jpg")
    house.start("[{path: card, name: card, mount: true, settle: 0s, existing: publish}]")
    if house.state("card") is not WatchState.OFFLINE:
        pytest.skip("here the folder lies on a file system that is mounted somewhere else than at /")
    assert house.ledger.adoption(str(card)) is None
    mount("tmpfs", card, "-t", "tmpfs")
    (card / "on it.jpg").write_bytes(b"x")
    house.until_watching("card")
    house.until_state("card/on it.jpg", FileState.PENDING)
    assert house.state_of("card/below the mount point.jpg") is None
    unmount(card)
    house.until_folder("card", WatchState.OFFLINE)
    assert house.state_of("card/below the mount point.jpg") is None


def test_a_folder_whose_file_system_is_pulled_from_another_mounted_one_is_away_whatever_lies_below(
    house: House, card: Path
) -> None:
    mount("tmpfs", card, "-t", "tmpfs")
    inner = card / "inner"
    inner.mkdir()
    with unmounted_after(inner):
        mount("tmpfs", inner, "-t", "tmpfs")
        house.start("[{path: card/inner, name: inner, mount: true, settle: 0s, existing: publish}]")
        house.until_watching("inner")
        unmount(inner)
        house.until_folder("inner", WatchState.OFFLINE)
        (inner / "below the mount point.jpg").write_bytes(b"x")
        house.start("[{path: card/inner, name: inner, mount: true, settle: 0s, existing: publish}]")
        assert house.state("inner") is WatchState.OFFLINE
        mount("tmpfs", inner, "-t", "tmpfs")
        house.until_watching("inner")
        house.put("card/inner/on it.jpg")
        house.until_state("card/inner/on it.jpg", FileState.PENDING)
        assert house.state_of("card/inner/below the mount point.jpg") is None


def test_whether_a_known_file_is_on_another_disk_is_found_out_in_many_steps(house: House) -> None:
    watch = house.config("[{path: card}]").watches[0]
    root = str(house.home / "card")
    before = Adoption(root, 5, "UUID=before at /")
    known = house.put("card/2/a.jpg")
    house.ledger.adopt([before])
    house.ledger.apply(
        [Remember(f"{root}/{folder}/b.jpg", Stamp(1, 1, 1, 1, 1), Lane.BACKLOG, "card", 0.0) for folder in range(100)]
    )
    other = Presence((1, 1), FileSystem("ext4", "/", "UUID=other", True, 1))
    steps: list[None] = []
    house.put("card/1/b.jpg", b"another one")
    assert adopted(house.ledger, watch, other, lambda: steps.append(None)) is None
    assert len(steps) >= 100

    house.ledger.adopt([before])
    house.ledger.apply([Remember(str(known), Stamp.of(known.stat()), Lane.BACKLOG, "card", 0.0)])
    assert adopted(house.ledger, watch, other, lambda: None) == 5


def test_a_scan_tells_what_another_disk_would_be_adopted_for(house: House, card: Path) -> None:
    mount(ext4_image(house.home / "card.img"), card, "-o", "loop")
    (card / "a.jpg").write_bytes(b"x")
    root, another = str(card), f"UUID=another at {card}"
    watch = house.config(CARD).watches[0]

    def told() -> tuple[int | None, list[Action]]:
        (survey,) = surveys([watch], house.ledger)
        return survey.adopted_at_ns, [preview.action for preview in survey.files()]

    house.ledger.adopt([Adoption(root, 5, another)])
    assert told() == (None, [Action.PRIVATE])
    house.ledger.adopt([Adoption(root, 6, filesystem_of(root).noted)])
    house.ledger.adopt([Adoption(root, 7, another)])
    assert told() == (6, [Action.PUBLISH])
    house.ledger.adopt([Adoption(root, 8, f"UUID=another at {card}/further")])
    (card / "a.jpg").unlink()
    (card / "lost+found").rmdir()
    assert told() == (8, []), "that is only where the other one is mounted"


def test_a_disk_is_noted_when_it_comes_back_wherever_the_other_one_was_mounted(house: House) -> None:
    """Else it would be another one at each start, and its files missing."""
    watch = house.config("[{path: card}]").watches[0]
    root = str(house.home / "card")
    private = house.put("card/a.jpg")
    here = Presence((1, 1), FileSystem("ext4", "/", "UUID=here", True, 1))
    house.ledger.adopt([Adoption(root, 5, "UUID=here at /")])
    house.ledger.adopt([Adoption(root, 6, f"UUID=card at {root}")])
    assert adopted(house.ledger, watch, here, lambda: None) == 5
    assert house.ledger.adoption(root) == Adoption(root, 5, "UUID=here at /")
    house.ledger.apply([Skip(str(private), Stamp.of(private.stat()), "card", BASELINE)])
    assert adopted(house.ledger, watch, here, lambda: None) == 5
    known = house.known("card/a.jpg")
    assert known and not known.missing


def test_what_is_mounted_inside_is_watched_too(house: House, card: Path) -> None:
    inner = card / "inner"
    inner.mkdir()
    house.start(CARD)
    house.until_watching("card")
    with unmounted_after(inner):
        mount("tmpfs", inner, "-t", "tmpfs")
        (inner / "x").mkdir()
        house.until(lambda: house.report("card").directories == 3)
        house.until_watching("card")
        house.put("card/inner/x/a.jpg")
        house.until_state("card/inner/x/a.jpg", FileState.PENDING)


def test_a_folder_that_does_not_answer_is_an_error_and_holds_up_no_other(
    house: House, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixstored.watch.filework.STUCK_AFTER", 0.5)
    with unanswered_mount(card):
        folders = house.start("[{path: card, name: card, settle: 0s}, {path: b, name: b, create: true, settle: 0s}]")
        house.until_folder("card", WatchState.ERROR)
        assert "does not answer" in (house.report("card").error or "")
        house.until_watching("b")
        house.put("b/a.jpg")
        house.until_state("b/a.jpg", FileState.PENDING)
        assert folders.find(str(card)) is None
    house.until_watching("card")
    house.put("card/a.jpg")
    house.until_state("card/a.jpg", FileState.PENDING)


def test_a_folder_said_to_be_away_while_the_keeper_looks_at_it_is_looked_at_again(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (house.home / "card").mkdir()
    folders = house.start(CARD)
    house.until_watching("card")
    looked = threading.Event()

    def while_another_thread_is_held(config: WatchConfig) -> tuple[int, int]:
        if not looked.is_set():
            folders.held(str(house.home / "card"), threading.Thread())
            looked.set()
        return identity_of(config)

    monkeypatch.setattr("pixstored.service.keeper.identity_of", while_another_thread_is_held)
    house.until(looked.is_set)
    house.until_watching("card")
    assert "keeper replaced" not in caplog.text


def test_a_folder_that_stops_to_answer_while_it_is_watched_holds_up_no_other(
    house: House, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("card/x/a.jpg")
    house.put("card/y/b.jpg")
    house.start(
        "[{path: card, name: card, settle: 0s, existing: publish}, {path: b, name: b, create: true, settle: 0s}]"
    )
    house.until_state("card/x/a.jpg", FileState.PENDING)
    house.until_watching("card", "b")
    monkeypatch.setattr("pixstored.watch.filework.STUCK_AFTER", 0.5)
    with unanswered_mount(card / "x"):
        house.until_folder("card", WatchState.ERROR)
        house.put("b/a.jpg")
        house.until_state("b/a.jpg", FileState.PENDING)
        assert house.state_of("card/x/a.jpg") is FileState.PENDING
    house.until_watching("card", "b")
    assert house.state_of("card/x/a.jpg") is FileState.PENDING
    house.put("card/x/c.jpg")
    house.until_state("card/x/c.jpg", FileState.PENDING)


def test_a_folder_made_again_or_put_in_its_place_is_watched_and_not_adopted_again(house: House) -> None:
    house.put("card/old.jpg")
    house.start(CARD)
    house.until_watching("card")
    adopted = house.ledger.adoption(str(house.home / "card"))
    shutil.rmtree(house.home / "card")
    house.until_folder("card", WatchState.OFFLINE)
    house.put("card/old.jpg", b"new")
    house.until_watching("card")
    (house.home / "card").rename(house.home / "elsewhere")
    house.put("card/replaced.jpg")
    house.until_state("card/replaced.jpg", FileState.PENDING)
    house.until_watching("card")
    house.put("card/after.jpg")
    house.until_state("card/after.jpg", FileState.PENDING)
    assert house.ledger.adoption(str(house.home / "card")) == adopted


def test_a_folder_in_whose_place_there_is_a_symlink_is_an_error_and_nothing_in_it_is_missing(house: House) -> None:
    """Though the symlink leads to it: whoever moved the folder to another disk has to say that this is meant."""
    house.put("card/private.jpg")
    house.start(CARD)
    house.until_watching("card")
    house.put("card/a.jpg")
    house.until_state("card/a.jpg", FileState.PENDING)
    (house.home / "card").rename(house.home / "elsewhere")
    (house.home / "card").symlink_to("elsewhere")
    house.put("elsewhere/private.jpg", b"tagged")
    house.until(lambda: "pixstored reload" in str(house.report("card").error))
    assert house.state("card") is WatchState.ERROR
    house.put("elsewhere/b.jpg")

    house.reconfigure(CARD)
    house.until_state("card/b.jpg", FileState.PENDING)
    house.until_watching("card")
    assert house.state_of("card/a.jpg") is FileState.PENDING
    known = house.known("card/private.jpg")
    assert known and (known.state, known.reason, known.missing) == (FileState.SKIPPED, BASELINE, False)

    (house.home / "card").unlink()
    (house.home / "elsewhere").rename(house.home / "card")
    house.until_folder("card", WatchState.OFFLINE)
    away = str(house.report("card").error)
    assert f"{house.home}/elsewhere" in away and "pixstored reload" in away, "for there is a folder by its own name"
    house.reconfigure(CARD)
    house.until_watching("card")


def test_a_folder_whose_path_leads_elsewhere_by_now_is_an_error_until_the_configuration_is_read_again(
    house: House,
) -> None:
    """As `today` does, a symlink that somebody changes each day."""
    link = house.home / "card"
    for day in ("monday", "tuesday"):
        (house.home / day).mkdir()
    link.symlink_to("monday")
    house.start(CARD)
    house.until_watching("card")
    link.unlink()
    (house.home / "monday" / "x").mkdir()
    house.until(lambda: house.report("card").directories == 2)
    assert house.state("card") is WatchState.WATCHING, "nothing else is meant so far"
    link.symlink_to("tuesday")
    house.until_folder("card", WatchState.ERROR)
    says = str(house.report("card").error)
    assert f"{house.home}/monday" in says and "pixstored reload" in says
    house.reconfigure(CARD)
    house.until_watching("card")
    house.put("tuesday/a.jpg")
    house.until_state("card/a.jpg", FileState.PENDING)
