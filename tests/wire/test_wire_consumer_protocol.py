"""Subscriptions and assignments, against kafka-python's bytes and foreign versions."""

from __future__ import annotations

from struct import pack

import pytest
from kio.schema.consumer_protocol_subscription.v3.data import (
    ConsumerProtocolSubscription as KioSubscription,
)
from kio.serial import entity_reader

from streamlog.wire.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    TopicPartition,
    decode_assignment,
    decode_subscription,
    encode_assignment,
    encode_subscription,
)
from streamlog.wire.errors import DecodeError

SUBSCRIPTION = ConsumerProtocolSubscription(
    topics=["a", "b"],
    user_data=b"data",
    owned_partitions=[TopicPartition(topic="a", partitions=[0, 2])],
    generation_id=4,
    rack_id="r",
)
ASSIGNMENT = ConsumerProtocolAssignment(
    assigned_partitions=[TopicPartition(topic="a", partitions=[0, 2])], user_data=b"data"
)


def test_both_come_back() -> None:
    assert decode_subscription(encode_subscription(SUBSCRIPTION)) == SUBSCRIPTION
    assert decode_assignment(encode_assignment(ASSIGNMENT)) == ASSIGNMENT


def test_a_subscription_byte_for_byte() -> None:
    data = encode_subscription(ConsumerProtocolSubscription(topics=["a"]), version=0)
    assert data == b"\0\0" + b"\0\0\0\1" + b"\0\1a" + b"\xff\xff\xff\xff"


def test_an_assignment_byte_for_byte() -> None:
    data = encode_assignment(ASSIGNMENT, version=1)
    assert data == (
        b"\0\1" + b"\0\0\0\1" + b"\0\1a" + b"\0\0\0\2\0\0\0\0\0\0\0\2" + b"\0\0\0\4data"
    )


@pytest.mark.parametrize("version", range(4))
def test_an_older_version_lacks_the_newer_fields(version: int) -> None:
    read = decode_subscription(encode_subscription(SUBSCRIPTION, version))
    assert read.topics == SUBSCRIPTION.topics
    assert bool(read.owned_partitions) == (version >= 1)
    assert read.generation_id == (4 if version >= 2 else -1)
    assert read.rack_id == ("r" if version >= 3 else None)


def test_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    data = pack(">h", 9) + encode_subscription(SUBSCRIPTION)[2:] + b"what comes next"
    assert decode_subscription(data) == SUBSCRIPTION


def test_kio_reads_what_we_write() -> None:
    entity, _ = entity_reader(KioSubscription)(encode_subscription(SUBSCRIPTION)[2:], 0)
    assert entity.topics == ("a", "b")
    assert entity.user_data == b"data"
    assert entity.owned_partitions[0].partitions == (0, 2)
    assert entity.generation_id == 4
    assert entity.rack_id == "r"


def test_no_assignment_is_an_empty_one() -> None:
    assert decode_assignment(b"") == ConsumerProtocolAssignment()


@pytest.mark.parametrize("data", [b"\0", b"\xff\xff", b"\0\0", b"\0\0\x7f\xff\xff\xff"])
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_subscription(data)
