"""Every other thing that a server acknowledges, killed the moment it has: it holds afterwards."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)
from durability_server import ServerProcess
from durability_wire import Wire, batch_of

from streamlog.records.batch import Codec
from streamlog.records.codec import encode_batch
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from streamlog.wire.messages.metadata import MetadataRequest, MetadataResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

TIMEOUT_S = 30
INIT_VERSION, METADATA_VERSION = 4, 12
ROUNDS = 4


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        with Wire(server.port) as wire:
            settings = {"segment.bytes": "20000"}
            assert wire.create_topic("data", 1, settings) == ErrorCode.NONE
        yield server


def admin_of(server: ServerProcess) -> AdminClient:
    return AdminClient({"bootstrap.servers": server.address, "log_level": 0})


def numbered(producer_id: int, epoch: int, sequence: int, *values: str) -> bytes:
    """A batch of an idempotent producer."""
    data: list[bytes | None] = [value.encode() for value in values]
    return bytes(
        encode_batch(
            [None] * len(data),
            data,
            list(struct.unpack_from(f">{len(data)}q", bytes(8 * len(data)))),
            codec=Codec.LZ4,
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=sequence,
        )
    )


def new_producer(wire: Wire) -> InitProducerIdResponse:
    request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
    answer = wire.call(request, InitProducerIdResponse, INIT_VERSION)
    assert answer.error_code == ErrorCode.NONE
    return answer


def test_a_batch_sent_again_after_a_kill_is_known(server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        producer = new_producer(wire)
        batches = [
            numbered(producer.producer_id, producer.producer_epoch, 2 * n, f"a{n}", f"b{n}")
            for n in range(7)
        ]
        for number, batch in enumerate(batches[:6]):
            assert wire.must_produce("data", 0, batch) == 2 * number
    for _ in range(2):
        server.restart()
        with Wire(server.port) as wire:
            # The last five batches of a producer are known, at the offsets where they are.
            for number in (5, 1, 3, 2, 4):
                assert wire.must_produce("data", 0, batches[number]) == 2 * number
            # What is older is known to be older, and a gap is a gap.
            refused = wire.produce("data", 0, batches[0])
            assert refused.error_code in (
                ErrorCode.DUPLICATE_SEQUENCE_NUMBER,
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
            )
            gap = numbered(producer.producer_id, producer.producer_epoch, 50, "gap")
            answer = wire.produce("data", 0, gap)
            assert answer.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
            assert len(wire.read("data", 0)) == 12
    with Wire(server.port) as wire:
        assert wire.must_produce("data", 0, batches[6]) == 12
        # A newer epoch shuts the older one out, also after a kill.
        newer = numbered(producer.producer_id, producer.producer_epoch + 1, 0, "newer")
        assert wire.must_produce("data", 0, newer) == 14
    server.restart()
    with Wire(server.port) as wire:
        older = numbered(producer.producer_id, producer.producer_epoch, 14, "older")
        assert wire.produce("data", 0, older).error_code == ErrorCode.INVALID_PRODUCER_EPOCH


def test_no_producer_id_is_given_twice(server: ServerProcess) -> None:
    rng = random.Random("ids")
    given: set[int] = set()
    for _ in range(ROUNDS):
        with Wire(server.port) as wire:
            for _ in range(rng.randint(1, 40)):
                answer = new_producer(wire)
                assert answer.producer_id not in given
                given.add(answer.producer_id)
        server.restart()


def test_deleted_records_stay_deleted(server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        for number in range(40):
            wire.must_produce("data", 0, batch_of(f"{number} " + "x" * 2000))
    for before in (1, 7, 23, 40):
        wanted = [TopicPartition("data", 0, before)]
        admin = admin_of(server)
        deleted = admin.delete_records(wanted, request_timeout=TIMEOUT_S)
        for future in deleted.values():
            assert future.result(TIMEOUT_S).low_watermark == before
        server.restart()
        with Wire(server.port) as wire:
            if before > 1:
                below = wire.fetch("data", 0, before - 1)
                assert below.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
            data = wire.fetch("data", 0, before)
            assert (data.error_code, data.log_start_offset) == (ErrorCode.NONE, before)
            assert sorted(wire.read("data", 0, before)) == list(range(before, 40))
    with Wire(server.port) as wire:
        assert wire.must_produce("data", 0, batch_of("the offsets go on")) == 40


def test_settings_hold(server: ServerProcess) -> None:
    for number in range(1, ROUNDS + 1):
        entry = ConfigEntry(
            "retention.ms", str(number * 1000), incremental_operation=AlterConfigOpType.SET
        )
        resource = ConfigResource(ResourceType.TOPIC, "data", incremental_configs=[entry])
        admin = admin_of(server)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(TIMEOUT_S)
        server.restart()
        wanted = ConfigResource(ResourceType.TOPIC, "data")
        admin = admin_of(server)
        found = admin.describe_configs([wanted])[wanted].result(TIMEOUT_S)
        assert found["retention.ms"].value == str(number * 1000)
        assert found["segment.bytes"].value == "20000"


def test_added_partitions_are_there(server: ServerProcess) -> None:
    for count in (2, 5, 12):
        admin = admin_of(server)
        created = admin.create_partitions([NewPartitions("data", count)])
        for future in created.values():
            future.result(TIMEOUT_S)
        server.restart()
        with Wire(server.port) as wire:
            for partition in range(count):
                wire.must_produce("data", partition, batch_of(f"{count}"))
            answer = wire.produce("data", count, batch_of("one too far"))
            assert answer.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert server.partition_dirs() == {f"data-{index}" for index in range(count)}


def test_the_cluster_and_its_topics_keep_their_identities(server: ServerProcess) -> None:
    def identities() -> tuple[object, ...]:
        with Wire(server.port) as wire:
            answer = wire.call(MetadataRequest(topics=None), MetadataResponse, METADATA_VERSION)
        topics = sorted((str(topic.name), topic.topic_id) for topic in answer.topics)
        return answer.cluster_id, answer.controller_id, topics

    before = identities()
    for _ in range(ROUNDS):
        server.restart()
        assert identities() == before
