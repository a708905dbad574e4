"""Whatever the bytes are: a message, or `DecodeError`, and never much memory."""

from __future__ import annotations

import contextlib
import tracemalloc
import zlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import EVERY_VERSION, name_of, random_message

from streamlog.wire.api import API
from streamlog.wire.codec import decode, encode
from streamlog.wire.errors import DecodeError
from streamlog.wire.framing import decode_request, decode_response
from streamlog.wire.messages.metadata import MetadataRequest, MetadataResponse
from streamlog.wire.messages.offset_fetch import OffsetFetchRequest
from streamlog.wire.primitives import REQUEST_BUDGET_UNITS, varint

MUTATIONS = 40
SPECIAL = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\0",
)


def mutate(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    match random.randrange(4):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + random.choice(SPECIAL) + data[at + 1 :]
        case 2:
            return data[:at] + random.choice(SPECIAL) + data[at:]
        case _:
            until = random.randrange(at, len(data) + 1)
            return data[:at] + data[until:]


@pytest.mark.parametrize(("cls", "version"), EVERY_VERSION, ids=name_of)
def test_a_damaged_message_is_read_or_refused(cls: type, version: int) -> None:
    random = Random(zlib.crc32(f"damaged {cls.__name__} {version}".encode()))
    data = encode(random_message(cls, version, random), version)
    for _ in range(MUTATIONS):
        damaged = mutate(data, random)
        message: object
        try:
            message = decode(cls, version, memoryview(damaged))
        except DecodeError:
            continue
        encode(message, version)


@pytest.mark.parametrize(("cls", "version"), EVERY_VERSION, ids=name_of)
def test_every_prefix_of_a_message_is_refused(cls: type, version: int) -> None:
    random = Random(zlib.crc32(f"prefix {cls.__name__} {version}".encode()))
    data = encode(random_message(cls, version, random), version)
    ends = range(len(data)) if len(data) < 50 else random.sample(range(len(data)), 50)
    for end in ends:
        with pytest.raises(DecodeError):
            decode(cls, version, memoryview(data[:end]))


@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.sampled_from(EVERY_VERSION), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(case: tuple[type, int], data: bytes) -> None:
    cls, version = case
    with contextlib.suppress(DecodeError):
        encode(decode(cls, version, memoryview(data)), version)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(API)),
    st.integers(0, 12),
    st.binary(max_size=100),
)
def test_any_frame_is_a_request_or_refused(key: int, version: int, rest: bytes) -> None:
    frame = key.to_bytes(2, "big") + version.to_bytes(2, "big") + rest
    with contextlib.suppress(DecodeError):
        decode_request(memoryview(frame))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(API)), st.data())
def test_any_frame_is_a_response_or_refused(key: int, data: st.DataObject) -> None:
    spec = API[key]
    version = data.draw(st.integers(spec.versions.first, spec.versions.last))
    with contextlib.suppress(DecodeError):
        decode_response(spec.response, version, memoryview(data.draw(st.binary(max_size=100))))


def peak_bytes(cls: type, version: int, data: bytes, budget: int) -> int:
    def refused() -> None:
        with pytest.raises(DecodeError):
            decode(cls, version, memoryview(data), 0, budget)

    refused()  # The first time, what decodes is made.
    tracemalloc.start()
    try:
        refused()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [b"\x7f\xff\xff\xff", b"\x01\0\0\0", b"\0\x10\0\0"])
def test_a_count_that_the_frame_cannot_hold_costs_nothing(count: bytes) -> None:
    assert peak_bytes(MetadataRequest, 4, count + b"\0" * 1000, REQUEST_BUDGET_UNITS) < 100_000


def test_a_frame_of_empty_elements_is_refused_by_its_budget() -> None:
    # 20 MB that would be 10 million topics without a name.
    size = 10_000_000
    data = varint(size + 1) + b"\1\0" * size
    assert peak_bytes(MetadataRequest, 9, data, REQUEST_BUDGET_UNITS) < 100_000


def test_nested_arrays_share_one_budget() -> None:
    # Each topic alone is small enough; together they are not.
    topic = b"\2a" + varint(1001) + b"\0\0\0\0" * 1000 + b"\0"
    data = b"\2g" + varint(5001) + topic * 5000 + b"\0"
    assert peak_bytes(OffsetFetchRequest, 6, data, REQUEST_BUDGET_UNITS) < 150_000_000
    with pytest.raises(DecodeError, match="larger than is allowed"):
        decode(OffsetFetchRequest, 6, memoryview(data), 0, REQUEST_BUDGET_UNITS)


def test_the_largest_message_within_the_budget_stays_small() -> None:
    budget = 90_000
    count = budget // 3
    data = varint(count + 1) + b"\1\0" * count + b"\0\0\0\0"
    tracemalloc.start()
    try:
        decode(MetadataRequest, 9, memoryview(data), 0, budget)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < budget * 50


def test_many_unknown_tags_are_stepped_over_in_one_pass() -> None:
    count = 200_000
    data = encode(MetadataResponse(), 9)[:-1] + varint(count) + b"\x7f\0" * count
    assert decode(MetadataResponse, 9, memoryview(data)) == MetadataResponse()
