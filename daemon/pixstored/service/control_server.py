"""The daemon's side of its socket: a thread that answers commands, as `control` tells how."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from pixstored import __version__
from pixstored.errors import ConfigError, PixstoredError
from pixstored.eventlog import EventLog
from pixstored.service.control import (
    PATIENCE,
    PROTOCOL,
    Answer,
    ControlError,
    Handler,
    Stream,
    lines_of,
    reachable,
    write_message,
)

log = EventLog("pixstored.control")

_MODE = 0o660
"""The socket's permissions: its owner and its group."""

_ACCEPT_PAUSE = 1.0
"""Seconds to wait after a connection could not be taken: out of descriptors, most likely."""

MOST_PEERS = 32
"""Connections at once. Whoever comes then waits for one of them to end, which each does that says nothing: turned away,
it would take the daemon for one that does not run."""


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
        self._places = threading.Semaphore(MOST_PEERS)
        self._stopped = threading.Event()
        self._socket = _listen(path)

    def run(self) -> None:
        while not self._stopped.is_set():
            self._places.acquire()
            try:
                peer, _ = self._socket.accept()
            except OSError as error:
                self._places.release()
                if not self._stopped.wait(_ACCEPT_PAUSE):
                    log.warning("control connection refused", reason=error.strerror)
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
                peer.settimeout(PATIENCE)
                greeting = {
                    "pixstored": __version__,
                    "protocol": PROTOCOL,
                    "ledger": os.fsencode(self._ledger).decode("utf-8", "backslashreplace"),
                    "pid": os.getpid(),
                }
                write_message(peer, greeting)
                for line, descriptor in lines_of(peer):
                    try:
                        for answer in self._answers(line, descriptor):
                            if self._stopped.is_set():
                                return  # what a stopping daemon says of itself is not true any more
                            write_message(peer, answer)
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
            yield {"error": str(error), "exit": error.exit_code}


def _listen(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        with reachable(path) as address:
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
