"""Real pictures and videos, written by the programs people use, arrive at the store whole, and once."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.app import App, eventually
from support.faulty_store import FaultyStore
from support.files import write
from support.upheaval import wanted_in
from support.writers import WRITERS, Lacking, Writer, cp, run, sha_of

PIECES = 4
"""How many pieces a slow writer writes a file in."""

SHM = Path("/dev/shm")


def needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a camera, a phone and a screen recorder leave, made by Pillow and ffmpeg."""
    needs("ffmpeg")
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    folder = tmp_path_factory.mktemp("originals")
    noisy = image.effect_noise((800, 600), 80)
    noisy.convert("RGB").save(folder / "IMG_0001.JPG", quality=95)
    noisy.convert("RGB").save(folder / "progressive.jpeg", quality=80, progressive=True)
    noisy.save(folder / "screen shot.png")
    if not image.registered_extensions().get(".avif"):
        pytest.skip("needs a Pillow that writes AVIF")
    picture = io.BytesIO()  # a HEIC is the same container around another codec, which few programs can write
    noisy.convert("RGB").save(picture, format="AVIF", quality=50)
    (folder / "IMG_0002.HEIC").write_bytes(picture.getvalue())
    clip = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=duration=2:size=640x480:rate=25"]
    run(*clip, "-c:v", "mpeg4", "-b:v", "8M", folder / "MVI_0003.MP4")
    run(*clip, "-c:v", "mpeg4", "-b:v", "4M", "-movflags", "+faststart", folder / "clip.mov")
    return folder


@pytest.fixture
def elsewhere(app: App) -> Iterator[Path]:
    """A folder on another file system than the watched one."""
    if not SHM.is_dir() or SHM.stat().st_dev == app.inbox.stat().st_dev:
        pytest.skip("needs /dev/shm on a file system of its own")
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        yield Path(folder)


def assert_published_whole_and_once(app: App, store: FaultyStore, originals: Path) -> None:
    """Each of these files is at the store, byte for byte; nothing else was ever sent to its end."""
    files = [file for file in originals.rglob("*") if file.is_file()]
    app.wait_for(published=len(files))
    wanted = {sha_of(file): file for file in files}
    assert store.completed == dict.fromkeys(wanted, 1)
    assert store.stored == dict.fromkeys(wanted, 1)
    for sha, file in wanted.items():
        assert store.bodies[sha] == file.read_bytes()
    assert {link["sha256"] for link in app.links()} == set(wanted)


def of_its_own(content: bytes, name: str, mark: bytes) -> bytes:
    """The same picture or video in other bytes: with a comment, or a box that players pass over."""
    if name.endswith(".MP4"):
        return content + struct.pack(">I", len(mark) + 8) + b"free" + mark
    if name.endswith(".png"):
        return content + mark
    return content[:2] + struct.pack(">2sH", b"\xff\xfe", len(mark) + 2) + mark + content[2:]


def card_of(writer: Writer, card: dict[str, bytes], places: Path) -> Path:
    """A folder with pictures that only this program has."""
    folder = places / writer.__name__ / "originals"
    for name, content in card.items():
        write(folder / name, of_its_own(content, name, writer.__name__.encode()))
    return folder


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Three photos, a screenshot and a video, by their names."""
    needs("ffmpeg")
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    folder = tmp_path_factory.mktemp("card")
    for number in (1, 2, 3):
        image.effect_noise((500, 400), 80).convert("RGB").save(folder / f"IMG_000{number}.JPG", quality=90)
    image.effect_noise((200, 200), 20).save(folder / "screen shot.png")
    clip = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=duration=3:size=320x240:rate=25"]
    run(*clip, "-c:v", "mpeg4", "-b:v", "2M", folder / "MVI_0003.MP4")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_programs_write_arrives_whole_and_once(app: App, store: FaultyStore, card: dict[str, bytes]) -> None:
    """All of them at once, each with pictures of its own into a folder of its own."""
    app.configure(store.url, watch='comment: "{folder}"')
    targets = {writer: app.inbox / writer.__name__ for writer in WRITERS}
    cards = {writer: card_of(writer, card, app.home / "cards") for writer in WRITERS}
    for target in targets.values():
        target.mkdir()
    with app.running():
        with ThreadPoolExecutor(len(WRITERS)) as at_work:
            works = [at_work.submit(writer, cards[writer], targets[writer]) for writer in WRITERS]
        try:
            earlier = set().union(*(work.result() for work in works))
        except Lacking as error:
            pytest.skip(f"needs {error}")
        wanted = wanted_in(app.inbox)
        eventually(lambda: lacking(app, wanted), lambda left: not left)
        app.wait_for()
    whole = {*wanted.values(), *earlier}
    assert {path: sha for path, sha in wanted.items() if store.stored[sha] != 1} == {}
    assert [seen.fields for seen in store.requests if seen.sha256 and seen.sha256 not in whole] == []
    assert set(store.completed.values()) == {1}
    assert all(any(path.startswith(f"{target}/") for path in wanted) for target in targets.values())


def lacking(app: App, wanted: dict[str, str]) -> list[str]:
    """Those of the wanted files that have no link to just what they hold."""
    links = {link["path"]: link["sha256"] for link in app.links()}
    return [path for path, sha in wanted.items() if links.get(path) != sha]


def test_what_is_moved_in_from_another_file_system_arrives_whole_and_once(
    app: App, store: FaultyStore, originals: Path, elsewhere: Path
) -> None:
    shutil.copytree(originals, elsewhere / "card")
    app.configure(store.url)
    with app.running():
        run("mv", *sorted((elsewhere / "card").iterdir()), app.inbox)
        assert_published_whole_and_once(app, store, originals)


def test_what_is_copied_again_over_itself_is_not_sent_again(app: App, store: FaultyStore, originals: Path) -> None:
    needs("rsync")
    app.configure(store.url)
    with app.running():
        run("rsync", "-a", f"{originals}/", app.inbox)
        assert_published_whole_and_once(app, store, originals)
        run("rsync", "-a", "--ignore-times", f"{originals}/", app.inbox)
        cp(originals, app.inbox)
        (app.inbox / "last.jpg").write_bytes(b"a file that settles after all the others")
        app.wait_for(published=7)
    assert set(store.completed.values()) == {1}
    assert len(store.completed) == 7


@pytest.mark.parametrize(("settle", "pause"), [("auto", 1.5), ("300ms", 0.6)])
def test_a_slow_writer_is_waited_for_however_long_it_pauses(
    app: App, store: FaultyStore, originals: Path, settle: str, pause: float
) -> None:
    """It keeps its files open, and pauses longer between its writes than a file must be quiet."""
    app.configure(store.url, watch=f"settle: {settle}")
    with app.running(), ExitStack() as writers:
        files = [
            (original.read_bytes(), writers.enter_context(open(app.inbox / original.name, "wb")))
            for original in originals.iterdir()
        ]
        for piece in range(PIECES):
            for content, file in files:
                start, end = (len(content) * part // PIECES for part in (piece, piece + 1))
                file.write(content[start:end])
                file.flush()
            eventually(app.counts, lambda counts: counts["settling"] == len(files))
            time.sleep(pause)  # what the daemon must not take for the end: nothing happens that could be waited for
            assert store.requests == []
        writers.close()
        assert_published_whole_and_once(app, store, originals)


def test_a_recording_is_not_sent_before_the_recorder_has_finished_it(
    app: App, store: FaultyStore, originals: Path
) -> None:
    app.configure(store.url)
    recording = app.inbox / "recording.mp4"
    with app.running():
        words = ["ffmpeg", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc2=duration=4:size=320x240:rate=25"]
        words += ["-c:v", "mpeg4", "-flush_packets", "1", str(recording)]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL) as recorder:
            eventually(app.counts, lambda counts: counts["settling"] == 1)
            assert recorder.wait(60) == 0
        app.wait_for(published=1)
    assert store.completed == {sha_of(recording): 1}
    assert store.bodies[sha_of(recording)] == recording.read_bytes()


def test_a_picture_saved_by_an_editor_in_three_ways_is_published_as_it_was_saved_last(
    app: App, store: FaultyStore, originals: Path
) -> None:
    """Straight into its place, over the old one, and by a temporary file that takes its name."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    app.configure(store.url)
    with app.running(), image.open(originals / "IMG_0001.JPG") as picture:
        picture.save(app.inbox / "straight.jpg", quality=90)
        (app.inbox / "over.jpg").write_bytes((originals / "progressive.jpeg").read_bytes())
        app.wait_for(published=2)
        picture.rotate(90).save(app.inbox / "over.jpg", quality=90)
        picture.rotate(180).save(app.inbox / "renamed.tmp", format="JPEG")
        os.replace(app.inbox / "renamed.tmp", app.inbox / "renamed.jpg")
        app.wait_for(published=3)
        names = ("straight.jpg", "over.jpg", "renamed.jpg")
        now = {str(app.inbox / name): sha_of(app.inbox / name) for name in names}
        eventually(app.links, lambda links: {link["path"]: link["sha256"] for link in links} == now)
    assert set(store.completed) == {*now.values(), sha_of(originals / "progressive.jpeg")}
    assert set(store.completed.values()) == {1}
