from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlog.broker.server.buffers import BufferPool
from streamlog.broker.server.limits import MemoryBudget, ServerLimits
from streamlog.broker.server.receiving import BUFFER_BYTES, FrameReader
from streamlog.broker.server.reply import CloseConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterator

Reading = tuple[FrameReader, socket.socket]
LIMITS = ServerLimits(request_bytes_max=1 << 20)


@pytest.fixture
def reading() -> Iterator[Reading]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield FrameReader(ours, LIMITS, MemoryBudget(1 << 21), BufferPool()), theirs
    ours.close()
    theirs.close()


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


async def read_all(reader: FrameReader) -> list[bytes]:
    frames = []
    while (frame := await reader.receive()) is not None:
        frames.append(bytes(frame))
    return frames


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(
        st.one_of(
            st.integers(8, 50),
            st.integers(BUFFER_BYTES - 20, BUFFER_BYTES + 20),
            st.integers(8, 100_000),
        ),
        max_size=8,
    ),
    piece=st.integers(1, 30_000),
)
async def test_frames_come_out_as_they_went_in_however_they_are_cut(
    sizes: list[int], piece: int
) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    memory = MemoryBudget(1 << 21)
    reader = FrameReader(ours, LIMITS, memory, BufferPool())
    bodies = [bytes([index % 256]) * size for index, size in enumerate(sizes)]
    stream = b"".join(framed(body) for body in bodies)
    peer = trio.socket.from_stdlib_socket(theirs)
    frames: list[bytes] = []
    with ours, theirs, peer:
        async with trio.open_nursery() as nursery:

            async def collect() -> None:
                frames.extend(await read_all(reader))

            nursery.start_soon(collect)
            piece = max(piece, len(stream) // 200)
            for start in range(0, len(stream), piece):
                view = memoryview(stream)[start : start + piece]
                while view:
                    view = view[await peer.send(view) :]
            peer.close()
    assert frames == bodies
    reader.release()
    assert memory.size_bytes == 0


async def test_a_large_frame_is_received_into_a_buffer_that_is_used_again(
    reading: Reading,
) -> None:
    reader, peer = reading
    bodies = [os.urandom(100_000), os.urandom(90_000)]
    owners = []
    for body in bodies:
        peer.sendall(framed(body))
        frame = await reader.receive()
        assert frame is not None
        assert bytes(frame) == body
        owners.append(frame.obj)
    assert owners[0] is owners[1]


@pytest.mark.parametrize("length", [-1, -(2**31), 2**31 - 1, (1 << 20) + 1, 0, 7])
async def test_a_length_out_of_bounds_is_refused_before_anything_is_allocated(
    reading: Reading, length: int
) -> None:
    reader, peer = reading
    peer.sendall(struct.pack(">i", length) + b"\x1b[2J and more")
    with pytest.raises(CloseConnectionError, match=f"claims a length of {length} bytes") as caught:
        await reader.receive()
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("opening", "name"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "an HTTP request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "a TLS handshake"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH greeting"),
    ],
)
async def test_what_other_protocols_open_with_is_named(
    reading: Reading, opening: bytes, name: str
) -> None:
    reader, peer = reading
    peer.sendall(opening)
    with pytest.raises(CloseConnectionError, match=name):
        await reader.receive()


@pytest.mark.parametrize("sent", [3, 4, 20, 9000])
async def test_a_client_that_closes_in_the_middle_of_a_request_is_noticed(
    reading: Reading, sent: int
) -> None:
    reader, peer = reading
    peer.sendall(framed(b"x" * 10_000)[:sent])
    peer.close()
    with pytest.raises(CloseConnectionError, match="middle of a request"):
        await reader.receive()


async def test_closing_between_requests_is_the_end_and_no_error(reading: Reading) -> None:
    reader, peer = reading
    peer.sendall(framed(b"12345678"))
    peer.close()
    assert await read_all(reader) == [b"12345678"]


async def test_the_deadline_is_far_while_idle_near_while_receiving_never_while_handling(
    reading: Reading, autojump_clock: trio.testing.MockClock
) -> None:
    reader, peer = reading
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.receive)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.deadline == trio.current_time() + LIMITS.idle_timeout_s
        was_idle = reader.is_idle
        peer.sendall(framed(b"x" * 50_000)[:100])
        await trio.testing.wait_all_tasks_blocked()
        assert reader.deadline == trio.current_time() + LIMITS.transfer_seconds(BUFFER_BYTES)
        is_idle = reader.is_idle
        peer.sendall(b"x" * 49_904)
    assert (was_idle, is_idle) == (True, False)
    assert reader.deadline == float("inf")


async def test_a_claim_alone_takes_no_memory_and_silence_ends_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    memory = MemoryBudget(1 << 21)
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    reader = FrameReader(ours, LIMITS, memory, BufferPool())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.receive)
        peer.sendall(framed(b"x" * 900_000)[: BUFFER_BYTES - 1])
        await trio.testing.wait_all_tasks_blocked()
        taken_by_a_claim = memory.size_bytes
        peer.sendall(b"x" * 60_000)
        await trio.testing.wait_all_tasks_blocked()
        taken_by_a_sender = memory.size_bytes
        # Whatever was quick before, what stalls has the grace and no more.
        assert reader.deadline == trio.current_time() + LIMITS.transfer_grace_s
        nursery.cancel_scope.cancel()
    assert (taken_by_a_claim, taken_by_a_sender) == (0, 900_000)
    reader.release()
    ours.close()
    peer.close()


async def test_a_frame_waits_for_memory_and_gives_it_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    memory = MemoryBudget(100_000)
    await memory.take(60_000)
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    reader = FrameReader(ours, LIMITS, memory, BufferPool())
    peer.sendall(framed(b"x" * 50_000))
    with trio.move_on_after(60) as scope:
        await reader.receive()
    assert scope.cancelled_caught
    assert memory.size_bytes == 60_000
    ours.close()
    peer.close()
