"""Turns: calls run in the loop's task, one at a time, and interrupt its waiting."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from streamlog.processing.worker.turns import Turns


async def loop(turns: Turns, log: list[str]) -> None:
    while True:
        await turns.take()
        with turns.interruptible():
            log.append("wait")
            await trio.sleep(1000)


async def test_a_waiting_loop_is_interrupted_and_answers(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    turns, log = Turns(), list[str]()
    nursery.start_soon(loop, turns, log)
    await trio.testing.wait_all_tasks_blocked()

    async def call() -> int:
        return 7

    assert await turns.ask(call) == 7
    assert trio.current_time() < 1000


async def test_an_error_goes_to_the_one_who_asked_and_the_loop_goes_on(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    turns, log = Turns(), list[str]()
    nursery.start_soon(loop, turns, log)

    async def fail() -> None:
        raise ValueError("mine")

    for _ in range(2):
        with pytest.raises(ValueError, match="mine"):
            await turns.ask(fail)


async def test_who_is_cancelled_while_waiting_takes_the_request_back() -> None:
    turns = Turns()
    ran = []

    async def call() -> None:
        ran.append(1)

    with trio.move_on_after(0):
        await turns.ask(call)
    await turns.take()
    assert ran == []


async def test_what_was_asked_before_the_wait_begins_ends_it_at_once(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    turns = Turns()
    ran = []

    async def call() -> None:
        ran.append(1)

    nursery.start_soon(turns.ask, call)
    await trio.testing.wait_all_tasks_blocked()
    with turns.interruptible():
        await trio.sleep(1000)
    assert trio.current_time() < 1000
    await turns.take()
    assert ran == [1]
