"""What the log looks like: text with the journal's priorities, or one JSON object a line. Never the key."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from pixstored.config.schema import LogConfig, LogFormat
from pixstored.eventlog import FIELDS
from pixstored.service.teller import Teller
from pixstored.shown import path_in_json, path_on_screen, text_on_screen

_PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""syslog priorities, as sd-daemon(3) has them in a line's `<N>` prefix."""

_LEVEL_WORDS = {logging.WARNING: "warning", logging.CRITICAL: "crit"}

_LIBRARY_LOGGERS = {
    "watchdog": logging.WARNING,
    "urllib3": logging.ERROR,  # warns of odd heads, and quotes them: a store may echo the key in one
    "requests": logging.WARNING,
    "python_multipart": logging.ERROR,  # warns of each malformed form, which the built-in store answers itself
}
"""From which level on libraries may speak: the rest is ours to say in our own words."""


def set_up_logging(
    config: LogConfig, environ: Mapping[str, str], *, verbose: bool = False, quiet: bool = False
) -> None:
    """Sends all logging to standard error, by the `Teller` if there is one. `verbose` shows debug lines whatever the
    configuration says, `quiet` none but critical ones: a command tells its errors itself."""
    root = logging.getLogger()
    teller = next((each for each in root.handlers if isinstance(each, Teller)), None)
    handler = teller or logging.StreamHandler(sys.stderr)
    if config.format is LogFormat.JSON:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter(for_journal=_is_journal(environ)))
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.CRITICAL if quiet else config.level.upper())
    for name, level in _LIBRARY_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    # No line tells these, and each record would look them up (Python's Logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class TextFormatter(logging.Formatter):
    """`published path=/photos/a.jpg link=https://… size=48213`, led by a priority or a time and a level."""

    def __init__(self, *, for_journal: bool) -> None:
        super().__init__()
        self._for_journal = for_journal
        self._second, self._clock = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, FIELDS, {})
        line = " ".join(
            [text_on_screen(record.getMessage())]
            + [f"{key}={_text(key, value)}" for key, value in fields.items() if value is not None]
        )
        lines = [line, *_traceback(self, record)]
        if self._for_journal:
            prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        else:
            prefix = f"{self._clock_at(int(record.created))} {_level(record):<7} "
        return "\n".join(prefix + each for each in lines)

    def _clock_at(self, second: int) -> str:
        if second != self._second:
            self._second, self._clock = second, datetime.fromtimestamp(second).strftime("%H:%M:%S")
        return self._clock


class JsonFormatter(logging.Formatter):
    """One object a line: `time`, `level`, `event`, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": _level(record),
            "event": record.getMessage(),
        }
        for key, value in getattr(record, FIELDS, {}).items():
            entry[key] = path_in_json(value) if isinstance(value, str) else value
        trace = _traceback(self, record)
        if trace:
            entry["traceback"] = "\n".join(trace)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _level(record: logging.LogRecord) -> str:
    return _LEVEL_WORDS.get(record.levelno, record.levelname.lower())


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    if key == "run":  # a line for the shell, the last on its line: as it is to be typed
        return text_on_screen(value)
    shown = path_on_screen(value) if key in ("path", "folder") else text_on_screen(value)
    return json.dumps(shown, ensure_ascii=False) if not shown or " " in shown or '"' in shown or "=" in shown else shown


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    if not record.exc_info:
        return []
    return text_on_screen(formatter.formatException(record.exc_info).replace("\n", "\x1e")).split("\\x1e")


def error_prefix(environ: Mapping[str, str]) -> str:
    """What leads a line of an error that is told without the log: its priority, where the journal reads it."""
    return f"<{_PRIORITIES[logging.ERROR]}>" if _is_journal(environ) else ""


def _is_journal(environ: Mapping[str, str]) -> bool:
    """True if standard error is the journal's: systemd tells its device and inode in `$JOURNAL_STREAM`."""
    try:
        st = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{st.st_dev}:{st.st_ino}"
