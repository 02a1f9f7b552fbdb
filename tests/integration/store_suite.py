"""What every server that speaks the STORE API must do, asked through the real client and by hand.

A subclass gives the fixtures `store_url`, `stored` and `comment_of`. The links of the server must open.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pixstored.config.schema import KeyIn, Secret
from pixstored.model import Receipt
from pixstored.store.client import HttpStore
from support import files
from support.posting import ask, connect, field, file, post
from support.uploads import BytesUpload, FileUpload

Stored = Callable[[], Mapping[str, int]]
CommentOf = Callable[[str], str | None]

SIZES = [1, 2, 179, 4096, 300 * 1024, 5 * 1024 * 1024]
CONCURRENT_CLIENTS = 16
UPLOADS_EACH = 4

NASTY_NAMES = [
    "plain.jpg",
    "UPPER.JPG",
    "two words; filename=evil.jpg",
    'quo"ted.jpg',
    "back\\slash.jpg",
    "ends with backslash\\.jpg",
    "new\nline.jpg",
    "carriage\r\nContent-Type: text_html.jpg",
    "Überraschung 🎉.jpg",
    os.fsdecode(b"latin-\xe9\xff.jpg"),
    "100%22.jpg",
    "..jpg",
    "--boundary.jpg",
    "a" * 251 + ".jpg",
    "tab\tand\x01control.jpg",
]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def client_of(url: str, key: str | None = None, key_in: KeyIn = KeyIn.FORM) -> HttpStore:
    return HttpStore(
        url,
        lambda: Secret(key) if key else None,
        key_in=key_in,
        connect_timeout=20.0,
        stall_timeout=20.0,
        answer_timeout=20.0,
        proxy="none",
        ca_file=None,
    )


class StoreSuite:
    """Subclass it with a name that begins with Test."""

    @pytest.fixture
    def store_url(self) -> str:
        """The endpoint."""
        raise NotImplementedError

    @pytest.fixture
    def stored(self) -> Stored:
        """Tells how often each content (SHA-256, hexadecimal) is stored by now."""
        raise NotImplementedError

    @pytest.fixture
    def comment_of(self) -> CommentOf:
        """Tells the comment kept with the media of an id."""
        raise NotImplementedError

    @pytest.fixture
    def client(self, store_url: str) -> Iterator[HttpStore]:
        client = client_of(store_url)
        yield client
        client.close()

    @pytest.mark.parametrize("size", SIZES)
    def test_what_is_stored_is_what_was_sent(self, client: HttpStore, stored: Stored, size: int) -> None:
        data = files.noise(size)
        receipt = client.send(BytesUpload(data, "a.jpg"))
        assert stored() == {sha(data): 1}
        assert ask(receipt.link).body == data

    def test_a_real_file_arrives(self, client: HttpStore, stored: Stored, tmp_path: Path) -> None:
        upload = FileUpload(files.write(tmp_path / "shoot" / "IMG_1.JPG", files.jpeg(700_000)))
        client.send(upload)
        assert stored() == {upload.sha256: 1}
        assert upload.noted == 1
        assert upload.moved[-1] == upload.size

    def test_content_that_looks_like_the_form_around_it_is_not_touched(self, client: HttpStore, stored: Stored) -> None:
        data = b"\r\n--\r\n\r\n--boundary--\r\nContent-Disposition: form-data\r\n\r\n--" * 5000
        client.send(BytesUpload(data))
        assert stored() == {sha(data): 1}

    @pytest.mark.parametrize("name", NASTY_NAMES)
    def test_any_name_is_taken(self, client: HttpStore, stored: Stored, name: str) -> None:
        data = files.jpeg()
        receipt = client.send(BytesUpload(data, name))
        assert stored() == {sha(data): 1}
        assert receipt.link.endswith(receipt.id)
        assert receipt.id.isascii() and "/" not in receipt.id

    @pytest.mark.parametrize("comment", ["Rolf's — «party» 🎉", 'a "quoted"\r\n\r\n--line', "x" * 1000])
    def test_a_comment_is_kept(self, client: HttpStore, comment_of: CommentOf, comment: str) -> None:
        receipt = client.send(BytesUpload(files.jpeg(), comment=comment))
        assert comment_of(receipt.id) == comment

    def test_no_comment_is_no_comment(self, client: HttpStore, comment_of: CommentOf) -> None:
        assert comment_of(client.send(BytesUpload(files.jpeg())).id) is None

    def test_many_uploads_of_one_client_are_stored_once_each(self, client: HttpStore, stored: Stored) -> None:
        pictures = [files.jpeg(seed=seed) for seed in range(20)]
        receipts = [client.send(BytesUpload(data)) for data in pictures]
        assert stored() == {sha(data): 1 for data in pictures}
        assert len({receipt.link for receipt in receipts}) == len(pictures)

    def test_many_clients_at_once_are_each_served(self, store_url: str, stored: Stored) -> None:
        def send_some(number: int) -> list[tuple[bytes, Receipt]]:
            client = client_of(store_url)
            try:
                pictures = [files.jpeg(40_000, seed=number * UPLOADS_EACH + k) for k in range(UPLOADS_EACH)]
                return [(data, client.send(BytesUpload(data))) for data in pictures]
            finally:
                client.close()

        with ThreadPoolExecutor(CONCURRENT_CLIENTS) as pool:
            sent = [pair for pairs in pool.map(send_some, range(CONCURRENT_CLIENTS)) for pair in pairs]
        assert stored() == Counter(sha(data) for data, _ in sent)
        assert all(ask(receipt.link).body == data for data, receipt in sent)

    def test_the_same_bytes_sent_twice_are_stored_twice(self, client: HttpStore, stored: Stored) -> None:
        data = files.png()
        links = {client.send(BytesUpload(data, "a.png")).link for _ in range(2)}
        assert stored() == {sha(data): 2}
        assert len(links) == 2

    def test_an_upload_dropped_before_its_release_stores_nothing(self, client: HttpStore, stored: Stored) -> None:
        def refuse() -> None:
            raise LookupError("known already")

        with pytest.raises(LookupError):
            client.send(BytesUpload(files.noise(3_000_000), on_release=refuse))
        data = files.jpeg()
        client.send(BytesUpload(data))
        assert stored() == {sha(data): 1}

    def test_parts_may_come_in_any_order(self, store_url: str, stored: Stored, comment_of: CommentOf) -> None:
        data = files.jpeg()
        got = post(store_url, [file(data), field("comment", "after"), field("key", "k")])
        assert got.status == got.json["status"] == 200
        assert comment_of(got.json["id"]) == "after"
        assert stored() == {sha(data): 1}

    def test_a_form_without_a_file_is_refused_and_the_connection_goes_on(self, store_url: str, stored: Stored) -> None:
        connection = connect(store_url)
        try:
            got = post(store_url, [field("key", "k")], over=connection)
            assert got.status == got.json["status"] == 400
            assert got.json["error"]
            assert post(store_url, [file(files.jpeg())], over=connection).status == 200
        finally:
            connection.close()
        assert stored() == {sha(files.jpeg()): 1}

    def test_a_body_that_is_no_form_is_refused(self, store_url: str, stored: Stored) -> None:
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        assert ask(store_url, "POST", body=b"--y\r\nnonsense", headers=kind).status == 400
        assert ask(store_url, "POST", body=b"{}", headers={"Content-Type": "application/json"}).status == 400
        assert stored() == {}

    def test_deleted_media_are_gone(self, client: HttpStore, store_url: str) -> None:
        receipt = client.send(BytesUpload(files.jpeg()))
        got = ask(f"{store_url.removesuffix('/store')}/delete?link={receipt.link}")
        assert (got.status, got.json["id"], got.json["deleted"]) == (200, receipt.id, True)
        assert ask(receipt.link).status == 404
