"""What the compiled functions promise beyond the bytes: tags, limits, slices, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from streamlog.wire.codec import decode, decode_at, encode, encode_into
from streamlog.wire.errors import DecodeError, EncodeError
from streamlog.wire.messages.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
    SupportedFeatureKey,
)
from streamlog.wire.messages.fetch import (
    EpochEndOffset,
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    PartitionData,
)
from streamlog.wire.messages.heartbeat import HeartbeatRequest
from streamlog.wire.messages.join_group import JoinGroupResponse
from streamlog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from streamlog.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from streamlog.wire.schema import UUID_ZERO

if TYPE_CHECKING:
    from streamlog.wire.compile_encoder import Piece


def fetch_response(partition: PartitionData) -> FetchResponse:
    return FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=[partition])])


def test_a_plain_version_byte_for_byte() -> None:
    message = HeartbeatRequest(group_id="g", generation_id=7, member_id="mm", group_instance_id="i")
    assert encode(message, 0) == b"\0\1g\0\0\0\7\0\2mm"
    assert encode(message, 3) == b"\0\1g\0\0\0\7\0\2mm\0\1i"


def test_a_flexible_version_byte_for_byte() -> None:
    message = HeartbeatRequest(group_id="g", generation_id=7, member_id="mm")
    assert encode(message, 4) == b"\2g\0\0\0\7\3mm\0\0"


def test_a_field_that_the_version_lacks_is_dropped_and_read_as_its_default() -> None:
    message = HeartbeatRequest(group_id="g", group_instance_id="i")
    assert decode(HeartbeatRequest, 2, memoryview(encode(message, 2))).group_instance_id is None


def test_each_message_has_its_own_lists() -> None:
    first, second = FetchRequest(), FetchRequest()
    assert first.topics is not second.topics
    empty = encode(first, 6)
    assert (
        decode(FetchRequest, 6, memoryview(empty)).forgotten_topics_data
        is not decode(FetchRequest, 6, memoryview(empty)).forgotten_topics_data
    )


def test_messages_compare_and_show_their_fields() -> None:
    assert HeartbeatRequest(group_id="a") == HeartbeatRequest(group_id="a")
    assert HeartbeatRequest(group_id="a") != HeartbeatRequest(group_id="b")
    assert HeartbeatRequest().__eq__(FetchRequest()) is NotImplemented
    assert repr(MetadataRequestTopic(name="x")) == (
        f"MetadataRequestTopic(topic_id={UUID_ZERO!r}, name='x')"
    )
    with pytest.raises(AttributeError):
        HeartbeatRequest().groupid = "typo"  # type: ignore[attr-defined]


def test_a_tagged_field_with_its_default_is_not_written() -> None:
    response = ApiVersionsResponse(api_keys=[ApiVersion(api_key=18, max_version=4)])
    assert encode(response, 3).endswith(b"\0\0\0\0" + b"\0"), "throttling, then no tags at all"
    partition = PartitionData(diverging_epoch=EpochEndOffset())
    assert encode(fetch_response(partition), 12) == encode(fetch_response(PartitionData()), 12)


def test_a_tagged_field_with_a_value_comes_back() -> None:
    response = ApiVersionsResponse(
        supported_features=[SupportedFeatureKey(name="f", min_version=1, max_version=2)],
        finalized_features_epoch=9,
    )
    assert decode(ApiVersionsResponse, 3, memoryview(encode(response, 3))) == response
    partition = PartitionData(diverging_epoch=EpochEndOffset(epoch=3, end_offset=4))
    data = encode(fetch_response(partition), 12)
    read = decode(FetchResponse, 12, memoryview(data)).responses[0].partitions[0]
    assert read.diverging_epoch == EpochEndOffset(epoch=3, end_offset=4)
    assert read.current_leader is None


def test_unknown_tagged_fields_are_stepped_over() -> None:
    plain = encode(ApiVersionsRequest(client_software_name="n"), 3)
    tagged = plain[:-1] + b"\2" + b"\x05\x03abc" + b"\xac\x02\x00"
    message, end = decode_at(ApiVersionsRequest, 3, memoryview(tagged), 0)
    assert message == ApiVersionsRequest(client_software_name="n")
    assert end == len(tagged)


def test_unknown_tagged_fields_among_known_ones_are_stepped_over() -> None:
    plain = encode(FetchRequest(), 12)
    tagged = plain[:-1] + b"\3" + b"\0\2\2c" + b"\x63\x05hello" + b"\x64\0"
    assert decode(FetchRequest, 12, memoryview(tagged)) == FetchRequest(cluster_id="c")


def test_a_tagged_field_that_lies_about_its_size_is_refused() -> None:
    plain = encode(FetchRequest(), 12)
    with pytest.raises(DecodeError, match="cluster_id is not as long as its tag says"):
        decode(FetchRequest, 12, memoryview(plain[:-1] + b"\1\0\4\2cxx"))
    with pytest.raises(DecodeError, match=r"cluster_id|tagged field"):
        decode(FetchRequest, 12, memoryview(plain[:-1] + b"\1\0\1\2cxx"))


def test_records_are_slices_of_the_frame() -> None:
    request = ProduceRequest(
        topic_data=[
            TopicProduceData(name="t", partition_data=[PartitionProduceData(records=b"batch")])
        ]
    )
    for version in (8, 9):
        frame = bytearray(encode(request, version))
        read = decode(ProduceRequest, version, memoryview(frame))
        records = read.topic_data[0].partition_data[0].records
        assert isinstance(records, memoryview)
        frame[frame.index(b"batch")] = ord("X")
        assert bytes(records) == b"Xatch"


def test_records_are_written_without_a_copy() -> None:
    records = memoryview(bytearray(b"batch"))
    pieces: list[Piece] = []
    encode_into(fetch_response(PartitionData(records=records)), 12, pieces)
    assert any(piece is records for piece in pieces)


def test_long_strings_and_arrays_take_more_than_one_byte_of_length() -> None:
    names = ["x" * 126, "x" * 127, "x" * 128, "ä" * 16383]
    message = MetadataRequest(topics=[MetadataRequestTopic(name=name) for name in names * 64])
    for version in (8, 9, 12):
        assert decode(MetadataRequest, version, memoryview(encode(message, version))) == message


def test_an_id_is_a_uuid() -> None:
    topic = MetadataRequestTopic(name=None, topic_id=UUID(int=5))
    message = MetadataRequest(topics=[topic])
    assert decode(MetadataRequest, 12, memoryview(encode(message, 12))) == message


@pytest.mark.parametrize(
    ("message", "version", "said"),
    [
        (HeartbeatRequest(generation_id=2**31), 0, "HeartbeatRequest version 0"),
        (HeartbeatRequest(member_id="x" * 32768), 0, "HeartbeatRequest version 0"),
        (HeartbeatRequest(member_id="x" * 32768), 4, "32768 bytes is longer"),
        (HeartbeatRequest(member_id="\ud800"), 4, "HeartbeatRequest version 4"),
        (JoinGroupResponse(protocol_name=None), 6, "JoinGroupResponse version 6"),
        (MetadataRequest(topics=None), 0, "MetadataRequest version 0"),
        (HeartbeatRequest(), 5, "no version 5, only 0 to 4"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_does_not_fit_is_refused(message: object, version: int, said: str) -> None:
    with pytest.raises(EncodeError, match=said):
        encode(message, version)


NULL = b"\xff\xff\xff\xff"
LARGEST = b"\x7f\xff\xff\xff"


@pytest.mark.parametrize(
    ("cls", "version", "data", "said"),
    [
        (MetadataRequest, 1, LARGEST, "claims 2147483647 elements where 0 bytes"),
        (MetadataRequest, 0, NULL, "topics is null"),
        (MetadataRequest, 1, b"\xff\xff\xff\xfe", "topics is null"),
        (MetadataRequest, 9, b"\xff\xff\xff\xff\x0f", "claims 4294967294"),
        (MetadataRequest, 9, b"\xff\xff\xff\xff\x10", "varint is longer than 32 bits"),
        (MetadataRequest, 9, b"\xff\xff\xff\xff\xff\x01", "varint is longer"),
        (MetadataRequest, 9, b"", "cut off"),
        (MetadataRequest, 9, b"\2\3ab", "cut off"),
        (MetadataRequest, 9, b"\2\x09ab", "MetadataRequestTopic.name claims 8 where 2"),
        (MetadataRequest, 9, b"\2\0", "claims 1 elements where 1 bytes"),
        (MetadataRequest, 9, b"\2\3\xff\xfe\0", "not UTF-8"),
        (MetadataRequest, 9, b"\1\0\0\0\xff\xff\xff\xff\x0f", "cut off"),
        (MetadataRequest, 9, b"\1\0\0\0\1\0\x7f", "a tagged field claims 127"),
        (HeartbeatRequest, 0, b"\xff\xff", "group_id is null"),
        (HeartbeatRequest, 0, b"\x80\x00", "group_id is null"),
        (HeartbeatRequest, 0, b"\0\5ab", "claims 5 where 2"),
        (HeartbeatRequest, 5, b"", "no version 5"),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else None,
)
def test_hostile_bytes_are_named(cls: type, version: int, data: bytes, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        decode(cls, version, memoryview(data))


def test_a_string_longer_than_kafkas_limit_is_refused() -> None:
    data = b"\x81\x80\x02" + b"x" * 32768 + b"\0\0\0\0\0\0\0"
    with pytest.raises(DecodeError, match="group_id claims 32768"):
        decode(HeartbeatRequest, 4, memoryview(data))


def test_bytes_behind_the_message_are_ignored() -> None:
    data = encode(HeartbeatRequest(group_id="g"), 4)
    assert decode(HeartbeatRequest, 4, memoryview(data + b"more")).group_id == "g"


def test_a_message_is_read_from_any_position() -> None:
    data = b"head" + encode(HeartbeatRequest(group_id="g"), 4)
    assert decode_at(HeartbeatRequest, 4, memoryview(data), 4)[1] == len(data)
