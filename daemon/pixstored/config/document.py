"""The bytes of a configuration file as YAML nodes, or the fault that keeps them from being YAML.

Nodes, not values: they know their lines, show duplicate keys, and keep the text as it was written, so that
`off`, `0600` and `22:30` mean what they say (YAML 1.1 makes them False, 384 and 1350).
"""

from __future__ import annotations

import re
from contextlib import suppress

import yaml

from pixstored.config.faults import Faults

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOT_TEXT = yaml.reader.Reader.NON_PRINTABLE
"""What YAML 1.1 does not allow in a document. To compile it again would take 3 ms of each command (measured)."""
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")

DEEPEST = 32
"""Levels of nesting; a configuration has four. Composing recurses in C: a hundred thousand crash the interpreter."""

IN_QUOTES = "a value that begins with one of @ ` % * & ! means something else in YAML: put it in quotes"
_BEGUN_BEFORE = ("quoted scalar", "flow sequence", "flow mapping", "simple key")
"""Where the place that tells is where the thing began, not where the reader gave up."""
_SAYINGS = (
    ("alias", IN_QUOTES),
    ("anchor", IN_QUOTES),
    ("tag", IN_QUOTES),
    ("directive", IN_QUOTES),
    ("cannot start any token", IN_QUOTES),
    ("another document", "a second document begins here: the file must be one"),
    ("mapping values", 'a colon that cannot be one here: check the indentation, and quote a value that holds ": "'),
    ("simple key", 'a line that is not "key: value": the colon, or the space after it, is missing'),
    ("block scalar", "a value that begins with | or > means something else in YAML: put it in quotes"),
    ("quoted scalar", "quotes that are not closed, or hold a backslash escape that YAML does not know"),
    ("flow sequence", "a [ list that is not closed, or lacks a comma"),
    ("flow mapping", "a { mapping that is not closed, or lacks a comma"),
    ("block mapping", "a line that does not fit those around it: check its indentation and its quotes"),
    ("block collection", "a line that does not fit those around it: check its indentation and its quotes"),
    ("block sequence", "a line that does not fit those around it: check its indentation and its quotes"),
)
"""What the reader says, and what that means to a person. Its own words may hold parts of the file, hence of the key."""


def read_document(data: bytes, faults: Faults) -> yaml.MappingNode | None:
    """The file's one mapping; None if a fault was added."""
    text = _decode(data, faults)
    if text is None:
        return None
    try:
        too_deep = _line_too_deep(text)
        root = yaml.compose(text, Loader=_LOADER) if too_deep is None else None
    except yaml.MarkedYAMLError as error:
        faults.add("", *_explain(error, text))
        return None
    except yaml.YAMLError:
        faults.add("", "not YAML")
        return None
    if too_deep is not None:
        faults.add("", "is nested deeper than any configuration", too_deep)
        return None
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        faults.add("", 'is empty: it needs at least a folder to watch, like "watch: [{path: ~/Pictures}]"')
        return None
    if not isinstance(root, yaml.MappingNode):
        faults.add("", 'must be a mapping of keys, like "watch: [{path: ~/Pictures}]"', line_of(root))
        return None
    return root


def top_level(data: bytes) -> dict[str, str]:
    """The plain values of the file's own keys, as far as it is YAML at all."""
    found: dict[str, str] = {}
    key: str | None = None
    depth = 0
    with suppress(yaml.YAMLError):
        for event in yaml.parse(data.decode("utf-8-sig", "replace"), Loader=_LOADER):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
                key = None
            elif depth == 1 and key is not None:
                if isinstance(event, yaml.ScalarEvent):
                    found.setdefault(key, event.value)
                key = None
            elif depth == 1 and isinstance(event, yaml.ScalarEvent):
                key = event.value
    return found


def line_of(node: yaml.Node) -> int:
    """The line a node begins in, 1-based."""
    return int(node.start_mark.line) + 1


def _decode(data: bytes, faults: Faults) -> str | None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        faults.add("", "is not UTF-8 text", data.count(b"\n", 0, error.start) + 1)
        return None
    bad = _NOT_TEXT.search(text)
    if bad is not None:
        faults.add("", "holds a control character: only text can be here", text.count("\n", 0, bad.start()) + 1)
        return None
    return text


def _line_too_deep(text: str) -> int | None:
    """The line (1-based) where the nesting passes `DEEPEST`; found event by event, without recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            return 1 + (event.start_mark.line if event.start_mark is not None else 0)
    return None


def _explain(error: yaml.MarkedYAMLError, text: str) -> tuple[str, int | None]:
    """What is wrong, without a word of the file, and in which line."""
    context, problem = error.context or "", error.problem or ""
    mark = error.problem_mark
    if error.context_mark is not None and any(thing in context for thing in _BEGUN_BEFORE):
        mark = error.context_mark
    line = None if mark is None else int(mark.line) + 1
    if mark is not None and "cannot start any token" in problem and _character(text, mark) == "\t":
        return "not YAML: a tab in the indentation: use spaces", line
    said = f"{context} {problem}"
    for word, meaning in _SAYINGS:
        if word in said:
            return f"not YAML: {meaning}", line
    return f"not YAML: {_QUOTED.sub('…', problem)}", line


def _character(text: str, mark: yaml.Mark) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    return line[mark.column : mark.column + 1]
