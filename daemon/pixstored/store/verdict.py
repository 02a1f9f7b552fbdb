"""What an answer of the store means: one pure function from answer to receipt or error.

The rows are those of "Answers of the store" in the public interface. The JSON body is read first,
whatever the HTTP status: the service may say "401" in either, a gateway in front of it only in HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from pixstored.config.schema import Secret
from pixstored.errors import NotSent, Refused, StoreDown, Uncertain, UploadError
from pixstored.model import Receipt, StoreState
from pixstored.slotted import dataclass
from pixstored.store.hiding import holds, without

SUCCESS = 200
"""The only JSON `status` that is a success (STORE doc)."""

PERHAPS_STORED = frozenset({502, 504, 520, 524})
"""A gateway that lost the store's answer: the store may have the file."""
BAD_KEY = frozenset({401, 403})
TOO_MANY = 429
WRONG_ADDRESS = frozenset({404, 405, 407})
TRY_AGAIN = frozenset({408, 421, 425})
KNOWN_SERVER_ERRORS = frozenset({500, 503, 521, 522, 523, 525, 526})
"""Server errors that mean "not stored" even where a gateway says them."""
UNAVAILABLE = 503
GATEWAY_ERRORS = range(520, 530)
"""A CDN's own codes: the store behind it is not well."""

LONGEST_QUOTE = 200
"""Characters of a server's own words that are repeated in a message."""
LONGEST_LINK = 4096
"""Characters; far more than an S3 link with its signature."""
LONGEST_ID = 255
"""Characters; a file name's length, which is what an id looks like."""

_DECODER = json.JSONDecoder()

_WHOLE_NUMBER = re.compile(r"\s*\d{1,9}\s*", re.ASCII)
_ORDINARY_LINK = re.compile(r"https?://[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::[1-9]\d{0,3})?(?:/[!-~]*)?", re.ASCII)
"""What needs no closer look."""
_SECONDS = re.compile(r"\s*\d{1,10}\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, and whether the request's last bytes had gone out when it came.

    `body` is empty where it could not be read, or was too long to be the store's.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    released: bool


def judge(answer: Answer, now: float, secret: Secret | None = None) -> Receipt:
    """The receipt of a published file, or one of our errors.

    `now` is in seconds since the epoch, for a Retry-After that is a date. `secret` is what must not be repeated, should
    the store quote it, nor kept as a part of a link. Raises `NotSent`, `StoreDown`, `Refused` or `Uncertain`; never
    `Uncertain` for an answer that came before the last bytes were released.
    """
    fields = _json_object(answer.body)
    receipt = _receipt(fields, secret) if fields else None
    is_success = receipt and answer.released and 200 <= answer.status < 300
    if receipt and is_success and not holds(receipt.link, secret):
        return receipt  # nearly always, so without what a failure is told by
    if is_success:
        raise Uncertain("the store has the file, but its link holds the API key, and so is neither kept nor shown")
    reply = _Reply.of(answer.status, fields, receipt)
    raise _failure(reply, answer, now, _Words(answer, reply, secret))


def _receipt(fields: dict[str, object], secret: Secret | None) -> Receipt | None:
    """The receipt, if the JSON says that the store has it, and where."""
    if _number(fields.get("status")) != SUCCESS:
        return None
    link = _usable_link(fields.get("link"))
    media_id = fields.get("id")
    if isinstance(media_id, str) and holds(media_id, secret):
        media_id = None
    return Receipt(link, _usable_id(media_id, link)) if link else None


@dataclass(frozen=True, slots=True)
class _Reply:
    """What the answer says, as far as it can be read."""

    http: int
    is_json: bool
    status: int | None
    """The JSON `status`."""
    has_receipt: bool
    """The JSON is a success, with a link that can be used."""
    error: str

    @classmethod
    def of(cls, http: int, fields: dict[str, object] | None, receipt: Receipt | None) -> _Reply:
        if fields is None:
            return cls(http, False, None, False, "")
        error = fields.get("error")
        return cls(
            http=http,
            is_json=True,
            status=_number(fields.get("status")),
            has_receipt=receipt is not None,
            error=error if isinstance(error, str) else "",
        )

    @property
    def http_is_good(self) -> bool:
        return 200 <= self.http < 300

    @property
    def status_is_good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_success(self) -> bool:
        return self.http_is_good and self.has_receipt

    @property
    def is_contradiction(self) -> bool:
        """Says "stored" and does not, or says it with a link under an HTTP status that denies it."""
        if self.http_is_good:
            return self.status is None or (self.status_is_good and not self.is_success)
        return self.has_receipt

    @property
    def code(self) -> int:
        """The status that counts: JSON's, unless it is missing or a success that HTTP denies."""
        return self.http if self.status is None or self.status_is_good else self.status

    def says(self, codes: frozenset[int]) -> bool:
        return self.http in codes or self.status in codes


class _Words:
    """The sentences of messages. What the server said in its own words is untrusted, and cleaned."""

    def __init__(self, answer: Answer, reply: _Reply, secret: Secret | None) -> None:
        self._secret = secret
        self._error = self._clean(reply.error)
        self.location = self._clean(_header(answer.headers, "location"))
        self.where = f"HTTP {reply.http}"
        if reply.status is not None:
            self.where += f", JSON status {reply.status}"

    def say(self, what: str, way_out: str = "") -> str:
        quoted = f": {self._error}" if self._error else ""
        return f"{what} ({self.where}){quoted}{'; ' + way_out if way_out else ''}"

    def _clean(self, text: str) -> str:
        text = without(text, self._secret, LONGEST_QUOTE)
        return "".join(c if c.isprintable() else "?" for c in text).strip()


def _failure(reply: _Reply, answer: Answer, now: float, words: _Words) -> UploadError:
    if not answer.released and reply.is_success:
        return _unreachable(words.say("the store claims success before it had the whole file"))
    if reply.is_contradiction:
        return _in_doubt(answer, words.say("the store's answer cannot be read, or contradicts itself"))
    if reply.says(PERHAPS_STORED):
        return _in_doubt(answer, words.say("a gateway lost the store's answer"))
    if reply.says(BAD_KEY):
        way_out = "check store.key, or the file or variable the key comes from"
        return StoreDown(words.say("the store does not accept the API key", way_out), StoreState.AUTH_FAILED)
    if reply.says(frozenset({TOO_MANY})):
        message = words.say("the store asks for fewer requests")
        return StoreDown(message, StoreState.RATE_LIMITED, _retry_after(answer.headers, now))
    if reply.code in WRONG_ADDRESS or 300 <= reply.code < 400:
        return _misconfigured(words)
    if 500 <= reply.code < 600:
        return _server_error(reply, answer, now, words)
    return _about_the_file(reply, answer, words)


def _server_error(reply: _Reply, answer: Answer, now: float, words: _Words) -> UploadError:
    if not reply.is_json and reply.code not in KNOWN_SERVER_ERRORS:
        return _in_doubt(answer, words.say("a gateway failed in an unknown way"))
    if reply.code == UNAVAILABLE or reply.code in GATEWAY_ERRORS:
        return _unreachable(words.say("the store is not available"), _retry_after(answer.headers, now))
    return NotSent(words.say("the store failed"))


def _about_the_file(reply: _Reply, answer: Answer, words: _Words) -> UploadError:
    if reply.code in TRY_AGAIN:
        return NotSent(words.say("the store wants the file again"))
    if 400 <= reply.code < 500 or reply.code == reply.status:
        return Refused(words.say("the store refused the file"), reply.code)
    return _in_doubt(answer, words.say("the store's answer has an unknown status"))


def _misconfigured(words: _Words) -> StoreDown:
    what = "there is no store at this address"
    if words.location:
        what = f"the store is said to be at {words.location}; redirects are not followed"
    return StoreDown(words.say(what, "check store.url and store.proxy"), StoreState.MISCONFIGURED)


def _in_doubt(answer: Answer, message: str) -> UploadError:
    return Uncertain(message) if answer.released else _unreachable(message)


def _unreachable(message: str, retry_after: float | None = None) -> StoreDown:
    return StoreDown(message, StoreState.UNREACHABLE, retry_after)


def _json_object(body: bytes) -> dict[str, object] | None:
    try:
        fields = _plain_object(body) if body.startswith(b'{"') else json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _plain_object(body: bytes) -> object:
    """What `json.loads` makes of them, in a third of its time (measured): by its rules, what begins so is UTF-8."""
    text = body.decode("utf-8", "surrogatepass")
    fields, end = _DECODER.raw_decode(text)
    return fields if end == len(text) else json.loads(text)


def _number(value: object) -> int | None:
    """A status as number or text; 200.0 counts, true does not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return value if abs(value) < 10**9 and not isinstance(value, bool) else None
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        return int(value)
    return None


def _usable_link(value: object) -> str:
    """The link if it is http(s) with a host and free of blanks and control characters, else empty."""
    if not isinstance(value, str) or len(value) > LONGEST_LINK:
        return ""
    if _ORDINARY_LINK.fullmatch(value):
        return value
    if not _is_plain(value):
        return ""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        return ""
    return value if usable else ""


def _usable_id(value: object, link: str) -> str:
    """The id, else the link's last segment (what the service's ids look like), else the link."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        value = str(value)
    if isinstance(value, str) and 0 < len(value) <= LONGEST_ID and _is_plain(value):
        return value
    if not link:
        return ""
    return urlsplit(link).path.rpartition("/")[2] or link


def _is_plain(text: str) -> bool:
    """Free of blanks and of control, format (bidi too), surrogate and unassigned characters."""
    return text.isprintable() and " " not in text


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from `now`, None where there is no Retry-After that can be read (RFC 9110, 10.2.3)."""
    value = _header(headers, "retry-after")
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
