from __future__ import annotations

import pytest
import trio
import trio.testing

from streamlog.broker.server.limits import ConnectionLimits, MemoryBudget, ServerLimits


def test_connections_are_bounded_in_total_and_per_address() -> None:
    limits = ConnectionLimits(ServerLimits(connections_max=3, connections_per_address_max=2))
    assert limits.admit("10.0.0.1") is None
    assert limits.admit("10.0.0.1") is None
    refusal = limits.admit("10.0.0.1")
    assert refusal is not None
    assert "10.0.0.1" in refusal
    assert limits.admit("10.0.0.2") is None
    refusal = limits.admit("10.0.0.3")
    assert refusal is not None
    assert "3 connections" in refusal
    assert limits.count == 3


def test_a_closed_connection_makes_room_for_another() -> None:
    limits = ConnectionLimits(ServerLimits(connections_max=1, connections_per_address_max=1))
    assert limits.admit("10.0.0.1") is None
    limits.release("10.0.0.1")
    assert limits.count == 0
    assert limits.admit("10.0.0.2") is None


async def test_memory_is_granted_in_the_order_of_asking(
    autojump_clock: trio.testing.MockClock,
) -> None:
    budget = MemoryBudget(100)
    granted: list[str] = []

    async def ask(name: str, size: int) -> None:
        await budget.take(size)
        granted.append(name)

    await budget.take(80)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "large", 95)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, "small", 10)
        await trio.testing.wait_all_tasks_blocked()
        assert granted == []
        assert budget.waiting_count == 2
        assert not budget.take_nowait(1), "nobody may overtake those who wait"
        budget.give_back(80)
        await trio.testing.wait_all_tasks_blocked()
        assert granted == ["large"]
        budget.give_back(95)
    assert granted == ["large", "small"]
    assert budget.size_bytes == 10


async def test_who_gives_up_waiting_takes_nothing_and_blocks_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    budget = MemoryBudget(100)
    await budget.take(60)
    async with trio.open_nursery() as nursery:

        async def impatient() -> None:
            with trio.move_on_after(1):
                await budget.take(90)

        nursery.start_soon(impatient)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(5):
            await budget.take(40)
    assert budget.size_bytes == 100
    assert budget.waiting_count == 0


async def test_a_request_larger_than_the_budget_is_let_in_alone() -> None:
    budget = MemoryBudget(10)
    await budget.take(50)
    assert not budget.take_nowait(1)
    budget.give_back(50)
    assert budget.take_nowait(1)


async def test_a_cancelled_grant_is_given_back() -> None:
    budget = MemoryBudget(10)
    with trio.CancelScope() as scope:
        scope.cancel()
        await budget.take(5)
    assert budget.size_bytes == 0


@pytest.mark.parametrize(("size", "seconds"), [(0, 30.0), (64 * 1024 * 10, 40.0)])
def test_a_transfer_may_take_longer_the_larger_it_is(size: int, seconds: float) -> None:
    assert ServerLimits().transfer_seconds(size) == seconds
