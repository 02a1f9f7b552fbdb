"""One socket to the store, whose every wait ends by itself: on a stall, a deadline, an answer, a cut.

The libraries above give a time limit to each system call at best. An upload needs others: no byte moving
for so long, an answer within so long in total, an end at once when another thread says so; and it must see
an answer that comes before the body is complete, over TLS too.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import select
import socket
import ssl
import struct
import sys
import termios
from collections.abc import Callable, Sequence
from typing import Any

from pixstored.store.alarm import Alarm

Clock = Callable[[], float]
"""Monotonic seconds."""

TLS_PIECE = 16 * 1024
"""Bytes: one TLS record. OpenSSL takes a longer write whole or says nothing of how far it got."""
GULP = 64 * 1024
"""Bytes asked of the kernel at once when the other side says something."""
MOST_GULPS = 16
"""An endless flow of interim answers must not keep us from sending."""
LONGEST_PRELUDE = 64 * 1024
"""Bytes of an interim answer; a longer one is left to the HTTP parser to refuse."""
MOST_OF_AN_ANSWER = 1024 * 1024
"""Bytes of one answer, with its head and all interim ones: there are flows that would never end."""
LOOK_EVERY = 1.0
"""Seconds between two looks at what the kernel still holds, while nothing else happens."""
LOOKS_A_STALL = 4
"""So often at least within the stall timeout: only a second look can tell that something has moved."""

_INTERIM = re.compile(rb"HTTP/1\.\d 1\d\d[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n")
_BEGINS_INTERIM = re.compile(rb"HTTP/1\.\d 1")
_BEGINS_FINAL = re.compile(rb"HTTP/1\.\d [2-9]")
_EVERY_ANSWER_BEGINS = b"HTTP/1."
_FINAL_OR_JUNK_AT = len(b"HTTP/1.1 2")
_NOTHING_YET = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class WireError(Exception):
    """Why a wire gave up. Not an OSError: the HTTP libraries swallow some of those."""


class Answered(WireError):
    """The other side has answered before it had everything."""


class Lost(WireError):
    """The connection was closed or broke."""


class Stalled(WireError):
    """No byte has moved for the stall timeout."""


class Overdue(WireError):
    """The answer did not come, or not completely, within its time."""


class Endless(WireError):
    """The answer goes on for longer than any of the store's."""


class Cut(WireError):
    """Another thread ended it."""


class _Dialled(socket.socket):
    """What the HTTP library reads from it, a proxy's answer, comes within the time limit in total, not byte by byte."""

    _clock: Clock
    _deadline: float

    def limit(self, timeout: float, clock: Clock) -> None:
        self._clock, self._deadline = clock, clock() + timeout
        self.settimeout(timeout)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        self.settimeout(left)
        return super().recv_into(buffer, nbytes, flags)


def dial(host: str, port: int, timeout: float, alarm: Alarm, clock: Clock) -> socket.socket:
    """A connected TCP socket, its own time limit set to `timeout` seconds.

    The time is for all addresses of the name together, fairly shared, so that a dead IPv6 route leaves some
    for IPv4. The name look-up itself cannot be woken or limited: the system's resolver does that.
    Raises OSError or `Cut`.
    """
    addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    deadline = clock() + timeout
    failure: OSError = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        share = (deadline - clock()) / (len(addresses) - tried)
        sock = _Dialled(family, kind, protocol)
        try:
            _connect(sock, address, share, alarm)
            sock.limit(timeout, clock)
        except OSError as err:
            sock.close()
            failure = err
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _connect(sock: socket.socket, address: object, timeout: float, alarm: Alarm) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    code = sock.connect_ex(address)  # type: ignore[arg-type]  # as getaddrinfo gave it; typeshed has no name for it
    if code == errno.EINPROGRESS:
        poller = select.poll()
        poller.register(sock, select.POLLOUT)
        poller.register(alarm, select.POLLIN)
        ready = {fd for fd, _ in poller.poll(max(timeout, 0.0) * 1000)}
        if alarm.fileno() in ready:
            raise Cut("the connection was given up")
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.ETIMEDOUT
    if code:
        raise OSError(code, os.strerror(code))


class Wire:
    """A connected socket, plain or TLS, in the shape the HTTP libraries expect of one.

    What they write (the request's head) is kept until `head` is asked for, so that it leaves in one piece
    with the body's beginning. What they read comes after `await_answer`, within its deadline.
    """

    def __init__(self, sock: socket.socket, alarm: Alarm, clock: Clock, stall_timeout: float) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._piece = TLS_PIECE if self._tls else sys.maxsize
        self._alarm = alarm
        self._clock = clock
        self._stall_timeout = stall_timeout
        self._look_every = min(stall_timeout / LOOKS_A_STALL, LOOK_EVERY) * 1000
        """Milliseconds."""
        self._fd = sock.fileno()
        self._sending = self._poller(select.POLLIN | select.POLLOUT)
        self._reading = self._poller(select.POLLIN)
        self._just_room = [(self._fd, select.POLLOUT)]
        """What `_sending` tells nearly always: room, and nothing else."""
        self._head = b""
        self._heard = b""
        self._used = False
        self._readers = 0
        self._closing = False
        self._answer_timeout = 0.0
        self._deadline = 0.0
        self._unsent = 0
        self._told = 0

    def _poller(self, events: int) -> select.poll:
        poller = select.poll()
        poller.register(self._fd, events)
        poller.register(self._alarm, select.POLLIN)
        return poller

    # --- what the HTTP libraries call

    def fileno(self) -> int:
        return self._fd

    def settimeout(self, timeout: float | None) -> None:
        """The wire has its own time limits."""

    def sendall(self, data: bytes) -> None:
        self._head += data

    def makefile(self, mode: str) -> io.BufferedReader:
        self._readers += 1
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Closes the socket, at once or when the last reader of the answer has gone."""
        self._closing = True
        if not self._readers:
            self._sock.close()

    def reader_gone(self) -> None:
        self._readers -= 1
        if self._closing:
            self.close()

    # --- how a request goes out

    @property
    def used(self) -> bool:
        """A request has gone over it before."""
        return self._used

    @property
    def is_open(self) -> bool:
        """Nobody on our side has closed it."""
        return self._sock.fileno() >= 0

    def stays_open(self, seconds: float) -> bool:
        """False if the other side closes it, or says something that nobody has asked for, within this time."""
        ready, _ = self._told_by(self._reading.poll(seconds * 1000))
        if ready:
            try:
                self._listen()
            except WireError:
                return False
        return not self._heard

    def begin(self) -> None:
        """Starts a request. Raises `Lost` if something is left of the last answer: it would pass for the next one."""
        self._used = True
        if self._heard or (self._tls is not None and self._tls.pending()):  # no poll tells of what OpenSSL holds
            raise Lost("the other side said more than its answer")

    def head(self) -> bytes:
        """The request's head as the libraries have written it, for whoever sends it."""
        head, self._head = self._head, b""
        return head

    def send(self, data: bytes | memoryview) -> None:
        """Sends all of it, or raises.

        Before each piece the socket is looked at: an answer (`Answered`), a closed connection (`Lost`) or
        a cut (`Cut`) that is there already means that the piece is kept back. If it raises, at least the
        last byte of `data` was not sent, nor (TLS) can the last record be read. `Stalled`: no byte moved.
        """
        sent = 0
        while sent < len(data):
            self._await_room()
            sent += self._push(data, sent)

    def send_first(self, data: bytes) -> None:
        """As `send`, for a request's first bytes: as nothing can be answered before them, nobody looks first."""
        sent = self._push(data, 0)
        if sent < len(data):
            self.send(memoryview(data)[sent:])

    def _await_room(self) -> None:
        since, unsent = self._clock(), -1
        while (events := self._sending.poll(self._look_every)) != self._just_room:
            ready, cut = self._told_by(events)
            if cut:
                raise Cut("the upload was ended")
            if ready & ~select.POLLOUT:
                self._listen()
            if ready & select.POLLOUT:
                return
            now, left = self._clock(), self._unsent_bytes()
            if left != unsent:
                # The kernel may hold megabytes, and says "room" late: its queue tells whether bytes still move.
                since, unsent = (since if unsent < 0 else now), left
            if now - since >= self._stall_timeout:
                raise Stalled(f"no byte has moved for {self._stall_timeout:g} s")

    def _push(self, data: bytes | memoryview, start: int) -> int:
        """Gives the kernel the next piece of the data, from its byte `start` on; how many bytes of it it has taken."""
        whole = start == 0 and len(data) <= self._piece
        piece = data if whole else memoryview(data)[start : start + self._piece]
        try:
            return self._sock.send(piece)
        except _NOTHING_YET:
            return 0
        except OSError as err:
            self._listen()  # it may have said why before it closed
            raise Lost(_reason(err)) from None

    def _listen(self) -> None:
        """Takes in what the other side has said. Raises `Answered` or `Lost`; interim answers are dropped."""
        for _ in range(MOST_GULPS):
            data = self._receive(GULP)
            if data is None:
                return
            if not data:
                raise Lost("the other side closed the connection")
            self._heard += data
            if self._has_final_answer():
                raise Answered("the other side has answered already")

    def _has_final_answer(self) -> bool:
        if _BEGINS_FINAL.match(self._heard):
            return True
        while interim := _INTERIM.match(self._heard):
            self._heard = self._heard[interim.end() :]
        if len(self._heard) > LONGEST_PRELUDE:
            return True
        if not _EVERY_ANSWER_BEGINS.startswith(self._heard[: len(_EVERY_ANSWER_BEGINS)]):
            return True
        return len(self._heard) >= _FINAL_OR_JUNK_AT and not _BEGINS_INTERIM.match(self._heard)

    def past_recall(self) -> None:
        """Everything is out: from now on only a cut ends the wait."""
        self._alarm.past_recall()

    # --- how the answer comes in

    def await_answer(self, timeout: float) -> None:
        """Waits for the first bytes of the final answer; all of it must come within `timeout` seconds.

        The time runs from when the last byte has left: while the kernel still gets rid of what it holds,
        it does not. Raises `Lost`, `Overdue`, `Endless` or `Cut`.
        """
        self._answer_timeout = timeout
        self._deadline = self._clock() + timeout
        self._unsent = 0
        self._told = 0
        while not self._heard or not self._has_final_answer():
            data = self._more(GULP)
            if not data:
                raise Lost("the other side closed the connection without an answer")
            self._heard += data

    @property
    def heard(self) -> bytes:
        """What has come of the answer, and is not read yet."""
        return self._heard

    def forget_heard(self) -> None:
        """All of it has been read."""
        self._heard = b""

    def read(self, limit: int) -> bytes:
        """The next bytes of the answer, empty at its end. Raises `Lost`, `Overdue`, `Endless` or `Cut`."""
        if self._heard:
            data, self._heard = self._heard[:limit], self._heard[limit:]
            return data
        return self._more(limit)

    def _more(self, limit: int) -> bytes:
        while True:
            left = self._deadline - self._clock()
            if left <= 0:
                raise Overdue(f"no complete answer came within {self._answer_timeout:g} s")
            pending = self._tls is not None and self._tls.pending() > 0
            ready, cut = self._told_by(self._reading.poll(0 if pending else min(left, LOOK_EVERY) * 1000))
            if ready or pending:
                data = self._receive(limit)
                if data is not None:
                    self._told += len(data)
                    if self._told > MOST_OF_AN_ANSWER:
                        raise Endless("its answer does not end")
                    return data
            elif cut:
                raise Cut("the wait for the answer was ended")
            else:
                self._extend_while_bytes_leave()

    def _extend_while_bytes_leave(self) -> None:
        unsent = self._unsent_bytes()
        if unsent != self._unsent:
            self._unsent = unsent
            self._deadline = self._clock() + self._answer_timeout

    # --- the system calls

    def _told_by(self, events: Sequence[tuple[int, int]]) -> tuple[int, bool]:
        """What these say of the socket, and whether the alarm has rung."""
        ready, rung = 0, False
        for fd, event in events:
            if fd == self._fd:
                ready = event
            else:
                rung = True
        return ready, rung

    def _receive(self, limit: int) -> bytes | None:
        """What has come: None if nothing (a TLS record of no data counts as nothing), empty at the end."""
        try:
            return self._sock.recv(limit)
        except _NOTHING_YET:
            return None
        except OSError as err:
            raise Lost(_reason(err)) from None

    def _unsent_bytes(self) -> int:
        """Bytes in the kernel that the other side has not acknowledged (tcp(7): SIOCOUTQ)."""
        try:
            answer = fcntl.ioctl(self._fd, termios.TIOCOUTQ, struct.pack("i", 0))
        except OSError:
            return 0
        return int(struct.unpack("i", answer)[0])


class _Reader(io.RawIOBase):
    """The wire as a file to read the answer from."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader gives a memoryview
        data = self._wire.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._wire.reader_gone()


def _reason(err: OSError) -> str:
    return f"the connection broke: {err.strerror or type(err).__name__}"
