"""How a command runs trio: with logging to stderr, and with signals that end it cleanly."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

T = TypeVar("T")

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def run_async(call: Callable[[], Awaitable[T]], *, verbosity: int = 0) -> T:
    """Runs an async function to its end."""
    logging.basicConfig(
        stream=sys.stderr,
        level=LEVELS[min(verbosity, len(LEVELS) - 1)],
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    return trio.run(call)


@asynccontextmanager
async def stopped_by_signals() -> AsyncIterator[None]:
    """Runs the block until it ends, or until SIGINT or SIGTERM cancels it."""
    with trio.CancelScope() as scope:
        async with _watched_signals(scope.cancel):
            yield


@asynccontextmanager
async def stop_asked_by_signals() -> AsyncIterator[trio.Event]:
    """Yields an event that SIGINT or SIGTERM sets, for work that ends in good order by itself."""
    stop = trio.Event()
    async with _watched_signals(stop.set):
        yield stop


@asynccontextmanager
async def _watched_signals(act: Callable[[], None]) -> AsyncIterator[None]:
    """Calls `act` at each signal; the second SIGINT ends the process at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                interrupts = 0
                async for received in signals:
                    act()
                    interrupts += received == signal.SIGINT
                    if interrupts > 1:
                        signal.signal(signal.SIGINT, signal.SIG_DFL)
                        signal.raise_signal(signal.SIGINT)

            nursery.start_soon(watch)
            yield
            nursery.cancel_scope.cancel()
