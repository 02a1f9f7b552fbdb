"""The built-in store's form reader: whatever the blocks, the same parts come out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixstored.store.embedded_form import FormReader
from pixstored.store.embedded_http import Refusal
from support.posting import BOUNDARY, field, file, form

CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
LIKE_THE_BOUNDARY = [b"\r\n--" + BOUNDARY.encode()[:size] for size in range(len(BOUNDARY))]


class Kept:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.data = b""
        self.ends = 0

    def begin(self, filename: str) -> None:
        self.names.append(filename)

    def write(self, data: memoryview) -> None:
        self.data += bytes(data)

    def end(self) -> None:
        self.ends += 1


def read(body: bytes, cuts: list[int]) -> tuple[Kept, FormReader]:
    kept = Kept()
    reader = FormReader(CONTENT_TYPE, kept)
    for start, end in pairwise([0, *sorted({cut % (len(body) + 1) for cut in cuts}), len(body)]):
        reader.feed(body[start:end])
    reader.finish()
    return kept, reader


contents = st.lists(st.binary(max_size=40) | st.sampled_from([*LIKE_THE_BOUNDARY, b"\r\n", b"\r", b"-"])).map(b"".join)


@given(data=contents, comment=st.text(st.characters(codec="utf-8")), cuts=st.lists(st.integers(0, 1 << 16)))
def test_any_content_in_any_blocks_comes_out_as_it_went_in(data: bytes, comment: str, cuts: list[int]) -> None:
    kept, reader = read(form(field("comment", comment), file(data, "ä b.jpg"), field("key", "k")), cuts)
    assert (kept.names, kept.data, kept.ends) == (["ä b.jpg"], data, 1)
    assert reader.fields == {"comment": comment, "key": "k"}


@given(data=contents, missing=st.integers(1, len(BOUNDARY) + 6))
def test_a_form_that_ends_early_is_refused(data: bytes, missing: int) -> None:
    body = form(file(data)).removesuffix(b"\r\n")
    with pytest.raises(Refusal, match="malformed"):
        read(body[:-missing], [])


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=b",
        "multipart/form-data; boundary=" + "b" * 300,
        'multipart/form-data; boundary="a\nb"',
    ],
)
def test_a_body_without_a_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(Refusal, match="multipart/form-data"):
        FormReader(content_type, Kept())


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"Content-Type: image/jpeg",
        b"Content-Disposition: form-data",
        b'Content-Disposition: attachment; name="file"; filename="a.jpg"',
        b"Content-Disposition: form-data; name=" + b"x" * 9000,
        b"\r\n".join(b"X-%d: " % k + b"y" * 2000 for k in range(6)),
        b"no colon",
    ],
    ids=["none", "no disposition", "no name", "another kind", "long line", "long headers", "no header"],
)
def test_a_part_that_cannot_be_told_is_refused(headers: bytes) -> None:
    body = f"--{BOUNDARY}\r\n".encode() + headers + b"\r\n\r\ndata\r\n" + form()
    with pytest.raises(Refusal, match="malformed"):
        read(body, [])
