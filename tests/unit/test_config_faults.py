"""A configuration that cannot be meant: every fault at once, each with its key and line, and never the API key."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixstored.config.document import read_document
from pixstored.config.faults import Faults
from pixstored.config.keys import KEYS
from pixstored.config.load import load_config
from pixstored.errors import ConfigError

CANARY = "c4n4ry-77f0e1b2a9d8-s3cr3t"
GOOD = "watch: [{path: photos}]\n"

NOBODY = 65534
"""A user that may read nothing of ours."""
QUOTES = "put it in quotes"

WRONG: dict[str, tuple[str, list[tuple[str, int | None, str]]]] = {
    "an empty file": ("", [("", None, "is empty")]),
    "only comments": ("# nothing\n---\n", [("", None, "is empty")]),
    "a list": ("\n- a\n", [("", 2, "must be a mapping")]),
    "a word": ("hello\n", [("", 1, "must be a mapping")]),
    "two documents": (GOOD + "---\n" + GOOD, [("", 2, "second document")]),
    "a tab": ("store:\n\turl: embedded\n", [("", 2, "a tab")]),
    "no colon": ("store:\n  url: embedded\n  key_in\nworkers: 4\n", [("", 3, "colon")]),
    "two colons": ("store: url: embedded\n", [("", 1, "colon")]),
    "open quotes": ('ledger: "x\nworkers: 4\n', [("", 1, "quotes that are not closed")]),
    "an open bracket": ("watch: [{path: a}\nworkers: 4\n", [("", 1, "not closed")]),
    "a control character": ("workers: 4\nledger: \x07\n", [("", 2, "control character")]),
    "a bare set": ("watch:\n  - path: a\n    include: [@media]\n", [("", 3, QUOTES)]),
    "a bare star": ("watch:\n  - path: a\n    include:\n      - *.jpg\n", [("", 4, QUOTES)]),
    "a bare exclamation": (
        "watch:\n  - path: a\n    include:\n      - !raw/\n      - '*.jpg'\n",
        [("watch[0].include[0]", 4, QUOTES)],
    ),
    "a bare hash": (
        "watch:\n  - path: a\n    exclude:\n      - #recycle/\n",
        [("watch[0].exclude[0]", 4, "in quotes")],
    ),
    "an unknown alias": ("store:\n  key_file: *x\n", [("", 2, QUOTES)]),
    "an unknown key": (GOOD + "wrokers: 4\n", [("wrokers", 2, 'did you mean "workers"')]),
    "an unknown key below": (
        "watch:\n  - path: a\n    setle: 2s\n",
        [("watch[0].setle", 3, 'did you mean "settle"')],
    ),
    "a key in the wrong place": (GOOD + "url: embedded\n", [("url", 2, 'did you mean "store.url"')]),
    "a key from nowhere": (GOOD + "zzzzz: 1\n", [("zzzzz", 2, "unknown key")]),
    "a key of a later version": (GOOD + "store:\n  bandwidth: 1MiB/s\n", [("store.bandwidth", 3, "unknown key")]),
    "a merge": ("watch:\n  - <<: {path: a}\n    path: b\n", [("watch[0]", 2, "merges")]),
    "a duplicate key": (GOOD + "workers: 2\nworkers: 3\n", [("workers", 3, "stands in line 2 already")]),
    "no watch": ("workers: 4\n", [("watch", None, "names no folder")]),
    "an empty watch": ("workers: 4\nwatch:\n", [("watch", 2, "names no folder")]),
    "an empty watch list": ("watch: []\n", [("watch", 1, "names no folder")]),
    "a watch that is a mapping": ("watch:\n  path: a\n", [("watch", 1, "must be a list")]),
    "a watch that is a word": ("watch:\n  - photos\n", [("watch[0]", 2, "must be a mapping")]),
    "a watch without path": ("watch:\n  - name: a\n", [("watch[0].path", 2, "is missing")]),
    "a store that is a word": (GOOD + "store: embedded\n", [("store", 2, "must be a mapping")]),
    "a list for a value": (GOOD + "workers: [4]\n", [("workers", 2, "must be one value")]),
    "a mapping for a value": (GOOD + "ledger: {a: b}\n", [("ledger", 2, "must be one value")]),
    "a word for a list": ('watch: [{path: a, include: "*.jpg"}]\n', [("watch[0].include", 1, "must be a list")]),
    "no value": (GOOD + "workers:\n", [("workers", 2, "has no value")]),
    "an empty include": ("watch: [{path: a, include: []}]\n", [("watch[0].include", 1, "nothing would match")]),
    "no workers": (GOOD + "workers: 0\n", [("workers", 2, "from 1 to 256")]),
    "too many workers": (GOOD + "workers: 257\n", [("workers", 2, "from 1 to 256")]),
    "half a worker": (GOOD + "workers: 1.5\n", [("workers", 2, "from 1 to 256")]),
    "a bare number": (GOOD + "rescan_every: 30\n", [("rescan_every", 2, 'say "30s"')]),
    "never rescan": (GOOD + "rescan_every: 0\n", [("rescan_every", 2, "more than zero")]),
    "no time to connect": (GOOD + "store: {connect_timeout: 0s}\n", [("store.connect_timeout", 2, "more than zero")]),
    "longest before first": (GOOD + "retry:\n  first: 1h\n  longest: 1m\n", [("retry.longest", 4, "shorter")]),
    "a wrong word": (GOOD + "log: {format: xml}\n", [("log.format", 2, "must be text or json")]),
    "a doubt": (GOOD + "store: {uncertain: repeat}\n", [("store.uncertain", 2, "must be hold or resend")]),
    "an octal for a word": ("watch: [{path: a, create: 0600}]\n", [("watch[0].create", 1, "true or false")]),
    "settle a word": ("watch: [{path: a, settle: soon}]\n", [("watch[0].settle", 1, "or auto")]),
    "empty files": ("watch: [{path: a, min_size: 0}]\n", [("watch[0].min_size", 1, "at least 1B")]),
    "sizes crossed": (
        "watch:\n- path: a\n  min_size: 2MB\n  max_size: 1MB\n",
        [("watch[0].max_size", 4, "less than min_size")],
    ),
    "an unknown set": ('watch: [{path: a, include: ["@vidoes"]}]\n', [("watch[0].include[0]", 1, '"@videos"')]),
    "an unknown set in exclude": ('watch: [{path: a, exclude: ["!@RAW"]}]\n', [("watch[0].exclude[0]", 1, '"@raw"')]),
    "a set from nowhere": ('watch: [{path: a, include: ["@zzzzzz"]}]\n', [("watch[0].include[0]", 1, "@media")]),
    "a comment pattern": ('watch: [{path: a, exclude: ["#x/"]}]\n', [("watch[0].exclude[0]", 1, "comment")]),
    "a broken pattern": ('watch: [{path: a, exclude: ["[z-a]"]}]\n', [("watch[0].exclude[0]", 1, "gitignore")]),
    "a void exception": ('watch: [{path: a, exclude: ["!/"]}]\n', [("watch[0].exclude[0]", 1, "matches nothing")]),
    "a path with an escape": ('watch: [{path: "a\\e[1m"}]\n', [("watch[0].path", 1, "control character")]),
    "a void pattern": ('watch: [{path: a, exclude: ["a["]}]\n', [("watch[0].exclude[0]", 1, "matches nothing")]),
    "an unset variable": ("watch: [{path: $NOPE/x}]\n", [("watch[0].path", 1, "$NOPE, which is not set")]),
    "an empty variable": ("watch: [{path: '${EMPTY}/x'}]\n", [("watch[0].path", 1, "$EMPTY, which is not set")]),
    "an unknown user": ("watch: [{path: ~nobody-of-that-name/x}]\n", [("watch[0].path", 1, "no home")]),
    "two names": (
        "watch:\n- {path: a, name: x}\n- {path: b, name: x}\n",
        [("watch[1].name", 3, "watch[0] too")],
    ),
    "a folder twice": ("watch:\n- path: a\n- path: ./b/../a/\n", [("watch[1].path", 3, "same folder as watch[0]")]),
    "a folder twice by symlink": ("watch:\n- path: real\n- path: link\n", [("watch[1].path", 3, "same folder as")]),
    "a folder inside another": ("watch:\n- path: a/b\n- path: a\n", [("watch[0].path", 2, "lies inside watch[1]")]),
    "a folder inside by symlink": ("watch:\n- path: real\n- path: link/b\n", [("watch[1].path", 3, "lies inside")]),
    "the ledger in a watch": ("watch:\n- path: a\nledger: a/b/l.db\n", [("watch[0].path", 2, "holds the ledger")]),
    "the ledger in a watch by symlink": ("watch:\n- path: real\nledger: link/l.db\n", [("watch[0].path", 2, "ledger")]),
    "the ledger in a flat watch": (
        "watch:\n- path: a\n  recursive: no\nledger: a/l.db\n",
        [("watch[0].path", 2, "holds the ledger")],
    ),
    "the store in a watch": (
        "store:\n  url: embedded\n  embedded:\n    dir: a/b\nwatch: [{path: a}]\n",
        [("store.embedded.dir", 4, "lies inside watch[0]")],
    ),
    "two keys": (GOOD + f"store:\n  key: {CANARY}\n  key_file: k\n", [("store.key_file", 4, "leave one out")]),
    "a key on two lines": (GOOD + f'store:\n  key: "{CANARY}\\nx"\n', [("store.key", 3, "control character")]),
    "a key in Greek": (GOOD + f"store:\n  key: {CANARY}λ\n", [("store.key", 3, "Latin-1")]),
    "an empty key": (GOOD + 'store:\n  key: ""\n', [("store.key", 3, "is empty")]),
    "no URL": (GOOD + "store: {url: api.pixlab.io/store}\n", [("store.url", 2, "must be a URL")]),
    "no host": (GOOD + "store: {url: 'https:///store'}\n", [("store.url", 2, "must be a URL")]),
    "a URL of another kind": (GOOD + "store: {url: 'ftp://x/store'}\n", [("store.url", 2, "must be a URL")]),
    "a port that is none": (GOOD + "store: {url: 'https://x:99999/'}\n", [("store.url", 2, "must be a URL")]),
    "a URL with a blank": (GOOD + "store: {url: 'https://x/a b'}\n", [("store.url", 2, "must be a URL")]),
    "a URL with a password": (GOOD + f"store: {{url: 'https://u:{CANARY}@x/'}}\n", [("store.url", 2, "password")]),
    "a URL with the key": (GOOD + f"store: {{url: 'https://x/?a=1&key={CANARY}'}}\n", [("store.url", 2, "the key")]),
    "a URL with a token": (GOOD + f"store: {{url: 'https://x/?a;Api-Token={CANARY}'}}\n", [("store.url", 2, "key")]),
    "plain http": (GOOD + "store: {url: 'http://10.0.0.1/store'}\n", [("store.url", 2, "store.allow_http: true")]),
    "a proxy without scheme": (GOOD + "store: {proxy: 'proxy:3128'}\n", [("store.proxy", 2, "env, none, or a URL")]),
    "an address without port": (
        GOOD + "store: {embedded: {listen: localhost}}\n",
        [("store.embedded.listen", 2, "HOST:PORT")],
    ),
    "everything at once": (
        "workers: many\nstore:\n  urll: x\n  key_in: body\nwatch:\n  - path: a\n    settle: 2\n  - {}\nretry: 5\n",
        [
            ("workers", 1, "whole number"),
            ("store.urll", 3, 'did you mean "url"'),
            ("store.key_in", 4, "form or header"),
            ("watch[0].settle", 7, 'say "2s"'),
            ("watch[1].path", 8, "is missing"),
            ("retry", 9, "must be a mapping"),
        ],
    ),
}


def refused(folder: Path, text: str) -> ConfigError:
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    (folder / "real").mkdir(exist_ok=True)
    if not (folder / "link").is_symlink():
        (folder / "link").symlink_to("real")
    with pytest.raises(ConfigError) as error:
        load_config(file, {"HOME": str(folder / "home"), "EMPTY": ""})
    return error.value


def everything_shown(error: BaseException) -> str:
    return "".join([str(error), repr(error), repr(getattr(error, "faults", "")), *traceback.format_exception(error)])


@pytest.mark.parametrize("wrong", WRONG)
def test_each_fault_is_told_with_its_key_and_line(wrong: str, tmp_path: Path) -> None:
    text, expected = WRONG[wrong]
    error = refused(tmp_path, text)
    assert [(fault.key, fault.line) for fault in error.faults] == [(key, line) for key, line, _ in expected]
    for fault, (_, _, told) in zip(error.faults, expected, strict=True):
        assert told in fault.message
        assert "\n" not in fault.message


def test_the_message_names_the_file_and_counts_its_faults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    assert str(refused(tmp_path, GOOD + "workers: 0\n")).splitlines() == [
        f"{file}: 1 fault",
        "  line 2: workers: must be a whole number from 1 to 256",
    ]
    assert str(refused(tmp_path, "workers: 0\n")).startswith(f"{file}: 2 faults\n  watch: ")


@pytest.mark.parametrize("wrong", WRONG)
def test_no_fault_shows_the_key_that_stands_in_the_same_file(wrong: str, tmp_path: Path) -> None:
    text = WRONG[wrong][0]
    with_key = text if "store:" in text else f"{text}store: {{key: {CANARY}}}\n"
    assert CANARY not in everything_shown(refused(tmp_path, with_key if text.strip() else text))


MISPLACED = [
    f"store: {CANARY}\n" + GOOD,
    f"store: {{key:{CANARY}}}\n" + GOOD,
    f"store: {{{CANARY}}}\n" + GOOD,
    f"store: [key, {CANARY}]\n" + GOOD,
    f"store:\n  key_in: form\n  key:{CANARY}\n" + GOOD,
    f"store:\n  key: *{CANARY}\n" + GOOD,
    f"store:\n  key: &{CANARY}\n" + GOOD,
    f"store:\n  key: !{CANARY}\n" + GOOD,
    f"store:\n  key: !{CANARY}!x\n" + GOOD,
    f"store:\n  key: %{CANARY}\n" + GOOD,
    f"store:\n  key: @{CANARY}\n" + GOOD,
    f"store:\n  key: |{CANARY}\n" + GOOD,
    f"store:\n  key: '{CANARY}\n" + GOOD,
    f"store:\n  key: {{{CANARY}: {CANARY}}}\n" + GOOD,
    f"store:\n  key: {CANARY}: {CANARY}\n" + GOOD,
    f"store:\n  ? {CANARY}\n" + GOOD,
    f"{CANARY}\n",
    f"- {CANARY}\n",
    f"watch:\n- {CANARY}\n",
    f"watch:\n- path: ${{{CANARY.replace('-', '_')}}}\n",
    f"watch:\n- path: ~{CANARY}/x\n",
    f"watch:\n- path: a\n  include: ['@{CANARY}', '#{CANARY}', '[{CANARY}']\n",
]


@pytest.mark.parametrize("text", MISPLACED)
def test_a_key_in_the_wrong_place_is_not_repeated(text: str, tmp_path: Path) -> None:
    shown = everything_shown(refused(tmp_path, text))
    assert CANARY not in shown
    assert CANARY.replace("-", "_") not in shown


@pytest.mark.parametrize("name", [key.name for key in KEYS])
def test_every_key_of_the_table_is_judged_and_a_key_written_there_by_mistake_is_not_repeated(
    name: str, tmp_path: Path
) -> None:
    text = f"{{{CANARY}: {CANARY}}}"
    for part in reversed(name.split(".")):
        text = f"{{{part.removesuffix('[]')}: {f'[{text}]' if part.endswith('[]') else text}}}"
    error = refused(tmp_path, text)
    assert name.replace("[]", "[0]") in [fault.key for fault in error.faults]
    assert CANARY not in everything_shown(error)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_mapping_or_one_fault(data: bytes) -> None:
    faults = Faults()
    document = read_document(data, faults)
    assert (document is None) == (len(faults) == 1)


def test_deep_nesting_is_a_fault_not_a_crash() -> None:
    faults = Faults()
    assert read_document(b"a: " + b"[" * 100_000, faults) is None
    assert len(faults) == 1


def test_text_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"workers: 4\nledger: \xff\xfe\n")
    with pytest.raises(ConfigError, match="line 2: is not UTF-8 text"):
        load_config(file, {})


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml: there is no such file"):
        load_config(tmp_path / "nope.yaml", {})


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path, {})


def test_a_huge_file_is_no_configuration(tmp_path: Path) -> None:
    file = tmp_path / "film.mp4"
    file.write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="over 1 MiB"):
        load_config(file, {})


def test_a_file_that_may_not_be_read_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(GOOD)
    file.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(ConfigError, match="may not be read by this user"):
            load_config(file, {})
    finally:
        if root:
            os.seteuid(0)
