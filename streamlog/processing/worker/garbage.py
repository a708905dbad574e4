"""How often Python looks for garbage in reference cycles while a worker runs.

Values and rows are made by the million, live until their window closes and are in no cycle. By
default Python looks at the youngest of them whenever there are 700 more than before, and now and
then at all that live: a quarter of a worker's time. So a worker has it look seldom, and never at
what was there before the first record. What is in no cycle is freed at once, as always.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

THRESHOLDS: Final = (200_000, 20, 100)
"""More objects than before; so many looks at the youngest before one at the next older; likewise.

Some tens of megabytes of cyclic garbage at most, a look each few chunks."""

_before: Final[list[tuple[int, int, int]]] = []
"""What each open block found; the first of them the process's own."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Has the process look for cyclic garbage seldom until the last such block is left."""
    _before.append(gc.get_threshold())
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        # Whichever is left first, what the first one found goes last.
        gc.set_threshold(*_before.pop())
        if not _before:
            gc.unfreeze()
