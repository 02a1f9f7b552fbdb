"""The form around the file: what a server's parser makes of it, whatever the names and texts are."""

from __future__ import annotations

import io
import os

import pytest
import python_multipart
from hypothesis import given
from hypothesis import strategies as st

from pixstored.store.body import boundaries, form_for, header_name, media_type

NAMES = st.binary(min_size=1, max_size=80).filter(lambda raw: b"/" not in raw and b"\0" not in raw).map(os.fsdecode)
BOUNDARIES = boundaries()
TEXTS = st.text(min_size=1, max_size=200)


def parsed(content_type: str, body: bytes) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes, bytes]]]:
    """The fields, and the files with their names, as python-multipart reads them."""
    fields: list[tuple[str, bytes]] = []
    files: list[tuple[str, bytes, bytes]] = []

    def on_field(field: python_multipart.multipart.Field) -> None:
        fields.append(((field.field_name or b"").decode(), field.value or b""))

    def on_file(file: python_multipart.multipart.File) -> None:
        file.file_object.seek(0)
        files.append(((file.field_name or b"").decode(), file.file_name or b"", file.file_object.read()))

    headers = {"Content-Type": content_type.encode(), "Content-Length": str(len(body)).encode()}
    python_multipart.parse_form(headers, io.BytesIO(body), on_field, on_file)
    return fields, files


def test_the_parts_come_in_the_order_key_comment_file() -> None:
    form = form_for("b0", "a.jpg", "hello", "secret")
    boundary = form.content_type.removeprefix("multipart/form-data; boundary=").encode()
    assert form.head + b"DATA" + form.tail == (
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="key"\r\n\r\nsecret\r\n'
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="comment"\r\n\r\nhello\r\n'
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\nDATA\r\n--" + boundary + b"--\r\n"
    )
    assert form.length(4) == len(form.head) + 4 + len(form.tail)


def test_without_key_and_comment_only_the_file_is_sent() -> None:
    form = form_for("b0", "a.jpg")
    fields, files = parsed(form.content_type, form.head + b"DATA" + form.tail)
    assert fields == []
    assert files == [("file", b"a.jpg", b"DATA")]


def test_every_request_has_a_boundary_of_its_own() -> None:
    drawn = boundaries()
    first = [next(drawn) for _ in range(1000)]
    assert len(set(first)) == 1000
    assert {len(boundary) for boundary in first} == {32}
    assert not set(first) & {next(other) for other in [boundaries()] for _ in range(1000)}


@pytest.mark.parametrize(
    ("name", "travels_as"),
    [
        ("IMG 0001.jpg", "IMG 0001.jpg"),
        ("Zoë + 写真 👩‍👧.heic", "Zoë + 写真 👩‍👧.heic"),
        ('a"; name="key', "a%22; name=%22key"),
        ("a\r\nX-Evil: 1\r\n\r\n.jpg", "a%0D%0AX-Evil: 1%0D%0A%0D%0A.jpg"),
        ("ends in a backslash\\", "ends in a backslash%5C"),
        ("bell\x07 esc\x1b del\x7f c1\x85 ls\u2028", "bell_ esc_ del_ c1_ ls_"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\ufffd.jpg"),
    ],
)
def test_a_name_reaches_the_header_harmless(name: str, travels_as: str) -> None:
    assert header_name(name) == travels_as


@given(NAMES, TEXTS, TEXTS, st.binary(min_size=1))
def test_whatever_the_names_and_texts_are_a_parser_finds_three_parts(
    name: str, comment: str, key: str, data: bytes
) -> None:
    form = form_for(next(BOUNDARIES), name, comment, key)
    fields, files = parsed(form.content_type, form.head + data + form.tail)
    assert fields == [("key", key.encode("utf-8", "replace")), ("comment", comment.encode("utf-8", "replace"))]
    assert [(field, content) for field, _, content in files] == [("file", data)]
    assert form.head.count(b"Content-Disposition:") - comment.count("Content-Disposition:") == 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.JPG", "image/jpeg"),
        ("a.heic", "image/heic"),
        ("clip.MOV", "video/quicktime"),
        ("a.cr3", "image/x-canon-cr3"),
        ("doc.pdf", "application/pdf"),
        ("noext", "application/octet-stream"),
        ("a.jpg\r\nx", "application/octet-stream"),
    ],
)
def test_the_type_is_guessed_from_the_extension(name: str, kind: str) -> None:
    assert media_type(name) == kind
