"""Settings of the client's parts: frozen values with Kafka's names and, mostly, its defaults.

Every bound is here with its reason, so that no queue, wait or retry is without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from streamlog.errors import UsageError

if TYPE_CHECKING:
    from streamlog.client.assignors.assignor import Assignor

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How to find and talk to the brokers."""

    brokers: tuple[str, ...]
    """Addresses to begin with, `host:port`; the others are learnt from them."""
    client_id: str = "streamlog"
    """Names this client in the broker's logs and in member ids."""
    request_timeout_ms: int = 30_000
    """A connection that leaves a request unanswered for longer is given up."""
    connect_timeout_ms: int = 10_000
    """For the TCP connection and the first exchange on it."""
    bootstrap_timeout_ms: int = 5_000
    """How long `open_client` goes on trying before it says that nobody answers."""
    api_timeout_ms: int = 60_000
    """How long an operation goes on trying through elections and lost connections."""
    unknown_topic_patience_ms: int = 3_000
    """How long a topic may be unknown before it counts as missing: news of a new one takes time."""
    metadata_max_age_ms: int = 300_000
    """Metadata is asked for again at least this often, so that new partitions are noticed."""
    retry_backoff_ms: int = 100
    retry_backoff_max_ms: int = 1_000
    reconnect_backoff_ms: int = 50
    reconnect_backoff_max_ms: int = 1_000
    response_bytes_max: int = 128 * MEBIBYTE
    """A longer response is refused before anything is allocated: it is no Kafka broker."""
    requests_in_flight_max: int = 100
    """Requests that one connection may have unanswered or unsent; more wait."""

    def __post_init__(self) -> None:
        if not self.brokers:
            raise UsageError("no broker address is given", hint="Give at least one, as host:port")
        for address in self.brokers:
            parse_address(address)


def parse_address(address: str) -> tuple[str, int]:
    """Splits `host:port`; IPv6 hosts stand in brackets; without a port it is 9092.

    >>> parse_address("kafka.example:19092")
    ('kafka.example', 19092)
    >>> parse_address("[::1]:9092")
    ('::1', 9092)
    """
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, port = address, "9092"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(
            f"{address!r} is not a broker address",
            hint="Write it as host:port, e.g. localhost:9092",
        )
    return host, int(port)


class Compression(Enum):
    """What a producer compresses its batches with."""

    NONE = "none"
    GZIP = "gzip"
    SNAPPY = "snappy"
    LZ4 = "lz4"
    ZSTD = "zstd"


ACKS_ALL = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerConfig:
    """How records are gathered, sent and made safe."""

    linger_ms: int = 5
    """How long a batch waits for more records when nobody flushes."""
    batch_bytes: int = 256 * 1024
    """A batch is closed at this size (before compression)."""
    request_bytes_max: int = 1_000_000
    """No batch is larger than this (as encoded); Kafka's topics take 1,048,588 bytes."""
    buffer_bytes: int = 32 * MEBIBYTE
    """Unacknowledged bytes (before compression); senders wait when it is full."""
    compression: Compression = Compression.NONE
    acks: int = ACKS_ALL
    """-1: on all in-sync replicas, and on disk; 1: written by the leader; 0: not confirmed."""
    idempotent: bool = True
    """Retries neither duplicate nor reorder. Needs acks=-1."""
    in_flight_max: int = 5
    """Produce requests under way per broker. A broker remembers five batches of a producer."""
    delivery_timeout_ms: int = 120_000
    """A record that is not acknowledged by then has failed."""
    request_timeout_ms: int = 30_000
    """How long the broker may wait for its replicas."""
    allow_auto_create: bool = True
    """Lets a broker that creates topics on demand do so."""

    def __post_init__(self) -> None:
        if self.acks not in (-1, 0, 1):
            raise UsageError(f"acks={self.acks} is none of -1, 0 and 1")
        if self.idempotent and self.acks != ACKS_ALL:
            raise UsageError(
                f"an idempotent producer needs acks=-1, not acks={self.acks}",
                hint="Leave acks alone, or set idempotent=False",
            )
        if self.idempotent and not 1 <= self.in_flight_max <= 5:
            raise UsageError(
                f"in_flight_max={self.in_flight_max} with an idempotent producer",
                hint="A broker recognises repeats among the last five batches: choose 1 to 5",
            )


class Isolation(Enum):
    """Whether a consumer sees records of transactions that are open or aborted."""

    READ_UNCOMMITTED = 0
    READ_COMMITTED = 1


class OffsetReset(Enum):
    """What to do where there is no offset, or one that the broker no longer has."""

    EARLIEST = "earliest"
    LATEST = "latest"
    NONE = "none"
    """Raise; nothing is skipped silently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerConfig:
    """How records are fetched."""

    isolation: Isolation = Isolation.READ_UNCOMMITTED
    auto_offset_reset: OffsetReset = OffsetReset.NONE
    fetch_max_bytes: int = 16 * MEBIBYTE
    """Of one response. A larger first batch comes whole all the same."""
    max_partition_bytes: int = MEBIBYTE
    """Of one partition in one response."""
    fetch_min_bytes: int = 1
    fetch_max_wait_ms: int = 500
    prefetch_bytes: int = 32 * MEBIBYTE
    """Fetched bytes that wait for `poll`; beyond this nothing is fetched."""
    chunk_records: int = 10_000
    """A chunk ends at the first batch boundary at or after this many records."""
    check_crc: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfig:
    """How one member takes part in a consumer group."""

    group: str
    topics: tuple[str, ...]
    session_timeout_ms: int = 45_000
    """The broker removes a member that it has not heard of for this long."""
    heartbeat_interval_ms: int = 3_000
    rebalance_timeout_ms: int = 300_000
    """How long the others wait for this member in a rebalance: the longest `on_revoked`."""
    instance_id: str | None = None
    """A static member: it may restart within the session timeout without a rebalance."""
    assignors: tuple[str | Assignor, ...] = ("cooperative-sticky",)
    """In order of preference, by name or one's own; all cooperative or all eager."""
    leave_on_close: bool | None = None
    """Whether closing tells the group; by default a static member does not."""

    def __post_init__(self) -> None:
        if not self.group:
            raise UsageError("a consumer group needs a name")
        if self.heartbeat_interval_ms >= self.session_timeout_ms:
            raise UsageError(
                f"heartbeat_interval_ms={self.heartbeat_interval_ms} is not below "
                f"session_timeout_ms={self.session_timeout_ms}",
                hint="A third of the session timeout is usual",
            )
