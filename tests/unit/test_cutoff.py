"""Which files are plainly cut off: never a whole one, whatever follows it, and whatever the bytes are."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pixstored.publish.cutoff import cut_off
from support.files import jpeg, mp4, noise

BLOCK = 256 * 1024


class Reads:
    """A file in memory that counts how often, and how much of it, is read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.sizes: list[int] = []

    def __call__(self, offset: int, length: int) -> bytes:
        self.sizes.append(length)
        return self.data[offset : offset + length]


def missing(data: bytes) -> str | None:
    return cut_off(Reads(data), len(data))


def box(kind: bytes, content: bytes = b"", *, wide: bool = False, says: int | None = None) -> bytes:
    size = len(content) + (16 if wide else 8) if says is None else says
    if wide:
        return struct.pack(">I4sQ", 1, kind, size) + content
    return struct.pack(">I4s", size, kind) + content


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def picture(form: str, **options: object) -> bytes:
    """A picture with detail in it, as Pillow writes it."""
    written = io.BytesIO()
    Image.effect_noise((120, 90), 60).convert("RGB").save(written, form, **options)
    return written.getvalue()


BASELINE = picture("JPEG", quality=90)
PROGRESSIVE = picture("JPEG", progressive=True, restart_marker_blocks=2)
WITH_THUMBNAIL = BASELINE[:2] + segment(0xE1, b"Exif\0\0" + picture("JPEG", quality=20)) + BASELINE[2:]
PICTURE = picture("PNG")
VIDEO = box(b"ftyp", b"isom") + box(b"free") + box(b"moov", b"m" * 50) + box(b"mdat", noise(400))
FRAGMENTED = box(b"ftyp", b"iso5") + box(b"moov") + (box(b"moof", b"f" * 20) + box(b"mdat", noise(90))) * 40

WHOLE = {
    "JPEG": BASELINE,
    "progressive JPEG with restarts": PROGRESSIVE,
    "JPEG with a thumbnail": WITH_THUMBNAIL,
    "JPEG followed by zeros": BASELINE + bytes(70_000),
    "JPEG followed by more than a block": BASELINE + bytes(BLOCK - 1),
    "two pictures in one file (MPF)": BASELINE + BASELINE,
    "two pictures, the second one cut off": BASELINE + BASELINE[:-500],
    "motion photo": BASELINE + VIDEO,
    "JPEG of headers alone": b"\xff\xd8" + segment(0xDB, bytes(65)) + b"\xff\xd9",
    "JPEG with fill bytes": BASELINE[:2] + b"\xff" * 9 + BASELINE[2:],
    "PNG": PICTURE,
    "PNG followed by something": PICTURE + b"and more",
    "PNG followed by a lot": PICTURE + bytes(3 * BLOCK),
    "video": VIDEO,
    "video with a 64-bit box": box(b"ftyp", b"qt  ") + box(b"mdat", noise(99), wide=True) + box(b"moov"),
    "video whose last box goes to the end": box(b"ftyp", b"isom") + box(b"moov") + box(b"mdat", noise(99), says=0),
    "fragmented video": FRAGMENTED,
    "video with a trailer of its camera's own": VIDEO + b"\x7f\xff\xff\xffINSV" + noise(60),
    "video followed by a few bytes": VIDEO + b"\0\0\0\x08fre",
    "QuickTime of old": box(b"wide") + box(b"mdat", noise(30)) + box(b"moov"),
    "AVIF": picture("AVIF") if ".avif" in Image.registered_extensions() else mp4(brand=b"avif"),
    "no picture at all": noise(5000),
    "something else in a JPEG's clothes": b"\xff\xd8\0" + noise(5000, seed=3),
    "nothing": b"",
    "one byte": b"\xff",
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_not_cut_off(name: str) -> None:
    assert missing(WHOLE[name]) is None


@pytest.mark.parametrize("name", ["JPEG", "progressive JPEG with restarts", "JPEG with a thumbnail"])
def test_a_jpeg_is_cut_off_wherever_it_ends_too_early(name: str) -> None:
    data = WHOLE[name]
    for end in range(8, len(data) - 2, max(1, len(data) // 300)):
        assert missing(data[:end]) == "a JPEG picture without its end marker", end
    assert missing(data[:-1]) is not None


def test_a_jpeg_that_is_laid_out_in_advance_and_not_filled_yet_is_cut_off() -> None:
    for filled in (3, 30, 3000):
        assert missing(BASELINE[:filled] + bytes(len(BASELINE) - filled)) is not None


def test_a_png_is_cut_off_without_its_last_chunk() -> None:
    for end in (*range(8, len(PICTURE), 997), len(PICTURE) - 1):
        assert missing(PICTURE[:end]) == "a PNG picture without its last chunk", end


def test_a_video_is_cut_off_if_a_box_reaches_past_the_end() -> None:
    assert missing(VIDEO[:-1]) == "its box `mdat` reaches 1 bytes past the end of the file"
    assert missing(VIDEO[:-300]) == "its box `mdat` reaches 300 bytes past the end of the file"
    assert missing(FRAGMENTED[:-50]) == "its box `mdat` reaches 50 bytes past the end of the file"
    wide = box(b"ftyp", b"qt  ") + box(b"mdat", noise(99), wide=True)
    assert missing(wide[:-9]) == "its box `mdat` reaches 9 bytes past the end of the file"
    assert missing(box(b"ftyp", b"heic")[:-2] + box(b"meta", bytes(50))[:20]) is None  # no box begins there


def test_a_whole_picture_costs_two_small_reads_and_a_video_one_for_each_box() -> None:
    large = Reads(jpeg(3_000_000))
    assert cut_off(large, len(large.data)) is None
    assert sum(large.sizes) <= 16
    video = Reads(mp4(3_000_000))
    assert cut_off(video, len(video.data)) is None
    assert sum(video.sizes) <= 64


def test_a_search_is_bounded_in_memory_and_ends() -> None:
    size = 1 << 40

    def read(offset: int, length: int) -> bytes:
        assert length <= BLOCK
        return BASELINE[:1000][offset : offset + length].ljust(length, b"\0")

    assert cut_off(read, size) is None


def test_what_cannot_be_read_is_not_said_to_be_cut_off() -> None:
    def read(offset: int, length: int) -> bytes:
        raise OSError(5, "Input/output error")

    assert cut_off(read, 5000) is None


starts = st.sampled_from(
    [b"", b"\xff\xd8", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x10ftyp", b"\0\0\0\1mdat"]
)


@given(starts, st.binary(max_size=400), st.integers(0, 500))
def test_whatever_the_bytes_are_there_is_an_answer(start: bytes, rest: bytes, size: int) -> None:
    reads = Reads(start + rest)
    cut_off(reads, size)
    assert len(reads.sizes) < 1100


kinds = st.sampled_from([b"free", b"moov", b"mdat", b"moof", b"uuid", b"skip"])
boxes = st.builds(box, kinds, st.binary(max_size=40), wide=st.booleans())


@given(st.lists(boxes, max_size=8), st.integers(1, 200))
def test_boxes_that_end_where_the_file_ends_are_whole_and_a_box_that_loses_its_end_is_not(
    content: list[bytes], lost: int
) -> None:
    data = box(b"ftyp", b"isom") + b"".join(content)
    assert missing(data) is None
    last = content[-1] if content else data
    if lost <= len(last) - 16:
        assert f"reaches {lost} bytes past" in (missing(data[:-lost]) or "")


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_no_scan_data_and_no_trailer_makes_a_jpeg_with_an_end_look_cut_off(scan: bytes, trailer: bytes) -> None:
    stuffed = scan.replace(b"\xff", b"\xff\0")
    head = b"\xff\xd8" + segment(0xDB, bytes(65)) + segment(0xDA, b"\1\1\0\0\x3f\0")
    assert missing(head + stuffed + b"\xff\xd9" + trailer) is None
    assert missing(head + stuffed) is not None
