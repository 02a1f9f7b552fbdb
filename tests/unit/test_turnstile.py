"""Uploaders that go one after the other: never at the price of waiting for somebody who is held up."""

from __future__ import annotations

import threading

from pixstored.publish.turnstile import STAYS_OPEN, Passage, Turnstile

SECONDS = 30.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_whoever_comes_second_is_let_in_when_the_first_has_left() -> None:
    turnstile, entered = Turnstile(Clock()), threading.Event()
    assert turnstile.enter()

    def second() -> None:
        while not turnstile.enter():  # on a slow machine its patience may end
            pass
        entered.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not entered.is_set()
    turnstile.leave()
    thread.join(SECONDS)
    assert entered.is_set()
    assert not turnstile.enter()


def test_somebody_who_is_held_up_inside_is_waited_for_once_and_then_for_a_while_not_at_all() -> None:
    clock = Clock()
    turnstile = Turnstile(clock)
    assert turnstile.enter()
    assert not turnstile.enter()
    clock.now += STAYS_OPEN / 2
    assert not any(turnstile.enter() for _ in range(100_000))  # an hour and more, were each of them to wait
    turnstile.leave()
    assert turnstile.enter()


def test_a_passage_may_come_in_and_go_out_as_often_as_it_likes() -> None:
    turnstile = Turnstile(Clock())
    first, second = Passage(turnstile), Passage(turnstile)
    first.come_in()
    first.come_in()
    second.come_in()  # passes by, as nobody inside is waited for too long
    second.go_out()
    assert not turnstile.enter()  # the first one is still inside
    first.go_out()
    first.go_out()
    assert turnstile.enter()


def test_whoever_is_held_up_inside_for_ever_can_be_led_out_by_another_thread_once() -> None:
    turnstile = Turnstile(Clock())
    for _ in range(200):
        stuck, guest = Passage(turnstile), Passage(turnstile)
        stuck.come_in()
        both = threading.Barrier(2)

        def lead_out(stuck: Passage = stuck, both: threading.Barrier = both) -> None:
            both.wait(SECONDS)
            stuck.go_out()

        other = threading.Thread(target=lead_out)
        other.start()
        lead_out()
        other.join(SECONDS)
        guest.come_in()
        stuck.go_out()  # it has got free, and knows nothing of that
        assert turnstile.is_somebody_inside()
        guest.go_out()
        assert not turnstile.is_somebody_inside()
