"""A store that misbehaves as told: the STORE API in memory, for tests of all that speaks to it.

with FaultyStore() as store:
    store.next(Drop(at=1000), None)         # the first request fails, the second goes well
    ...
    store.wait_for(lambda s: s.stored[sha] == 1)
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from support.faults import Fault
from support.faulty_server import FaultyServer

PATIENCE = 20.0
"""Seconds after which something that should have happened has not."""
_LOOK_EVERY = 0.02
"""Seconds between two looks at whether to stop."""


@dataclass
class Seen:
    """One POST, and how far it came."""

    number: int
    """Counted from 1 in the order they began."""
    connection: int
    """Counted from 1; equal numbers are requests on one connection."""
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    length: int
    received: int = 0
    completed: bool = False
    stored: bool = False
    answered: int | None = None
    """The HTTP status of the answer."""
    client_left: bool = False
    """The client closed the connection while this hung, or while its rest was thrown away."""
    filename: str | None = None
    sha256: str | None = None
    """Of the file part; known when the body is complete."""
    fields: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    """Names of the parts, in order."""
    malformed: str | None = None


@dataclass(frozen=True)
class Asked:
    """What a deciding function is asked about; `sha256` is None while the body is still coming."""

    number: int
    filename: str | None
    sha256: str | None


class FaultyStore:
    """A server on a loopback port of its own. What it has seen stays readable after `stop`, and over `start`.

    `keys`: it wants one of them, as part or as header. `keep_bodies`: `bodies` keeps what is stored.
    """

    def __init__(self, *, keys: frozenset[str] | None = None, keep_bodies: bool = False) -> None:
        self.keys = keys
        self.keep_bodies = keep_bodies
        self.close_after_answer = False
        """Close after each answer without saying so."""
        self.idle_timeout: float | None = None
        """Close connections that wait this long for their next request."""
        self.requests: list[Seen] = []
        self.begun: Counter[str] = Counter()
        """Requests that began, by file name, as far as the name came."""
        self.completed: Counter[str] = Counter()
        """Bodies that came completely, by SHA-256 of the file."""
        self.stored: Counter[str] = Counter()
        """Media stored, by SHA-256."""
        self.sizes: dict[str, int] = {}
        self.bodies: dict[str, bytes] = {}
        self.ids: dict[str, str] = {}
        """SHA-256 by id."""
        self.deleted: list[str] = []
        self.connections = 0
        self.in_flight = 0
        self.peak = 0
        """The most requests that were under way at once: begun here, and neither answered nor lost."""
        self.changed = threading.Condition(threading.RLock())
        self.stopping = threading.Event()
        self._queue: deque[Fault | None] = deque()
        self._always: Fault | None = None
        self._decide: Callable[[Asked], Fault | None] | None = None
        self._port = 0
        self._server: FaultyServer | None = None
        self._thread: threading.Thread | None = None

    # --- the script

    def next(self, *faults: Fault | None) -> None:
        """The next requests, in the order they begin, meet these; None is one that goes well."""
        with self.changed:
            self._queue.extend(faults)

    def always(self, fault: Fault | None) -> None:
        """Every request for which nothing else is scripted meets this."""
        with self.changed:
            self._always = fault

    def decide(self, function: Callable[[Asked], Fault | None] | None) -> None:
        """For each request without a scripted fault this is asked once the name has come, and unless it names
        a fault then, once more when the body is complete."""
        with self.changed:
            self._decide = function

    def heal(self) -> None:
        """From now on everything goes well."""
        with self.changed:
            self._queue.clear()
            self._always = self._decide = None

    # --- the server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/store"

    def link_to(self, media_id: str) -> str:
        return f"http://127.0.0.1:{self._port}/{media_id}"

    def start(self) -> None:
        """Listens; on the same port as before, if it was stopped."""
        self.stopping.clear()
        self._server = FaultyServer(self, self._port)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_EVERY,), name="faulty-store", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Cuts all connections and refuses new ones. Fails if the store itself had a fault that nobody scripted."""
        if self._server is None or self._thread is None:
            return
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut()
        self._server.server_close()
        crashes, self._server = self._server.crashes, None
        assert not crashes, "\n".join(crashes)

    def __enter__(self) -> FaultyStore:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        return len(self._server.open) if self._server else 0

    def wait_for(self, predicate: Callable[[FaultyStore], object], timeout: float = PATIENCE) -> None:
        """Waits until this is true of the store; fails with what was seen."""
        with self.changed:
            so = self.changed.wait_for(lambda: bool(predicate(self)), timeout)
            assert so, f"not so within {timeout} s; seen: {self.requests}"

    # --- what the handlers do to it

    def begin(self, path: str, headers: dict[str, str], connection: int) -> tuple[Seen, Fault | None, bool]:
        """A new request: its record, its fault, and whether the deciding function is to be asked."""
        with self.changed:
            length = int(headers.get("content-length", "0"))
            seen = Seen(len(self.requests) + 1, connection, path, headers, length)
            self.requests.append(seen)
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            self.changed.notify_all()
            if self._queue:
                return seen, self._queue.popleft(), False
            return seen, self._always, self._always is None

    def ask(self, seen: Seen) -> Fault | None:
        with self.changed:
            decide = self._decide
        return decide(Asked(seen.number, seen.filename, seen.sha256)) if decide else None

    def keep(self, seen: Seen, content: bytes) -> str:
        """Stores it, once however often this is called; its id."""
        assert seen.sha256 is not None
        media_id = f"{seen.number:08x}{seen.sha256[:16]}.jpg"
        with self.changed:
            if not seen.stored:
                seen.stored = True
                self.stored[seen.sha256] += 1
                self.ids[media_id] = seen.sha256
                self.sizes[seen.sha256] = len(content)
                if self.keep_bodies:
                    self.bodies[seen.sha256] = content
                self.changed.notify_all()
        return media_id
