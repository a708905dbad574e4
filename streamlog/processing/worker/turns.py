"""Turns: how other tasks get something done by the one task that owns the worker's state.

A worker's tasks, positions and deliveries belong to its loop alone. Whoever else needs them changed
(the group member on a rebalance, a restore that is finished) hands over a call and waits until the
loop has run it between two chunks. The loop waits for records in `Turns.interruptible`, which ends
early when somebody asks.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")


class _Request(Generic[T]):
    """A call, and later its result."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self.call = call
        self.done = trio.Event()
        self.abandoned = False
        self.result: T | None = None
        self.error: Exception | None = None


class Turns:
    """The calls that wait for the loop; at most one per asking task, so never many."""

    def __init__(self) -> None:
        self._waiting: deque[_Request[object]] = deque()
        self._scope: trio.CancelScope | None = None

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Has the loop run `call`; returns what it returns, raises what it raises.

        A caller that is cancelled while it waits takes its request back.
        """
        request = _Request(call)
        self._waiting.append(request)  # type: ignore[arg-type]
        if self._scope is not None:
            self._scope.cancel()
        try:
            await request.done.wait()
        finally:
            request.abandoned = True
        if request.error is not None:
            raise request.error
        return request.result  # type: ignore[return-value]

    async def take(self) -> None:
        """Runs what was asked for; for the loop only."""
        while self._waiting:
            request = self._waiting.popleft()
            if request.abandoned:
                continue
            try:
                request.result = await request.call()
            except Exception as error:  # noqa: BLE001 (it is the asking task's error)
                request.error = error
            request.done.set()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A wait that ends when somebody asks; for the loop only, around what can be cancelled."""
        with trio.CancelScope() as scope:
            if self._waiting:
                scope.cancel()
            self._scope = scope
            try:
                yield
            finally:
                self._scope = None
