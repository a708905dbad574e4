from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trio

from streamlog.broker.server.sending import (
    SENDFILE_BYTES_MIN,
    joined,
    send_parts,
    size_of,
)
from streamlog.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamlog.broker.server.reply import Part


@dataclass
class Range:
    fd: int
    position: int
    size: int

    def fileno(self) -> int:
        return self.fd

    def read(self) -> bytes:
        return os.pread(self.fd, self.size, self.position)


@pytest.fixture
def content() -> bytes:
    return os.urandom(3 * SENDFILE_BYTES_MIN)


@pytest.fixture
def fd(tmp_path: Path, content: bytes) -> Iterator[int]:
    path = tmp_path / "segment"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


async def roundtrip(parts: list[Part]) -> bytes:
    """Sends to a slow reader and returns what arrived."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    received = bytearray()

    async def collect(peer: trio.socket.SocketType) -> None:
        while data := await peer.recv(4096):
            received.extend(data)

    with theirs, trio.socket.from_stdlib_socket(theirs) as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, peer)
            with ours:
                await send_parts(ours, parts)
    return bytes(received)


def test_small_parts_are_joined_and_large_ranges_are_not(fd: int, content: bytes) -> None:
    large = Range(fd, 10, SENDFILE_BYTES_MIN)
    small = Range(fd, 5, 7)
    parts = list(joined([b"head", small, bytearray(b"x"), large, memoryview(b"tail"), small]))
    assert parts == [b"head" + content[5:12] + b"x", large, b"tail" + content[5:12]]


def test_the_size_counts_bytes_and_ranges(fd: int) -> None:
    assert size_of([b"abc", Range(fd, 0, 1000), memoryview(b"de")]) == 1005


async def test_bytes_and_file_ranges_arrive_in_order(fd: int, content: bytes) -> None:
    large = Range(fd, 1, 2 * SENDFILE_BYTES_MIN)
    parts: list[Part] = [b"a" * 100, large, b"b", Range(fd, 0, 0), large, b"c" * 500_000, b"d"]
    expected = (
        b"a" * 100
        + content[1 : 1 + large.size]
        + b"b"
        + content[1 : 1 + large.size]
        + b"c" * 500_000
        + b"d"
    )
    assert await roundtrip(parts) == expected


async def test_one_buffer_larger_than_the_socket_takes_is_sent_whole() -> None:
    data = os.urandom(3_000_000)
    assert await roundtrip([data]) == data


@pytest.mark.parametrize("size", [SENDFILE_BYTES_MIN - 1, SENDFILE_BYTES_MIN])
async def test_a_file_that_was_cut_is_an_error_and_never_a_short_response(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "cut"
    path.write_bytes(b"x" * 100)
    with path.open("rb") as file:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs, pytest.raises(StorageError, match="was cut while it was served"):
            await send_parts(ours, [b"head", Range(file.fileno(), 0, size)])
