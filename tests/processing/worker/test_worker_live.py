"""Workers against a broker in the same event loop: taken over, moved, robbed, cut short."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import subprocess
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import trio
from live_cluster import (
    EVENTS,
    PARTITIONS,
    Cluster,
    Event,
    Total,
    amount_of,
    cluster,
    key_of,
    totals,
    worker_command,
)

from streamlog import GlobalTable, Output, Stream, count, pipeline, sum_, tumbling
from streamlog.client.admin.values import NewTopic
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import OffsetAndMetadata, TopicPartition
from streamlog.errors import NotFoundError, RefusedError, StorageError, StreamlogError
from streamlog.processing.errors import FunctionFailure, LayoutChangedError, UndecodableFailure
from streamlog.processing.worker.changelog import fence_record
from streamlog.processing.worker.pipeline_worker import RecordsMissingError
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import PipelineStatus, RunStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SOURCE_CHANGELOG = "totals.events.changelog"
CHANGELOG = "totals.by-key.changelog"
REPARTITION = "totals.by-key.repartition"


@asynccontextmanager
async def working(it: Cluster) -> AsyncIterator[PipelineStatus]:
    """A worker beside the block, which is asked to stop after it."""
    status, stop = RunStatus(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_worker, (totals,), it.config(until_end=False), status, stop)
        yield status.of("totals")
        stop.set()


async def caught_up(it: Cluster) -> None:
    """Waits until the group has committed all that was sent."""
    inputs = {EVENTS: it.sent}
    with trio.fail_after(30):
        for topic, sent in inputs.items():
            while True:
                offsets = await it.admin.group_offsets("totals")
                at = [offsets.get(TopicPartition(topic, each)) for each in range(PARTITIONS)]
                if all(each is not None and each.offset == sent for each in at):
                    break
                await trio.sleep(0.02)


def state_locks(folder: Path) -> list[Path]:
    """The locks of the state folder that somebody holds."""
    held = []
    for path in [*folder.rglob("owner.lock"), *folder.rglob("workers/*.lock")]:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path)
    return held


# The ordinary.


async def test_a_run_to_the_end_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        for drain in (False, False, True):
            await it.send_events(300)
            await it.run(drain=drain)
        await it.assert_right()


class StepCounter(trio.abc.Instrument):
    """Counts how often any task goes on."""

    steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1


async def heartbeats_pass(it: Cluster, number: int) -> None:
    """Waits until the worker has said so often that it lives: every third of a second."""
    target = it.broker.statistics().requests_by_api.get("HEARTBEAT", 0) + number
    with trio.fail_after(60):
        while it.broker.statistics().requests_by_api.get("HEARTBEAT", 0) < target:  # noqa: ASYNC110
            await trio.sleep(0.05)


async def test_an_idle_worker_takes_no_checkpoints_and_lets_all_tasks_sleep(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(50)
        async with working(it) as status:
            await caught_up(it)
            checkpoints = -1
            while checkpoints != status.checkpoints:  # What follows from the last records is done.
                checkpoints = status.checkpoints
                await heartbeats_pass(it, 3)
            counter = StepCounter()
            trio.lowlevel.add_instrument(counter)
            await heartbeats_pass(it, 5)
            trio.lowlevel.remove_instrument(counter)
            assert status.checkpoints == checkpoints
            # Heartbeats, long polls, the checkpoints' clock and our own look at it; a loop that
            # never sleeps makes some ten thousand steps in that time.
            assert counter.steps < 5 * 300


async def test_a_run_to_the_end_with_nothing_new_ends(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(50)
        await it.run()
        status = await it.run()
        assert status.of("totals").checkpoints == 0


# Two owners of one task.


async def test_a_worker_that_finds_another_on_its_task_takes_it_over_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(200)
        async with working(it):
            await caught_up(it)
            for partition in range(PARTITIONS):
                # Half a checkpoint of an owner who was paused, and the fence of a third.
                key, value = fence_record(7)
                await it.send(CHANGELOG, partition, b"junk", key=b"rtotals/junk")
                await it.send(CHANGELOG, partition, value, key=key)
            await it.send_events(200)
            await caught_up(it)
        assert "is run by another worker" in caplog.text
        shutil.rmtree(tmp_path / "state")
        await it.run(drain=True)
        await it.assert_right()


@pytest.mark.slow
@pytest.mark.parametrize("own_folder", [True, False])
async def test_a_paused_worker_that_wakes_up_changes_nothing(
    tmp_path: Path, own_folder: bool
) -> None:
    async with cluster(tmp_path) as it:
        folder = tmp_path / ("other" if own_folder else "state")
        process = subprocess.Popen(worker_command(it.address, folder))  # noqa: ASYNC220
        try:
            await it.send_events(300)
            await caught_up(it)
            for _ in range(2):
                await it.send_events(300)
                process.send_signal(signal.SIGSTOP)
                await it.send_events(300)
                async with working(it):
                    await caught_up(it)
                    process.send_signal(signal.SIGCONT)
                    await it.send_events(300)
                    await caught_up(it)
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
        await it.run(drain=True)
        await it.assert_right()
        shutil.rmtree(tmp_path / "state")
        await it.send_events(300)
        await it.run(drain=True)
        await it.assert_right()


async def test_state_that_another_process_has_open_is_copied_beside_it(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run()
        (lock,) = (tmp_path / "state").rglob("by-key/0/owner.lock")
        holder = os.open(lock, os.O_RDWR)
        fcntl.flock(holder, fcntl.LOCK_EX)
        await it.send_events(100)
        await it.run()
        os.close(holder)
        await it.send_events(100)
        await it.run(drain=True)
        await it.assert_right()


# The group and the topics, changed by others.


async def test_a_group_that_was_deleted_is_told_again(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run()
        await it.admin.delete_groups(["totals"])
        await it.run()
        await caught_up(it)
        await it.run(drain=True)
        await it.assert_right()


async def test_state_follows_offsets_that_were_moved_to_one_of_its_checkpoints(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run()
        await it.send_events(100)
        await it.run()
        moved = {TopicPartition(EVENTS, 0): OffsetAndMetadata(100)}
        await it.admin.alter_group_offsets("totals", moved)
        status = await it.run(drain=True)
        assert status.of("totals").records_in >= 100
        await it.assert_right()


async def test_offsets_that_were_moved_elsewhere_are_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run()
        moved = {TopicPartition(EVENTS, 1): OffsetAndMetadata(55)}
        await it.admin.alter_group_offsets("totals", moved)
        with pytest.raises(RefusedError, match=r"events\[1\] to 55.*events\[1\] at 100") as caught:
            await it.run()
        assert "streamlog rewind PIPELINE --to end --execute" in str(caught.value.hint)
        back = {TopicPartition(EVENTS, 1): OffsetAndMetadata(100)}
        await it.admin.alter_group_offsets("totals", back)
        await it.run(drain=True)
        await it.assert_right()


async def test_a_source_that_was_made_anew_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run()
        await it.admin.delete_topics([EVENTS])
        await it.create_source()
        it.expected.clear()
        async with open_producer(it.client) as it.producer:
            await it.send_events(150)
        for _ in range(2):
            with pytest.raises(RefusedError, match='"events" was deleted and made anew') as caught:
                await it.run()
            shutil.rmtree(tmp_path / "state")
        assert caught.value.hint is not None
        assert f"streamlog topic delete {REPARTITION} {SOURCE_CHANGELOG}" in caught.value.hint
        await it.admin.delete_topics([REPARTITION, SOURCE_CHANGELOG, CHANGELOG])
        await it.admin.delete_groups(["totals"])
        await it.admin.delete_topics(["totals-out"])
        it.sent = 150
        await it.run(drain=True)
        await it.assert_right()


async def test_records_that_were_deleted_unread_stop_the_pipeline(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run()
        await it.send_events(100)
        await it.admin.delete_records({TopicPartition(EVENTS, 0): 150})
        with pytest.raises(RecordsMissingError, match=r"events\[0\] has no offset 100: it has 150"):
            await it.run()


async def test_a_changelog_that_was_deleted_is_missed(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run()
        await it.admin.delete_topics([CHANGELOG])
        with pytest.raises(StorageError, match="has lost records"):
            await it.run()


async def test_a_changelog_without_its_beginning_is_no_state(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run()
        await it.admin.alter_configs(CHANGELOG, {"cleanup.policy": "delete"})
        await it.admin.delete_records({TopicPartition(CHANGELOG, 0): 1})
        await it.run()
        shutil.rmtree(tmp_path / "state")
        with pytest.raises(StorageError, match="records were deleted"):
            await it.run()


@pytest.mark.parametrize("robbed", [False, True])
async def test_state_of_another_version_of_the_pipeline_is_refused(
    tmp_path: Path, robbed: bool
) -> None:
    @pipeline(name="totals")
    def edited(events: Stream[Event]) -> Output:
        return (
            events.key_by(key_of, name="by-key")
            .window(tumbling(timedelta(seconds=2)), grace=timedelta(seconds=1))
            .aggregate(Total, events=count(), amount=sum_(amount_of), name="totals")
            .to("totals-out")
        )

    async with cluster(tmp_path) as it:
        await it.send_events(200)
        await it.run()
        if robbed:
            shutil.rmtree(tmp_path / "state")
        with pytest.raises(LayoutChangedError, match=r"1000 ms.*2000 ms") as caught:
            await it.run(edited)
        assert caught.value.hint is not None
        await it.run(drain=True)
        await it.assert_right()


async def test_a_sub_topology_that_is_gone_is_missed_until_its_topics_are_gone_too(
    tmp_path: Path,
) -> None:
    @pipeline(name="totals")
    def renamed(events: Stream[Event]) -> Output:
        return (
            events.key_by(key_of, name="by-its-key")
            .window(tumbling(timedelta(seconds=1)), grace=timedelta(seconds=1))
            .aggregate(Total, events=count(), amount=sum_(amount_of), name="totals")
            .to("totals-out")
        )

    async with cluster(tmp_path) as it:
        await it.send_events(200)
        await it.run()
        with pytest.raises(LayoutChangedError, match='had a sub-topology "by-key"') as caught:
            await it.run(renamed)
        assert 'name="by-key"' in str(caught.value.hint)
        topics = ["totals.by-key.repartition", "totals.by-key.changelog"]
        assert f"streamlog topic delete {' '.join(topics)} --execute" in str(caught.value.hint)
        await it.run()
        await it.admin.delete_topics(topics)
        await it.run(renamed)


# Pipelines that fail.


async def test_a_pipeline_that_fails_goes_on_after_the_fix_and_the_others_do_not_notice(
    tmp_path: Path,
) -> None:
    broken = [13]

    def picky(event: Event) -> Event:
        if event.amount in broken:
            raise ValueError("unlucky")
        return event

    @pipeline
    def careful(events: Stream[Event]) -> Output:
        return events.map(picky).to("careful-out")

    async with cluster(tmp_path) as it:
        await it.send_events(400)
        with pytest.raises(FunctionFailure, match=r"test_worker_live.py:\d+.*unlucky"):
            await it.run(careful, totals, drain=True)
        await it.assert_right()
        broken.clear()
        await it.run(careful)
        sent = sorted(value or b"" for _, value in await it.values(EVENTS))
        came = sorted((v or b"").replace(b":", b": ").replace(b",", b", ")
                      for _, v in await it.values("careful-out"))  # fmt: skip
        assert came == sent


async def test_a_table_with_a_bad_row_stops_its_own_pipeline_only(tmp_path: Path) -> None:
    @pipeline
    def joined(events: Stream[Event], names: GlobalTable[Total]) -> Output:
        return events.key_by(key_of).join(names, lambda e, _: Event(e.key, e.amount)).to("joined")

    async with cluster(tmp_path) as it:
        await it.admin.create_topics([NewTopic("names", 1)])
        await it.send_events(100)
        good = b'{"events": 1, "amount": 2}'
        await it.send("names", 0, good, key=b"k3")
        await it.run(joined)
        rows = await it.values("joined")
        assert rows
        assert {key for key, _ in rows} == {b"k3"}
        await it.send("names", 0, b"{", key=b"k4")
        with pytest.raises(UndecodableFailure, match="offset 1 of names partition 0"):
            await it.run(joined, totals, drain=True)
        await it.assert_right()


async def test_an_output_that_cannot_be_created_stops_its_own_pipeline_only(
    tmp_path: Path,
) -> None:
    @pipeline
    def nowhere(events: Stream[Event]) -> Output:
        return events.to("nowhere-out")

    async with cluster(tmp_path, partitions_max=10) as it:
        await it.run()
        await it.send_events(50)
        with pytest.raises(StreamlogError, match=r"nowhere.* cannot be created: .*POLICY"):
            await it.run(nowhere, totals, drain=True)
        await it.assert_right()


async def test_a_source_that_is_missing_is_asked_for_by_its_likely_name(tmp_path: Path) -> None:
    @pipeline
    def lost(evnts: Stream[Event]) -> Output:
        return evnts.to("lost-out")

    async with cluster(tmp_path) as it:
        await it.send_events(50)
        with pytest.raises(NotFoundError, match='Did you mean "events"'):
            await it.run(lost, totals, drain=True)
        await it.assert_right()


# Cut short.


async def test_a_worker_that_is_cancelled_anywhere_lets_go_of_everything(tmp_path: Path) -> None:
    rng = random.Random(5)
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run()
        for _ in range(25):
            await it.send_events(40)
            with trio.move_on_after(rng.uniform(0, 0.5)):
                await run_worker((totals,), it.config(), RunStatus(), trio.Event())
            assert state_locks(tmp_path / "state") == []
        await it.run(drain=True)
        await it.assert_right()
