"""What one thread can end of what another waits for."""

from __future__ import annotations

import select

from pixstored.store.alarm import Alarm


def rings(alarm: Alarm) -> bool:
    return bool(select.select([alarm], [], [], 0)[0])


def test_a_drop_that_came_just_before_the_last_bytes_went_out_has_no_effect() -> None:
    alarm = Alarm()
    alarm.arm()
    alarm.drop()
    assert rings(alarm) and alarm.rung
    alarm.past_recall()
    assert not rings(alarm) and not alarm.rung
    alarm.drop()
    assert not rings(alarm)


def test_a_cut_ends_the_wait_for_the_answer_too() -> None:
    alarm = Alarm()
    alarm.arm()
    alarm.cut()
    alarm.past_recall()
    assert rings(alarm) and alarm.rung


def test_nothing_rings_between_two_requests() -> None:
    alarm = Alarm()
    alarm.drop()
    alarm.cut()
    assert not rings(alarm)
    alarm.arm()
    alarm.cut()
    alarm.disarm()
    assert not rings(alarm) and not alarm.rung
