"""Writes a response to a socket: small parts joined, large file ranges by `sendfile`.

A response to a fetch is head bytes, a range of a segment, a byte or two, the next range, and so on.
Ranges below `SENDFILE_BYTES_MIN` are copied and joined with their neighbours, because a system call
costs more than the copy; larger ones go from the page cache to the socket, and `MSG_MORE` keeps the
head in one packet with what follows.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import trio

from streamlog.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.broker.server.reply import FileRange, Parts

SENDFILE_BYTES_MIN = 1 << 15
"""From here on `sendfile` wins over a copy (measured on loopback)."""

JOINED_BYTES_MAX = 1 << 18
"""Joined parts are sent once they reach this, so that a long response is not built up whole."""


def size_of(parts: Parts) -> int:
    """Returns how many bytes the parts are.

    >>> size_of([b"abc", memoryview(b"de")])
    5
    """
    return sum(
        len(part) if isinstance(part, bytes | bytearray | memoryview) else part.size
        for part in parts
    )


def joined(parts: Parts) -> Iterator[bytes | bytearray | memoryview | FileRange]:
    """Yields the same bytes in fewer parts; no two buffers follow each other, but for large ones.

    >>> list(joined([b"ab", memoryview(b"cd"), b"e"]))
    [b'abcde']
    """
    buffers: list[bytes | bytearray | memoryview] = []
    size = 0
    for part in parts:
        if not isinstance(part, bytes | bytearray | memoryview):
            if part.size >= SENDFILE_BYTES_MIN:
                if buffers:
                    yield buffers[0] if len(buffers) == 1 else b"".join(buffers)
                    buffers, size = [], 0
                yield part
                continue
            if part.size == 0:
                continue
            data = part.read()
            if len(data) != part.size:
                raise _short(part)
            buffers.append(data)
        else:
            buffers.append(part)
        size += len(buffers[-1])
        if size >= JOINED_BYTES_MAX:
            yield buffers[0] if len(buffers) == 1 else b"".join(buffers)
            buffers, size = [], 0
    if buffers:
        yield buffers[0] if len(buffers) == 1 else b"".join(buffers)


async def send_parts(sock: socket.socket, parts: Parts) -> None:
    """Sends everything; blocks while the peer does not read.

    Raises:
        OSError: The peer is gone, or the file cannot be read; the connection is of no more use.
        StorageError: A file is shorter than its range.
    """
    if len(parts) == 1 and isinstance(parts[0], bytes | bytearray | memoryview):
        await _send_buffer(sock, parts[0], 0)
        return
    previous: bytes | bytearray | memoryview | FileRange | None = None
    for part in joined(parts):
        if previous is not None:
            await _send_part(sock, previous, socket.MSG_MORE)
        previous = part
    if previous is not None:
        await _send_part(sock, previous, 0)


async def _send_part(
    sock: socket.socket, part: bytes | bytearray | memoryview | FileRange, flags: int
) -> None:
    if isinstance(part, bytes | bytearray | memoryview):
        await _send_buffer(sock, part, flags)
    else:
        await _send_file(sock, part)


async def _send_buffer(
    sock: socket.socket, data: bytes | bytearray | memoryview, flags: int
) -> None:
    size = len(data)
    try:
        sent = sock.send(data, flags)
    except BlockingIOError:
        sent = 0
    if sent == size:
        return
    view = memoryview(data)
    while sent < size:
        await trio.lowlevel.wait_writable(sock.fileno())
        try:
            sent += sock.send(view[sent:], flags)
        except BlockingIOError:
            continue


async def _send_file(sock: socket.socket, part: FileRange) -> None:
    out, source = sock.fileno(), part.fileno()
    position, end = part.position, part.position + part.size
    while position < end:
        try:
            sent = os.sendfile(out, source, position, end - position)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock.fileno())
            continue
        if sent == 0:
            raise _short(part)
        position += sent


def _short(part: FileRange) -> StorageError:
    return StorageError(
        f"a segment file ended before byte {part.position + part.size}: "
        "it was cut while it was served",
        hint="Nothing but the server may touch its data folder; restart it, and it checks the log",
    )
