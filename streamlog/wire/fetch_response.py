"""A Fetch response with gaps for the records, which go from the file to the socket by `sendfile`.

Records come last in a partition, followed only by its tagged section, so the frame is a list:
bytes, a slice of a file, bytes, a slice, ..., bytes. Bytes between two slices are joined into one
piece. The length prefix counts the slices too. What a slice is, only the caller knows; here it has
a size.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from streamlog.wire.codec import encode_into
from streamlog.wire.compile_encoder import size_of
from streamlog.wire.errors import EncodeError
from streamlog.wire.framing import RequestHeader, response_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.wire.compile_encoder import Piece
    from streamlog.wire.messages.fetch import FetchResponse

FRAME_SIZE_LIMIT = 2**31 - 1


class Sized(Protocol):
    """Something that the caller can send and whose size it knows."""

    @property
    def size(self) -> int:
        """The number of bytes that will be sent."""


S = TypeVar("S", bound=Sized)


def encode_fetch_response(
    header: RequestHeader, response: FetchResponse, slices: Sequence[S | None]
) -> list[bytes | S]:
    """The frame that answers a Fetch request, in pieces to be sent one after the other.

    Args:
        header: The request's header.
        response: The response; the `records` of its partitions are overwritten.
        slices: For each partition, in the response's order, the slice that holds its records, or
            None for no records.

    Returns:
        Bytes and slices; a slice of size 0 is left out.

    Raises:
        EncodeError: A value does not fit, or the frame is larger than its length can say.
    """
    partitions = [partition for topic in response.responses for partition in topic.partitions]
    for partition, part in zip(partitions, slices, strict=True):
        # The encoder passes records on as they are and asks anything but a buffer for its size.
        partition.records = b"" if part is None or part.size == 0 else cast("bytes", part)
    pieces: list[Piece] = [response_header(header)]
    encode_into(response, header.api_version, pieces)
    size = sum(map(size_of, pieces))
    if size > FRAME_SIZE_LIMIT:
        raise EncodeError(f"a Fetch response of {size} bytes is larger than a frame may be")
    return _join(struct.pack(">i", size), cast("list[bytes | S]", pieces))


def _join(prefix: bytes, pieces: list[bytes | S]) -> list[bytes | S]:
    joined: list[bytes | S] = []
    run = [prefix]
    for piece in pieces:
        if isinstance(piece, bytes):
            run.append(piece)
        else:
            joined += (b"".join(run), piece)
            run = []
    if run:
        joined.append(b"".join(run))
    return joined
