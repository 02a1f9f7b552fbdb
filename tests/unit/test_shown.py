"""Untrusted text made safe to show."""

from __future__ import annotations

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from pixstored.shown import is_utf8, path_in_json, path_on_screen, text_on_screen, unescaped

any_path = st.binary(min_size=1).map(os.fsdecode)


def test_an_ordinary_path_is_shown_as_it_is() -> None:
    path = "/photos/Büro & Söhne/a b\\c.jpg"
    assert path_in_json(path) == path_on_screen(path) == path


def test_a_path_that_is_not_utf8_is_shown_with_escapes() -> None:
    path = os.fsdecode(b"/p/\xff\\a.jpg")
    assert path_in_json(path) == path_on_screen(path) == "/p/\\xff\\\\a.jpg"


def test_a_newline_in_a_path_cannot_fake_a_line_on_a_terminal() -> None:
    assert path_on_screen("/p/a\nb.jpg") == "/p/a\\x0ab.jpg"
    assert path_in_json("/p/a\nb.jpg") == "/p/a\nb.jpg"


def test_text_cannot_steer_a_terminal_or_reorder_a_line() -> None:
    assert text_on_screen("a\x1b[2Jb\u202ec") == "a\\x1b[2Jb\\u202ec"


@given(any_path)
def test_what_is_escaped_can_be_given_back(path: str) -> None:
    for shown in (path_in_json(path), path_on_screen(path)):
        if shown != path:
            assert unescaped(shown) == path


@given(any_path)
def test_a_shown_path_is_always_json_and_printable(path: str) -> None:
    json.dumps(path_in_json(path), ensure_ascii=False).encode("utf-8")
    assert is_utf8(path_on_screen(path))
    assert "\n" not in path_on_screen(path)
    assert "\x1b" not in path_on_screen(path)
