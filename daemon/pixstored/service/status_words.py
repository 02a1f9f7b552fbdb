"""The status document in words: one line for whoever looks on in passing, and what waits for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

_ALWAYS = ("published",)
_ON_THE_WAY = ("settling", "pending", "uploading")
_IN_TROUBLE = ("uncertain", "failed")

NEEDY_STORE = {
    "auth_failed": (
        "the API key",
        "a changed key file counts at once; after another change of the key: `pixstored reload`, or a restart",
    ),
    "refusing": ("the store", "look at the reason, the key and your account; the files wait"),
    "misconfigured": ("the store's address", "look at store.url, and at store.proxy"),
}
"""What is in the way while the store is so (its error says the rest), and the way out."""

_LEDGER = {
    "full": ("the disk with the ledger is full", "make room; the sending goes on by itself"),
    "readonly": ("the ledger cannot be written", "let its disk be written again; the sending goes on by itself"),
    "error": ("the ledger cannot be used", "look at the disk and at the daemon's log"),
}


Need = tuple[str, str]
"""One thing that waits for a person, and what they can do. No class: making one takes `status` a millisecond."""


def in_words(document: Mapping[str, Any]) -> str:
    """`3 watching, 1,204 published, 2 pending, store ok`."""
    counts = document["counts"]
    watches = Counter(watch["state"] for watch in document["watches"] if document["running"])
    said = [f"{number} {state}" for state, number in watches.items()]
    said += [f"{counts[state]:,} {state}" for state in _ALWAYS]
    said += [f"{counts[state]:,} {state}" for state in (*_ON_THE_WAY, *_IN_TROUBLE) if counts[state]]
    if document["running"]:
        said.append(f"store {document['store']['state']}")
    if document["ledger"]["state"] != "ok":
        said.append(f"ledger {document['ledger']['state']}")
    if document["config"]["error"]:
        said.append("configuration faulty")
    if document["paused"]:
        said.append("paused")
    return ", ".join(said)


def needs(document: Mapping[str, Any]) -> Iterator[Need]:
    """What `needs_you` counts, in words; files of one state are one need."""
    counts, store, ledger = document["counts"], document["store"], document["ledger"]
    if counts["uncertain"]:
        yield (
            f"{_files(counts['uncertain'])} uncertain: sent whole, and the store's answer was lost",
            "look whether the store has it, then `pixstored adopt PATH LINK` or `pixstored retry --uncertain`",
        )
    if counts["failed"]:
        yield (
            f"{_files(counts['failed'])} failed: retry.tries are spent, one more is made every retry.again",
            "`pixstored why PATH` tells the reason, `pixstored retry --failed` tries again",
        )
    if store["state"] in NEEDY_STORE:
        what, way_out = NEEDY_STORE[store["state"]]
        yield _because(what, store["error"]), way_out
    if ledger["state"] in _LEDGER:
        yield _LEDGER[ledger["state"]]
    for watch in document["watches"]:
        if watch["state"] == "error":
            yield (_because(f"the folder {watch['name']} is in error", watch["error"]), "`pixstored check` looks at it")
    if document["config"]["error"]:
        yield (
            f"the configuration is faulty, and an earlier one counts: {document['config']['error']}",
            "mend the file, then `pixstored reload`",
        )


def _files(number: int) -> str:
    return f"{number:,} {'file' if number == 1 else 'files'}"


def _because(what: str, reason: str | None) -> str:
    return f"{what}: {reason}" if reason else what
