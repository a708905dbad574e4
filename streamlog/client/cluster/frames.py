"""Cuts a stream of bytes into the frames of Kafka's responses, and says what else it might be.

A frame is a length of four bytes and so many more. A stranger's bytes read as a length are huge
(`HTTP` is 1.2 GB, a TLS alert 352 MB), so the limit is checked before anything is read, and the
error says what the bytes look like (KIP-498 tells the story from the broker's side).
"""

from __future__ import annotations

import struct

import trio

from streamlog.client.errors import ConnectionLostError, NotKafkaError

RECEIVE_BYTES = 256 * 1024
LENGTH_SIZE = 4


class FrameReader:
    """Reads frames from one stream.

    Args:
        stream: The connection.
        broker: Its address, for messages.
        frame_bytes_max: A longer frame is refused.
    """

    def __init__(self, stream: trio.abc.ReceiveStream, broker: str, frame_bytes_max: int) -> None:
        self._stream = stream
        self._broker = broker
        self._frame_bytes_max = frame_bytes_max
        self._rest = bytearray()

    async def next_frame(self) -> memoryview:
        """Returns the next frame, without its length; it is the caller's alone.

        Raises:
            ConnectionLostError: the stream has ended or broken.
            NotKafkaError: what comes is not Kafka's protocol.
        """
        await self._fill(LENGTH_SIZE)
        (size,) = struct.unpack_from(">i", self._rest)
        if not 0 <= size <= self._frame_bytes_max:
            raise not_kafka(self._broker, bytes(self._rest[:16]), self._frame_bytes_max)
        await self._fill(LENGTH_SIZE + size)
        frame = self._rest
        self._rest = frame[LENGTH_SIZE + size :]
        return memoryview(frame)[LENGTH_SIZE : LENGTH_SIZE + size]

    async def _fill(self, size: int) -> None:
        while len(self._rest) < size:
            wanted = max(RECEIVE_BYTES, size - len(self._rest))
            try:
                chunk = await self._stream.receive_some(min(wanted, 4 * RECEIVE_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise ConnectionLostError(
                    f"the connection to {self._broker} broke: {error}"
                ) from error
            if not chunk:
                raise ConnectionLostError(f"{self._broker} closed the connection")
            self._rest += chunk


def not_kafka(broker: str, start: bytes, frame_bytes_max: int) -> NotKafkaError:
    """Says what a stranger's answer looks like.

    >>> print(not_kafka("db:5432", b"HTTP/1.1 400 Bad", 10))
    db:5432 answered with HTTP, not with Kafka's protocol. Is it the right port?
    """
    if start[:1] in (b"\x15", b"\x16") and start[1:2] == b"\x03":
        return NotKafkaError(
            f"{broker} answered with TLS", hint="Use the broker's plaintext port; TLS comes later"
        )
    if start.startswith(b"HTTP"):
        seen = "HTTP"
    elif start.startswith(b"SSH-"):
        seen = "SSH"
    else:
        (size,) = struct.unpack_from(">i", start)
        seen = f"{start!r} (as the length of a response {size:,}, the limit is {frame_bytes_max:,})"
    return NotKafkaError(
        f"{broker} answered with {seen}, not with Kafka's protocol", hint="Is it the right port?"
    )
