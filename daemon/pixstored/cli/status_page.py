"""The status for a person: some lines, the most pressing first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pixstored.service.status_words import NEEDY_STORE, needs

_UNITS = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1000
_SPANS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
"""Seconds, and what so many are called."""

_MOST_UPLOADS = 8
"""Uploads shown one by one."""


def page(document: Mapping[str, Any], now: datetime | None = None) -> Iterator[str]:
    """The lines of the page; `now` is for whatever tells how long ago something was."""
    now = now or datetime.now(UTC)
    yield _headline(document)
    for what, way_out in needs(document):
        yield f"  ! {what}"
        yield f"    {way_out}"
    yield ""
    yield from _store(document["store"], now)
    for watch in document["watches"]:
        yield f"watch    {_watch(watch)}"
    yield f"files    {_files(document)}"
    yield from _uploads(document["uploads"])
    if document["oldest_unpublished"]:
        since = document["oldest_unpublished"]
        yield f"waiting  the oldest for {_ago(since, now)} (since {_clock(since)})"
    speed = document["seconds_to_link"]
    if speed["n"]:
        fresh = f"{speed['n']:,} fresh {'file' if speed['n'] == 1 else 'files'} in 24 h"
        yield f"speed    a link after {speed['p50']:.2f} s, for 95 % within {speed['p95']:.2f} s ({fresh})"
    ledger = document["ledger"]
    yield f"ledger   {ledger['path']}" + ("" if ledger["state"] == "ok" else f": {ledger['state']}")
    yield f"config   {document['config']['path']}" + (
        f", read {_clock(document['config']['loaded_at'])}" if document["running"] else ""
    )


def _headline(document: Mapping[str, Any]) -> str:
    if not document["running"]:
        return "pixstored is not running: start it with `pixstored run`, or, as a service, `systemctl start pixstored`"
    number = document["needs_you"]
    mood = "runs, its sending is paused (`pixstored resume` ends that)" if document["paused"] else "runs"
    needed = f"{number:,} {'thing needs' if number == 1 else 'things need'} you" if number else "nothing needs you"
    return f"pixstored {document['version']} {mood}, up {_span(document['uptime_s'])}; {needed}"


def _store(store: Mapping[str, Any], now: datetime) -> Iterator[str]:
    reason = f": {store['error']}" if store["error"] and store["state"] not in NEEDY_STORE else ""
    since = f" since {_clock(store['since'])}" if store["state"] not in ("ok", "unknown") else ""
    yield f"store    {store['id']}  {store['state']}{since}{reason}"
    if store["next_try"]:
        yield f"         next try in {_span(max((_moment(store['next_try']) - now).total_seconds(), 0.0))}"


def _watch(watch: Mapping[str, Any]) -> str:
    named = watch["name"] if watch["name"] == watch["path"] else f"{watch['name']} ({watch['path']})"
    directories = watch["directories"]
    size = f", {directories:,} {'directory' if directories == 1 else 'directories'}" if directories else ""
    missed = f", {watch['missed_events']:,} missed events" if watch["missed_events"] else ""
    reason = f": {watch['error']}" if watch["error"] else ""
    return f"{named}  {watch['state']}{size}{missed}{reason}"


def _files(document: Mapping[str, Any]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in document["counts"].items() if count) or "none yet"


def _uploads(uploads: list[Mapping[str, Any]]) -> Iterator[str]:
    for upload in uploads[:_MOST_UPLOADS]:
        percent = 100 * upload["sent"] // upload["size"] if upload["size"] else 100
        yield (f"sending  {upload['path']}  {percent} % of {_size(upload['size'])}, {_size(upload['rate'])}/s")
    if len(uploads) > _MOST_UPLOADS:
        yield f"         and {len(uploads) - _MOST_UPLOADS} more"


def _size(number: float) -> str:
    unit = 0
    while number >= _THOUSAND and unit < len(_UNITS) - 1:
        number /= _THOUSAND
        unit += 1
    return f"{number:.0f} {_UNITS[unit]}" if unit == 0 else f"{number:.1f} {_UNITS[unit]}"


def _span(seconds: float) -> str:
    """The two largest units of a time, like `3 h 12 min`."""
    left, said = int(seconds), list[str]()
    for length, unit in _SPANS:
        number, left = divmod(left, length)
        if number or said:
            said.append(f"{number} {unit}")
    return " ".join(said[:2]) or "0 s"


def _ago(moment: str, now: datetime) -> str:
    return _span(max((now - _moment(moment)).total_seconds(), 0.0))


def _clock(moment: str) -> str:
    """A moment in local time; with its day unless that is today."""
    local = _moment(moment).astimezone()
    return local.strftime("%H:%M:%S" if local.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def _moment(shown: str) -> datetime:
    return datetime.fromisoformat(shown)
