"""The paths of an endpoint: figures, and two questions that are answered with yes or why not.

* `/metrics`: Prometheus' text.
* `/healthz`: 200 while the process does its work, 503 once it cannot any more and should be started
  anew. Being slow, behind or without brokers is not ill.
* `/readyz`: 200 once it has begun with its work; 503 while it starts, joins or restores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from streamlog.metrics.exposition import CONTENT_TYPE, render
from streamlog.metrics.http import Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from streamlog.metrics.endpoint import Routes
    from streamlog.metrics.exposition import Family


def routes(
    families: Callable[[], Iterable[Family]],
    why_ill: Callable[[], str | None],
    why_not_ready: Callable[[], str | None],
) -> Routes:
    """Returns what to serve.

    Args:
        families: Gathers the figures as they are now.
        why_ill: Says what is wrong; nothing if all is well.
        why_not_ready: Says what is being waited for; nothing if that is over.
    """

    async def metrics() -> Answer:
        await trio.lowlevel.checkpoint()
        return Answer(render(families()), content_type=CONTENT_TYPE)

    return {"/metrics": metrics, "/healthz": _asked(why_ill), "/readyz": _asked(why_not_ready)}


def _asked(why_not: Callable[[], str | None]) -> Callable[[], Awaitable[Answer]]:
    async def answer() -> Answer:
        await trio.lowlevel.checkpoint()
        reason = why_not()
        return Answer(b"ok\n") if reason is None else Answer(f"{reason}\n".encode(), 503)

    return answer
