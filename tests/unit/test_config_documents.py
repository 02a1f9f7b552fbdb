"""The example and the documentation tell what the code does: every key, and every default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pixstored.config import load_config
from pixstored.config.keys import KEYS, AnyKey, Key, ListKey, OpenKey
from pixstored.config.patterns import PATTERN_SETS
from pixstored.watch.builtin import SETS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config.example.yaml"
BY_NAME: dict[str, AnyKey] = {key.name: key for key in KEYS}

_LINE = re.compile(
    r"^(?P<indent> *(?:- )?)(?P<off>#?)(?P<word>[a-z_]+):(?: (?P<value>[^#\n]*?))?(?: # (?P<comment>.*))?$"
)
_TOLD = re.compile(r"\(default: (?P<default>[^)]*)\)")


@dataclass(frozen=True)
class Line:
    """One key of the example: what it says, and what its comment tells."""

    number: int
    name: str
    commented_out: bool
    value: str
    comment: str

    @property
    def told_default(self) -> str | None:
        told = _TOLD.search(self.comment)
        return told["default"] if told else None


def example_lines() -> Iterator[Line]:
    """The keys that hold a value, with their names in the table."""
    above: list[tuple[int, str]] = []
    for number, text in enumerate(EXAMPLE.read_text().splitlines()):
        match = _LINE.match(text)
        if match is None:
            assert not text or text.startswith("# "), f"line {number + 1} is neither a key nor prose: {text}"
            continue
        depth = len(match["indent"])
        above = [(indent, word) for indent, word in above if indent < depth]
        word = "watch[]" if match["word"] == "watch" else match["word"]
        name = ".".join([*(word for _, word in above), word])
        if match["value"]:
            yield Line(number, name, bool(match["off"]), match["value"], match["comment"] or "")
        else:
            above.append((depth, word))


LINES = list(example_lines())


def default_as_written(key: AnyKey) -> str:
    """What the code does without the key, as the documents write it."""
    match key:
        case Key():
            return key.default
        case OpenKey():
            return key.otherwise
        case ListKey():
            return "[" + ", ".join(f'"{pattern}"' for pattern in key.default) + "]"


def test_the_example_shows_every_key_once() -> None:
    assert sorted(line.name for line in LINES) == sorted(BY_NAME)


def test_the_example_explains_every_key() -> None:
    assert [line.name for line in LINES if len(line.comment) < len("(default: x)")] == []


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_every_default_told_in_the_example_is_the_codes(line: Line) -> None:
    key = BY_NAME[line.name]
    expected = default_as_written(key).replace("`", "")
    if line.name == "watch[].path":
        assert line.comment.startswith(f"({expected})")
    elif line.told_default is not None:
        assert line.told_default == expected
    else:
        assert line.value == expected
        assert not line.commented_out


def test_only_keys_without_a_fixed_default_are_commented_out() -> None:
    assert {type(BY_NAME[line.name]) for line in LINES if line.commented_out} == {OpenKey}


def test_the_example_loads_as_it_stands_and_keeps_to_its_own_folder() -> None:
    config = load_config(EXAMPLE, {})
    assert config.store.is_embedded
    assert config.ledger == ROOT / ".pixstored/ledger.db"
    assert config.control == ROOT / ".pixstored/control.sock"
    assert config.store.embedded.dir == ROOT / ".pixstored/store"
    (watch,) = config.watches
    assert (watch.path, watch.create) == (ROOT / "inbox", True)
    assert config.warnings == ()


@pytest.mark.parametrize("line", [line for line in LINES if line.commented_out], ids=lambda line: line.name)
def test_every_line_commented_out_is_right_when_put_in(line: Line, tmp_path: Path) -> None:
    text = EXAMPLE.read_text().splitlines()
    text[line.number] = text[line.number].replace("#", "", 1)
    file = tmp_path / "config.yaml"
    file.write_text("\n".join(text))
    assert load_config(file, {"HOME": str(tmp_path)}).watches


def test_without_the_lines_of_the_demonstration_all_fixed_defaults_are_left(tmp_path: Path) -> None:
    text = [line for line in EXAMPLE.read_text().splitlines() if "# DEMO" not in line]
    file = tmp_path / "config.yaml"
    file.write_text("\n".join(text))
    bare = tmp_path / "bare.yaml"
    bare.write_text("watch: [{path: ./inbox}]\n")
    whole, least = load_config(file, {"HOME": "/h"}), load_config(bare, {"HOME": "/h"})
    assert (whole.store, whole.watches, whole.retry, whole.log) == (least.store, least.watches, least.retry, least.log)
    assert (whole.ledger, whole.control, whole.workers) == (least.ledger, least.control, least.workers)


def test_the_table_of_the_documentation_is_the_table_of_the_code() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.*?) \| .+ \|$", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    assert rows == [(key.name, documented(key)) for key in KEYS]


def documented(key: AnyKey) -> str:
    if isinstance(key, OpenKey):
        return key.otherwise
    return "none" if isinstance(key, ListKey) and not key.default else f"`{default_as_written(key)}`"


def test_the_sets_that_are_accepted_are_those_the_filters_know() -> None:
    assert set(PATTERN_SETS) == set(SETS)


def test_the_samples_of_the_documentation_load(tmp_path: Path) -> None:
    samples = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "docs/configuration.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(samples) > 1
    for sample in samples:
        file = tmp_path / "config.yaml"
        file.write_text(sample)
        assert load_config(file, {"HOME": "/home/ann"}).watches
