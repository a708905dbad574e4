"""Fetch responses in pieces: the bytes are those of the whole, with files in the gaps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from streamlog.wire.errors import EncodeError
from streamlog.wire.fetch_response import encode_fetch_response
from streamlog.wire.framing import (
    RequestHeader,
    decode_response,
    encode_request,
    encode_response,
    parse_request_header,
)
from streamlog.wire.messages.fetch import (
    AbortedTransaction,
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    LeaderIdAndEpoch,
    PartitionData,
)


@dataclass(frozen=True)
class FileSlice:
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)


@dataclass(frozen=True)
class HugeSlice:
    size: int


def header_of(version: int) -> RequestHeader:
    return parse_request_header(memoryview(encode_request(FetchRequest(), version, 5, "c"))[4:])


def response_of(contents: list[bytes]) -> FetchResponse:
    partitions = [
        PartitionData(
            partition_index=index,
            high_watermark=10,
            aborted_transactions=[AbortedTransaction(producer_id=1)] if index == 1 else None,
            current_leader=LeaderIdAndEpoch(leader_id=1) if index == 2 else None,
            records=content,
        )
        for index, content in enumerate(contents)
    ]
    return FetchResponse(
        responses=[
            FetchableTopicResponse(topic="one", partitions=partitions[:2]),
            FetchableTopicResponse(topic="two", partitions=partitions[2:]),
        ]
    )


@pytest.mark.parametrize("version", range(4, 13))
@pytest.mark.parametrize(
    "contents",
    [[b"a" * 10, b"b" * 300, b"c" * 70000], [b"", b"b", b""], [b"", b"", b""], [b"x", b"y", b"z"]],
    ids=repr,
)
def test_the_pieces_are_the_whole_response(version: int, contents: list[bytes]) -> None:
    header = header_of(version)
    whole = encode_response(header, response_of(contents))
    slices = [FileSlice(content) if content else None for content in contents]
    pieces = encode_fetch_response(header, response_of([b"overwritten"] * 3), slices)
    sent = b"".join(p.content if isinstance(p, FileSlice) else p for p in pieces)
    assert sent == whole
    assert [p for p in pieces if isinstance(p, FileSlice)] == [s for s in slices if s]
    number, message = decode_response(FetchResponse, version, memoryview(sent)[4:])
    assert number == 5
    assert [p.records for t in message.responses for p in t.partitions] == contents


def test_bytes_between_slices_are_one_piece() -> None:
    slices = [FileSlice(b"x"), None, FileSlice(b"z")]
    pieces = encode_fetch_response(header_of(12), response_of([b""] * 3), slices)
    assert [type(piece) for piece in pieces] == [bytes, FileSlice, bytes, FileSlice, bytes]


def test_an_empty_slice_is_no_piece() -> None:
    slices = [FileSlice(b""), FileSlice(b""), FileSlice(b"")]
    pieces = encode_fetch_response(header_of(11), response_of([b""] * 3), slices)
    assert [type(piece) for piece in pieces] == [bytes]


def test_a_slice_is_needed_for_every_partition() -> None:
    with pytest.raises(ValueError, match="shorter"):
        encode_fetch_response(header_of(11), response_of([b""] * 3), [FileSlice(b"x")])


def test_a_response_that_no_length_can_tell_is_refused() -> None:
    slices = [HugeSlice(2**30), HugeSlice(2**30), None]
    with pytest.raises(EncodeError, match="larger than a frame"):
        encode_fetch_response(header_of(12), response_of([b""] * 3), slices)
