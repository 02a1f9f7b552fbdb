"""One mapping of the file, asked key by key: what is there, its default, or a fault with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from yaml import MappingNode, Node, ScalarNode, SequenceNode

from pixstored.config.document import IN_QUOTES, line_of
from pixstored.config.faults import Faults
from pixstored.config.keys import KEYS, Key, ListKey, OpenKey

T = TypeVar("T")

_NOTHING = ("", "null", "Null", "NULL")
_STANDARD_TAG = "tag:yaml.org,2002:"
_WORD = re.compile(r"[A-Za-z_.-]{1,40}[0-9]{0,2}")
"""What a misspelt key looks like. Anything else may be the API key, say from `{key:SECRET}`, and is not repeated."""


class Section:
    """A mapping at `name` (`store`, `watch[0]`, `""` for the whole file); `pattern` is that name in the table."""

    def __init__(self, faults: Faults, node: Node | None, name: str = "", pattern: str = "") -> None:
        self._faults = faults
        self._name = name
        self._pattern = pattern
        self._nodes: dict[str, Node] = {}
        if isinstance(node, MappingNode):
            self._take(node)
        elif node is not None and not _is_nothing(node):
            faults.add(name, _no_mapping(pattern))

    @property
    def name(self) -> str:
        """Where it stands in the file, like `watch[0]`."""
        return self._name

    def value(self, key: Key[T]) -> T:
        """The key's value; its default if it is not there, or faulty and now on record."""
        node = self._nodes.get(_leaf(key.name))
        parsed = [] if node is None else self._parse(self._shown(key.name), node, key.parse)
        return parsed[0] if parsed else key.parse(key.default)

    def optional(self, key: OpenKey[T]) -> T | None:
        """The key's value; None if it is not there, or faulty and now on record."""
        node = self._nodes.get(_leaf(key.name))
        parsed = [] if node is None else self._parse(self._shown(key.name), node, key.parse)
        return parsed[0] if parsed else None

    def texts(self, key: ListKey) -> tuple[str, ...]:
        """The key's list, its faulty entries left out and on record; the default if it is not there."""
        node, shown = self._nodes.get(_leaf(key.name)), self._shown(key.name)
        if node is None:
            return key.default
        entries = self._entries(node, shown)
        if entries is not None and not entries and not key.may_be_empty:
            self._faults.add(shown, "is empty, so nothing would match: leave the line out for the default")
        found: list[str] = []
        for index, entry in enumerate(entries or ()):
            found += self._parse(f"{shown}[{index}]", entry, key.parse)
        return tuple(found)

    def section(self, child: str) -> Section:
        """The mapping below this key; an empty one if it is not there, or not a mapping and now on record."""
        return Section(self._faults, self._nodes.get(child), self._shown(child), _join(self._pattern, child))

    def sections(self, child: str) -> list[Section] | None:
        """The mappings in the list below this key; None if there are other things instead, and now on record."""
        node = self._nodes.get(child)
        if node is None:
            return []
        shown, pattern = self._shown(child), f"{_join(self._pattern, child)}[]"
        entries = self._entries(node, shown)
        if entries is None:
            return None
        found: list[Section] = []
        for index, entry in enumerate(entries):
            if isinstance(entry, MappingNode):
                found.append(Section(self._faults, entry, f"{shown}[{index}]", pattern))
            else:
                self._faults.add(f"{shown}[{index}]", _no_mapping(pattern))
        return found if found or not entries else None

    def has(self, key: OpenKey[T] | Key[T]) -> bool:
        """True if the line is there, right or wrong."""
        return _leaf(key.name) in self._nodes

    def refuse(self, key: OpenKey[T] | Key[T], message: str) -> None:
        """Puts a fault of this key on record."""
        self._faults.add(self._shown(key.name), message)

    def _take(self, node: MappingNode) -> None:
        known = _children(self._pattern)
        for key_node, value_node in node.value:
            word = key_node.value if isinstance(key_node, ScalarNode) else ""
            if word not in known:
                self._refuse_unknown(word, known, line_of(key_node))
            elif word in self._nodes:
                first = self._faults.line(self._shown(word))
                self._faults.add(self._shown(word), f"stands in line {first} already", line_of(key_node))
            else:
                self._nodes[word] = value_node
                self._faults.met(self._shown(word), line_of(key_node))

    def _refuse_unknown(self, word: str, known: set[str], line: int) -> None:
        if word == "<<":
            self._faults.add(self._name, "YAML merges (<<) are not read here: write the keys out", line)
        elif _WORD.fullmatch(word):
            self._faults.add(self._shown(word), f"unknown key{_suggestion(word, known)}", line)
        else:
            self._faults.add(self._name, 'unknown key, and no plain word: is the space after "key:" missing?', line)

    def _entries(self, node: Node, shown: str) -> list[Node] | None:
        if _is_nothing(node):
            return []
        if not isinstance(node, SequenceNode):
            self._faults.add(shown, 'must be a list: begin each entry with "- "')
            return None
        for index, entry in enumerate(node.value):
            self._faults.met(f"{shown}[{index}]", line_of(entry))
        return list(node.value)

    def _parse(self, shown: str, node: Node, parse: Callable[[str], T]) -> list[T]:
        """The one value in a list, or an empty list if it is faulty and now on record."""
        try:
            return [parse(_scalar(node))]
        except ValueError as error:
            self._faults.add(shown, str(error))
            return []

    def _shown(self, name: str) -> str:
        return _join(self._name, _leaf(name))


def _scalar(node: Node) -> str:
    """The text as it was written. Raises ValueError if there is none."""
    if not isinstance(node, ScalarNode):
        raise ValueError("must be one value, not a list or a mapping")  # noqa: TRY004 (the file's fault, not a caller's)
    if not node.tag.startswith(_STANDARD_TAG):
        raise ValueError(IN_QUOTES)
    if _is_nothing(node):
        raise ValueError("has no value: give one (in quotes, if it begins with #), or leave the line out")
    return str(node.value)


def _no_mapping(pattern: str) -> str:
    return f"must be a mapping of keys ({', '.join(sorted(_children(pattern)))})"


def _is_nothing(node: Node) -> bool:
    return isinstance(node, ScalarNode) and not node.style and node.value in _NOTHING


def _suggestion(word: str, known: set[str]) -> str:
    from difflib import get_close_matches  # late: only a misspelt word needs it

    near = get_close_matches(word.lower(), sorted(known), n=1)
    if near:
        return f', did you mean "{near[0]}"?'
    elsewhere = [key.name for key in KEYS if word.lower() in (_leaf(key.name), key.name)]
    return f', did you mean "{elsewhere[0]}"?' if elsewhere else ""


def _children(pattern: str) -> set[str]:
    """The keys that may stand in the mapping with this name in the table."""
    prefix = f"{pattern}." if pattern else ""
    below = (key.name.removeprefix(prefix) for key in KEYS if key.name.startswith(prefix))
    return {name.split(".")[0].removesuffix("[]") for name in below}


def _leaf(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _join(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child
