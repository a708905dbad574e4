"""A nursery for the background tasks of a service that is opened with `async with`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def background_nursery() -> AsyncIterator[trio.Nursery]:
    """Opens a nursery whose tasks end with the block.

    What the block raises comes out as it is: a nursery would put it into an exception group, of
    which the user of a service need not know. A task that fails still ends the block.
    """
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        (only,) = group.exceptions
        raise only from only.__cause__
