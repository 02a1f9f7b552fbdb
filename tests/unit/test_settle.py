"""When a file counts as quiet. All clocks are arguments: `now` is monotonic, `wall` is `now + EPOCH`."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixstored.model import Lane, Stamp
from pixstored.watch.settle import (
    CUT_OFF_EXTRA,
    QUIET_ASKED,
    QUIET_BLIND,
    Settled,
    SettleTable,
    Unjudged,
    Vanished,
    Waiting,
)

EPOCH = 1_700_000_000.0
PATH = "/photos/a.jpg"


def stamp(changed: float, size: int = 100, mtime: float | None = None) -> Stamp:
    """A file changed at this monotonic time."""
    mtime = changed if mtime is None else mtime
    return Stamp(size, int((EPOCH + mtime) * 1e9), int((EPOCH + changed) * 1e9), 7, 1)


@dataclass
class Table:
    """A settle table whose looks come with a wall clock that agrees with the monotonic one."""

    table: SettleTable
    clock_error: float = 0.0
    lacks: str | None = None
    """What is missing of the files that are looked at."""
    judged: list[Stamp] = field(default_factory=list)

    def event(self, now: float, settle: float | None = None, path: str = PATH) -> None:
        self.table.hint(path, settle=settle, lane=Lane.FRESH, watch="/photos", now=now)

    def found(self, now: float, settle: float | None = None, two_looks: bool = False, path: str = PATH) -> None:
        self.table.hint(path, settle=settle, lane=Lane.BACKLOG, watch="/photos", now=now, two_looks=two_looks)

    def look(
        self, now: float, seen: Stamp | None, busy: bool | None = False, path: str = PATH
    ) -> Settled | Waiting | Vanished:
        """One look, as the intake does it: what a quiet file lacks is found out once for each stamp."""
        wall = EPOCH + now + self.clock_error
        verdict = self.table.look(path, seen, busy, now, wall)
        if isinstance(verdict, Unjudged):
            self.judged.append(verdict.stamp)
            verdict = self.table.judge(verdict, self.lacks, now, wall)
        assert not isinstance(verdict, Unjudged)
        return verdict


@pytest.fixture
def table() -> Table:
    return Table(SettleTable())


def test_a_closed_file_settles_after_one_quiet_second_where_the_kernel_can_be_asked(table: Table) -> None:
    table.event(now=10.0)
    assert table.table.next_due() == 10.0 + QUIET_ASKED
    assert table.table.due(10.9) == []
    assert table.table.due(11.0) == [PATH]
    settled = table.look(11.0, stamp(9.999))
    assert isinstance(settled, Settled)
    assert (settled.path, settled.lane, settled.watch) == (PATH, Lane.FRESH, "/photos")
    assert len(table.table) == 0


def test_it_takes_ten_seconds_where_the_kernel_cannot_be_asked(table: Table) -> None:
    table.event(now=10.0)
    waiting = table.look(11.0, stamp(9.9), busy=None)
    assert isinstance(waiting, Waiting)
    assert "the kernel cannot be asked" in waiting.why
    assert table.table.next_due() == 10.0 + QUIET_BLIND
    assert isinstance(table.look(20.0, stamp(9.9), busy=None), Settled)


def test_a_fixed_time_holds_whether_the_kernel_can_be_asked_or_not(table: Table) -> None:
    for busy in (False, None):
        table.event(now=10.0, settle=3.0)
        assert isinstance(table.look(12.9, stamp(9.9), busy), Waiting)
        assert isinstance(table.look(13.0, stamp(9.9), busy), Settled)


def test_with_zero_a_file_settles_as_soon_as_its_writer_has_closed_it(table: Table) -> None:
    table.event(now=10.0, settle=0.0)
    assert table.table.due(10.0) == [PATH]
    assert isinstance(table.look(10.0, stamp(10.0), busy=True), Waiting)
    table.event(now=10.2, settle=0.0)
    assert table.table.due(10.2) == [PATH]
    assert isinstance(table.look(10.2, stamp(10.2), busy=False), Settled)


def test_with_zero_and_a_kernel_that_cannot_be_asked_an_instant_is_not_enough(table: Table) -> None:
    table.event(now=10.0, settle=0.0)
    assert isinstance(table.look(10.0, stamp(10.0), busy=None), Waiting)
    assert isinstance(table.look(11.1, stamp(10.0), busy=None), Settled)


def test_a_file_that_changed_since_the_event_waits_on(table: Table) -> None:
    table.event(now=10.0)
    assert isinstance(table.look(11.0, stamp(10.8)), Waiting)
    assert isinstance(table.look(11.7, stamp(10.8)), Waiting)
    assert isinstance(table.look(11.81, stamp(10.8)), Settled)


def test_a_new_event_starts_the_quiet_time_again(table: Table) -> None:
    table.event(now=10.0)
    table.event(now=10.9)
    assert table.table.due(11.0) == []
    assert table.table.next_due() == pytest.approx(11.9)
    assert isinstance(table.look(11.5, stamp(9.0)), Waiting)
    assert table.table.due(11.9) == [PATH]


def test_a_file_still_open_for_writing_waits_without_end_and_is_looked_at_now_and_then(table: Table) -> None:
    table.event(now=0.0)
    now, looks = 1.0, 0
    while now < 3600.0:
        assert isinstance(table.look(now, stamp(-100.0), busy=True), Waiting)
        due = table.table.next_due()
        assert due is not None
        assert 0.0 < due - now <= 10.0
        now, looks = due, looks + 1
    assert looks > 360
    assert isinstance(table.look(now + 5.0, stamp(-100.0)), Settled)


def test_after_a_writer_has_gone_unannounced_the_quiet_time_runs_from_when_it_was_last_seen(table: Table) -> None:
    table.found(now=0.0, settle=5.0)
    table.look(0.0, stamp(-100.0), busy=True)
    assert isinstance(table.look(4.0, stamp(-100.0)), Waiting)
    assert isinstance(table.look(5.0, stamp(-100.0)), Settled)


def test_an_old_file_that_a_scan_found_is_quiet_at_the_first_look(table: Table) -> None:
    for busy in (False, None):
        table.found(now=100.0)
        assert table.table.due(100.0) == [PATH]
        settled = table.look(100.0, stamp(50.0), busy)
        assert isinstance(settled, Settled)
        assert settled.lane is Lane.BACKLOG
        assert settled.changed_at == pytest.approx(EPOCH + 50.0)


@pytest.mark.parametrize("seen", [stamp(99.5), stamp(50.0, mtime=99.5), stamp(50.0, mtime=5000.0), stamp(5000.0)])
def test_a_found_file_with_a_recent_or_future_time_waits_until_it_was_seen_unchanged(table: Table, seen: Stamp) -> None:
    table.found(now=100.0)
    assert isinstance(table.look(100.0, seen), Waiting)
    settled = table.look(101.0, seen)
    assert isinstance(settled, Settled)
    assert settled.changed_at <= EPOCH + 101.0


@pytest.mark.parametrize(("busy", "quiet"), [(False, QUIET_ASKED), (None, QUIET_BLIND)])
def test_a_file_that_is_cut_off_is_given_more_time_and_then_settles_with_what_it_lacks(
    table: Table, busy: bool | None, quiet: float
) -> None:
    table.lacks = "its end"
    table.event(now=10.0)
    waiting = table.look(10.0 + quiet, stamp(9.9), busy)
    assert isinstance(waiting, Waiting)
    assert waiting.why == "it seems to be cut off (its end), and is given 60 s more"
    until = 10.0 + quiet + CUT_OFF_EXTRA
    assert table.table.next_due() == pytest.approx(until)
    assert isinstance(table.look(until - 0.1, stamp(9.9), busy), Waiting)
    settled = table.look(until, stamp(9.9), busy)
    assert isinstance(settled, Settled)
    assert settled.cut_off == "its end"
    assert len(table.judged) == 1


def test_a_file_that_was_cut_off_and_is_complete_now_settles_after_its_usual_time(table: Table) -> None:
    table.lacks = "its end"
    table.event(now=0.0)
    table.look(1.0, stamp(0.0, size=1))
    table.lacks = None
    table.event(now=20.0)
    settled = table.look(21.0, stamp(20.0, size=2))
    assert isinstance(settled, Settled)
    assert settled.cut_off is None
    assert len(table.judged) == 2


def test_an_old_file_that_is_cut_off_has_had_its_time(table: Table) -> None:
    table.lacks = "its end"
    table.found(now=1000.0)
    settled = table.look(1000.0, stamp(1000.0 - CUT_OFF_EXTRA - QUIET_ASKED))
    assert isinstance(settled, Settled)
    assert settled.cut_off == "its end"


def test_with_a_fixed_time_nobody_asks_whether_a_file_is_cut_off(table: Table) -> None:
    table.event(now=0.0, settle=2.0)
    settled = table.look(2.0, stamp(0.0))
    assert isinstance(settled, Settled)
    assert table.judged == []


def test_nobody_asks_whether_a_file_is_cut_off_before_it_is_quiet(table: Table) -> None:
    table.event(now=0.0)
    table.look(0.5, stamp(0.0))
    table.look(1.5, stamp(1.4))
    table.look(3.0, stamp(1.4), busy=True)
    assert table.judged == []


def test_a_path_that_is_put_off_keeps_its_lane_and_waits_unless_an_event_comes(table: Table) -> None:
    for path in ("a", "b"):
        table.found(now=0.0, path=path)
        table.table.postpone(path, Lane.FRESH, 5.0)
    assert table.table.due(4.9) == []
    table.event(now=2.0, path="b")
    assert table.table.due(3.0) == ["b"]
    assert table.table.due(5.0) == ["a"]
    settled = table.look(5.0, stamp(-9.0), path="a")
    assert isinstance(settled, Settled)
    assert settled.lane is Lane.FRESH


def test_who_writes_to_a_file_is_told_as_far_as_it_is_known(table: Table) -> None:
    table.event(now=0.0)
    waiting = table.table.look(PATH, stamp(0.0), True, 1.0, EPOCH + 1.0, writer="aria2 does")
    assert isinstance(waiting, Waiting)
    assert waiting.why == "aria2 does"


def test_where_polling_an_old_file_is_looked_at_twice(table: Table) -> None:
    table.found(now=100.0, two_looks=True)
    waiting = table.look(100.0, stamp(50.0), busy=None)
    assert isinstance(waiting, Waiting)
    assert "once more" in waiting.why
    assert isinstance(table.look(100.5, stamp(50.0), busy=None), Waiting)
    assert isinstance(table.look(101.0, stamp(50.0), busy=None), Settled)


def test_two_different_looks_are_not_two_equal_ones(table: Table) -> None:
    table.found(now=100.0, two_looks=True)
    table.look(100.0, stamp(50.0, size=1), busy=None)
    assert isinstance(table.look(101.0, stamp(50.0, size=2), busy=None), Waiting)
    assert isinstance(table.look(102.0, stamp(50.0, size=2), busy=None), Settled)


def test_scans_that_find_a_waiting_file_again_do_not_keep_it_waiting(table: Table) -> None:
    for now in range(100, 110):
        table.found(now=float(now), two_looks=True)
        assert isinstance(table.look(float(now), stamp(100.0), busy=None), Waiting)
    table.found(now=110.0, two_looks=True)
    assert isinstance(table.look(110.0, stamp(100.0), busy=None), Settled)


def test_an_event_puts_a_found_file_into_the_fresh_lane_and_a_scan_does_not_put_it_back(table: Table) -> None:
    table.found(now=0.0)
    table.event(now=0.5)
    table.found(now=0.6)
    assert table.table.due(1.4) == []
    assert table.table.due(1.5) == [PATH]
    settled = table.look(1.5, stamp(0.4))
    assert isinstance(settled, Settled)
    assert settled.lane is Lane.FRESH


def test_changed_at_is_the_later_of_the_event_and_the_ctime_but_never_in_the_future(table: Table) -> None:
    table.event(now=10.0)
    by_event = table.look(11.0, stamp(8.0))
    assert isinstance(by_event, Settled)
    assert by_event.changed_at == pytest.approx(EPOCH + 10.0)
    table.event(now=10.0, settle=0.0)
    by_ctime = table.look(11.0, stamp(500.0))
    assert isinstance(by_ctime, Settled)
    assert by_ctime.changed_at == EPOCH + 11.0


def test_a_file_that_is_not_there_leaves_the_table(table: Table) -> None:
    table.found(now=0.0)
    assert table.look(0.0, None) == Vanished(PATH)
    table.event(now=0.0)
    assert table.look(0.4, None) == Vanished(PATH, quiet_for=0.4)
    assert len(table.table) == 0
    assert table.table.due(1000.0) == []
    assert table.table.next_due() is None


@pytest.mark.parametrize("jump", [-1e6, -30.0, 30.0, 1e6])
def test_a_wall_clock_that_is_set_while_a_file_waits_does_not_hold_it(table: Table, jump: float) -> None:
    table.found(now=0.0)
    table.look(0.0, stamp(-0.2))
    table.clock_error = jump
    table.look(0.8, stamp(-0.2))
    assert isinstance(table.look(2.0, stamp(-0.2)), Settled)


def test_a_clock_set_forward_does_not_make_a_young_file_old(table: Table) -> None:
    table.found(now=0.0, path="/photos/other.jpg")
    table.look(0.0, stamp(-0.2), path="/photos/other.jpg")
    table.clock_error = 86_400.0
    table.found(now=0.5)
    assert isinstance(table.look(0.5, stamp(0.4), busy=None), Waiting)
    assert isinstance(table.look(10.6, stamp(0.4), busy=None), Settled)


def test_what_waits_can_be_told_with_its_reason(table: Table) -> None:
    table.event(now=0.0)
    assert table.table.get("/photos/unknown.jpg") is None
    fresh = table.table.get(PATH)
    assert fresh is not None
    assert (fresh.since, fresh.why) == (None, "not looked at yet")
    table.look(1.0, stamp(0.9), busy=True)
    waiting = table.table.get(PATH)
    assert waiting is not None
    assert waiting.since == pytest.approx(EPOCH + 0.9)
    assert waiting.why == "somebody has it open for writing"


def test_oldest_is_the_earliest_change_of_those_that_wait(table: Table) -> None:
    assert table.table.oldest() is None
    for name, changed in (("a", 5.0), ("b", 3.0), ("c", 4.0)):
        table.found(now=6.0, settle=60.0, path=name)
        table.look(6.0, stamp(changed), path=name)
    assert table.table.oldest() == pytest.approx(EPOCH + 3.0)
    table.table.forget("b")
    assert table.table.oldest() == pytest.approx(EPOCH + 4.0)


def test_forgetting_a_watch_forgets_all_of_it_and_nothing_of_one_inside_it(table: Table) -> None:
    for path, watch in (("/p/1", "/p"), ("/p/a/2", "/p"), ("/p/in/3", "/p/in"), ("/q/4", "/q")):
        table.table.hint(path, settle=None, lane=Lane.BACKLOG, watch=watch, now=0.0)
    table.table.forget_watch("/p", but=lambda path: path == "/p/a/2")
    assert sorted(table.table.due(0.0)) == ["/p/a/2", "/p/in/3", "/q/4"]
    table.table.forget_watch("/q", but=lambda path: False)
    assert len(table.table) == 2


def test_fresh_files_are_looked_at_before_a_backlog_and_a_batch_can_be_limited(table: Table) -> None:
    for number in range(1000):
        table.found(now=0.0, path=f"/old/{number}")
    table.event(now=0.0, path="/new/1")
    assert table.table.due(1.0, limit=3) == ["/new/1", "/old/0", "/old/1"]
    assert table.table.due(1.0, limit=2) == ["/old/2", "/old/3"]


def test_a_path_given_out_and_not_looked_at_comes_again(table: Table) -> None:
    table.found(now=0.0)
    assert table.table.due(0.0) == [PATH]
    assert table.table.due(0.1) == []
    again = table.table.next_due()
    assert again is not None
    assert table.table.due(again) == [PATH]


def test_files_that_have_settled_leave_no_memory_behind(table: Table) -> None:
    """A scan may find files at a rate of many thousands a second: all that a table holds are those that wait."""
    tracemalloc.start()
    try:
        for number in range(5000):
            path = f"/photos/{number}"
            table.found(now=10.0, path=path)
            assert table.table.due(10.0) == [path]
            assert isinstance(table.look(10.0, stamp(1.0), path=path), Settled)
        table.judged.clear()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table.table) == 0
    assert kept < 5000 * 100, "bytes: a thousand places at most, of some 200 bytes each"


def settles(
    table: Table, changes: list[float], busy: bool | None, until: float, busy_until: float = 0.0
) -> tuple[float, Settled] | None:
    """Looks whenever the table says so, as the intake does; returns when it settled.

    `changes` are the times of the file's changes, of which no event tells.
    """
    while (due := table.table.next_due()) is not None and due <= until:
        for path in table.table.due(due):
            so_far = [time for time in changes if time <= due]
            seen = stamp(so_far[-1], size=len(so_far))
            result = table.look(due, seen, True if due < busy_until else busy, path)
            if isinstance(result, Settled):
                return due, result
    return None


def times(gaps: list[float]) -> list[float]:
    found = [0.0]
    for gap in gaps:
        found.append(found[-1] + gap)
    return found


gaps_below_one = st.lists(st.floats(0.001, 0.99), min_size=1, max_size=40)
ways_of_being_named = st.sampled_from(["event", "scan", "poll"])
busy_answers = st.sampled_from([False, None])


def name_it(table: Table, way: str, quiet: float) -> None:
    if way == "event":
        table.event(now=0.0, settle=quiet)
    else:
        table.found(now=0.0, settle=quiet, two_looks=way == "poll")


@given(ways_of_being_named, gaps_below_one, st.floats(1.0, 30.0), busy_answers)
def test_a_file_that_keeps_changing_never_settles(way: str, gaps: list[float], quiet: float, busy: bool | None) -> None:
    table = Table(SettleTable())
    name_it(table, way, quiet)
    changes = times(gaps)
    assert settles(table, changes, busy, until=changes[-1]) is None


@given(ways_of_being_named, gaps_below_one, st.floats(0.0, 30.0), busy_answers)
def test_a_file_that_stops_changing_settles_soon_after_its_quiet_time(
    way: str, gaps: list[float], quiet: float, busy: bool | None
) -> None:
    table = Table(SettleTable())
    name_it(table, way, quiet)
    changes = times(gaps)
    outcome = settles(table, changes, busy, until=1000.0)
    assert outcome is not None
    at, settled = outcome
    so_far = [time for time in changes if time <= at]
    assert at - so_far[-1] >= quiet - 1e-6
    assert at <= max(changes[-1], 0.0) + max(quiet, 1.0) + 1.1
    assert settled.stamp == stamp(so_far[-1], size=len(so_far))


@given(ways_of_being_named, st.floats(0.0, 20.0), st.floats(0.1, 5000.0), busy_answers)
def test_a_file_never_settles_while_it_is_open_for_writing_and_soon_after(
    way: str, quiet: float, busy_until: float, busy: bool | None
) -> None:
    table = Table(SettleTable())
    name_it(table, way, quiet)
    outcome = settles(table, [-1000.0], busy, until=10_000.0, busy_until=busy_until)
    assert outcome is not None
    at, _ = outcome
    assert at >= busy_until
    assert at <= busy_until + 5.0 + max(quiet, 1.0) + 1.1
