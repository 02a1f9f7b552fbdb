"""The daemon's socket: one JSON object a line each way, after a greeting that names the ledger.

server: {"pixstored": "0.1.0", "protocol": 1, "ledger": "/var/lib/pixstored/ledger.db", "pid": 1234}
client: {"command": "status"}
server: {"result": {…}}   or   {"error": "one sentence", "exit": 1}

An answer may come in parts: any number of {"part": {…}} before that last line. A byte of a path that is not UTF-8 is an
escaped surrogate (`\\udc80` to `\\udcff`), as Python has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pixstored.errors import PixstoredError

PROTOCOL = 1

Answer = dict[str, Any]
Handler = Callable[[Mapping[str, Any]], Answer]
Stream = Callable[[Mapping[str, Any]], Iterator[Answer]]
"""Answers in parts."""

_LONGEST_LINE = 1024 * 1024
"""Bytes of a line that are read at most."""

PATIENCE = 10.0
"""Seconds a peer may take for a line."""


class ControlError(PixstoredError):
    """The daemon answered with an error, or not in our language."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DaemonGone(ControlError):
    """The daemon ended while it was asked."""


class DaemonSilent(ControlError):
    """The daemon is there, and does not answer in time."""


class ControlClient:
    """A connection to the daemon of one ledger."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lines = lines_of(connection)

    @classmethod
    def connect(cls, path: Path, ledger: Path | None) -> ControlClient | None:
        """A connection, or None if no daemon listens there.

        Raises `ControlError` if it has another ledger or may not be asked, `DaemonSilent` if it does not answer.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(PATIENCE)
        try:
            with reachable(path) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            connection.close()
            return None
        except PermissionError:
            connection.close()
            from pixstored.service.identity import line_for_root  # late: nearly everybody may

            line = line_for_root(sys.argv[1:], os.environ)
            raise ControlError(f"the daemon's socket {path} is not for this user: try `{line}`") from None
        except OSError as error:
            connection.close()
            raise ControlError(f"the daemon's socket {path} cannot be used: {error.strerror}") from error
        client = cls(connection)
        try:
            greeting = client._read()
        except DaemonGone:
            client.close()
            return None
        except DaemonSilent:
            client.close()
            raise
        ours = None if ledger is None else os.fsencode(ledger).decode("utf-8", "backslashreplace")
        if ours is not None and greeting.get("ledger") != ours:
            client.close()
            raise ControlError(
                f"the daemon at {path} works with another ledger ({greeting.get('ledger')}, not {ours}): "
                "give the two configurations different `control` paths, or restart it if `ledger` was changed"
            )
        return client

    def ask(
        self, command: str, *, descriptor: int | None = None, patience: float = PATIENCE, **arguments: object
    ) -> Answer:
        """Sends one command, with an open file if one is given, and returns its result, for which it waits `patience`
        seconds.

        Raises `ControlError` with the daemon's sentence, `DaemonGone` if it ends before it answers, `DaemonSilent` if
        it does not within that time.
        """
        self._send(command, arguments, [] if descriptor is None else [descriptor], patience)
        result: Answer = self._answer()["result"]
        return result

    def ask_for_all(self, command: str, *, patience: float, **arguments: object) -> Iterator[Answer]:
        """Sends one command whose answer comes in parts, and gives them as they come; `patience` seconds for each.

        They must be taken without delay: a daemon does not wait for whoever reads slowly. Raises as `ask` does.
        """
        self._send(command, arguments, [], patience)
        while "part" in (answer := self._answer()):
            yield answer["part"]

    def _send(self, command: str, arguments: Mapping[str, object], handed: list[int], patience: float) -> None:
        self._socket.settimeout(patience)
        try:
            line = json.dumps({"command": command, **arguments}).encode() + b"\n"
            sent = socket.send_fds(self._socket, [line], handed)
            self._socket.sendall(line[sent:])
        except OSError as error:
            raise DaemonGone(f"the daemon did not answer: {error.strerror}") from error

    def _answer(self) -> Answer:
        answer = self._read()
        if "error" in answer:
            raise ControlError(str(answer["error"]), int(answer.get("exit", 1)))
        return answer

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> Answer:
        try:
            answer = json.loads(next(self._lines)[0])
        except TimeoutError as error:
            raise DaemonSilent(
                "the daemon does not answer: it was stopped by a signal (`kill -CONT` wakes it), or has too much to do"
            ) from error
        except (OSError, StopIteration) as error:
            raise DaemonGone("the daemon ended before it answered") from error
        except ValueError as error:
            raise ControlError("the daemon's socket does not speak as pixstored does") from error
        if not isinstance(answer, dict):
            raise ControlError("the daemon's socket does not speak as pixstored does")
        return answer


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """An address of `path` that is short enough, whatever its length: unix(7) allows 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def write_message(connection: socket.socket, message: Mapping[str, object]) -> None:
    """One line."""
    connection.sendall(json.dumps(message).encode() + b"\n")


def lines_of(connection: socket.socket) -> Iterator[tuple[bytes, int | None]]:
    """The lines that arrive, until the peer closes, each with the open file that came with it, if one did.

    The file is the caller's to close. ValueError for a line that is too long.
    """
    kept = b""
    handed: list[int] = []
    try:
        while True:
            block, descriptors, _, _ = socket.recv_fds(connection, 65536, 1, socket.MSG_CMSG_CLOEXEC)
            handed += descriptors
            if not block:
                return
            *whole, kept = (kept + block).split(b"\n")
            for line in whole:
                yield line, handed.pop(0) if handed else None
            if len(kept) > _LONGEST_LINE:
                raise ValueError("a line is too long")
    finally:
        for descriptor in handed:
            os.close(descriptor)
