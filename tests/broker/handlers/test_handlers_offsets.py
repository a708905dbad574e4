from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from handlers_harness import Harness, fetch_request, running

from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from streamlog.wire.messages.describe_cluster import DescribeClusterRequest
from streamlog.wire.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsRequest,
)
from streamlog.wire.messages.init_producer_id import InitProducerIdRequest
from streamlog.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from streamlog.wire.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)

if TYPE_CHECKING:
    from pathlib import Path

LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3


async def list_offset(
    broker: Harness, timestamp: int, version: int = 7, *, topic: str = "orders", repeat: int = 1
) -> ListOffsetsPartitionResponse:
    partitions = [ListOffsetsPartition(partition_index=0, timestamp=timestamp)] * repeat
    request = ListOffsetsRequest(
        replica_id=-1, topics=[ListOffsetsTopic(name=topic, partitions=partitions)]
    )
    return (await broker.ask(request, version)).topics[0].partitions[0]


async def delete_records(broker: Harness, offset: int, topic: str = "orders") -> tuple[int, int]:
    partitions = [DeleteRecordsPartition(partition_index=0, offset=offset)]
    request = DeleteRecordsRequest(topics=[DeleteRecordsTopic(name=topic, partitions=partitions)])
    result = (await broker.ask(request)).topics[0].partitions[0]
    return result.error_code, result.low_watermark


@pytest.mark.parametrize("version", range(1, 8))
async def test_offsets_are_found_by_time(tmp_path: Path, version: int) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        await broker.produce("orders", b"a", b"b", timestamp=1000)
        await broker.produce("orders", b"c", timestamp=3000)
        await broker.produce("orders", b"d", timestamp=2000)

        async def at(timestamp: int) -> tuple[int, int]:
            found = await list_offset(broker, timestamp, version)
            assert found.error_code == 0
            return found.offset, found.timestamp

        assert await at(0) == (0, 1000)
        assert await at(1500) == (2, 3000)
        assert await at(3000) == (2, 3000)
        assert await at(3001) == (-1, -1)
        assert await at(LATEST) == (4, -1)
        assert await at(EARLIEST) == (0, -1)


async def test_the_largest_timestamp_is_served_from_version_7_on(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        assert (await list_offset(broker, MAX_TIMESTAMP)).offset == -1
        await broker.produce("orders", b"a", timestamp=5000)
        await broker.produce("orders", b"b", timestamp=1000)
        found = await list_offset(broker, MAX_TIMESTAMP)
        assert (found.offset, found.timestamp) == (0, 5000)
        old = await list_offset(broker, MAX_TIMESTAMP, 6)
        assert old.error_code == ErrorCode.UNSUPPORTED_VERSION
        unknown = await list_offset(broker, -9)
        assert unknown.error_code == ErrorCode.UNSUPPORTED_VERSION


async def test_a_partition_that_is_named_twice_or_missing_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        twice = await list_offset(broker, LATEST, repeat=2)
        assert twice.error_code == ErrorCode.INVALID_REQUEST
        missing = await list_offset(broker, LATEST, topic="nothing")
        assert missing.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_deleted_records_are_gone_for_readers(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", retention_ms="-1")
        for value in (b"a", b"b", b"c"):
            await broker.produce("orders", value)
        assert await delete_records(broker, 2) == (0, 2)
        assert (await list_offset(broker, EARLIEST)).offset == 2
        below = (await broker.fetch(fetch_request("orders", {0: 1}))).responses[0].partitions[0]
        assert below.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
        assert await delete_records(broker, 1) == (0, 2)
        assert await delete_records(broker, 4) == (ErrorCode.OFFSET_OUT_OF_RANGE, -1)
        assert await delete_records(broker, -5) == (ErrorCode.OFFSET_OUT_OF_RANGE, -1)
        assert await delete_records(broker, -1) == (0, 3)
        unknown = (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1)
        assert await delete_records(broker, 0, "nothing") == unknown
    async with running(tmp_path) as broker:
        assert (await list_offset(broker, EARLIEST)).offset == 3


async def test_records_of_a_compacted_topic_cannot_be_deleted(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", cleanup_policy="compact")
        assert await delete_records(broker, 0) == (ErrorCode.POLICY_VIOLATION, -1)


async def epoch_end(broker: Harness, epoch: int, *, current: int = -1) -> tuple[int, int, int]:
    partition = OffsetForLeaderPartition(
        partition=0, leader_epoch=epoch, current_leader_epoch=current
    )
    request = OffsetForLeaderEpochRequest(
        topics=[OffsetForLeaderTopic(topic="orders", partitions=[partition])]
    )
    found = (await broker.ask(request)).topics[0].partitions[0]
    return found.error_code, found.leader_epoch, found.end_offset


async def test_the_end_of_a_leader_epoch_is_told_and_never_guessed(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        await broker.produce("orders", b"a", b"b")
        epoch = broker.log("orders").leader_epoch
        assert await epoch_end(broker, epoch) == (0, epoch, 2)
        assert await epoch_end(broker, epoch + 5) == (0, -1, -1)
        code, _, _ = await epoch_end(broker, epoch, current=epoch + 1)
        assert code == ErrorCode.UNKNOWN_LEADER_EPOCH


async def test_producer_ids_are_never_given_twice_even_after_a_restart(tmp_path: Path) -> None:
    given: set[int] = set()
    for _ in range(3):
        async with running(tmp_path) as broker:
            for _ in range(1100):
                response = await broker.ask(InitProducerIdRequest(transactional_id=None))
                assert (response.error_code, response.producer_epoch) == (0, 0)
                assert response.producer_id not in given
                given.add(response.producer_id)


async def test_a_transactional_producer_is_told_that_there_are_no_transactions(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as broker:
        response = await broker.ask(InitProducerIdRequest(transactional_id="tx"))
        assert response.error_code == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


async def test_the_cluster_is_described(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        response = await broker.ask(DescribeClusterRequest())
        assert response.cluster_id == broker.services.cluster_id
        assert [(item.broker_id, item.host) for item in response.brokers] == [(1, "192.0.2.2")]
        controllers = await broker.ask(DescribeClusterRequest(endpoint_type=2))
        assert controllers.error_code == ErrorCode.MISMATCHED_ENDPOINT_TYPE


async def test_the_size_of_partitions_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", 2)
        await broker.create("other")
        await broker.produce("orders", b"x" * 1000, partition=1)
        every = (await broker.ask(DescribeLogDirsRequest(topics=None))).results[0]
        assert every.log_dir == str(tmp_path)
        assert 0 < every.usable_bytes <= every.total_bytes
        sizes = {
            (topic.name, item.partition_index): item.partition_size
            for topic in every.topics
            for item in topic.partitions
        }
        assert sizes["orders", 1] > 1000
        assert sizes["orders", 0] == sizes["other", 0] == 0
        some = DescribeLogDirsRequest(
            topics=[DescribableLogDirTopic(topic="orders", partitions=[1, 9])]
        )
        topics = (await broker.ask(some)).results[0].topics
        assert [item.partition_index for item in topics[0].partitions] == [1]
