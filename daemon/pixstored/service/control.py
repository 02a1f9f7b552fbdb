"""The daemon's socket: one JSON object a line each way, after a greeting that names the ledger.

server: {"pixstored": "0.1.0", "protocol": 1, "ledger": "/var/lib/pixstored/ledger.db", "pid": 1234}
client: {"command": "status"}
server: {"result": {…}}   or   {"error": "one sentence", "exit": 1}

An answer may come in parts: any number of {"part": {…}} before that last line.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pixstored import __version__
from pixstored.errors import ConfigError, PixstoredError
from pixstored.eventlog import EventLog

log = EventLog("pixstored.control")

PROTOCOL = 1

Answer = dict[str, Any]
Handler = Callable[[Mapping[str, Any]], Answer]
Stream = Callable[[Mapping[str, Any]], Iterator[Answer]]
"""Answers in parts."""

_MODE = 0o660
"""The socket's permissions: its owner and its group."""

_LONGEST_LINE = 1024 * 1024
"""Bytes of a line that are read at most."""

_PATIENCE = 10.0
"""Seconds a peer may take for a line."""

_ACCEPT_PAUSE = 1.0
"""Seconds to wait after a connection could not be taken: out of descriptors, most likely."""

_MOST_PEERS = 32
"""Connections at once; more are turned away."""


class ControlError(PixstoredError):
    """The daemon answered with an error, or not in our language."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DaemonGone(ControlError):
    """The daemon ended while it was asked."""


class ControlServer(threading.Thread):
    """Answers commands on a Unix socket until it is stopped."""

    def __init__(
        self, path: Path, ledger: Path, handlers: Mapping[str, Handler], streams: Mapping[str, Stream]
    ) -> None:
        super().__init__(name="control", daemon=True)
        self._path = path
        self._ledger = ledger
        self._handlers = handlers
        self._streams = streams
        self._places = threading.Semaphore(_MOST_PEERS)
        self._stopped = threading.Event()
        self._socket = _listen(path)

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                peer, _ = self._socket.accept()
            except OSError as error:
                if not self._stopped.wait(_ACCEPT_PAUSE):
                    log.warning("control connection refused", reason=error.strerror)
                continue
            if not self._places.acquire(blocking=False):
                peer.close()
                continue
            try:
                threading.Thread(target=self._serve, args=(peer,), name="control-peer", daemon=True).start()
            except RuntimeError:  # the system has no more threads to give
                self._places.release()
                peer.close()
                log.warning("control connection refused", reason="no more threads")

    def stop(self) -> None:
        """Takes the socket away and ends the thread."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _serve(self, peer: socket.socket) -> None:
        try:
            with peer:
                peer.settimeout(_PATIENCE)
                greeting = {
                    "pixstored": __version__,
                    "protocol": PROTOCOL,
                    "ledger": os.fsencode(self._ledger).decode("utf-8", "backslashreplace"),
                    "pid": os.getpid(),
                }
                _write(peer, greeting)
                for line, descriptor in _lines(peer):
                    try:
                        for answer in self._answers(line, descriptor):
                            if self._stopped.is_set():
                                return  # what a stopping daemon says of itself is not true any more
                            _write(peer, answer)
                    finally:
                        if descriptor is not None:
                            os.close(descriptor)
        except (OSError, ValueError, RecursionError):  # the last two: what came is no JSON, or too deep a one
            log.debug("control connection lost")
        finally:
            self._places.release()

    def _answers(self, line: bytes, descriptor: int | None) -> Iterator[Answer]:
        said = json.loads(line)
        request = {**said, "descriptor": descriptor} if isinstance(said, dict) else {}
        command = str(request.get("command"))
        try:
            if command in self._streams:
                for part in self._streams[command](request):
                    yield {"part": part}
                yield {"result": {}}
            elif command in self._handlers:
                yield {"result": self._handlers[command](request)}
            else:
                raise ControlError("this daemon does not know that command: it may be older than the program")
        except PixstoredError as error:
            yield {"error": str(error), "exit": getattr(error, "exit_code", 1)}


class ControlClient:
    """A connection to the daemon of one ledger."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lines = _lines(connection)

    @classmethod
    def connect(cls, path: Path, ledger: Path | None) -> ControlClient | None:
        """A connection, or None if no daemon listens there. One that has another ledger is refused."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(_PATIENCE)
        try:
            with _reachable(path) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            connection.close()
            return None
        except PermissionError:
            connection.close()
            raise ControlError(
                f"the daemon's socket {path} is not for this user: "
                f"try `sudo {shlex.join(['pixstored', *sys.argv[1:]])}`"
            ) from None
        except OSError as error:
            connection.close()
            raise ControlError(f"the daemon's socket {path} cannot be used: {error.strerror}") from error
        client = cls(connection)
        try:
            greeting = client._read()
        except DaemonGone:
            client.close()
            return None
        ours = None if ledger is None else os.fsencode(ledger).decode("utf-8", "backslashreplace")
        if ours is not None and greeting.get("ledger") != ours:
            client.close()
            raise ControlError(
                f"the daemon at {path} works with another ledger ({greeting.get('ledger')}, not {ours}): "
                "give the two configurations different `control` paths, or restart it if `ledger` was changed"
            )
        return client

    def ask(
        self, command: str, *, descriptor: int | None = None, patience: float = _PATIENCE, **arguments: object
    ) -> Answer:
        """Sends one command, with an open file if one is given, and returns its result, for which it waits `patience`
        seconds.

        Raises `ControlError` with the daemon's sentence, `DaemonGone` if it ends before it answers.
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
        except (OSError, StopIteration) as error:
            raise DaemonGone("the daemon ended before it answered") from error
        except ValueError as error:
            raise ControlError("the daemon's socket does not speak as pixstored does") from error
        if not isinstance(answer, dict):
            raise ControlError("the daemon's socket does not speak as pixstored does")
        return answer


def _listen(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        with _reachable(path) as address:
            _clear(address, path)
            server.bind(address)
            os.chmod(address, _MODE)
            server.listen()
    except OSError as error:
        server.close()
        raise ConfigError(f"control: cannot make the socket {path}: {error.strerror}") from error
    return server


def _clear(address: str, path: Path) -> None:
    """Removes what a dead daemon left; refuses where a living one listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(address)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if not path.is_socket():
                raise ConfigError(f"control: {path} is there, and is no socket: name another place") from None
            os.unlink(address)
            return
    raise ConfigError(f"control: another daemon listens at {path}: give this configuration a `control` of its own")


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """An address of `path` that is short enough, whatever its length: unix(7) allows 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _write(connection: socket.socket, message: Mapping[str, object]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _lines(connection: socket.socket) -> Iterator[tuple[bytes, int | None]]:
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
