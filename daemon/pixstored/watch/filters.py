"""Which names a watched folder takes: `include`, `exclude`, and the built-in excludes, as pure functions of a path.

The patterns are gitignore's, compiled by pathspec. Which of them decides is worked out here, because a watched
folder is not a git tree: both sides are lower-cased, some built-in patterns are about files only, and what
`include` lets in must be the file itself, not a folder above it. As in git, the last pattern that matches
decides, and what lies in an excluded folder is out whatever its own name says.

A start, and a command about one file, need few of the eighty expressions that there are without a pattern of the
user's: each is compiled when it is first asked. And they do without pathspec (15 ms, measured): the built-in patterns
are simple ones, which are put into the same expressions here.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from enum import Enum
from functools import cached_property, lru_cache

from pixstored.config.schema import WatchConfig
from pixstored.errors import ConfigError
from pixstored.slotted import dataclass
from pixstored.watch.builtin import HIDDEN, SETS, SYSTEM, UNFINISHED

_SUFFIX = re.compile(r"\*\.([^\s*?\[\]\\/.!]+)")
"""A pattern that is about an extension only: looked up in a set, which is what most patterns of most lists are."""
_EVERYTHING = re.compile(r"(?!/\*$)/?(?:\*\*/)*\*{1,2}(/?)")
_GROUP_NAME = re.compile(r"\(\?P<\w+>")
_ANYWHERE = "^(?:.+/)?"
"""What pathspec's expressions begin with, but for patterns that are about one place."""
_WILD = {"*": "[^/]*", "?": "[^/]"}
_PART = re.compile(r"\[[a-z]+\]|.")
_LISTS_SHARED = 64
"""Lists of patterns that are kept for the next watch, which mostly has the same ones."""
_FOLDERS_REMEMBERED = 16_384
"""Folders whose answer is kept (about 2 MB): a scan asks for the same folder once a file."""


class _About(Enum):
    """What a pattern can match."""

    FILES = "files"
    FOLDERS = "folders"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a name is taken, and which rule said so, in words."""

    taken: bool
    reason: str


class _Pattern:
    """One line of a list. `shown` is how the user wrote it, `source` the expression that it is."""

    def __init__(self, shown: str, source: str, about: _About, suffix: str | None, *, negated: bool = False) -> None:
        self.shown = shown
        self.source = source
        self.negated = negated
        self.about = about
        self.suffix = suffix

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.source)

    def is_file(self, path: str) -> bool:
        if self.about is _About.FOLDERS:
            return False
        if self.suffix is not None:
            return path.endswith("." + self.suffix)
        return self.regex.fullmatch(path) is not None

    def is_folder(self, path: str) -> bool:
        return self.about is not _About.FILES and self.regex.fullmatch(path + "/") is not None

    def holds(self, path: str) -> bool:
        """True if one of the folders above this file is one that the pattern names."""
        return self.about is _About.FOLDERS and self.regex.search(path) is not None


def _folded(text: str) -> str:
    """As names are compared: lower case, and no line feed, which a `.` in pathspec's expressions would not match."""
    lowered = text.lower()
    return lowered.replace("\n", "\0") if "\n" in lowered else lowered


def _compiled(shown: str, written: str, about: _About = _About.BOTH) -> _Pattern:
    """Compiles one line. Raises ConfigError if gitignore would drop it, or cannot read it."""
    negated = written.startswith("!")
    body = _folded(written.removeprefix("!"))
    if negated and body.startswith(("!", "#")):
        body = "\\" + body  # a second mark is a character like any other
    body = _explicit(body if body.endswith("\\ ") else body.rstrip())
    regex = _expression(body)
    if regex is None:
        raise ConfigError(f"`{shown}` is not a gitignore pattern that can match anything: correct or remove it")
    if about is _About.BOTH and body.endswith("/"):
        about = _About.FOLDERS
    return _Pattern(shown, regex.pattern, about, _suffix_of(body), negated=negated)


def _suffix_of(body: str) -> str | None:
    found = _SUFFIX.fullmatch(body)
    return found[1] if found else None


def _expression(body: str) -> re.Pattern[str] | None:
    from pathspec import GitIgnoreSpec  # late: see above

    try:
        compiled = GitIgnoreSpec.from_lines([body]).patterns
    except (ValueError, re.error):
        return None
    return compiled[0].regex if compiled else None


def _explicit(body: str) -> str:
    """The same pattern in a form whose expression spells out the whole path.

    For `*`, `**` and what ends in `/**` pathspec makes expressions that stop before the end of what they match,
    so that one could not tell a folder from what lies in it.
    """
    everything = _EVERYTHING.fullmatch(body)
    if everything:
        return "?*" + everything[1]
    for ending in ("/**", "/**/"):
        if body.endswith(ending):
            return body.removesuffix(ending) + "/**/*" + ending[3:]
    return body


def _expanded(patterns: Iterable[str]) -> Iterable[_Pattern]:
    """A user's list, its `@words` spelt out. An extension is a file's: a folder may be named `x.mp4`."""
    for pattern in patterns:
        mark = "!" if pattern.startswith("!") else ""
        extensions = SETS.get(pattern.removeprefix("!"))
        if extensions is None:
            yield _compiled(pattern, pattern)
        else:
            for extension in extensions:
                yield _simple(pattern, f"*.{extension}", _About.FILES, negated=bool(mark))


def _built_in() -> Iterable[_Pattern]:
    for pattern in HIDDEN:
        yield _simple(pattern, pattern, _About.BOTH)
    for pattern in UNFINISHED:
        yield _simple(pattern, pattern, _About.FILES)
    for pattern in SYSTEM:
        yield _simple(pattern, pattern, _About.FOLDERS if pattern.endswith("/") else _About.BOTH)


def _simple(shown: str, written: str, about: _About, *, negated: bool = False) -> _Pattern:
    """A pattern of ours, with nothing special in it but `*`, `?` and `[letters]`; it is about names at any depth."""
    body = _folded(written)
    name = body.removesuffix("/")
    source = "".join(_WILD.get(part) or (part if part[1:] else re.escape(part)) for part in _PART.findall(name))
    end = "(?P<ps_d>/)" if body != name else "(?:(?P<ps_d>/)|$)"
    return _Pattern(shown, _ANYWHERE + source + end, about, _suffix_of(body), negated=negated)


class _List:
    """One list of patterns, in order."""

    def __init__(self, phrase: str, patterns: Iterable[_Pattern]) -> None:
        """`phrase` names one of its patterns, put in for the `{}`, to a person."""
        self._phrase = phrase
        self._patterns = tuple(patterns)
        self._reversed = self._patterns[::-1]
        of_files = [p for p in self._patterns if p.about is not _About.FOLDERS]
        self._ordered = any(p.negated for p in self._patterns)
        self._suffixes = frozenset(p.suffix for p in of_files if p.suffix is not None)

    @cached_property
    def _files(self) -> re.Pattern[str] | None:
        return _any_of(p for p in self._patterns if p.about is not _About.FOLDERS and p.suffix is None)

    @cached_property
    def _folders(self) -> re.Pattern[str] | None:
        return _any_of(p for p in self._patterns if p.about is not _About.FILES)

    @cached_property
    def _holders(self) -> re.Pattern[str] | None:
        return _any_of(p for p in self._patterns if p.about is _About.FOLDERS)

    def name(self, pattern: _Pattern) -> str:
        return self._phrase.format(pattern.shown)

    def on_file(self, path: str) -> _Pattern | None:
        """The pattern that decides about this file itself; None if none matches it."""
        if not self._ordered and self.names_file(path, _suffix_in(path)) is None:
            return None
        return next((p for p in self._reversed if p.is_file(path)), None)

    def on_folder(self, path: str) -> _Pattern | None:
        """The pattern that decides about this folder itself; None if none matches it."""
        if self._folders is None or self._folders.fullmatch(path + "/") is None:
            return None
        return next((p for p in self._reversed if p.is_folder(path)), None)

    def letting_in(self, path: str) -> _Pattern | None:
        """The pattern that decides about this file by its own name, or by a folder that ends in `/`."""
        return next((p for p in self._reversed if p.is_file(path) or p.holds(path)), None)

    def lets_in(self, path: str, suffix: str) -> bool:
        """As `letting_in`, without saying which."""
        if self._ordered:
            found = self.letting_in(path)
            return found is not None and not found.negated
        return (
            suffix in self._suffixes
            or (self._files is not None and self._files.fullmatch(path) is not None)
            or (self._holders is not None and self._holders.search(path) is not None)
        )

    def names_file(self, path: str, suffix: str) -> bool | None:
        """As `on_file`, without saying which: True, False if a negation decides, None if nothing matches."""
        if self._ordered:
            found = self.on_file(path)
            return None if found is None else not found.negated
        if suffix in self._suffixes or (self._files is not None and self._files.fullmatch(path) is not None):
            return True
        return None


def _suffix_in(path: str) -> str:
    """What follows the last dot of the name, in a path as `_folded` gives it."""
    last = path.rpartition("/")[2]
    return last.rpartition(".")[2] if "." in last else ""


def _any_of(patterns: Iterable[_Pattern]) -> re.Pattern[str] | None:
    """One expression for all of them: a scan asks 100,000 times. What they begin with alike is tried once."""
    sources = [_GROUP_NAME.sub("(?:", p.source) for p in patterns]
    anywhere = [source.removeprefix(_ANYWHERE) for source in sources if source.startswith(_ANYWHERE)]
    others = [source for source in sources if not source.startswith(_ANYWHERE)]
    if anywhere:
        others.append(_ANYWHERE + _either(anywhere))
    return re.compile(_either(others)) if others else None


def _either(sources: Iterable[str]) -> str:
    return "(?:" + "|".join(f"(?:{source})" for source in sources) + ")"


@lru_cache(_LISTS_SHARED)
def _include_list(patterns: tuple[str, ...]) -> _List:
    return _List("the pattern `{}` of include", _expanded(patterns))


@lru_cache(_LISTS_SHARED)
def _exclude_list(patterns: tuple[str, ...]) -> _List:
    return _List("the pattern `{}` of exclude", _expanded(patterns))


@lru_cache
def _built_in_list(*, exclude_defaults: bool) -> _List:
    return _List("the built-in pattern `{}`", _built_in() if exclude_defaults else ())


class Rules:
    """What one watched folder takes. All paths are relative to it, with `/` between names."""

    def __init__(
        self,
        include: Sequence[str],
        exclude: Sequence[str],
        *,
        exclude_defaults: bool = True,
        recursive: bool = True,
        min_size: int = 0,
        max_size: int | None = None,
    ) -> None:
        """Sizes are bytes. Raises ConfigError, naming the first pattern that cannot be used."""
        self._include = _include_list(tuple(include))
        self._exclude = _exclude_list(tuple(exclude))
        self._built_in = _built_in_list(exclude_defaults=exclude_defaults)
        self._recursive = recursive
        self._min_size = min_size
        self._max_size = max_size
        self._remembered: dict[str, str | None] = {"": None}

    @classmethod
    def of(cls, config: WatchConfig) -> Rules:
        """The rules of a configured folder. Raises ConfigError, naming the first pattern that cannot be used."""
        return cls(
            config.include,
            config.exclude,
            exclude_defaults=config.exclude_defaults,
            recursive=config.recursive,
            min_size=config.min_size,
            max_size=config.max_size,
        )

    def enters(self, rel_folder: str) -> bool:
        """True if what lies in this folder can be taken at all; "" is the watched folder itself."""
        return self._outside(rel_folder) is None

    def takes(self, rel_file: str) -> bool:
        """As `verdict(rel_file).taken`, fast."""
        folder, _, name = rel_file.rpartition("/")
        return self._outside(folder) is None and self.takes_in(folder, name)

    def takes_in(self, rel_folder: str, name: str) -> bool:
        """As `takes`, for a name in a folder that is known to be entered."""
        path = _folded(f"{rel_folder}/{name}" if rel_folder else name)
        suffix = _suffix_in(path)
        if not self._include.lets_in(path, suffix):
            return False
        excluded = self._exclude.names_file(path, suffix)
        if excluded is None:
            # None of the built-in patterns about files looks at folders.
            excluded = self._built_in.names_file(path.rpartition("/")[2], suffix)
        return not excluded

    def verdict(self, rel_file: str) -> Verdict:
        """Whether this file is taken, and why, for a person to read."""
        outside = self._outside(rel_file.rpartition("/")[0])
        if outside is not None:
            return Verdict(False, outside)
        path = _folded(rel_file)
        for patterns in (self._exclude, self._built_in):
            found = patterns.on_file(path)
            if found is not None:
                if not found.negated:
                    return Verdict(False, f"excluded by {patterns.name(found)}")
                break
        found = self._include.letting_in(path)
        if found is None:
            return Verdict(False, "matches no pattern of include")
        if found.negated:
            return Verdict(False, f"turned away by {self._include.name(found)}")
        return Verdict(True, f"taken by {self._include.name(found)}")

    def size_refusal(self, size: int) -> str | None:
        """Why a file of this size (bytes) is not taken; None if it is."""
        if size < self._min_size:
            return f"its size is {size} bytes, and min_size is {self._min_size}"
        if self._max_size is not None and size > self._max_size:
            return f"its size is {size} bytes, and max_size is {self._max_size}"
        return None

    def _outside(self, folder: str) -> str | None:
        """Why nothing in this folder is taken, in words; None if it is entered."""
        remembered = self._remembered
        if len(remembered) >= _FOLDERS_REMEMBERED:
            remembered = self._remembered = {"": None}
        unknown = []
        while folder not in remembered:
            unknown.append(folder)
            folder = folder.rpartition("/")[0]
        reason = remembered[folder]
        for below in reversed(unknown):
            reason = remembered[below] = reason or self._excluded_folder(below)
        return reason

    def _excluded_folder(self, folder: str) -> str | None:
        if not self._recursive:
            return f"lies in the folder `{folder}`, and recursive is false"
        path = _folded(folder)
        for patterns in (self._exclude, self._built_in):
            found = patterns.on_folder(path)
            if found is not None:
                return None if found.negated else f"lies in the folder `{folder}`, excluded by {patterns.name(found)}"
        return None


UNFINISHED_SUFFIX = ".aria2"
"""What aria2 puts behind the name of a file to keep its notes in, until the file is complete."""


def unfinished_sibling(folder_names: Container[str], name: str) -> bool:
    """True if the names in its folder say that this file is still being downloaded."""
    return name + UNFINISHED_SUFFIX in folder_names
