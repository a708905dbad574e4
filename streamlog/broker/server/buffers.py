"""Large receive buffers that connections share: pages stay warm and idle clients cost little.

A fresh buffer of a megabyte costs a page fault per 4 KiB, as much as receiving into it. A
connection therefore borrows a large buffer for one request and gives it back when the request was
handled; the next request, of whichever connection, finds it in the processor's cache.
"""

from __future__ import annotations

KEPT_BYTES_MAX = 16 << 20
"""Free buffers beyond this are dropped."""

SIZE_BYTES_MIN = 1 << 16


class BufferPool:
    """Free buffers by size class (powers of two)."""

    def __init__(self) -> None:
        self._free: dict[int, list[bytearray]] = {}
        self._kept_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """What the free buffers hold."""
        return self._kept_bytes

    def borrow(self, size: int) -> bytearray:
        """Returns a buffer of at least `size` bytes, with anything in it."""
        if size > KEPT_BYTES_MAX:  # it will not be kept, so it need not fit others
            return bytearray(size)
        size_class = max(SIZE_BYTES_MIN, 1 << (size - 1).bit_length())
        free = self._free.get(size_class)
        if free:
            self._kept_bytes -= size_class
            return free.pop()
        return bytearray(size_class)

    def give_back(self, buffer: bytearray) -> None:
        """Takes a buffer back; nobody may use it any more."""
        size_class = len(buffer)
        if self._kept_bytes + size_class > KEPT_BYTES_MAX:
            return
        self._free.setdefault(size_class, []).append(buffer)
        self._kept_bytes += size_class
