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
    return trio.run(call)  # type: ignore[arg-type]  # trio wants a coroutine function


@asynccontextmanager
async def stopped_by_signals() -> AsyncIterator[trio.CancelScope]:
    """Runs the block until it ends or SIGINT or SIGTERM cancels it; the second SIGINT kills.

    What the block has opened is closed in order, so a worker writes its last checkpoint.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def watch() -> None:
                interrupts = 0
                async for received in signals:
                    scope.cancel()
                    interrupts += received == signal.SIGINT
                    if interrupts > 1:
                        signal.signal(signal.SIGINT, signal.SIG_DFL)
                        signal.raise_signal(signal.SIGINT)

            nursery.start_soon(watch)
            with scope:
                yield scope
            nursery.cancel_scope.cancel()
