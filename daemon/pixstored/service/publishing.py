"""`publish PATH…`: which files that names, and who sends them: the daemon if it runs, else this process."""

from __future__ import annotations

import os
import resource
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Protocol

from pixstored.config import Config, KeySource
from pixstored.errors import Gone, PixstoredError
from pixstored.model import FileState
from pixstored.publish.named import NotPublishable, Outcome
from pixstored.publish.watched import Watched
from pixstored.service.control import ControlClient
from pixstored.service.engine import Engine, checked_key, checked_url, load
from pixstored.service.identity import owner_to_become
from pixstored.service.paths import above, as_configured, watches_of
from pixstored.service.writing import own_ledger, text_of
from pixstored.slotted import dataclass
from pixstored.watch.filters import Rules
from pixstored.watch.opening import ignore_lease_signals, open_beneath, open_named
from pixstored.watch.scan import walk

_WINDOW = 16
"""Files offered ahead of the one that is waited for: enough that no worker idles, few open files."""

_LOOK_EVERY = 0.5
"""Seconds between two looks at how far a file is."""

_DEFAULT = "@media"
"""What is taken from a folder that no watch has rules for (the default of `watch[].include`)."""


class Sender(Protocol):
    """Whoever attempts the files: `publish.named.Publisher`, here or in the daemon."""

    def offer(self, path: str, descriptor: int, *, try_now: bool) -> None: ...

    def outcome(self, path: str, wait: float) -> Outcome | None: ...


@dataclass(frozen=True, slots=True)
class Named:
    """One file to publish. `open` gives a descriptor, or raises one of our errors."""

    path: str
    open: Callable[[], int]


class Remote:
    """The daemon's publisher, over its socket."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    def offer(self, path: str, descriptor: int, *, try_now: bool) -> None:
        """See `Publisher.offer`."""
        try:
            self._client.ask("offer", path=path, descriptor=descriptor, try_now=try_now)
        finally:
            os.close(descriptor)

    def outcome(self, path: str, wait: float) -> Outcome | None:
        """See `Publisher.outcome`."""
        answer = self._client.ask("outcome", path=path, wait=wait)
        if not answer:
            return None
        return Outcome(path, FileState(answer["state"]), answer["link"], answer["why"])


def handlers(engine: Engine) -> dict[str, Callable[[Mapping[str, object]], dict[str, object]]]:
    """The daemon's side of `Remote`."""

    def offer(request: Mapping[str, object]) -> dict[str, object]:
        descriptor = request["descriptor"]
        if not isinstance(descriptor, int):
            raise NotPublishable("no open file came with it")
        try_now = request.get("try_now") is True
        engine.publisher.offer(text_of(request, "path"), os.dup(descriptor), try_now=try_now)
        return {}

    def outcome(request: Mapping[str, object]) -> dict[str, object]:
        wait = request.get("wait")
        found = engine.publisher.outcome(text_of(request, "path"), wait if isinstance(wait, float) else 0.0)
        return {"state": found.state.value, "link": found.link, "why": found.why} if found else {}

    return {"offer": offer, "outcome": outcome}


def publish(
    config: Config,
    environ: Mapping[str, str],
    files: Iterable[Named],
    waiting: Callable[[str], None],
) -> Iterator[Outcome]:
    """Attempts each file once, and tells their outcomes in order. `waiting` is called with the path waited for.

    Raises `ConfigError` without a key, `LedgerBusy`, `LedgerUnusable`, `ControlError`.
    """
    with ExitStack() as stack:
        client = ControlClient.connect(config.control, config.ledger)
        if client:
            stack.callback(client.close)
            sender: Sender = Remote(client)
        else:
            if owner_to_become(config.ledger) is not None:
                files = _opened_already(files)
            sender = _sender_here(config, environ, stack)
        yield from _one_by_one(sender, files, waiting)


def named_files(config: Config, paths: Iterable[str], on_empty: Callable[[str], None]) -> Iterator[Named]:
    """The files that these paths name: a file itself, in a folder those that its watch's rules take (else the
    defaults). `on_empty` is told of a folder in which there is none."""
    watches = watches_of(config)
    for path in paths:
        absolute = as_configured(watches, path)
        if not os.path.isdir(absolute) or os.path.islink(absolute):
            yield Named(absolute, partial(open_named, absolute))
            continue
        empty = True
        for named in _in_folder(watches, absolute):
            empty = False
            yield named
        if empty:
            on_empty(absolute)


def _in_folder(watches: Mapping[str, Watched], folder: str) -> Iterator[Named]:
    watched = watches.get(folder) or above(watches, os.path.join(folder, "name"))
    root, path, rules, below = folder, folder, Rules((_DEFAULT,), ()), ""
    if watched:
        root, path, rules, below = watched.root, watched.path, watched.rules, watched.relative(folder)
    recursive = watched.config.recursive if watched else True
    for listing in walk(root, recursive, rules, lambda: False, below=below):
        for name in sorted(listing.files):
            rel = os.path.join(listing.folder, name)
            if rules.size_refusal(listing.files[name].size) is None:
                yield Named(os.path.join(path, rel), partial(open_beneath, root, rel))


def _sender_here(config: Config, environ: Mapping[str, str], stack: ExitStack) -> Sender:
    """An engine of our own that sends what is named and nothing else, as the owner of the ledger."""
    ignore_lease_signals()
    key = KeySource.of(config.store, environ)
    checked_key(config, key)
    checked_url(config)
    load()
    ledger = stack.enter_context(own_ledger(config))
    watches = watches_of(config)
    engine = Engine(
        config,
        key,
        ledger,
        above=lambda path: above(watches, path),
        settle_again=lambda path, watch, lane: None,
        held=lambda path, thread: None,
        named_only=True,
    )
    engine.prepare(stack)
    stack.callback(engine.stop, config.stop_timeout)
    engine.prove()
    engine.start()
    return engine.publisher


def _one_by_one(sender: Sender, files: Iterable[Named], waiting: Callable[[str], None]) -> Iterator[Outcome]:
    queue: deque[Outcome | str] = deque()
    ended: dict[str, Outcome] = {}
    offered: set[str] = set()

    def first() -> Outcome:
        head = queue.popleft()
        path = head if isinstance(head, str) else head.path
        if path not in ended:
            ended[path] = _ended(sender, head, waiting)
        return ended[path]

    for named in files:
        queue.append(named.path if named.path in offered else _offered(sender, named, try_now=not offered))
        offered.add(named.path)
        if len(queue) >= _WINDOW:
            yield first()
    while queue:
        yield first()


def _offered(sender: Sender, named: Named, *, try_now: bool) -> Outcome | str:
    """The path of a file that is on its way, or why it is not."""
    try:
        sender.offer(named.path, named.open(), try_now=try_now)
    except Gone:
        return Outcome(named.path, FileState.GONE, None, "there is no such file")
    except PixstoredError as error:
        return Outcome(named.path, FileState.SKIPPED, None, str(error))
    return named.path


def _ended(sender: Sender, offered: Outcome | str, waiting: Callable[[str], None]) -> Outcome:
    if isinstance(offered, Outcome):
        return offered
    while True:
        waiting(offered)
        outcome = sender.outcome(offered, _LOOK_EVERY)
        if outcome:
            return outcome


def _opened_already(files: Iterable[Named]) -> list[Named]:
    """The same files, opened while we may still read them all: root becomes the ledger's owner after this."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    opened = []
    for named in files:
        try:
            descriptor = named.open()
        except PixstoredError:
            opened.append(named)
        else:
            opened.append(Named(named.path, _giving(descriptor)))
    return opened


def _giving(descriptor: int) -> Callable[[], int]:
    return lambda: descriptor
