"""Every row of "Answers of the store", and that no answer whatever gets past the table."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pixstored.config.schema import Secret
from pixstored.errors import NotSent, Refused, StoreDown, Uncertain, UploadError
from pixstored.model import Receipt, StoreState
from pixstored.store.verdict import LONGEST_QUOTE, Answer, judge

NOW = 1_700_000_000.0
LINK = "https://media.pixlab.xyz/24p62f73c9583ec6.jpeg"
HTML = b"<html><body>error</body></html>"

UNREACHABLE = StoreState.UNREACHABLE
AUTH_FAILED = StoreState.AUTH_FAILED
RATE_LIMITED = StoreState.RATE_LIMITED
MISCONFIGURED = StoreState.MISCONFIGURED


def answer(
    status: int, fields: object = HTML, *, released: bool = True, headers: Mapping[str, str] | None = None
) -> Answer:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return Answer(status, headers or {}, body, released)


def failure(given: Answer, secret: Secret | None = None) -> UploadError:
    with pytest.raises(UploadError) as caught:
        judge(given, NOW, secret)
    return caught.value


def meaning(given: Answer) -> object:
    """The row of the table that an answer falls into, as a word or a state of the store."""
    error = failure(given)
    match error:
        case StoreDown():
            return error.state
        case Uncertain():
            return "uncertain"
        case Refused():
            return f"refused {error.status}"
        case NotSent():
            return "again"
    raise AssertionError(f"not in the table: {error!r}")


# --- published


@pytest.mark.parametrize("http", [200, 201, 206, 299])
@pytest.mark.parametrize("status", [200, 200.0, "200", " 200 "])
def test_a_2xx_with_status_200_and_a_link_is_published(http: int, status: object) -> None:
    assert judge(answer(http, {"status": status, "link": LINK, "id": "x.jpeg"}), NOW) == Receipt(LINK, "x.jpeg")


def test_a_byte_order_mark_before_the_json_does_not_hide_it() -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"status": 200, "link": LINK}).encode()
    assert judge(answer(200, body), NOW).link == LINK


@pytest.mark.parametrize("given_id", [None, "", "a b", "a\nb", "\u202egpj", ["x"], True, "x" * 256])
def test_without_a_usable_id_it_is_the_links_last_segment(given_id: object) -> None:
    fields = {"status": 200, "link": LINK, "id": given_id}
    assert judge(answer(200, fields), NOW).id == "24p62f73c9583ec6.jpeg"


def test_an_id_may_be_a_number() -> None:
    assert judge(answer(200, {"status": 200, "link": LINK, "id": 4711}), NOW).id == "4711"


def test_a_link_without_a_path_is_its_own_id() -> None:
    fields = {"status": 200, "link": "http://bucket.example"}
    assert judge(answer(200, fields), NOW) == Receipt("http://bucket.example", "http://bucket.example")


@pytest.mark.parametrize(
    "link",
    [
        "http://media.pixlab.xyz/a.jpg",
        "https://bucket.s3.eu-central-1.amazonaws.com:443/a%20b.jpg?X-Amz-Signature=abc",
        "https://[2001:db8::1]/a.jpg",
        "https://bücket.example/ä.jpg",
    ],
)
def test_a_link_may_be_on_any_host(link: str) -> None:
    assert judge(answer(200, {"status": 200, "link": link}), NOW).link == link


# --- after the last bytes: perhaps stored


@pytest.mark.parametrize(
    "link",
    [
        None,
        "",
        17,
        [LINK],
        "media.pixlab.xyz/a.jpg",
        "//media.pixlab.xyz/a.jpg",
        "ftp://media.pixlab.xyz/a.jpg",
        "javascript:alert(1)",
        "https://",
        "https:///a.jpg",
        "https://media.pixlab.xyz/a b.jpg",
        " https://media.pixlab.xyz/a.jpg",
        "https://media.pixlab.xyz/a.jpg\n",
        "https://media.pixlab.xyz/\x1b[31m",
        "https://media.pixlab.xyz/\u202egpj.exe",
        "https://media.pixlab.xyz/\ud800",
        "https://[media/a.jpg",
        "https://media:99999/a.jpg",
        "https://media.pixlab.xyz/" + "a" * 5000,
    ],
)
def test_success_without_a_usable_link_contradicts_itself(link: object) -> None:
    assert meaning(answer(200, {"status": 200, "link": link})) == "uncertain"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HTML,
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"200",
        b'"ok"',
        b"{",
        b"[" * 60_000,
        b"{}",
        b'{"link": "https://media.pixlab.xyz/a.jpg"}',
        b'{"status": null, "link": "https://media.pixlab.xyz/a.jpg"}',
        b'{"status": true, "link": "https://media.pixlab.xyz/a.jpg"}',
        b'{"status": "OK", "link": "https://media.pixlab.xyz/a.jpg"}',
        b'{"status": 200.5, "link": "https://media.pixlab.xyz/a.jpg"}',
        b'{"status": 1e999, "link": "https://media.pixlab.xyz/a.jpg"}',
        b'{"status": ' + b"9" * 5000 + b"}",
        b'{"status": 201, "link": "https://media.pixlab.xyz/a.jpg"}',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_2xx_that_cannot_be_read_is_uncertain(body: bytes) -> None:
    assert meaning(answer(200, body)) == "uncertain"


def test_a_success_with_a_link_under_a_failing_http_status_is_uncertain() -> None:
    assert meaning(answer(500, {"status": 200, "link": LINK})) == "uncertain"


@pytest.mark.parametrize("code", [502, 504, 520, 524])
def test_a_gateway_that_lost_the_answer_leaves_it_uncertain_in_http_or_json(code: int) -> None:
    assert meaning(answer(code)) == "uncertain"
    assert meaning(answer(code, {"error": "x"})) == "uncertain"
    assert meaning(answer(200, {"status": code})) == "uncertain"
    assert meaning(answer(500, {"status": code})) == "uncertain"


@pytest.mark.parametrize("code", [501, 505, 507, 527, 530, 599])
def test_another_5xx_is_uncertain_without_json_and_not_stored_with_it(code: int) -> None:
    assert meaning(answer(code)) == "uncertain"
    expected = UNREACHABLE if code == 527 else "again"
    assert meaning(answer(code, {"error": "x"})) == expected
    assert meaning(answer(200, {"status": code})) == expected


@pytest.mark.parametrize("code", [100, 199, 600, 999])
def test_an_unknown_http_status_is_uncertain(code: int) -> None:
    assert meaning(answer(code)) == "uncertain"


# --- not stored


def test_a_500_is_not_stored_and_not_the_stores_fault() -> None:
    assert meaning(answer(500)) == "again"
    assert meaning(answer(200, {"status": 500})) == "again"
    assert meaning(answer(200, {"status": "500"})) == "again"


@pytest.mark.parametrize("code", [503, 521, 522, 523, 525, 526])
def test_a_store_that_is_away_is_the_stores_fault(code: int) -> None:
    assert meaning(answer(code)) is UNREACHABLE
    assert meaning(answer(200, {"status": code})) is UNREACHABLE


@pytest.mark.parametrize("code", [408, 421, 425])
def test_a_store_that_wants_it_again_gets_it_again(code: int) -> None:
    assert meaning(answer(code)) == "again"
    assert meaning(answer(200, {"status": code})) == "again"


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_is_the_stores_state_in_http_or_json(code: int) -> None:
    assert meaning(answer(code)) is AUTH_FAILED
    assert meaning(answer(code, {"status": 400})) is AUTH_FAILED
    assert meaning(answer(200, {"status": code})) is AUTH_FAILED
    assert meaning(answer(200, {"status": str(code)})) is AUTH_FAILED


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308, 404, 405, 407])
def test_a_wrong_address_stops_the_sending(code: int) -> None:
    assert meaning(answer(code)) is MISCONFIGURED
    assert meaning(answer(200, {"status": code})) is MISCONFIGURED


def test_a_redirect_says_where_to() -> None:
    error = failure(answer(308, headers={"Location": "https://new.example/store"}))
    assert "https://new.example/store" in str(error)
    assert "store.url" in str(error)


# --- rate limit


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        (" 0 ", 0.0),
        ("Tue, 14 Nov 2023 22:14:00 GMT", 40.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("Tue, 99 Foo 2023 22:14:00 GMT", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    error = failure(answer(429, headers={"retry-AFTER": value}))
    assert isinstance(error, StoreDown)
    assert error.state is RATE_LIMITED
    assert error.retry_after == seconds


def test_a_rate_limit_counts_in_http_or_json() -> None:
    assert meaning(answer(200, {"status": 429})) is RATE_LIMITED
    assert meaning(answer(429, {"status": 400})) is RATE_LIMITED


def test_an_unavailable_store_may_name_a_time_too() -> None:
    error = failure(answer(503, headers={"Retry-After": "120"}))
    assert isinstance(error, StoreDown)
    assert error.retry_after == 120


# --- refused


@pytest.mark.parametrize("code", [400, 402, 406, 410, 413, 415, 418, 422, 451, 499])
def test_another_4xx_refuses_the_file(code: int) -> None:
    assert meaning(answer(code)) == f"refused {code}"
    assert meaning(answer(200, {"status": code})) == f"refused {code}"


@pytest.mark.parametrize("status", [0, 1, 199, 600, 9999, -1])
def test_any_other_json_status_refuses_the_file(status: int) -> None:
    assert meaning(answer(200, {"status": status})) == f"refused {status}"


@pytest.mark.parametrize(
    ("http", "status", "row"),
    [
        (500, 415, "refused 415"),
        (400, 415, "refused 415"),
        (404, 400, "refused 400"),
        (400, 500, "again"),
        (400, 503, UNREACHABLE),
        (503, 400, "refused 400"),
        (401, 500, AUTH_FAILED),
    ],
)
def test_the_json_counts_before_the_http_status(http: int, status: int, row: object) -> None:
    assert meaning(answer(http, {"status": status})) == row


def test_a_success_without_a_link_under_a_failing_http_status_is_what_http_says() -> None:
    assert meaning(answer(415, {"status": 200})) == "refused 415"
    assert meaning(answer(500, {"status": 200})) == "again"


# --- early answers


@pytest.mark.parametrize("code", [200, 204, 502, 504, 520, 524, 505, 999])
def test_before_the_last_bytes_nothing_is_uncertain_but_the_store_is_down(code: int) -> None:
    assert meaning(answer(code, released=False)) is UNREACHABLE


def test_success_before_the_last_bytes_is_not_believed() -> None:
    error = failure(answer(200, {"status": 200, "link": LINK}, released=False))
    assert isinstance(error, StoreDown)
    assert error.state is UNREACHABLE


@pytest.mark.parametrize(
    ("code", "row"),
    [(413, "refused 413"), (401, AUTH_FAILED), (429, RATE_LIMITED), (500, "again"), (404, MISCONFIGURED)],
)
def test_any_other_early_answer_counts_as_its_row_says(code: int, row: object) -> None:
    assert meaning(answer(code, released=False)) == row


# --- what is said


def test_a_message_names_the_statuses_and_quotes_the_store() -> None:
    text = str(failure(answer(200, {"status": 415, "error": "File format not supported"})))
    assert "HTTP 200" in text
    assert "JSON status 415" in text
    assert "File format not supported" in text


def test_the_stores_words_are_cut_and_cleaned() -> None:
    text = str(failure(answer(400, {"error": "a\x1b[31m\n\u202e\u2028b" + "x" * 5000})))
    assert text.isprintable()
    assert len(text) < LONGEST_QUOTE + 100


def test_a_key_that_the_store_quotes_is_not_repeated() -> None:
    key = "s3cr+t/key"
    for quoted in (key, "s3cr%2Bt/key", "s3cr%2Bt%2Fkey"):
        text = str(failure(answer(401, {"error": "x" * 190 + quoted}), Secret(key)))
        assert "s3cr" not in text
        text = str(failure(answer(302, headers={"Location": f"https://x/?key={quoted}"}), Secret(key)))
        assert "s3cr" not in text


KEY = "0123456789abcdef-Zy+x/w"


@pytest.mark.parametrize("part", [KEY[:6], KEY[-6:], KEY[3:20], KEY, KEY[5:14] + KEY[2:9]])
def test_no_part_of_the_key_that_tells_something_is_repeated(part: str) -> None:
    text = str(failure(answer(401, {"error": f"the key ({part}) is bad"}), Secret(KEY)))
    assert "the key (…) is bad" in text.replace("……", "…")


def test_a_word_that_has_a_few_characters_of_the_key_is_shown() -> None:
    assert "bad abcde-Zy" in str(failure(answer(401, {"error": "bad abcde-Zy"}), Secret(KEY)))


@pytest.mark.parametrize("link", [f"{LINK}?key={KEY}", f"https://x.example/0123456789abcdef-Zy%2Bx%2fw/{LINK}"])
def test_a_link_that_holds_the_key_is_neither_kept_nor_shown(link: str) -> None:
    error = failure(answer(200, {"status": 200, "link": link, "id": "1"}), Secret(KEY))
    assert isinstance(error, Uncertain)
    assert "holds the API key" in str(error)
    assert KEY[:6] not in str(error)


def test_an_id_that_holds_the_key_is_taken_from_the_link() -> None:
    receipt = judge(answer(200, {"status": 200, "link": LINK, "id": KEY + ".jpg"}), NOW, Secret(KEY))
    assert receipt == Receipt(LINK, "24p62f73c9583ec6.jpeg")


def test_a_short_key_may_stand_in_a_link_by_chance() -> None:
    given = answer(200, {"status": 200, "link": LINK, "id": "24p62f73c9583ec6.jpeg"})
    assert judge(given, NOW, Secret("pixlab")).link == LINK


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([200, "200", LINK]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["status", "link", "id", "error", "x"]), inner),
    max_leaves=8,
)
BODIES = st.binary() | JSON.map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(st.sampled_from(["Retry-After", "Location", "x"]), st.text())


@given(status=st.integers(0, 1000), headers=HEADERS, body=BODIES, released=st.booleans())
@example(status=429, headers={"Retry-After": "Mon, 01 Jan 99999 00:00:00 +9999"}, body=b"", released=True)
@example(status=200, headers={}, body=b'{"status": 200, "link": "http://\\u2100/"}', released=True)
def test_no_answer_gets_past_the_table(status: int, headers: dict[str, str], body: bytes, released: bool) -> None:
    given_answer = Answer(status, headers, body, released)
    try:
        receipt = judge(given_answer, NOW)
    except (NotSent, Refused, Uncertain) as error:
        assert released or not isinstance(error, Uncertain)
        assert str(error).isprintable()
        assert str(status) in str(error)
    else:
        assert released
        assert 200 <= status < 300
        assert receipt.link.startswith(("http://", "https://"))
        assert receipt.id
