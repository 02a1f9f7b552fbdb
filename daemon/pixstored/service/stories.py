"""The whole story of one file, from its rules, the ledger and the running daemon: `why`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pixstored.config import Config
from pixstored.errors import PixstoredError
from pixstored.ledger.base import LedgerReader
from pixstored.model import Known, Link, Stamp, Story
from pixstored.publish.decide import needs_a_look
from pixstored.publish.glance import UNFINISHED
from pixstored.publish.preview import Preview, preview_of
from pixstored.publish.watched import Watched
from pixstored.service.advice import Facts, ways_out, words_for
from pixstored.service.paths import above, as_configured, behind_symlinks, watches_of
from pixstored.service.presence import as_run_would
from pixstored.service.when import when
from pixstored.shown import path_in_json, path_on_screen
from pixstored.slotted import dataclass
from pixstored.watch.filters import UNFINISHED_SUFFIX
from pixstored.watch.opening import kind_of

if TYPE_CHECKING:  # see `advice`
    from pixstored.publish.dispatcher import StoreReport
    from pixstored.publish.worker import Progress
    from pixstored.watch.settle import Waiting

SCHEMA = 1

_NANOSECONDS = 1e9


class NobodyKnows(PixstoredError):
    """There is nothing to tell of a path."""


@dataclass(frozen=True, slots=True)
class Live:
    """What only the running daemon knows of a path."""

    settling: Waiting | None
    upload: Progress | None
    store: StoreReport


@dataclass(frozen=True, slots=True)
class Scene:
    """One path as it is found now."""

    path: str
    stamp: Stamp | None
    """None if it is not there, or cannot be looked at."""
    hidden: str | None
    """Why it cannot be looked at."""
    kind: str | None
    """What it is, in words, if it is there and no regular file."""
    watched: Watched | None


@dataclass(frozen=True, slots=True)
class Rule:
    """What the rules of its watch say of a path, and which of them."""

    taken: bool
    reason: str


def why_document(
    config: Config, ledger: LedgerReader, path: str, live_of: Callable[[str], Live] | None, daemon: str
) -> dict[str, Any]:
    """The whole `why --json`, but for the way a command line is written. Raises `NobodyKnows` or `LedgerError`.

    `live_of` is None where no daemon tells; `daemon` is then `stopped`, or `unknown` if it could not be asked.
    """
    watches = watches_of(config)
    scene = _scene(watches, ledger, path)
    story = ledger.story(scene.path)
    if story is None:
        _refuse_unless_somebody_knows(scene)
    scene = _adopted(scene, ledger)
    rule = _rule(scene)
    known = story.known if story else None
    live = live_of(scene.path) if live_of else None
    facts = Facts(
        path=scene.path,
        story=story,
        rule_says_no=None if rule is None or rule.taken else rule.reason,
        would=_would(ledger, scene, rule, known),
        is_there=None if scene.hidden else scene.stamp is not None,
        may_be_sent=scene.stamp is not None and scene.kind is None and scene.stamp.size > 0,
        settling=live.settling if live else None,
        upload=live.upload if live else None,
        store=live.store if live else None,
        pause=ledger.paused(time.time()),
        daemon=daemon,
    )
    return {
        "schema": SCHEMA,
        "path": path_in_json(scene.path),
        "state": facts.state.value if facts.state else None,
        "says": path_in_json(words_for(facts)),
        "there": facts.is_there,
        "daemon": daemon,
        "watch": _watch(scene.watched, ledger),
        "rule": None if rule is None else {"taken": rule.taken, "reason": path_in_json(rule.reason)},
        "settling": _settling(facts.settling),
        "would": None if facts.would is None else facts.would.action.value,
        **_recorded(story),
        "can_do": [{"words": list(way.words), "effect": way.effect} for way in ways_out(facts)],
    }


# --- which file


def _scene(watches: Mapping[str, Watched], ledger: LedgerReader, path: str) -> Scene:
    """The path by the name that the ledger knows it by, if it knows it at all."""
    named = as_configured(watches, path)
    candidates = [named, os.path.abspath(path), behind_symlinks(watches, os.path.abspath(path))]
    chosen = next((each for each in candidates if each and ledger.look(each)), named)
    stamp = kind = hidden = None
    try:
        found = os.lstat(chosen)
        stamp, kind = Stamp.of(found), kind_of(found.st_mode)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        hidden = getattr(error, "strerror", None) or "no file can have this name"
    return Scene(chosen, stamp, hidden, kind, above(watches, chosen))


def _adopted(scene: Scene, ledger: LedgerReader) -> Scene:
    """With the moment of adoption that counts, or would if the daemon began now."""
    return replace(scene, watched=as_run_would(ledger, scene.watched)[1]) if scene.watched else scene


def _refuse_unless_somebody_knows(scene: Scene) -> None:
    shown = path_on_screen(scene.path)
    if scene.hidden:
        raise NobodyKnows(f"{shown} cannot be looked at ({scene.hidden}), and nothing is on record of it")
    if scene.stamp is None:
        raise NobodyKnows(f"{shown} is not there, and nothing is on record of it")
    if scene.kind == "a folder":
        raise NobodyKnows(f"{shown} is a folder: name a file in it, or see all files with `pixstored scan`")
    if scene.watched is None:
        raise NobodyKnows(f"{shown} lies in no watched folder, and nothing is on record of it")


# --- what the rules say


def _rule(scene: Scene) -> Rule | None:
    """What its watch says of it; None for a file in no watch."""
    if scene.watched is None:
        return None
    rel = scene.watched.relative(scene.path)
    verdict = scene.watched.rules.verdict(rel)
    if not verdict.taken:
        return Rule(False, verdict.reason)
    symlink = _symlink_above(scene.watched.path, rel)
    if symlink:
        return Rule(False, f"lies behind the symlink {path_on_screen(symlink)}, which is not followed")
    if scene.kind:
        return Rule(False, f"{scene.kind}, not a regular file")
    if os.path.lexists(scene.path + UNFINISHED_SUFFIX):
        return Rule(False, UNFINISHED.format(os.path.basename(scene.path)))
    refusal = scene.watched.refusal(scene.path, scene.stamp.size if scene.stamp else None)
    return Rule(False, refusal) if refusal else Rule(True, verdict.reason)


def _symlink_above(root: str, rel: str) -> str | None:
    """The first folder on the way from the watch to the file that is a symlink."""
    folder = root
    for name in rel.split("/")[:-1]:
        folder = os.path.join(folder, name)
        if os.path.islink(folder):
            return folder
    return None


def _would(ledger: LedgerReader, scene: Scene, rule: Rule | None, known: Known | None) -> Preview | None:
    """What a reconciliation would do with it; None if nothing, or if the rules turn it away before."""
    if scene.stamp is None or scene.kind or scene.watched is None or rule is None:
        return None
    refusal = scene.watched.refusal(scene.path, scene.stamp.size)
    if not rule.taken and refusal is None:
        return None
    if known and not needs_a_look(known, scene.stamp, lambda: refusal):
        return None
    return preview_of(ledger, scene.watched, scene.path, scene.stamp, known)


# --- the parts of the document


def _watch(watched: Watched | None, ledger: LedgerReader) -> dict[str, Any] | None:
    if watched is None:
        return None
    adoption = ledger.adoption(watched.path)
    return {
        "name": path_in_json(watched.config.name),
        "path": path_in_json(watched.path),
        "adopted_at": when(adoption.adopted_at_ns / _NANOSECONDS) if adoption else None,
    }


def _settling(waiting: Waiting | None) -> dict[str, Any] | None:
    return None if waiting is None else {"since": when(waiting.since), "why": waiting.why}


def _recorded(story: Story | None) -> dict[str, Any]:
    """What the ledger has; the same keys without a record."""
    known = story.known if story else None
    return {
        "reason": known.reason if known else None,
        "size": known.stamp.size if known else None,
        "sha256": known.sha256.hex() if known and known.sha256 else None,
        "seen_at": when(story.seen_at) if story else None,
        "changed_at": when(story.changed_at) if story else None,
        "sent_at": when(story.sent_at) if story else None,
        "tries": story.tries if story else 0,
        "next_try_at": when(story.next_try_at) if story else None,
        "attempts": [
            {"at": when(attempt.at), "outcome": attempt.outcome, "detail": attempt.detail}
            for attempt in (story.attempts if story else ())
        ],
        "link": story.link if story else None,
        "id": story.id if story else None,
        "published_at": when(story.published_at) if story else None,
        "comment": story.comment if story else None,
        "before": [_link(link) for link in (story.superseded if story else ())],
    }


def _link(link: Link) -> dict[str, Any]:
    return {
        "link": link.link,
        "id": link.id,
        "sha256": link.sha256,
        "published_at": when(link.published_at),
        "state": link.state,
    }
