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


def die(received: int) -> None:
    """Ends the process at once, as the signal would have."""
    signal.signal(received, signal.SIG_DFL)
    signal.raise_signal(received)


@asynccontextmanager
async def stop_asked_by_signals(
    impatient: Callable[[int], None] = die,
) -> AsyncIterator[trio.Event]:
    """Yields an event that SIGINT or SIGTERM sets, for work that ends in good order by itself.

    Args:
        impatient: What each further signal does; by default it ends the process at once.
    """
    stop = trio.Event()
    async with _watched_signals(stop.set, impatient):
        yield stop


@asynccontextmanager
async def _watched_signals(
    act: Callable[[], None], impatient: Callable[[int], None] = die
) -> AsyncIterator[None]:
    """Calls `act` at the first signal, `impatient` at the others."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                is_first = True
                async for received in signals:
                    if is_first:
                        act()
                    else:
                        impatient(received)
                    is_first = False

            nursery.start_soon(watch)
            yield
            nursery.cancel_scope.cancel()
