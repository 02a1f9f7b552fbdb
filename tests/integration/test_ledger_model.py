"""The ledger against a dictionary: any order of verbs, with crashes between, and never one content sent twice."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from integration.ledger_suite import NOW, content, receipt_of
from pixstored.ledger.sqlite import SqliteLedger, open_ledger
from pixstored.model import (
    Claim,
    FileState,
    Lane,
    Missing,
    Move,
    Remember,
    Restamp,
    Skip,
    Stamp,
    Standing,
    extension_of,
)

PATHS = ["/p/a.jpg", "/p/b.JPG", "/p/c.png", "/q/d.jpg", "/q/e"]
SIZES = {content("x"): 10, content("y"): 10, content("z"): 20}
HAD_A_LINK = {FileState.PUBLISHED, FileState.UNCERTAIN, FileState.WITHDRAWN}
FAR = 1_000_000

paths = st.sampled_from(PATHS)
contents = st.sampled_from(sorted(SIZES))
lanes = st.sampled_from(list(Lane))
picks = st.integers(0, FAR)
waits = st.integers(0, 20)


@dataclass(eq=False)
class Row:
    """What the model knows of a file."""

    stamp: Stamp
    state: FileState
    place: tuple[int, int] = (0, 0)
    sha256: bytes | None = None
    carries: bytes | None = None
    """What is on its way, while the file is what it was when that was noted."""
    parked: bool = False
    missing: bool = False
    had_link: bool = False
    tries: int = 0
    due: float = 0.0


@dataclass(eq=False)
class Held:
    """A claim that lasts, as the model knows it."""

    claim: Claim
    row: Row
    sha256: bytes | None
    noted: bytes | None = None


@dataclass
class Disk:
    """What really lies at a path: every write gives another stamp."""

    writes: int = 0
    contents: dict[Stamp, bytes] = field(default_factory=dict)

    def write(self, sha256: bytes) -> Stamp:
        self.writes += 1
        stamp = Stamp(SIZES[sha256], self.writes, self.writes, self.writes, 1)
        self.contents[stamp] = sha256
        return stamp


class LedgerMachine(RuleBasedStateMachine):
    """Every rule does the same to the ledger and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pixstored-ledger-"))
        self.now = NOW
        self.disk = Disk()
        self.rows: dict[str, Row] = {}
        self.known: dict[bytes, str] = {}
        self.superseded: set[tuple[str, bytes]] = set()
        self.refused: set[tuple[bytes, str]] = set()
        """Contents, and the extensions under which they were refused."""
        self.held: list[Held] = []
        self.arrivals = 0
        self.at_the_store: Counter[bytes] = Counter()
        self.ledger = self.open()

    def open(self) -> SqliteLedger:
        return open_ledger(self.folder / "ledger.db", "shop", clock=lambda: self.now)

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)

    # --- the intake

    @rule(chosen=st.lists(paths, min_size=1, unique=True), sha256=contents, lane=lanes)
    def copies_come_or_files_change(self, chosen: list[str], sha256: bytes, lane: Lane) -> None:
        for path in chosen:
            self.remember(path, self.disk.write(sha256), lane)

    @precondition(lambda self: self.rows)
    @rule(pick=picks, lane=lanes)
    def a_known_file_is_remembered_as_it_is(self, pick: int, lane: Lane) -> None:
        path = self.some_path(pick)
        self.remember(path, self.rows[path].stamp, lane)

    def remember(self, path: str, stamp: Stamp, lane: Lane) -> None:
        self.ledger.apply([Remember(path, stamp, lane, "photos", self.now)])
        row = self.rows.get(path)
        if row and row.state is FileState.PENDING and row.stamp == stamp:
            row.parked = row.missing = False
            return
        row = self.start_over(path, stamp, FileState.PENDING)
        row.place = self.place(lane, stamp)

    @rule(path=paths, sha256=contents)
    def a_rule_says_no(self, path: str, sha256: bytes) -> None:
        stamp = self.disk.write(sha256)
        self.ledger.apply([Skip(path, stamp, "photos", "too large")])
        self.start_over(path, stamp, FileState.SKIPPED)

    @rule(path=paths)
    def a_file_is_missing(self, path: str) -> None:
        self.ledger.apply([Missing(path)])
        row = self.rows.get(path)
        if row:
            row.missing = True
            if row.state in (FileState.PENDING, FileState.FAILED):
                row.state, row.sha256, row.parked = FileState.GONE, None, False

    @precondition(lambda self: self.rows)
    @rule(pick=picks, sha256=contents, changed=st.booleans())
    def a_file_is_restamped(self, pick: int, sha256: bytes, changed: bool) -> None:
        row = self.rows[path := self.some_path(pick)]
        stamp = self.disk.write(sha256) if changed else row.stamp
        self.ledger.apply([Restamp(path, stamp)])
        if changed and row.state is FileState.PENDING:
            row.sha256 = row.carries = None
        row.stamp, row.missing = stamp, False

    @precondition(lambda self: self.rows)
    @rule(pick=picks, path=paths)
    def a_file_moves(self, pick: int, path: str) -> None:
        row = self.rows[source := self.some_path(pick)]
        known = self.ledger.look(source)
        assert known
        self.ledger.apply([Move(known.file_id, path, row.stamp, "photos")])
        there = self.rows.get(path)
        if there and there is not row:
            self.supersede(path, there)
        del self.rows[source]
        self.rows[path] = row
        row.missing = False

    # --- the workers

    @rule(count=st.integers(1, 4))
    def the_next_files_are_taken(self, count: int) -> None:
        for _ in range(count):
            self.take_the_next()

    def take_the_next(self) -> None:
        free = sorted((row.place, path) for path, row in self.rows.items() if self.is_free(row))
        claim = self.ledger.claim("worker", self.now)
        assert (claim.path if claim else None) == (free[0][1] if free else None)
        if claim:
            self.hold_claim(claim)

    @rule(path=paths)
    def a_file_is_asked_for_by_name(self, path: str) -> None:
        row = self.rows.get(path)
        claim = self.ledger.claim_path("command", path)
        assert bool(claim) is bool(row and self.is_free(row, whenever=True))
        if claim:
            self.hold_claim(claim)

    def hold_claim(self, claim: Claim) -> None:
        row = self.rows[claim.path]
        assert (claim.stamp, claim.sha256, claim.tries) == (row.stamp, row.sha256, row.tries)
        if claim.stamp.size in {held.claim.stamp.size for held in self.held} | {SIZES[each] for each in self.known}:
            assert claim.hash_first
        self.held.append(Held(claim, row, claim.sha256))

    @precondition(lambda self: self.held)
    @rule(pick=picks)
    def a_claim_is_hashed(self, pick: int) -> None:
        held = self.some_held(pick)
        if held.noted:
            return
        sha256 = self.disk.contents[held.claim.stamp]
        came_before = self.held[: self.held.index(held)]
        waits = any(each.sha256 is None and SIZES[sha256] == each.claim.stamp.size for each in came_before)
        expected = Standing.IN_FLIGHT if waits else self.standing(held, sha256)
        assert self.ledger.hashed(held.claim, sha256) is expected
        self.after_standing(held, sha256, expected)

    @precondition(lambda self: self.held)
    @rule(pick=picks)
    def a_claim_is_sent(self, pick: int) -> None:
        held = self.some_held(pick)
        sha256 = self.disk.contents[held.claim.stamp]
        expected = Standing.CLEAR if held.noted else self.standing(held, sha256)
        assert self.ledger.sending(held.claim, sha256, None, self.now) is expected
        if expected is Standing.CLEAR and not held.noted:
            assert self.at_the_store[sha256] == 0, "it would be stored a second time"
            held.noted = sha256
            self.known[sha256] = "sent"
            if self.waits(held):
                held.row.carries = sha256
        self.after_standing(held, sha256, expected)

    def standing(self, held: Held, sha256: bytes) -> Standing:
        if any(each.sha256 == sha256 for each in self.held if each is not held):
            return Standing.IN_FLIGHT
        return self.recorded_standing(held, sha256)

    def recorded_standing(self, held: Held, sha256: bytes) -> Standing:
        match self.known.get(sha256):
            case "sent":
                return Standing.IN_FLIGHT
            case "published":
                return Standing.PUBLISHED
            case "uncertain":
                return Standing.UNCERTAIN
        is_refused = (sha256, extension_of(held.claim.path)) in self.refused
        return Standing.REJECTED if is_refused else Standing.CLEAR

    def after_standing(self, held: Held, sha256: bytes, standing: Standing) -> None:
        if standing is Standing.CLEAR:
            held.sha256 = sha256
            return
        self.held.remove(held)
        if self.waits(held):
            held.row.sha256 = sha256
            if standing is not Standing.IN_FLIGHT:
                self.leave(held.row, FileState[standing.name], sha256)
                self.superseded.discard((held.claim.path, sha256))

    @precondition(lambda self: self.rows)
    @rule(hashed=st.booleans())
    def a_file_that_had_a_link_is_checked_again(self, hashed: bool) -> None:
        unsure = [row for row in self.rows.values() if row.had_link and row.sha256 is None and not row.due]
        free = sorted((self.file_id(row), self.path_of(row)) for row in unsure if self.is_free(row))
        claim = self.ledger.claim_to_recheck("worker")
        assert (claim.path if claim else None) == (free[0][1] if free else None)
        if not claim:
            return
        if not hashed:
            self.ledger.release(claim)
            return
        held = Held(claim, self.rows[claim.path], None)
        sha256 = self.disk.contents[claim.stamp]
        standing = self.recorded_standing(held, sha256)
        assert self.ledger.rechecked(claim, sha256) is standing
        self.held.append(held)
        self.after_standing(held, sha256, standing)
        held.row.sha256 = sha256
        if standing is Standing.CLEAR:
            self.held.remove(held)

    @precondition(lambda self: self.noted)
    @rule(pick=picks)
    def a_note_is_taken_back(self, pick: int) -> None:
        held = self.noted[pick % len(self.noted)]
        self.ledger.take_back(held.claim)
        self.forget_note(held)

    @precondition(lambda self: self.noted)
    @rule(pick=picks)
    def the_store_has_it(self, pick: int) -> None:
        held = self.noted[pick % len(self.noted)]
        sha256 = held.noted
        assert sha256
        self.at_the_store[sha256] += 1
        self.ledger.published(held.claim, receipt_of(sha256), self.now)
        self.held.remove(held)
        self.known[sha256] = "published"
        owners = self.waiting(sha256)
        if self.is_current(held) and held.row not in owners:
            owners.append(held.row)
        for row in owners:
            self.leave(row, FileState.PUBLISHED, sha256)
            self.superseded.discard((self.path_of(row), sha256))
        if held.row not in owners:
            self.superseded.add((held.claim.path, sha256))

    @precondition(lambda self: self.noted)
    @rule(pick=picks, verb=st.sampled_from(["hold", "abandon"]), arrived=st.booleans())
    def the_store_may_have_it(self, pick: int, verb: str, arrived: bool) -> None:
        held = self.noted[pick % len(self.noted)]
        sha256 = held.noted
        assert sha256
        self.at_the_store[sha256] += arrived
        if verb == "hold":
            self.ledger.hold(held.claim, "no answer", self.now)
        else:
            self.ledger.abandon(held.claim, "no answer", self.now)
        self.held.remove(held)
        self.known[sha256] = "uncertain"
        if self.is_current(held):
            self.leave(held.row, FileState.UNCERTAIN, sha256)
        for row in self.waiting(sha256):
            self.leave(row, FileState.UNCERTAIN, sha256)

    @precondition(lambda self: self.held)
    @rule(
        pick=picks, ending=st.sampled_from(["refuse", "postpone", "give_up", "release", "park", "vanished"]), wait=waits
    )
    def a_claim_ends_without_a_link(self, pick: int, ending: str, wait: int) -> None:
        held = self.some_held(pick)
        match ending:
            case "refuse":
                self.refuse(held)
            case "postpone":
                self.postpone(held, wait)
            case "give_up":
                self.give_up(held)
            case "release":
                self.release(held)
            case _:
                self.changed_or_vanished(held, vanished=ending == "vanished")

    def refuse(self, held: Held) -> None:
        self.ledger.refuse(held.claim, "415", self.now)
        self.held.remove(held)
        self.forget_note(held)
        if held.sha256:
            self.refused.add((held.sha256, extension_of(held.claim.path)))
        if not self.waits(held):
            return
        self.leave(held.row, FileState.REJECTED, held.sha256)
        for row in self.waiting(held.sha256):
            if extension_of(self.path_of(row)) == extension_of(held.claim.path):
                self.leave(row, FileState.REJECTED, held.sha256)

    def postpone(self, held: Held, wait: int) -> None:
        self.ledger.postpone(held.claim, "503", self.now + wait, self.now)
        self.held.remove(held)
        self.forget_note(held)
        if self.waits(held):
            held.row.sha256 = held.sha256 or held.row.sha256
            held.row.tries += 1
            held.row.due = self.now + wait

    def give_up(self, held: Held) -> None:
        self.ledger.give_up(held.claim, "503", self.now)
        self.held.remove(held)
        self.forget_note(held)
        if self.waits(held):
            held.row.tries += 1
            self.leave(held.row, FileState.FAILED, held.sha256)

    def release(self, held: Held) -> None:
        self.ledger.release(held.claim)
        self.held.remove(held)
        has_news = held.noted or held.sha256 != held.claim.sha256
        self.forget_note(held)
        if has_news and self.waits(held):
            held.row.sha256 = held.sha256

    def changed_or_vanished(self, held: Held, *, vanished: bool) -> None:
        if vanished:
            self.ledger.vanished(held.claim, self.now)
        else:
            self.ledger.park(held.claim)
        self.held.remove(held)
        if held.noted:
            self.known[held.noted] = "uncertain"
            held.row.carries = None
        if self.waits(held):
            held.row.sha256 = None
            if vanished:
                self.leave(held.row, FileState.GONE, None)
                held.row.missing = True
            else:
                held.row.parked, held.row.due = True, 0.0

    # --- the daemon

    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def failed_files_are_tried_again(self) -> None:
        failed = [row for row in self.rows.values() if row.state is FileState.FAILED]
        assert self.ledger.retry_failed(self.now) == len(failed)
        for row in sorted(failed, key=self.file_id):
            row.state = FileState.PENDING
            row.place = self.place(Lane(row.place[0]), row.stamp)
            row.due = 0.0

    @rule(arrived=st.booleans())
    def the_process_dies_and_another_recovers(self, arrived: bool) -> None:
        self.ledger.close()
        self.ledger = self.open()
        sent = [sha256 for sha256, state in self.known.items() if state == "sent"]
        assert self.ledger.recover(self.now) == len(sent)
        self.held.clear()
        for sha256 in sent:
            self.at_the_store[sha256] += arrived
            self.known[sha256] = "uncertain"
            for row in self.waiting(sha256):
                self.leave(row, FileState.UNCERTAIN, sha256)

    # --- what must always hold

    @invariant()
    def each_file_is_known_as_it_should_be(self) -> None:
        for path in PATHS:
            known, row = self.ledger.look(path), self.rows.get(path)
            assert (known is None) is (row is None)
            if known and row:
                assert (known.state, known.stamp, known.sha256) == (row.state, row.stamp, row.sha256), path
                assert (known.missing, known.parked) == (row.missing, row.parked), path

    @invariant()
    def the_counts_are_those_of_the_files(self) -> None:
        census = self.ledger.census()
        counted = Counter(FileState.SETTLING if row.parked else row.state for row in self.rows.values())
        assert {state: count for state, count in census.files.items() if count} == dict(counted)
        contents_by_state = Counter(self.known.values())
        assert census.contents_published == contents_by_state["published"]
        assert census.contents_uncertain == contents_by_state["uncertain"]

    @invariant()
    def the_links_are_those_of_what_was_published(self) -> None:
        linked = {(path, row.sha256) for path, row in self.rows.items() if row.state is FileState.PUBLISHED}
        before = {(path, sha256) for path, sha256 in self.superseded if self.known.get(sha256) == "published"}
        told = list(self.ledger.links(everything=True))
        assert {(each.path, bytes.fromhex(each.sha256)) for each in told if each.state == "published"} == linked
        assert {(each.path, bytes.fromhex(each.sha256)) for each in told if each.state == "superseded"} == before
        assert len(told) == len(linked) + len(before)

    @invariant()
    def nothing_is_at_the_store_twice(self) -> None:
        assert all(count <= 1 for count in self.at_the_store.values())

    # --- the model

    @property
    def noted(self) -> list[Held]:
        return [held for held in self.held if held.noted]

    def some_held(self, pick: int) -> Held:
        return self.held[pick % len(self.held)]

    def some_path(self, pick: int) -> str:
        return sorted(self.rows)[pick % len(self.rows)]

    def path_of(self, row: Row) -> str:
        return next(path for path, each in self.rows.items() if each is row)

    def file_id(self, row: Row) -> int:
        known = self.ledger.look(self.path_of(row))
        assert known
        return known.file_id

    def place(self, lane: Lane, stamp: Stamp) -> tuple[int, int]:
        self.arrivals += 1
        return (lane, self.arrivals if lane is Lane.FRESH else -stamp.mtime_ns)

    def start_over(self, path: str, stamp: Stamp, state: FileState) -> Row:
        row = self.rows.get(path)
        if row is None:
            self.rows[path] = row = Row(stamp, state)
            return row
        self.supersede(path, row)
        row.stamp, row.state = stamp, state
        row.sha256, row.carries, row.parked, row.missing, row.tries, row.due = None, None, False, False, 0, 0.0
        row.place = (Lane.BACKLOG, 0)
        return row

    def supersede(self, path: str, row: Row) -> None:
        if row.sha256 and row.state in HAD_A_LINK:
            row.had_link = True
            self.superseded.add((path, row.sha256))

    def leave(self, row: Row, state: FileState, sha256: bytes | None) -> None:
        row.state, row.parked, row.due = state, False, 0.0
        row.sha256, row.carries = sha256 or row.sha256, None

    def is_current(self, held: Held) -> bool:
        """The row still tells of the file that was claimed."""
        return self.rows.get(held.claim.path) is held.row and held.row.stamp == held.claim.stamp

    def waits(self, held: Held) -> bool:
        return self.is_current(held) and held.row.state is FileState.PENDING

    def waiting(self, sha256: bytes | None) -> list[Row]:
        pending = (row for row in self.rows.values() if row.state is FileState.PENDING)
        return [row for row in pending if sha256 and sha256 in (row.sha256, row.carries)]

    def forget_note(self, held: Held) -> None:
        if held.noted:
            del self.known[held.noted]
            held.noted = held.row.carries = None

    def is_free(self, row: Row, *, whenever: bool = False) -> bool:
        if row.state is not FileState.PENDING or row.parked or any(held.row is row for held in self.held):
            return False
        if row.due > self.now and not whenever:
            return False
        if row.sha256 is None:
            return True
        may_be_the_same = any(
            held.sha256 == row.sha256 or (held.sha256 is None and held.claim.stamp.size == row.stamp.size)
            for held in self.held
        )
        return not may_be_the_same and self.known.get(row.sha256) != "sent"


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLedgerAgainstADictionary = LedgerMachine.TestCase
