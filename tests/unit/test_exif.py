"""When a picture was taken, read from its header; and whatever the bytes are, no more than an empty answer."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pixstored.publish.exif import taken
from support.files import jpeg, mp4, png

CLOCK = b"2026:11:23 14:05:06\0"
SHOWN = "2026-11-23T14:05:06"
OFFSET = b"+01:00\0"
FROM_1904 = 2_082_844_800 + 1_795_442_706
"""Seconds to the same clock's time in UTC, as videos count them: to 1970, and from there."""


def taken_in(data: bytes) -> str:
    return taken(lambda offset, length: data[offset : offset + length])


def tiff(
    clock: bytes = CLOCK, offset: bytes = OFFSET, *, order: str = ">", kind: int = 42, is_exif_directory: bool = False
) -> bytes:
    """A TIFF structure with the two times in its EXIF directory."""
    texts = [(0x9003, clock), (0x9011, offset)]
    exif_at = 8 if is_exif_directory else 8 + 2 + 12 + 4
    at = exif_at + 2 + 12 * len(texts) + 4
    entries, tail = b"", b""
    for tag, text in texts:
        entries += struct.pack(order + "HHII", tag, 2, len(text), at + len(tail))
        tail += text
    directory = struct.pack(order + "H", len(texts)) + entries + bytes(4) + tail
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", kind, 8)
    if is_exif_directory:
        return head + directory
    return head + struct.pack(order + "HHHIII", 1, 0x8769, 4, 1, exif_at, 0) + directory


def with_app1(data: bytes, content: bytes) -> bytes:
    """The JPEG with this APP1 segment behind its first one."""
    at = 4 + int.from_bytes(data[4:6], "big")
    return data[:at] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[at:]


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def heic(exif: bytes = b"\0\0\0\6Exif\0\0" + tiff()) -> bytes:
    """A HEIF file with one EXIF item in its `mdat`, as cameras write them."""
    infe = box(b"infe", b"\2\0\0\0" + struct.pack(">HH4s", 7, 0, b"Exif") + b"\0")
    other = box(b"infe", b"\2\0\0\0" + struct.pack(">HH4s", 1, 0, b"hvc1") + b"\0")
    iinf = box(b"iinf", bytes(4) + struct.pack(">H", 2) + other + infe)
    head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")

    def meta(where: int) -> bytes:
        items = struct.pack(">HHHII", 1, 0, 1, 0, 1) + struct.pack(">HHHII", 7, 0, 1, where, len(exif))
        iloc = box(b"iloc", bytes(4) + b"\x44\0" + struct.pack(">H", 2) + items)
        return box(b"meta", bytes(4) + box(b"hdlr", bytes(24)) + iinf + iloc)

    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", exif)


def video(seconds: int, *, version: int = 0, moov_last: bool = False) -> bytes:
    times = struct.pack(">QQ" if version else ">II", seconds, seconds)
    moov = box(b"moov", box(b"mvhd", bytes([version, 0, 0, 0]) + times + bytes(80)))
    media = box(b"mdat", bytes(300_000))
    return box(b"ftyp", b"isom" + bytes(8)) + (media + moov if moov_last else moov + media)


def cr3() -> bytes:
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    inside = box(b"CMT1", tiff(b"1999:01:01 00:00:00\0")) + box(b"CMT2", tiff(is_exif_directory=True))
    return box(b"ftyp", b"crx " + bytes(8)) + box(b"moov", box(b"uuid", canon + inside) + box(b"mvhd", bytes(100)))


def raf() -> bytes:
    inside = with_app1(jpeg(), b"Exif\0\0" + tiff())
    return b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">II", 200, len(inside)) + bytes(108) + inside


def webp(prefix: bytes = b"") -> bytes:
    exif = prefix + tiff()
    chunks = b"VP8X" + struct.pack("<I", 10) + bytes(10) + b"VP8 " + struct.pack("<I", 5) + bytes(6)
    chunks += b"EXIF" + struct.pack("<I", len(exif)) + exif
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def png_with_exif() -> bytes:
    data, content = png(), tiff()
    chunk = struct.pack(">I", len(content)) + b"eXIf" + content + struct.pack(">I", zlib.crc32(b"eXIf" + content))
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(with_app1(jpeg(90_000), b"Exif\0\0" + tiff()), id="jpeg"),
        pytest.param(with_app1(jpeg(), b"Exif\0\0" + tiff(order="<")), id="jpeg, little-endian"),
        pytest.param(
            with_app1(with_app1(jpeg(), b"Exif\0\0" + tiff()), b"http://ns.adobe.com/xap/1.0/\0<x/>"), id="XMP"
        ),
        pytest.param(png_with_exif(), id="png"),
        pytest.param(webp(), id="webp"),
        pytest.param(webp(b"Exif\0\0"), id="webp, with the prefix of JPEG"),
        pytest.param(heic(), id="heic"),
        pytest.param(heic(bytes(4) + tiff()), id="avif, without a prefix"),
        pytest.param(tiff(order="<"), id="tiff, dng, nef"),
        pytest.param(tiff(order="<", kind=0x4F52), id="orf"),
        pytest.param(tiff(order="<", kind=0x55), id="rw2"),
        pytest.param(raf(), id="raf"),
        pytest.param(cr3(), id="cr3"),
    ],
)
def test_the_time_and_its_offset_are_found(data: bytes) -> None:
    assert taken_in(data) == SHOWN + "+01:00"


def test_what_a_well_known_library_writes_is_read() -> None:
    image = Image.new("RGB", (8, 8))
    exif = Image.Exif()
    exif[0x010F] = "Ann & Co."
    exif.get_ifd(0x8769).update({0x9003: SHOWN.replace("-", ":").replace("T", " "), 0x9011: "-05:30"})
    forms = {"JPEG", "PNG", "WEBP", "AVIF"} & set(Image.registered_extensions().values())
    for form in forms:
        file = io.BytesIO()
        image.save(file, form, exif=exif)
        assert taken_in(file.getvalue()) == SHOWN + "-05:30", form


@pytest.mark.parametrize("offset", [b"   :  \0", b"\0\0\0\0\0\0\0", b"+99:00\0", b""])
def test_without_an_offset_none_is_made_up(offset: bytes) -> None:
    assert taken_in(tiff(offset=offset)) == SHOWN


@pytest.mark.parametrize(
    "clock", [b"0000:00:00 00:00:00\0", b"    :  :     :  :  \0", b"2026:13:45 14:05:06\0", b"now\0"]
)
def test_a_clock_that_was_never_set_tells_nothing(clock: bytes) -> None:
    assert taken_in(tiff(clock=clock)) == ""


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("moov_last", [False, True])
def test_a_video_tells_when_it_was_made(version: int, moov_last: bool) -> None:
    assert taken_in(video(FROM_1904, version=version, moov_last=moov_last)) == SHOWN + "Z"


def test_a_video_without_a_clock_tells_nothing() -> None:
    assert taken_in(video(0)) == ""
    assert taken_in(video(1 << 63, version=1)) == ""


@pytest.mark.parametrize("data", [b"", b"\xff", jpeg(), png(), mp4(), bytes(100), b"GIF89a" + bytes(50)])
def test_a_file_that_does_not_tell_gives_an_empty_text(data: bytes) -> None:
    assert taken_in(data) == ""


def test_a_file_that_cannot_be_read_gives_an_empty_text() -> None:
    def broken(offset: int, length: int) -> bytes:
        raise OSError(5, "Input/output error")

    assert taken(broken) == ""


SAMPLES = [
    with_app1(jpeg(), b"Exif\0\0" + tiff()),
    png_with_exif(),
    webp(),
    heic(),
    tiff(),
    raf(),
    cr3(),
    video(FROM_1904),
]


def counted(data: bytes) -> tuple[Callable[[int, int], bytes], list[int]]:
    lengths: list[int] = []

    def read(offset: int, length: int) -> bytes:
        lengths.append(length)
        return data[offset : offset + length]

    return read, lengths


@example(b"\xff\xd8" + b"\xff" * 5000)
@example(b"\xff\xd8" + b"\xff\xe2\0\0" * 5000)
@example(box(b"ftyp", b"") * 5000)
@example(box(b"ftyp", b"") + struct.pack(">I4sQ", 1, b"free", 0) * 50)
@given(st.binary(max_size=200).map(lambda tail: b"\xff\xd8" + tail) | st.binary(max_size=200))
def test_whatever_the_bytes_few_and_small_reads_are_made_and_nothing_is_raised(data: bytes) -> None:
    read, lengths = counted(data)
    assert isinstance(taken(read), str)
    assert len(lengths) <= 300
    assert max(lengths, default=0) <= 256 * 1024


@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 600),
)
def test_a_damaged_header_gives_a_time_or_nothing(data: bytes, damage: list[tuple[int, int]], length: int) -> None:
    damaged = bytearray(data)
    for at, byte in damage:
        damaged[at % len(damaged)] = byte
    answer = taken_in(bytes(damaged[: max(len(damaged) - length, 0)]))
    assert answer == "" or answer[4] == "-" == answer[7]
