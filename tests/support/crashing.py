"""The real daemon, which kills itself (SIGKILL) at one moment of its life. Nothing of this is in the product.

`python -m support.crashing` is a nursery: it imports the program once, then forks a daemon for each JSON line it
reads, so that a start takes milliseconds and thousands of moments can be tried. In the forked process the functions
at the program's boundaries are wrapped: each crossing is written down, and at the one that was named it dies.
`support.nursery` is the other end.
"""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pixstored import cli
from pixstored.cli import run as _imported_before_the_fork
from pixstored.ledger import sqlite_schema
from pixstored.ledger.base import Ledger
from pixstored.ledger.sqlite import SqliteLedger
from pixstored.ledger.sqlite_writer import Writer, _Step
from pixstored.publish.dispatcher import Dispatcher
from pixstored.publish.endings import Endings
from pixstored.publish.intake import Intake
from pixstored.publish.media import Media
from pixstored.publish.reconcile import Reconciler
from pixstored.publish.worker import Worker
from pixstored.service import daemon, keeper
from pixstored.service.engine import Engine
from pixstored.service.links_file import LinksFile
from pixstored.store import client, client_adapter
from pixstored.store.connection import Wire
from pixstored.store.delivery import Delivery

_ASKED_ALL_THE_TIME = frozenset({"claim", "claim_path", "claim_to_recheck", "next_due", "state_of", "flush"})
"""Verbs of the ledger that write nothing, and are called as often as somebody looks for work."""

_HESITATES = 20.0
"""Seconds after which the store should have said what was waited for."""

_LOOK_EVERY = 5
"""Milliseconds between two looks at whether it means to."""

VERBS = [name for name in vars(Ledger) if not name.startswith("_") and name not in _ASKED_ALL_THE_TIME]

_LEDGER_ROOM: Sequence[tuple[type, str]] = [(SqliteLedger, verb) for verb in VERBS]

_BOUNDARIES: Sequence[tuple[Any, str, str]] = (
    (daemon, "open_ledger", "start: open the ledger"),
    (Engine, "_recover", "start: recover"),
    (keeper, "adopted", "start: adopt a folder"),
    (Engine, "start", "start: the workers"),
    (Reconciler, "_scan", "scan"),
    (Intake, "_look", "intake: look at a file"),
    (Intake, "_record", "intake: record"),
    (Worker, "attempt", "worker: attempt"),
    (Engine, "_open", "file: open"),
    (Media, "read", "file: read a block"),
    (Media, "digest", "file: hash it first"),
    (Media, "check_unchanged", "file: still the same"),
    (client_adapter, "dial", "store: connect"),
    (Wire, "begin", "store: begin a request"),
    (Wire, "head", "store: head"),
    (Wire, "send", "store: send a block"),
    (Wire, "_push", "store: a piece to the kernel"),
    (Media, "before_release", "release: note"),
    (Delivery, "_release", "release"),
    (Media, "take_back", "release: take back"),
    (Wire, "past_recall", "release: past recall"),
    (Wire, "await_answer", "answer: wait"),
    (client, "answer_of", "answer: read by the libraries"),
    (client, "answer_on", "answer: read"),
    (client, "judge", "answer: judge"),
    (Dispatcher, "succeeded", "outcome: the store is well"),
    (Dispatcher, "refused", "outcome: the store refuses"),
    (Dispatcher, "failed", "outcome: the store fails"),
    (Dispatcher, "done", "outcome: the turn ends"),
    (Endings, "published", "outcome: published"),
    (Endings, "not_published", "outcome: not published"),
    (LinksFile, "_mend", "links file: mend"),
    (LinksFile, "_append", "links file: append"),
)
"""Where one room calls another, or the program the outside: `before` and `after` each (`failed`: it raised)."""


class Crossings:
    """Writes down each crossing of a point, and kills the process at the n-th one of the point that was named."""

    def __init__(self, trace: str, kill_at: tuple[str, int] | None) -> None:
        self._fd = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._kill_at = kill_at
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def cross(self, point: str) -> None:
        with self._lock:
            self._counts[point] += 1
            os.write(self._fd, point.encode() + b"\n")
            if (point, self._counts[point]) == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


def around(owner: Any, name: str, point: str, cross: Callable[[str], None]) -> None:
    """Lets every call of `owner.name` cross `point`, on its way in and on its way out."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def crossing(*args: Any, **kwargs: Any) -> Any:
        cross(f"{point}, before")
        try:
            result = original(*args, **kwargs)
        except BaseException:
            cross(f"{point}, failed")
            raise
        cross(f"{point}, after")
        return result

    setattr(owner, name, crossing)


def replace(owner: Any, **functions: Callable[..., Any]) -> None:
    """Puts these in the place of the owner's own."""
    for name, function in functions.items():
        setattr(owner, name, function)


class Steps:
    """The durable steps: which verbs a transaction is made of, and the moments before and after its commit."""

    def __init__(self, cross: Callable[[str], None]) -> None:
        self._cross = cross
        self._verb = threading.local()
        self._of: dict[int, str] = {}
        """The verb of each waiting step, by the identity of its work."""
        self._committing: list[str] = []

    def install(self) -> None:
        for owner, verb in _LEDGER_ROOM:
            self._name(owner, verb)
        self._watch_writer()
        self._watch_schema()

    def _name(self, owner: type, verb: str) -> None:
        around(owner, verb, f"ledger {verb}", self._cross)
        original = getattr(owner, verb)

        @functools.wraps(original)
        def named(*args: Any, **kwargs: Any) -> Any:
            outer, self._verb.name = getattr(self._verb, "name", None), verb
            try:
                return original(*args, **kwargs)
            finally:
                self._verb.name = outer

        setattr(owner, verb, named)

    def _watch_writer(self) -> None:
        make, commit, succeed = Writer.__init__, Writer._commit, _Step.succeed

        def watched_make(writer: Writer, connection: sqlite3.Connection, path: Any) -> None:
            connection.set_trace_callback(self._statement)
            make(writer, connection, path)

        def watched_commit(writer: Writer, group: list[Any]) -> None:
            self._committing = [self._of[id(step._work)] for step in group]
            commit(writer, group)

        def watched_succeed(step: Any) -> None:
            self._cross(f"ledger {self._of.pop(id(step._work))}, committed")  # the first moment after the commit
            succeed(step)

        replace(Writer, __init__=watched_make, _commit=watched_commit)
        replace(_Step, succeed=watched_succeed)
        for name in ("run", "ride"):
            self._watch_giving(name)

    def _watch_giving(self, name: str) -> None:
        give = getattr(Writer, name)

        def watched(writer: Writer, work: Any, *args: Any, **kwargs: Any) -> Any:
            def step(connection: sqlite3.Connection) -> Any:
                return work(connection)

            self._of[id(step)] = getattr(self._verb, "name", None) or "other"
            return give(writer, step, *args, **kwargs)

        setattr(Writer, name, watched)

    def _statement(self, sql: str) -> None:
        """SQLite is about to run this on the writer's connection."""
        moment = {"BEGIN": "before its transaction", "COMMIT": "before its commit"}.get(sql.partition(" ")[0])
        for verb in self._committing if moment else ():
            self._cross(f"ledger {verb}, {moment}")

    def _watch_schema(self) -> None:
        connect = vars(sqlite_schema)["connect"]

        def watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)
            connection.set_trace_callback(lambda sql: self._cross("schema, before a statement"))
            return connection

        replace(sqlite_schema, connect=watched)


def hesitate(well: Path) -> None:
    """From now on the last bytes wait until the store has said something, or hung up: it is seen then.

    Or until a file of the upload's name in the folder `well` tells that the store has no such thing in mind.
    """
    note, begin = Media.before_release, Wire.begin
    sockets = threading.local()

    def begins(wire: Wire) -> None:
        sockets.fd = wire.fileno()
        begin(wire)

    def before_release(media: Media) -> None:
        note(media)
        poller = select.poll()
        poller.register(sockets.fd, select.POLLIN)
        deadline = time.monotonic() + _HESITATES
        while not poller.poll(_LOOK_EVERY) and not (well / media.filename).exists():
            assert time.monotonic() < deadline, "the store says nothing"

    replace(Wire, begin=begins)
    replace(Media, before_release=before_release)


def become_daemon(order: dict[str, Any]) -> None:
    """`pixstored -c FILE run`, in this process, to its end."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    crossings = Crossings(order["trace"], (order["point"], order["number"]) if order["point"] else None)
    if order["hesitates"]:
        hesitate(Path(order["hesitates"]))
    Steps(crossings.cross).install()
    for owner, name, point in _BOUNDARIES:
        around(owner, name, point, crossings.cross)
    os.environ.clear()
    os.environ.update(order["environ"])
    sys.argv = ["pixstored", "-c", order["config"], "run"]
    cli.main()


def nursery() -> None:
    """Forks a daemon for each order; answers with its process id, and once it has ended with how."""
    assert _imported_before_the_fork
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become_daemon(json.loads(line))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    nursery()
