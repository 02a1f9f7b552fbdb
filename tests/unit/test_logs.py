"""What a line of the log looks like: for people, for the journal, and for programs."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixstored.config import LogConfig, LogFormat
from pixstored.eventlog import EventLog
from pixstored.service.logs import JsonFormatter, TextFormatter, error_prefix, set_up_logging

log = EventLog("pixstored.test")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def written(formatter: logging.Formatter) -> io.StringIO:
    """Where all that is logged from now on can be read."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG)
    return stream


@pytest.mark.parametrize(
    ("say", "prefix"),
    [(log.debug, "<7>"), (log.info, "<6>"), (log.warning, "<4>"), (log.error, "<3>"), (log.critical, "<2>")],
)
def test_the_journal_is_told_the_priority_of_each_line(say: object, prefix: str) -> None:
    stream = written(TextFormatter(for_journal=True))
    assert callable(say)
    say("published", path="/photos/a.jpg", size=7)
    assert stream.getvalue() == f"{prefix}published path=/photos/a.jpg size=7\n"


def test_every_line_of_a_traceback_has_its_priority() -> None:
    stream = written(TextFormatter(for_journal=True))
    try:
        raise ValueError("a\nb")
    except ValueError as error:
        log.crashed("thread died", error, thread="intake")
    lines = stream.getvalue().splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


def test_fields_are_words_that_a_shell_and_grep_can_tell_apart() -> None:
    stream = written(TextFormatter(for_journal=True))
    log.info("odd", path="/a b/\x1b[31m.jpg", reason='say "no"', empty="", nothing=None, count=3)
    assert stream.getvalue() == ('<6>odd path="/a b/\\\\x1b[31m.jpg" reason="say \\"no\\"" empty="" count=3\n')


def test_a_terminal_is_told_the_time_and_the_level_in_words() -> None:
    stream = written(TextFormatter(for_journal=False))
    log.critical("ledger", state="full")
    clock, level, *rest = stream.getvalue().split()
    assert (len(clock), level, rest) == (len("14:05:06"), "crit", ["ledger", "state=full"])


def test_json_is_one_object_a_line_with_the_fields_as_they_are() -> None:
    stream = written(JsonFormatter())
    log.warning("rejected", path="/photos/\udcff.jpg", size=7, reason="no\nline", nothing=None)
    [line] = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "warning",
        "event": "rejected",
        "path": "/photos/\\xff.jpg",
        "size": 7,
        "reason": "no\nline",
        "nothing": None,
    }


def test_priorities_are_for_the_journal_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "journal", "w+") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        st = os.fstat(stream.fileno())
        assert error_prefix({"JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"}) == "<3>"
        assert error_prefix({"JOURNAL_STREAM": "1:2"}) == error_prefix({}) == ""


def test_the_level_is_the_configurations_unless_more_or_less_is_asked_for() -> None:
    config = LogConfig("warning", LogFormat.TEXT)
    for options, level in (({}, "WARNING"), ({"verbose": True}, "DEBUG"), ({"quiet": True}, "CRITICAL")):
        set_up_logging(config, {}, **options)
        assert logging.getLevelName(logging.getLogger().level) == level
        assert len(logging.getLogger().handlers) == 1


def test_what_the_http_library_warns_of_is_not_told_as_it_quotes_the_other_side(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging(LogConfig("debug", LogFormat.TEXT), {})
    logging.getLogger("urllib3.response").warning("an odd answer")
    logging.getLogger("urllib3.connection").warning("a head that cannot be read: %s", "WWW-Authenticate: KEY")
    assert capsys.readouterr() == ("", "")
