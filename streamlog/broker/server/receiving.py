"""Cuts the bytes of a socket into request frames without copying large ones.

A frame is a 32-bit length and that many bytes. Small frames are cut out of one small buffer per
connection, several at a time if the client pipelines. A frame that does not fit there gets a large
buffer from the shared pool, after its length was checked, the small buffer has filled up and memory
was granted for it, and the rest of it is received right into its place. So a length alone, which
any stranger's first bytes may look like, takes nothing from those who really send. A frame is valid
until the next one is asked for.

`deadline` is the moment at which the connection counts as dead: far off while it is idle, near
while a frame is on its way (it moves with what has arrived, so that neither a byte a second nor an
honest slow link is mistaken for the other), never while a request is being handled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from streamlog.broker.server.garbage import describe_garbage, printable
from streamlog.broker.server.reply import CloseConnectionError

if TYPE_CHECKING:
    import socket

    from streamlog.broker.server.buffers import BufferPool
    from streamlog.broker.server.limits import MemoryBudget, ServerLimits

BUFFER_BYTES = 1 << 13
"""The small buffer: room for dozens of heartbeats, and little enough for thousands of clients."""

LENGTH_BYTES = 4
FRAME_BYTES_MIN = 8
"""API key, version and correlation id; nothing shorter can be answered."""


class FrameReader:
    """Receives the frames of one connection.

    Args:
        sock: A connected non-blocking socket.
        limits: How large and how slow a frame may be.
        memory: What all connections together may hold.
        buffers: Where large buffers come from.
    """

    def __init__(
        self,
        sock: socket.socket,
        limits: ServerLimits,
        memory: MemoryBudget,
        buffers: BufferPool,
    ) -> None:
        self._sock = sock
        self._limits = limits
        self._memory = memory
        self._buffers = buffers
        self._view = memoryview(bytearray(BUFFER_BYTES))
        self._start = 0
        self._end = 0
        self._large: bytearray | None = None
        self._taken_bytes = 0
        self._is_first = True
        self._has_waited = False
        self.deadline = math.inf
        self.handed_out_at = math.inf
        """Since when the last frame is being handled."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is on its way or being handled."""
        return self._start == self._end and self._large is None and self.deadline != math.inf

    async def receive(self) -> memoryview | None:
        """Returns the next frame without its length, or None when the client has closed.

        Raises:
            CloseConnectionError: What came is no frame.
            OSError: The connection broke.
        """
        self.release()
        self.handed_out_at = math.inf
        self._has_waited = False
        size = await self._receive_length()
        if size is None:
            return None
        self._check(size)
        self._is_first = False
        self.deadline = trio.current_time() + self._limits.transfer_seconds(min(size, BUFFER_BYTES))
        start = self._start + LENGTH_BYTES
        if start + size <= self._end:
            frame = self._view[start : start + size]
            self._start = start + size
        elif LENGTH_BYTES + size <= BUFFER_BYTES:
            self._make_room(LENGTH_BYTES + size)
            start, end = self._start + LENGTH_BYTES, self._start + LENGTH_BYTES + size
            while self._end < end:
                self._end += await self._receive_some(self._view[self._end :])
            frame = self._view[start:end]
            self._start = end
        else:
            frame = await self._receive_large(size)
        self.deadline = math.inf
        if not self._has_waited:
            # A client whose requests are always there already must not keep the others waiting.
            await trio.lowlevel.checkpoint()
        self.handed_out_at = trio.current_time()
        return frame

    def release(self) -> None:
        """Gives the large buffer of the last frame back; the frame is invalid from here on."""
        if self._large is not None:
            self._buffers.give_back(self._large)
            self._large = None
        if self._taken_bytes:
            self._memory.give_back(self._taken_bytes)
            self._taken_bytes = 0

    async def _receive_length(self) -> int | None:
        if self._start == self._end:
            self._start = self._end = 0
            self.deadline = trio.current_time() + self._limits.idle_timeout_s
            received = await self._receive_into(self._view)
            if received == 0:
                return None
            self._end = received
        if self._end - self._start < LENGTH_BYTES:
            self._make_room(LENGTH_BYTES)
            self.deadline = trio.current_time() + self._limits.transfer_grace_s
            while self._end - self._start < LENGTH_BYTES:
                self._end += await self._receive_some(self._view[self._end :])
        head = self._view[self._start : self._start + LENGTH_BYTES]
        return int.from_bytes(head, "big", signed=True)

    async def _receive_large(self, size: int) -> memoryview:
        self._make_room(BUFFER_BYTES)
        while self._end < BUFFER_BYTES:
            self._end += await self._receive_some(self._view[self._end :])
        self.deadline = math.inf  # waiting for memory is not the client's fault
        await self._memory.take(size)
        self._taken_bytes = size
        self._large = self._buffers.borrow(size)
        frame = memoryview(self._large)[:size]
        position = self._end - self._start - LENGTH_BYTES
        frame[:position] = self._view[self._start + LENGTH_BYTES : self._end]
        self._start = self._end = 0
        began, limits = trio.current_time(), self._limits
        while position < size:
            self.deadline = min(
                began + limits.transfer_seconds(position),
                trio.current_time() + limits.transfer_grace_s,
            )
            position += await self._receive_some(frame[position:])
        return frame

    async def _receive_some(self, into: memoryview) -> int:
        received = await self._receive_into(into)
        if received == 0:
            raise CloseConnectionError("the client closed in the middle of a request")
        return received

    async def _receive_into(self, into: memoryview) -> int:
        while True:
            try:
                return self._sock.recv_into(into)
            except BlockingIOError:
                self._has_waited = True
                await trio.lowlevel.wait_readable(self._sock.fileno())

    def _make_room(self, size: int) -> None:
        if self._start + size > BUFFER_BYTES:
            held = self._end - self._start
            self._view[:held] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, held

    def _check(self, size: int) -> None:
        if FRAME_BYTES_MIN <= size <= self._limits.request_bytes_max:
            return
        opening = bytes(self._view[self._start : self._end])
        looks = describe_garbage(opening) if self._is_first else None
        if looks is not None:
            raise CloseConnectionError(f"this looks like {looks}")
        raise CloseConnectionError(
            f"a request claims a length of {size} bytes, allowed are {FRAME_BYTES_MIN} to "
            f"{self._limits.request_bytes_max}; it begins with {printable(opening)}"
        )
