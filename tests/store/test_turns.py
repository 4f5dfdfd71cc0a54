from __future__ import annotations

import threading

import pytest

from engine.store.turns import Turns
from tests.patience import PATIENCE, eventually


def waiting_for(turns: Turns, count: int) -> None:
    eventually(lambda: len(turns._waiting) >= count, every=0.001)


def test_those_who_wait_are_served_in_the_order_they_came() -> None:
    turns, served = Turns(), []
    threads = []

    def wait(number: int) -> None:
        with turns:
            served.append(number)

    with turns:
        for number in range(20):
            threads.append(threading.Thread(target=wait, args=(number,)))
            threads[-1].start()
            waiting_for(turns, number + 1)
    for thread in threads:
        thread.join(PATIENCE)
    assert served == list(range(20))


def test_who_takes_turn_after_turn_lets_the_others_in_between() -> None:
    turns, order = Turns(), []

    def other() -> None:
        with turns:
            order.append("other")

    thread = threading.Thread(target=other)
    for n in range(3):
        with turns:
            if n == 0:
                thread.start()
                waiting_for(turns, 1)
            order.append("chunk")
    thread.join(PATIENCE)
    assert order == ["chunk", "other", "chunk", "chunk"]


def test_an_error_gives_the_turn_back() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns:
        1 / 0
    with turns:
        pass


def test_never_two_at_once() -> None:
    turns, inside, most = Turns(), [], 0

    def work() -> None:
        nonlocal most
        for _ in range(200):
            with turns:
                inside.append(1)
                most = max(most, len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert most == 1
