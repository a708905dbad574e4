"""The log directory as a whole: group commit, creation and deletion, failures, start and stop."""

from __future__ import annotations

import contextlib
import errno
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio
from fake_disk import DiskCrashError, FakeDisk
from log_support import NOW_MS, assert_numbered, batch_of, numbered, read_all

from streamlog.broker.log.config import LogConfig
from streamlog.broker.log.disk import OsDisk, join, read_file
from streamlog.broker.log.errors import (
    AppendError,
    CorruptSegmentError,
    LogDirLockedError,
    LogError,
    LogOfflineError,
)
from streamlog.broker.log.manager import LogManager, LogManagerConfig, open_log_manager
from streamlog.doors import WorkerThreads
from streamlog.errors import StorageError
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from streamlog.broker.log.partition_log import PartitionLog

T = TypeVar("T")
DATA = "/data"
ID = uuid.UUID(int=0xA11CE)
OTHER_ID = uuid.UUID(int=0xB0B)
SMALL = LogConfig(segment_bytes=1024, index_interval_bytes=100)


class InlineThreads:
    """Runs blocking calls at once, or when the gate opens."""

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.gate.set()

    async def run(self, call: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        await self.gate.wait()
        return call()


class FirstCallWaits(InlineThreads):
    """Holds one call back while others run."""

    async def run(self, call: Callable[[], T]) -> T:
        gate = self.gate
        if not gate.is_set():
            self.gate = trio.Event()
            self.gate.set()
        await trio.lowlevel.checkpoint()
        await gate.wait()
        return call()


class FixedClock:
    """A wall clock that stands where it is put."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def wall_ms(self) -> int:
        return self.now_ms


class World:
    """What a server runs on; several lives of one server share it."""

    def __init__(self) -> None:
        self.disk = FakeDisk()
        self.threads = InlineThreads()
        self.clock = FixedClock()

    def start(
        self, config: LogManagerConfig | None = None
    ) -> AbstractAsyncContextManager[LogManager]:
        return open_log_manager(Path(DATA), self.disk, self.threads, self.clock, config)

    @contextlib.asynccontextmanager
    async def crashing(self, config: LogManagerConfig | None = None) -> AsyncIterator[LogManager]:
        """A server that is killed when the block is left, or before, at `crash_at`."""
        try:
            async with self.start(config) as logs:
                yield logs
                self.disk.crash_at = 0
        except* DiskCrashError:
            pass
        self.disk.restart()

    def text(self, name: str) -> str:
        return read_file(self.disk, join(DATA, name)).decode()

    def names(self) -> list[str]:
        return list(self.disk.list_dir(DATA))


@pytest.fixture
def world() -> World:
    return World()


def put(log: PartitionLog, count: int = 1) -> int:
    for _ in range(count):
        log.append(numbered(log.log_end_offset), now_ms=NOW_MS)
    return log.log_end_offset


def got(logs: LogManager, topic: str, partition: int = 0) -> PartitionLog:
    log = logs.get(topic, partition)
    assert log is not None
    return log


async def test_an_acknowledged_batch_is_on_disk(world: World) -> None:
    async with world.crashing() as logs:
        await logs.create("orders", ID, 1, LogConfig())
        log = got(logs, "orders")
        end = put(log, 3)
        await logs.wait_flushed(log, end)
        assert log.high_watermark == 3
    world.disk.lose_power()
    async with world.start() as logs:
        assert_numbered(read_all(got(logs, "orders")), 0, 3)


async def test_one_round_covers_all_that_was_written_before_it(world: World) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 3, LogConfig())
        opened = [got(logs, "orders", index) for index in range(3)]
        world.threads.gate = trio.Event()
        put(opened[0])
        await trio.testing.wait_all_tasks_blocked()
        rounds = logs.statistics().flush.rounds
        done: list[int] = []

        async def producer(number: int) -> None:
            log = opened[number % 3]
            await logs.wait_flushed(log, put(log))
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(producer, number)
            await trio.testing.wait_all_tasks_blocked()
            assert done == []
            assert opened[0].high_watermark == 0
            world.threads.gate.set()
        assert len(done) == 30
        assert logs.statistics().flush.rounds == rounds + 2
        assert [log.high_watermark for log in opened] == [11, 10, 10]


async def test_watermark_moves_are_told(world: World) -> None:
    moved: list[tuple[str, int]] = []
    async with world.start() as logs:
        logs.on_high_watermark(lambda log: moved.append((log.topic, log.high_watermark)))
        await logs.create("orders", ID, 1, LogConfig())
        await logs.create("fast", OTHER_ID, 1, LogConfig(write_caching=True))
        put(got(logs, "fast"))
        assert moved == [("fast", 1)]
        await logs.wait_flushed(got(logs, "orders"), put(got(logs, "orders")))
        assert moved == [("fast", 1), ("orders", 1)]


async def test_write_caching_is_flushed_behind(world: World, autojump_clock: object) -> None:
    async with world.start() as logs:
        await logs.create("fast", ID, 1, LogConfig(write_caching=True))
        log = got(logs, "fast")
        await logs.wait_flushed(log, put(log))
        assert (log.high_watermark, log.flushed_offset) == (1, 0)
        await trio.sleep(3)
        assert log.flushed_offset == 1


async def test_a_sync_that_fails_is_never_tried_again_and_believed(world: World) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 2, LogConfig())
        log, other = got(logs, "orders"), got(logs, "orders", 1)
        await logs.wait_flushed(log, put(log, 2))
        world.disk.fault = lambda operation, path: (
            OSError(errno.EIO, "fsync failed") if operation == "datasync" else None
        )
        end = put(log)
        with pytest.raises(LogOfflineError) as caught:
            await logs.wait_flushed(log, end)
        assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
        world.disk.fault = lambda operation, path: None  # it "works" again, as fsync does
        for either in (log, other):
            with pytest.raises(AppendError) as refused:
                put(either)
            assert refused.value.code is ErrorCode.KAFKA_STORAGE_ERROR
        with pytest.raises(LogOfflineError):
            await logs.wait_flushed(log, end)
        with pytest.raises(LogOfflineError):
            await logs.create("more", OTHER_ID, 1, LogConfig())
        assert logs.offline is not None
        assert log.high_watermark == 2
        assert_numbered(read_all(log), 0, 2)
    assert ".kafka_cleanshutdown" not in world.names()
    world.disk.lose_power()
    async with world.start() as logs:
        assert_numbered(read_all(got(logs, "orders")), 0, 2)


async def test_a_full_disk_fails_appends_and_heals(world: World) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 1, LogConfig())
        log = got(logs, "orders")
        world.disk.space_left = 100
        put(log)
        with pytest.raises(AppendError):
            put(log)
        await logs.wait_flushed(log, 1)
        with pytest.raises(StorageError):
            await logs.create("more", OTHER_ID, 2, LogConfig())
        assert logs.get("more", 0) is None
        assert not any(name.startswith("more") for name in world.names())
        world.disk.space_left = 1 << 20
        await logs.wait_flushed(log, put(log, 2))
        await logs.create("more", OTHER_ID, 2, LogConfig())
        assert_numbered(read_all(log), 0, 3)
    assert ".kafka_cleanshutdown" in world.names()


async def test_creating_is_repeatable_and_adds_partitions(world: World) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 1, LogConfig())
        put(got(logs, "orders"))
        await logs.create("orders", ID, 3, SMALL)
        assert got(logs, "orders").log_end_offset == 1
        assert got(logs, "orders", 2).config is SMALL
        assert got(logs, "orders").config is SMALL
        assert logs.get("orders", 3) is None
        assert logs.topics() == {"orders": ID}
    assert world.text("orders-2/partition.metadata") == (
        "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAoRzg\n"
    )


async def test_a_deleted_topic_is_gone_and_a_new_one_of_its_name_is_empty(world: World) -> None:
    async with world.crashing() as logs:
        await logs.create("orders", ID, 2, LogConfig())
        old = got(logs, "orders")
        await logs.wait_flushed(old, put(old, 5))
        await logs.delete("orders")
        assert logs.get("orders", 0) is None
        with pytest.raises(AppendError) as caught:
            put(old)
        assert caught.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        with pytest.raises(LogOfflineError):
            await logs.wait_flushed(old, 99)
        await logs.create("orders", OTHER_ID, 1, LogConfig())
        assert got(logs, "orders").log_end_offset == 0
    world.disk.lose_power()
    async with world.start() as logs:
        assert logs.topics() == {"orders": OTHER_ID}
        assert got(logs, "orders").log_end_offset == 0
        assert logs.failures == {}


async def test_who_waits_for_a_deleted_topic_is_told(world: World) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 1, LogConfig())
        log = got(logs, "orders")
        world.threads.gate = trio.Event()
        end = put(log)
        raised: list[LogError] = []

        async def wait() -> None:
            try:
                await logs.wait_flushed(log, end + 1)
            except LogError as error:
                raised.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(logs.delete, "orders")
            await trio.testing.wait_all_tasks_blocked()
            world.threads.gate.set()
        assert [error.code for error in raised] == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]


async def test_a_topic_is_not_moved_while_a_round_works_on_it(world: World) -> None:
    world.threads = FirstCallWaits()
    async with world.start() as logs:
        await logs.create("orders", ID, 1, SMALL)
        gate = world.threads.gate = trio.Event()
        put(got(logs, "orders"), 20)  # begins a segment: the round will sync the directory
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(logs.delete, "orders")
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
        assert logs.offline is None
        await logs.create("orders", OTHER_ID, 1, SMALL)
        await logs.wait_flushed(got(logs, "orders"), put(got(logs, "orders")))


async def test_the_log_of_another_topic_id_is_moved_aside_and_kept(world: World) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 1, LogConfig())
        await logs.wait_flushed(got(logs, "orders"), put(got(logs, "orders"), 5))
        await logs.create("orders", OTHER_ID, 1, LogConfig())
        assert got(logs, "orders").log_end_offset == 0
        await logs.set_aside("orders")
    strays = [name for name in world.names() if name.endswith("-stray")]
    assert len(strays) == 2
    assert sum(world.disk.size(f"{DATA}/{n}/00000000000000000000.log") for n in strays) > 300
    async with world.start() as logs:
        assert logs.topics() == {}
    assert [name for name in world.names() if name.endswith("-stray")] == strays


@pytest.mark.parametrize("power", [False, True])
async def test_creation_and_deletion_may_stop_at_every_step(power: bool) -> None:
    for step in range(1, 100):
        world = World()
        finished = ["begun"]
        async with world.crashing() as logs:
            world.disk.crash_at = world.disk.steps + step
            await logs.create("orders", ID, 2, LogConfig())
            finished.append("created")
            await logs.wait_flushed(got(logs, "orders"), put(got(logs, "orders"), 3))
            await logs.delete_records(got(logs, "orders"), 0)  # writes the checkpoints
            finished.append("written")
            await logs.delete("orders")
            finished.append("deleted")
        if power:
            world.disk.lose_power()
        async with world.crashing() as logs:
            assert logs.failures == {}
            there = [logs.get("orders", index) for index in range(2)]
            if finished[-1] == "created":
                assert None not in there
            if finished[-1] == "deleted":
                assert there == [None, None]
            if finished[-1] == "written" and there[0] is not None:
                assert_numbered(read_all(there[0]), 0, 3)
            await logs.create("orders", OTHER_ID, 2, LogConfig())
            await logs.wait_flushed(got(logs, "orders"), put(got(logs, "orders")))
        async with world.start() as logs:
            assert logs.failures == {}, "a new topic is not judged by the old one's checkpoints"
            assert_numbered(read_all(got(logs, "orders")), 0, 1)
        if finished[-1] == "deleted":
            return
    pytest.fail("the work never finished")


async def test_a_second_server_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    world = World()
    threads = WorkerThreads(2)
    async with open_log_manager(tmp_path, OsDisk(), threads, world.clock):
        with pytest.raises(LogDirLockedError, match=r"in use by process \d+"):
            async with open_log_manager(tmp_path, OsDisk(), threads, world.clock):
                pass
    async with open_log_manager(tmp_path, OsDisk(), threads, world.clock) as logs:
        assert logs.was_clean


@pytest.mark.parametrize("operation", ["make_dir", "create", "sync_dir"])
async def test_a_directory_that_cannot_be_used_is_refused(world: World, operation: str) -> None:
    world.disk.fault = lambda asked, path: (
        OSError(errno.EROFS, "read-only") if asked == operation else None
    )
    with pytest.raises(StorageError, match=f"data directory {DATA} cannot be used"):
        await world.start().__aenter__()
    world.disk.fault = lambda operation, path: None
    async with world.start():
        pass


async def test_an_unchanged_log_is_not_written_again(world: World) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 5, LogConfig())
        put(got(logs, "orders"), 3)
    async with world.start() as logs:
        await logs.create("orders", ID, 5, LogConfig())
        steps = len(world.disk.trace)
    assert not [line for line in world.disk.trace[steps:] if "orders-" in line]
    async with world.start() as logs:
        assert_numbered(read_all(got(logs, "orders")), 0, 3)


async def test_a_directory_belongs_to_one_cluster_and_node(world: World) -> None:
    async with world.start() as logs:
        cluster_id = logs.properties.cluster_id
        assert len(cluster_id) == 22
    lines = world.text("meta.properties").splitlines()
    assert lines[1:4] == ["version=1", f"cluster.id={cluster_id}", "node.id=1"]
    async with world.start(LogManagerConfig(cluster_id=cluster_id)) as logs:
        assert logs.properties.cluster_id == cluster_id
    with pytest.raises(StorageError, match=f"belongs to cluster {cluster_id}, not to other"):
        async with world.start(LogManagerConfig(cluster_id="other")):
            pass
    with pytest.raises(StorageError, match="belongs to node 1, not to 2"):
        async with world.start(LogManagerConfig(node_id=2)):
            pass


async def test_the_marker_of_a_clean_shutdown_lasts_until_the_next_start(world: World) -> None:
    async with world.start() as logs:
        assert not logs.was_clean
        assert ".kafka_cleanshutdown" not in world.names()
        await logs.create("orders", ID, 1, LogConfig())
        put(got(logs, "orders"), 4)
    assert world.text(".kafka_cleanshutdown") == '{"version":0,"brokerEpoch":-1}'
    assert world.text("recovery-point-offset-checkpoint") == "0\n1\norders 0 4\n"
    assert world.text("replication-offset-checkpoint") == "0\n1\norders 0 4\n"
    world.disk.lose_power()
    async with world.start() as logs:
        assert logs.was_clean
        assert ".kafka_cleanshutdown" not in world.names()
        assert_numbered(read_all(got(logs, "orders")), 0, 4)


async def test_leaving_by_an_error_or_cancellation_is_in_order_too(world: World) -> None:
    with trio.CancelScope() as scope:
        async with world.start() as logs:
            await logs.create("orders", ID, 1, LogConfig())
            put(got(logs, "orders"), 2)
            scope.cancel()
            await trio.sleep_forever()

    async def fail() -> None:
        async with world.start() as logs:
            assert logs.was_clean
            put(got(logs, "orders"), 2)
            raise ValueError

    with pytest.raises(ExceptionGroup):
        await fail()
    async with world.start() as logs:
        assert logs.was_clean
        assert_numbered(read_all(got(logs, "orders")), 0, 4)


async def test_a_sealed_segment_is_below_the_recovery_point_before_anything_behind_it_is_acked(
    world: World,
) -> None:
    async with world.crashing() as logs:
        await logs.create("orders", ID, 1, SMALL)
        log = got(logs, "orders")
        await logs.wait_flushed(log, put(log, 30))
        sealed = log.segments[1]
    world.disk.lose_power()
    world.disk.flip(sealed.log_path, 200)
    async with world.start(LogManagerConfig(default_config=SMALL)) as logs:
        assert logs.failures == {}, "what was sealed is not cut; reading it is refused"
        log = got(logs, "orders")
        assert log.log_end_offset == 30
        with pytest.raises(CorruptSegmentError, match=f"{sealed.log_path} is damaged at byte"):
            read_all(log)


async def test_recovery_points_are_written_down_in_time(
    world: World, autojump_clock: object
) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 1, LogConfig())
        log = got(logs, "orders")
        await logs.wait_flushed(log, put(log, 3))
        await trio.sleep(6)
        assert world.text("recovery-point-offset-checkpoint") == "0\n1\norders 0 3\n"
        steps = world.disk.steps
        await trio.sleep(60)
        assert world.disk.steps == steps, "an idle server writes nothing"


async def test_a_damaged_partition_stays_closed_alone(world: World) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 2, LogConfig())
        await logs.wait_flushed(got(logs, "orders"), put(got(logs, "orders"), 9))
        await logs.wait_flushed(got(logs, "orders", 1), put(got(logs, "orders", 1), 9))
    world.disk.unlink(f"{DATA}/.kafka_cleanshutdown")
    world.disk.flip(f"{DATA}/orders-0/00000000000000000000.log", 300)
    for _ in range(2):
        async with world.start() as logs:
            assert logs.get("orders", 0) is None
            failure = logs.failures["orders", 0]
            assert "orders-0/00000000000000000000.log is damaged at byte" in str(failure)
            await logs.create("orders", ID, 2, LogConfig())
            assert logs.get("orders", 0) is None, "a damaged log is not made anew"
            assert got(logs, "orders", 1).log_end_offset >= 9
            put(got(logs, "orders", 1))


async def test_what_was_cut_is_reported(world: World) -> None:
    async with world.crashing() as logs:
        await logs.create("orders", ID, 1, LogConfig())
        await logs.wait_flushed(got(logs, "orders"), put(got(logs, "orders"), 3))
    path = f"{DATA}/orders-0/00000000000000000000.log"
    world.disk.open(path).pwrite(b"torn", world.disk.size(path))
    async with world.start() as logs:
        assert [(cut.topic, cut.bytes_cut) for cut in logs.recovered] == [("orders", 4)]


async def test_damaged_checkpoints_are_named(world: World) -> None:
    async with world.start():
        pass
    path = f"{DATA}/recovery-point-offset-checkpoint"
    file = world.disk.open(path, create=True)
    file.truncate(0)
    file.pwrite(b"0\n3\norders 0 1\n", 0)
    with pytest.raises(StorageError, match=f"{path} promises 3 entries and holds 1"):
        async with world.start():
            pass
    world.disk.unlink(path)
    async with world.start():
        pass


async def test_an_unfinished_directory_is_made_again(world: World) -> None:
    world.disk.make_dir(f"{DATA}/orders-0")
    world.disk.open(f"{DATA}/orders-0/00000000000000000000.log", create=True)
    world.disk.make_dir(f"{DATA}/__cluster_metadata-0")
    world.disk.make_dir(f"{DATA}/not a partition")
    async with world.start() as logs:
        assert logs.topics() == {}
        await logs.create("orders", ID, 1, LogConfig())
        put(got(logs, "orders"))
    assert {"__cluster_metadata-0", "not a partition"} < set(world.names())


async def test_deleted_records_stay_deleted(world: World) -> None:
    async with world.crashing() as logs:
        await logs.create("orders", ID, 1, SMALL)
        log = got(logs, "orders")
        await logs.wait_flushed(log, put(log, 40))
        assert await logs.delete_records(log, 30) == 30
        assert log.segments[0].base_offset <= 30 < log.segments[1].base_offset
        assert await logs.delete_records(log, 5) == 30
    world.disk.lose_power()
    async with world.start(LogManagerConfig(default_config=SMALL)) as logs:
        log = got(logs, "orders")
        assert log.log_start_offset == 30
        assert_numbered(read_all(log), 30, 40)
        assert await logs.delete_records(log, -1) == 40
        assert (log.log_start_offset, log.log_end_offset) == (40, 40)


async def test_retention_moves_the_start_down_on_disk_before_files_go(
    world: World, autojump_clock: object
) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 1, SMALL)
        log = got(logs, "orders")
        await logs.wait_flushed(log, put(log, 40))
        world.clock.now_ms += SMALL.retention_ms + 1
        await trio.sleep(301)
        assert (log.log_start_offset, log.log_end_offset) == (40, 40)
        assert world.text("log-start-offset-checkpoint") == "0\n1\norders 0 40\n"
        names = world.disk.list_dir(f"{DATA}/orders-0")
        assert any(name.endswith(".deleted") for name in names)
        put(log)
        await trio.sleep(61)
        names = world.disk.list_dir(f"{DATA}/orders-0")
        assert not any(name.endswith(".deleted") for name in names)
        assert [name for name in names if name.endswith(".log")] == ["00000000000000000040.log"]


async def test_retention_may_stop_at_every_step_and_the_start_never_goes_back() -> None:
    for step in range(1, 60):
        world = World()
        promised = [10]
        async with world.crashing() as logs:
            await logs.create("orders", ID, 1, SMALL)
            log = got(logs, "orders")
            await logs.wait_flushed(log, put(log, 40))
            assert await logs.delete_records(log, 10) == 10
            world.disk.crash_at = world.disk.steps + step
            promised.append(await logs.delete_records(log, 30))
        world.disk.lose_power()
        async with world.start(LogManagerConfig(default_config=SMALL)) as logs:
            start = got(logs, "orders").log_start_offset
            assert start in (promised[-1], 30)
            assert_numbered(read_all(got(logs, "orders")), start, 40)
        if promised[-1] == 30:
            return
    pytest.fail("the work never finished")


async def test_producers_expire_by_the_brokers_clock(world: World) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 1, LogConfig(retention_ms=-1))
        log = got(logs, "orders")
        log.append(batch_of(b"v", timestamps=[5], producer=(9, 0, 0)), now_ms=NOW_MS)
        await logs.enforce_retention()
        assert len(log.producers) == 1, "old timestamps make no old producer"
        world.clock.now_ms += 24 * 60 * 60 * 1000
        await logs.enforce_retention()
        assert len(log.producers) == 0


async def test_statistics_count(world: World) -> None:
    async with world.start() as logs:
        await logs.create("orders", ID, 2, LogConfig())
        await logs.wait_flushed(got(logs, "orders"), put(got(logs, "orders")))
        statistics = logs.statistics()
        assert (statistics.partitions, statistics.failed_partitions) == (2, 0)
        assert statistics.flush.files_synced == 1
        assert logs.path == DATA


def test_a_crash_is_no_ordinary_exception() -> None:
    assert not issubclass(DiskCrashError, Exception)
