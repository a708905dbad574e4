from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from handlers_harness import PEER, Harness, batch_of, fetch_request, running

from streamlog.broker.handlers.fetch import handle_fetch
from streamlog.broker.handlers.services import RequestContext
from streamlog.records.codec import decode_batches
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.fetch import FetchRequest, ForgottenTopic

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.wire.messages.fetch import FetchResponse


def values_of(response: FetchResponse) -> dict[tuple[str, int], list[bytes | None]]:
    return {
        (topic.topic, data.partition_index): decode_batches(data.records or b"")[0].values
        for topic in response.responses
        for data in topic.partitions
    }


@pytest.mark.parametrize("version", range(4, 13))
async def test_every_version_of_fetch_gives_the_records(tmp_path: Path, version: int) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", 2)
        await broker.produce("orders", b"a", b"b")
        await broker.produce("orders", b"c", partition=1)
        response = await broker.fetch(fetch_request("orders", {0: 0, 1: 0}), version)
        assert values_of(response) == {("orders", 0): [b"a", b"b"], ("orders", 1): [b"c"]}
        data = response.responses[0].partitions[0]
        assert (data.high_watermark, data.last_stable_offset) == (2, 2)


async def test_the_end_of_the_log_is_empty_and_beyond_it_is_an_error(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        await broker.produce("orders", b"a")
        at_end = (await broker.fetch(fetch_request("orders", {0: 1}))).responses[0].partitions[0]
        assert (at_end.error_code, at_end.records) == (0, b"")
        beyond = (await broker.fetch(fetch_request("orders", {0: 2}))).responses[0].partitions[0]
        assert beyond.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
        assert beyond.high_watermark == -1
        missing = (await broker.fetch(fetch_request("nothing", {0: 0}))).responses[0].partitions[0]
        assert missing.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_the_first_batch_comes_whole_however_large_and_later_ones_keep_to_the_limit(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", 2)
        await broker.produce("orders", b"x" * 5000)
        await broker.produce("orders", b"y" * 5000, partition=1)
        request = fetch_request("orders", {1: 0, 0: 0}, partition_max_bytes=10, max_bytes=10)
        response = await broker.fetch(request)
        assert [data.partition_index for data in response.responses[0].partitions] == [1, 0]
        assert values_of(response)["orders", 1] == [b"y" * 5000]
        assert not response.responses[0].partitions[1].records


async def test_a_leader_epoch_that_is_not_ours_is_fenced(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        request = fetch_request("orders", {0: 0})
        request.topics[0].partitions[0].current_leader_epoch = 7
        response = await broker.fetch(request)
        code = response.responses[0].partitions[0].error_code
        assert code == ErrorCode.UNKNOWN_LEADER_EPOCH


class Parked:
    """Runs a fetch that waits, and keeps its answer."""

    def __init__(self, broker: Harness, request: FetchRequest) -> None:
        self.response: FetchResponse | None = None
        self.broker, self.request = broker, request

    def is_answered(self) -> bool:
        return self.response is not None

    async def run(self) -> None:
        self.response = await self.broker.fetch(self.request)


async def test_a_long_poll_is_answered_by_the_first_append(tmp_path: Path) -> None:
    async with running(tmp_path) as broker, trio.open_nursery() as nursery:
        await broker.create("orders", 2)
        parked = Parked(broker, fetch_request("orders", {0: 0, 1: 0}, max_wait_ms=60_000))
        nursery.start_soon(parked.run)
        await trio.testing.wait_all_tasks_blocked()
        assert len(broker.services.purgatory) == 1
        with trio.fail_after(30):
            await broker.produce("orders", b"a", partition=1)
            while parked.response is None:
                await trio.testing.wait_all_tasks_blocked()
        assert values_of(parked.response)["orders", 1] == [b"a"]
        assert len(broker.services.purgatory) == 0


async def test_a_long_poll_waits_until_there_is_as_much_as_it_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path) as broker, trio.open_nursery() as nursery:
        await broker.create("orders", 2)
        await broker.produce("orders", b"x" * 400)
        request = fetch_request("orders", {0: 0, 1: 0}, max_wait_ms=60_000, min_bytes=1000)
        parked = Parked(broker, request)
        nursery.start_soon(parked.run)
        await trio.testing.wait_all_tasks_blocked()
        await broker.produce("orders", b"y" * 100, partition=1)
        await trio.testing.wait_all_tasks_blocked()
        assert not parked.is_answered()
        with trio.fail_after(30):
            await broker.produce("orders", b"z" * 400, partition=1)
            while parked.response is None:
                await trio.testing.wait_all_tasks_blocked()
        assert values_of(parked.response)["orders", 1] == [b"y" * 100, b"z" * 400]


async def test_an_append_elsewhere_leaves_a_parked_fetch_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as broker, trio.open_nursery() as nursery:
        await broker.create("orders")
        await broker.create("other")
        parked = Parked(broker, fetch_request("orders", {0: 0}, max_wait_ms=60_000))
        nursery.start_soon(parked.run)
        await trio.testing.wait_all_tasks_blocked()
        await broker.produce("other", b"a")
        await trio.testing.wait_all_tasks_blocked()
        assert not parked.is_answered()
        broker.services.purgatory.close()


async def test_a_long_poll_ends_when_its_time_is_over(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        context = RequestContext(broker.services, 12, None, PEER)
        with trio.fail_after(10):
            answer = await handle_fetch(fetch_request("orders", {0: 0}, max_wait_ms=20), context)
        assert answer.slices == [None]


async def test_a_parked_fetch_is_answered_when_its_topic_goes_or_the_broker_stops(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as broker, trio.open_nursery() as nursery:
        await broker.create("orders")
        await broker.create("other")
        first = Parked(broker, fetch_request("orders", {0: 0}, max_wait_ms=60_000))
        second = Parked(broker, fetch_request("other", {0: 0}, max_wait_ms=60_000))
        nursery.start_soon(first.run)
        nursery.start_soon(second.run)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(30):
            await broker.services.topic_admin.delete("orders")
            while first.response is None:
                await trio.testing.wait_all_tasks_blocked()
            code = first.response.responses[0].partitions[0].error_code
            assert code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            assert not second.is_answered()
            broker.services.purgatory.close()
            while second.response is None:
                await trio.testing.wait_all_tasks_blocked()


async def test_a_session_names_only_what_is_new(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", 3)
        await broker.produce("orders", b"a")
        full = await broker.fetch(fetch_request("orders", {0: 0, 1: 0, 2: 0}, session=(0, 0)))
        assert full.session_id > 0
        assert len(full.responses[0].partitions) == 3
        # Partition 0 moves on; nothing is new.
        moved = await broker.fetch(fetch_request("orders", {0: 1}, session=(full.session_id, 1)))
        assert (moved.session_id, moved.responses) == (full.session_id, [])
        await broker.produce("orders", b"b", partition=2)
        nothing = FetchRequest(session_id=full.session_id, session_epoch=2)
        assert values_of(await broker.fetch(nothing)) == {("orders", 2): [b"b"]}
        forget = FetchRequest(
            session_id=full.session_id,
            session_epoch=3,
            forgotten_topics_data=[ForgottenTopic(topic="orders", partitions=[2])],
        )
        assert (await broker.fetch(forget)).responses == []
        stale = FetchRequest(session_id=full.session_id, session_epoch=2)
        assert (await broker.fetch(stale)).error_code == ErrorCode.INVALID_FETCH_SESSION_EPOCH
        unknown = FetchRequest(session_id=full.session_id + 1, session_epoch=1)
        assert (await broker.fetch(unknown)).error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


async def test_read_committed_gets_a_list_of_aborted_transactions(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        await broker.produce("orders", b"a")
        request = fetch_request("orders", {0: 0})
        plain = (await broker.fetch(request)).responses[0].partitions[0]
        assert plain.aborted_transactions is None
        request.isolation_level = 1
        committed = (await broker.fetch(request)).responses[0].partitions[0]
        assert committed.aborted_transactions == []


async def test_a_damaged_segment_is_an_error_for_its_partition_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", 2)
        await broker.produce("orders", b"a" * 100)
        await broker.produce("orders", b"b", partition=1)
        path = tmp_path / "orders-0" / "00000000000000000000.log"
        with path.open("r+b") as file:
            file.seek(16)
            file.write(b"\x7f\xff")
        response = await broker.fetch(fetch_request("orders", {0: 0, 1: 0}))
        by_index = {data.partition_index: data for data in response.responses[0].partitions}
        assert by_index[1].error_code == 0
        assert decode_batches(by_index[1].records or b"")[0].values == [b"b"]


async def test_bytes_are_sent_as_they_came(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        batch = batch_of(b"a" * 1000, producer_id=3, producer_epoch=0, base_sequence=0)
        await broker.append("orders", bytearray(batch))
        data = (await broker.fetch(fetch_request("orders", {0: 0}))).responses[0].partitions[0]
        assert data.records is not None
        assert bytes(data.records)[17:] == bytes(batch)[17:]
