"""Which records of a chunk were sent back from a topic of dead letters.

It is asked of every chunk, so the module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.failures.dead_letters import RETRY_COUNT

if TYPE_CHECKING:
    from streamlog.records.columns import Headers


def returned_among(headers: list[Headers] | None) -> list[int]:
    """Returns the indices of records that were sent back, by whatever pipeline's dead letters."""
    found: list[int] = []
    count: str = RETRY_COUNT
    if headers is not None:
        for index, each in enumerate(headers):
            if each and each[-1][0] == count:
                found.append(index)
    return found
