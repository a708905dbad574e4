"""What the members of a group tell each other: subscriptions to the leader, assignments from it.

To the broker these are opaque bytes in JoinGroup and SyncGroup: a version (int16) and a message,
never flexible. A reader takes a newer version for the newest that it knows and ignores the rest.
Subscription, versions: 1 the partitions that the member owns (cooperative rebalancing, KIP-429); 2
the generation in which it owned them; 3 the rack. The assignment did not change with them.
"""

from struct import Struct
from typing import TypeVar

from streamlog.wire.codec import decode, encode
from streamlog.wire.errors import DecodeError
from streamlog.wire.schema import Bytes, Int32, String, field, message, schema_of, struct

VERSION_MAX = 3

_VERSION = Struct(">h")


@struct
class TopicPartition:
    """Some partitions of one topic."""

    topic: String = ""
    partitions: list[Int32] = field(default_factory=list)


@message(versions="0-3")
class ConsumerProtocolSubscription:
    """What one member wants to read and what it reads now."""

    topics: list[String] = field(default_factory=list)
    user_data: Bytes | None = None
    owned_partitions: list[TopicPartition] = field("1+", default_factory=list)
    generation_id: Int32 = field("2+", default=-1)
    rack_id: String | None = field("3+", default=None)


@message(versions="0-3")
class ConsumerProtocolAssignment:
    """What one member shall read."""

    assigned_partitions: list[TopicPartition] = field(default_factory=list)
    user_data: Bytes | None = None


T = TypeVar("T")


def encode_subscription(
    subscription: ConsumerProtocolSubscription, version: int = VERSION_MAX
) -> bytes:
    """The metadata that a member sends in JoinGroup."""
    return _VERSION.pack(version) + encode(subscription, version)


def decode_subscription(data: bytes | memoryview) -> ConsumerProtocolSubscription:
    """Read a member's metadata.

    Raises:
        DecodeError: It is not a subscription.
    """
    return _decode(ConsumerProtocolSubscription, data)


def encode_assignment(assignment: ConsumerProtocolAssignment, version: int = VERSION_MAX) -> bytes:
    """The assignment that the leader sends for one member in SyncGroup."""
    return _VERSION.pack(version) + encode(assignment, version)


def decode_assignment(data: bytes | memoryview) -> ConsumerProtocolAssignment:
    """Read a member's assignment; no bytes at all is an empty one.

    Raises:
        DecodeError: It is not an assignment.
    """
    if not data:
        return ConsumerProtocolAssignment()
    return _decode(ConsumerProtocolAssignment, data)


def _decode(cls: type[T], data: bytes | memoryview) -> T:
    if len(data) < _VERSION.size:
        raise DecodeError(f"{cls.__name__} of {len(data)} bytes has no version")
    (version,) = _VERSION.unpack_from(data)
    if version < 0:
        raise DecodeError(f"{cls.__name__} has version {version}")
    known = min(version, schema_of(cls).versions.last)
    return decode(cls, known, memoryview(data), _VERSION.size)
