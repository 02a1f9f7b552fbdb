"""The comment of a file: what its template may hold, and what comes out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixstored.config import WatchConfig, load_config
from pixstored.config.comment import Placeholder, parse_comment
from pixstored.model import Claim, Lane, Stamp
from pixstored.publish.comment import LONGEST_COMMENT, comment_for, needs_hash
from support.files import jpeg, write

SHA = bytes(range(32))
MTIME = 1_795_444_206_789_000_000
"""2026-11-23T14:30:06.789Z"""


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> WatchConfig:
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    file.write_text("watch: [{path: /w, name: camera}]\n")
    [watch] = load_config(file, {"HOME": "/h"}).watches
    return watch


def claim(path: str = "/w/2026/11/a.b.jpg", *, mtime_ns: int = MTIME) -> Claim:
    stamp = Stamp(1234, mtime_ns, mtime_ns, 1, 1)
    return Claim(1, path, stamp, None, False, Lane.FRESH, "camera", 0, 0.0)


def said(watch: WatchConfig, template: str, claimed: Claim | None = None, descriptor: int = -1) -> str | None:
    return comment_for(replace(watch, comment=parse_comment(template)), claimed or claim(), SHA, descriptor)


@pytest.mark.parametrize(
    ("template", "comment"),
    [
        ("{name}", "a.b.jpg"),
        ("{stem}", "a.b"),
        ("{folder}", "2026/11"),
        ("{watch}", "camera"),
        ("{sha256}", SHA.hex()),
        ("{size}", "1234"),
        ("{mtime}", "2026-11-23T14:30:06Z"),
        ("from {watch}: {stem}, {size} bytes", "from camera: a.b, 1234 bytes"),
        ("no gap at all", "no gap at all"),
        ("{{name}} is {{{name}}}", "{name} is {a.b.jpg}"),
        ("zażółć {stem} 📷", "zażółć a.b 📷"),
    ],
)
def test_each_placeholder_stands_for_what_its_name_says(watch: WatchConfig, template: str, comment: str) -> None:
    assert said(watch, template) == comment


def test_a_folder_is_told_below_the_watch_and_the_watch_itself_is_empty(watch: WatchConfig) -> None:
    assert said(watch, "[{folder}]", claim("/w/a.jpg")) == "[]"
    assert said(watch, "[{folder}]", claim("/w/x y/a.jpg")) == "[x y]"


def test_without_a_template_there_is_no_comment(watch: WatchConfig) -> None:
    assert comment_for(watch, claim(), SHA, -1) is None


def test_where_nothing_is_left_there_is_no_comment(watch: WatchConfig) -> None:
    assert said(watch, " {folder}\n", claim("/w/a.jpg")) is None


def test_control_characters_become_spaces(watch: WatchConfig) -> None:
    assert said(watch, "a\tb {name}", claim("/w/c\r\nd\x1b[2J\x85\u2028.jpg")) == "a b c  d [2J  .jpg"


def test_a_long_comment_is_cut_at_a_character(watch: WatchConfig) -> None:
    assert said(watch, "ü" * 5000) == "ü" * 1000


def test_a_name_that_is_not_utf8_is_told_escaped(watch: WatchConfig) -> None:
    latin = os.fsdecode(b"/w/\xe9t\xe9/na\xefve.jpg")
    assert said(watch, "{folder} {name} {stem}", claim(latin)) == r"\xe9t\xe9 na\xefve.jpg na\xefve"


def test_a_time_no_calendar_has_is_left_out(watch: WatchConfig) -> None:
    assert said(watch, "x{mtime}", claim(mtime_ns=1 << 70)) == "x"


def test_only_a_template_with_the_hash_needs_it_first(watch: WatchConfig) -> None:
    assert needs_hash(replace(watch, comment=parse_comment("{name} {sha256}")))
    assert not needs_hash(replace(watch, comment=parse_comment("{name} {{sha256}}")))
    assert not needs_hash(watch)


def test_when_it_was_taken_is_read_from_the_file(watch: WatchConfig, tmp_path: Path) -> None:
    descriptor = os.open(write(tmp_path / "a.jpg", jpeg()), os.O_RDONLY)
    try:
        assert said(watch, "taken {taken}", descriptor=descriptor) == "taken"
    finally:
        os.close(descriptor)


@given(st.text(max_size=30), st.binary(min_size=1, max_size=20).filter(lambda name: b"/" not in name))
def test_no_comment_breaks_a_line_is_too_long_or_is_not_utf8(watch: WatchConfig, text: str, name: bytes) -> None:
    try:
        parse_comment(text + "{name}{folder}")
    except ValueError:
        return
    comment = said(watch, text + "{name}{folder}", claim("/w/" + os.fsdecode(name)))
    if comment is not None and not any("\ud800" <= each <= "\udfff" for each in text):
        assert len(comment.encode()) > 0 and len(comment) <= LONGEST_COMMENT
        assert not {"\r", "\n", "\t", "\0", "\x1b"} & set(comment)


# --- the template


@pytest.mark.parametrize(
    ("template", "clause"),
    [
        ("{nmae}", 'has an unknown placeholder "{nmae}", did you mean "{name}"?'),
        ("{Folder}", 'did you mean "{folder}"?'),
        ("{sha-256}", 'did you mean "{sha256}"?'),
        ("{name.__class__}", 'did you mean "{name}"?'),
        ("{name[0]}", 'did you mean "{name}"?'),
        ("{name!r}", 'say "{name}"'),
        ("{name:>9}", 'say "{name}"'),
        ("{size:{size}}", 'say "{size}"'),
        ("{name", 'has a brace too many or too few, did you mean "{name}"?'),
        ("name}", "has a brace too many or too few (there are {name} "),
        ("{}", "(there are {name} {stem} {folder} {watch} {sha256} {size} {mtime} {taken})"),
        ("{0}", "has an unknown placeholder (there are"),
        ("  ", "is empty"),
    ],
)
def test_a_faulty_template_is_refused_with_the_way_out(template: str, clause: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_comment(template)
    assert clause in str(refused.value)


def test_a_key_in_the_wrong_line_is_not_repeated() -> None:
    with pytest.raises(ValueError) as refused:
        parse_comment("{sk_live_0123456789abcdef}")
    assert "0123456789" not in str(refused.value)


def test_a_fault_names_its_line_in_the_file(tmp_path: Path) -> None:
    from pixstored.errors import ConfigError

    file = tmp_path / "config.yaml"
    file.write_text('watch:\n  - path: /w\n    comment: "{stme}"\n')
    with pytest.raises(ConfigError) as refused:
        load_config(file, {"HOME": "/h"})
    assert 'line 3: watch[0].comment: has an unknown placeholder "{stme}", did you mean "{stem}"?' in str(refused.value)


@given(st.text(alphabet=st.sampled_from("{}name!:.[]0 x\n"), max_size=20))
def test_every_text_is_a_template_or_a_fault(text: str) -> None:
    try:
        template = parse_comment(text)
    except ValueError as error:
        assert str(error)
    else:
        assert all(isinstance(part, Placeholder) or part for part in template.parts)


@given(st.text(min_size=1, max_size=40).filter(str.strip))
def test_text_with_its_braces_doubled_comes_out_as_it_was(text: str) -> None:
    parts = parse_comment(text.replace("{", "{{").replace("}", "}}") + "!").parts
    assert "".join(parts) == text + "!"
