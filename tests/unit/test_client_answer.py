"""An answer that is plain is read by one pattern; whatever is not is left to the HTTP libraries."""

from __future__ import annotations

import pytest

from pixstored.store.client_answer import plain_answer

BODY = b'{"status": 200}'


def heard(head: str = "Content-Length: 15\r\n", status: str = "HTTP/1.1 200 OK", body: bytes = BODY) -> bytes:
    return f"{status}\r\n{head}\r\n".encode("latin-1") + body


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (heard(), 200),
        (heard("Server: nginx\r\ncontent-LENGTH:15  \r\nX-Odd: \xe9: b\r\n"), 200),
        (heard(status="HTTP/1.1 503 Service Unavailable"), 503),
        (heard(status="HTTP/1.1 413"), 413),
        (heard(status="HTTP/1.1 404 "), 404),
        (heard("Retry-After: 7\r\nContent-Length: 15\r\n", "HTTP/1.1 429 Too Many"), 429),
    ],
)
def test_a_whole_answer_as_long_as_it_says_is_plain(answer: bytes, status: int) -> None:
    plain = plain_answer(answer, True)
    assert plain
    assert plain.status == status
    assert plain.body == BODY


def test_headers_are_found_by_their_small_names() -> None:
    plain = plain_answer(heard("Retry-After:  7 \r\nContent-Length: 15\r\n"), False)
    assert plain
    assert dict(plain.headers) == {"retry-after": "7", "content-length": "15"}
    assert len(plain.headers) == 2
    assert not plain.released


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        heard()[:-1],
        heard(body=BODY + b"H"),
        heard("Content-Length: 15\r\nContent-Length: 15\r\n"),
        heard("Content-Length: 15\r\nTransfer-Encoding: chunked\r\n"),
        heard("Content-Length: 15\r\nContent-Encoding: gzip\r\n"),
        heard("Content-Length: 15\r\nConnection: close\r\n"),
        heard("Content-Length: +15\r\n"),
        heard("Content-Length: 1\xb2\r\n"),
        heard("Content-Length:\r\n", body=b""),
        heard("Server: nginx\r\n"),
        heard(" folded\r\nContent-Length: 15\r\n"),
        heard("Content-Length : 15\r\n"),
        heard("Content-Length: 15\n"),
        heard(status="HTTP/1.0 200 OK"),
        heard(status="HTTP/1.1 100 Continue"),
        heard(status="HTTP/1.1 204 No Content"),
        heard(status="HTTP/2 200"),
        heard(status="ICY 200 OK"),
    ],
)
def test_whatever_is_not_plain_is_left_to_the_libraries(answer: bytes) -> None:
    assert plain_answer(answer, True) is None
