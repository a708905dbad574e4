"""Deadlines by key: which comes next, which are over. No clock, only numbers.

Heartbeats move a deadline back far more often than one is reached. So moving it back only changes a
number; the heap keeps the old time and is put right when that time comes up. Setting is O(1) then,
O(log n) otherwise.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K")


class Deadlines(Generic[K]):
    """One deadline for each key, in milliseconds of whatever clock the owner uses.

    >>> deadlines = Deadlines[str]()
    >>> deadlines.set("tea", 5)
    >>> deadlines.set("tea", 9)
    >>> deadlines.next(), deadlines.pop_due(8), deadlines.pop_due(9)
    (9, None, 'tea')
    """

    def __init__(self) -> None:
        self._at: dict[K, int] = {}
        self._in_heap: dict[K, int] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._order = count()

    def __contains__(self, key: K) -> bool:
        return key in self._at

    def set(self, key: K, at_ms: int) -> None:
        """Gives a key a deadline, instead of the one it may have."""
        self._at[key] = at_ms
        known = self._in_heap.get(key)
        if known is None or at_ms < known:
            self._push(key, at_ms)

    def clear(self, key: K) -> None:
        """Takes a key's deadline away, if it has one."""
        self._at.pop(key, None)

    def next(self) -> int | None:
        """Returns the earliest deadline."""
        while self._heap:
            at_ms, _, key = self._heap[0]
            wanted = self._at.get(key)
            if wanted == at_ms:
                return at_ms
            heapq.heappop(self._heap)
            if self._in_heap.get(key) == at_ms:
                del self._in_heap[key]
                if wanted is not None:
                    self._push(key, wanted)
        return None

    def pop_due(self, now_ms: int) -> K | None:
        """Removes and returns a key whose deadline has come, earliest first; None if none has."""
        at_ms = self.next()
        if at_ms is None or at_ms > now_ms:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._in_heap[key]
        del self._at[key]
        return key

    def _push(self, key: K, at_ms: int) -> None:
        self._in_heap[key] = at_ms
        heapq.heappush(self._heap, (at_ms, next(self._order), key))
