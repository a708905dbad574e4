"""Makes the calls of `map_async`: many at once, those of one key one after the other."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Final

import trio

from streamlog.processing.operators.calls import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.dsl.nodes import AsyncMapNode
    from streamlog.processing.operators.calls import Call
    from streamlog.processing.worker.task import Task

PAUSE_FIRST_S: Final = 0.1
PAUSE_MAX_S: Final = 5.0
"""Between two attempts; doubled each time."""


async def process_offered(task: Task) -> None:
    """Has a task process what it can, with the calls made of its async functions."""
    for piece, next_offset in task.pieces():
        calls = task.prepare(piece, next_offset)
        task.finish(await make_calls(calls) if calls else ())


async def make_calls(calls: Sequence[Call]) -> list[Answer]:
    """Makes calls; returns their answers in the same order. A call that fails is an answer too."""
    answers: list[Answer | None] = [None] * len(calls)
    queues: dict[AsyncMapNode, deque[deque[int]]] = {}
    by_key: defaultdict[tuple[AsyncMapNode, object], deque[int]] = defaultdict(deque)
    for position, call in enumerate(calls):
        # Without a key there is no order to keep.
        key: object = position if call.key is None else call.key
        by_key[call.node, key].append(position)
    for (node, _), positions in by_key.items():
        queues.setdefault(node, deque()).append(positions)

    async def work(queue: deque[deque[int]]) -> None:
        while queue:
            for position in queue.popleft():
                answers[position] = await _make(calls[position])

    async with trio.open_nursery() as nursery:
        for node, queue in queues.items():
            for _ in range(min(node.concurrency, len(queue))):
                nursery.start_soon(work, queue)
    return [answer for answer in answers if answer is not None]


async def _make(call: Call) -> Answer:
    """Makes one call, again if it fails, as often as its step says."""
    node = call.node
    pause_s = PAUSE_FIRST_S
    for attempt in range(node.retries + 1):
        try:
            with trio.fail_after(node.timeout_s):
                return Answer(await node.function(call.value))
        except trio.TooSlowError:
            error: Exception = TimeoutError(f"no answer within {node.timeout_s:g} s")
        except Exception as raised:  # noqa: BLE001 (whatever a user's function may raise)
            error = raised
        if attempt < node.retries:
            await trio.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
    return Answer(error=error)
