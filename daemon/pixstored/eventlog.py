"""One line an event: fixed words and `key=value` fields, for people to grep and programs to read.

The words are the log message, the fields ride beside them on the record; `service/logs.py` writes both as
text or JSON. Paths are made safe to show there, so callers pass them as they are. Never pass a key.
"""

from __future__ import annotations

import logging

FIELDS = "pixstored_fields"
"""The record's attribute that holds the fields."""


class EventLog:
    """A logger of events: `log.info("published", path=path, link=link)`."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, words: str, **fields: object) -> None:
        self._log(logging.DEBUG, words, fields)

    def info(self, words: str, **fields: object) -> None:
        self._log(logging.INFO, words, fields)

    def warning(self, words: str, **fields: object) -> None:
        self._log(logging.WARNING, words, fields)

    def error(self, words: str, **fields: object) -> None:
        self._log(logging.ERROR, words, fields)

    def critical(self, words: str, **fields: object) -> None:
        self._log(logging.CRITICAL, words, fields)

    def crashed(self, words: str, error: BaseException, **fields: object) -> None:
        """A fault of ours, with the traceback of `error`."""
        self._logger.error(words, exc_info=error, extra={FIELDS: fields})

    def _log(self, level: int, words: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            # By hand: no line tells its place in the source, and looking for it took a fifth of the time (measured).
            record = self._logger.makeRecord(self._logger.name, level, "", 0, words, (), None, extra={FIELDS: fields})
            self._logger.handle(record)
