"""What one value of each kind may be: text in, value out, ValueError with one clear clause otherwise.

No message repeats the value: somebody may have put the API key in the wrong line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from pixstored.config.schema import Secret
from pixstored.config.values import parse_duration, parse_size
from pixstored.shown import without_control_characters

E = TypeVar("E", bound=StrEnum)

LONGEST_KEY = 4096
"""Bytes. Real keys have a few dozen; a file over this is not a key file."""

_YES = ("true", "yes", "on")
_NO = ("false", "no", "off")


def parse_bool(text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError("must be true or false")


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """A parser of whole numbers from `lowest` to `highest`, both included."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """A parser of fixed words, in any case."""
    accepted = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be {accepted}")
        return text.lower()

    return parse


def choice(kind: type[E]) -> Callable[[str], E]:
    """A parser of the words of an enum, in any case."""
    word = one_of(*kind)
    return lambda text: kind(word(text))


def positive_duration(text: str) -> float:
    """Seconds, more than zero."""
    seconds = parse_duration(text)
    if seconds == 0:
        raise ValueError("must be more than zero")
    return seconds


def parse_settle(text: str) -> float | None:
    """Seconds, or None for `auto`."""
    if text.lower() == "auto":
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from None


def parse_file_size(text: str) -> int:
    """Bytes, at least one."""
    size = parse_size(text)
    if size == 0:
        raise ValueError("must be at least 1B: an empty file cannot be published")
    return size


def parse_text(text: str) -> str:
    """A short text on one line."""
    if text == "~":
        raise ValueError('has no value ("~" is nothing in YAML): leave the line out')
    if not text.strip():
        raise ValueError("is empty: leave the line out")
    if without_control_characters(text) != text:
        raise ValueError("holds a control character, or more than one line")
    return text.strip()


def parse_path(text: str) -> str:
    """The text of a path, not yet expanded."""
    if not text.strip():
        raise ValueError("is empty")
    if without_control_characters(text) != text:
        raise ValueError("holds a control character: give the folder another name, or a symlink without it")
    return text


def parse_secret(text: str) -> Secret:
    """The API key, without the white space around it. It must fit into a header, whatever `store.key_in` says now."""
    key = text.strip()
    if not key or key == "~":
        raise ValueError("is empty")
    if len(key) > LONGEST_KEY:
        raise ValueError(f"is over {LONGEST_KEY} bytes: that is no key")
    if without_control_characters(key) != key:
        raise ValueError("holds a control character, or more than one line")
    try:
        key.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("holds a character that no key has (outside Latin-1)") from None
    return Secret(key)
