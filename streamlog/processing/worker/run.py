"""Runs pipelines in this process until they are stopped or, if asked to, at the end of input.

Each pipeline is a group of its own with its own connections, so that one which fails or is slow
does not hold up another.

A pipeline that is asked to stop before it has joined its group just ends. Later it writes its last
checkpoint and leaves the group, for which it has a few seconds: brokers may be out of reach. What
is cut short then is what a crash would leave, and the next run makes up for it.
"""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.config import (
    ClientConfig,
    ConsumerConfig,
    GroupConfig,
    OffsetReset,
    ProducerConfig,
)
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.membership.member import open_group_member
from streamlog.client.producer.producer import open_producer
from streamlog.doors import Clock, SystemClock, WorkerThreads
from streamlog.errors import StreamlogError, UsageError
from streamlog.processing.replay.registry_topic import read_registry
from streamlog.processing.rewind.rewinder import finish_rewind
from streamlog.processing.rewind.world import RewindWorld
from streamlog.processing.state.retention import retention_of
from streamlog.processing.worker.assignor import TaskAssignor
from streamlog.processing.worker.config import CHUNK_RECORDS
from streamlog.processing.worker.copies import find_copies
from streamlog.processing.worker.ending import watch_for_the_end
from streamlog.processing.worker.garbage import seldom_collected
from streamlog.processing.worker.keeper import keep_copies
from streamlog.processing.worker.left_behind import refuse_to_leave_behind
from streamlog.processing.worker.pipeline_worker import PipelineWorker
from streamlog.processing.worker.setting import Setting
from streamlog.processing.worker.slots import take_seat
from streamlog.processing.worker.standby import Standbys
from streamlog.processing.worker.tables import keep_tables
from streamlog.processing.worker.takeover import TakeOvers
from streamlog.processing.worker.topics import ensure_topics, find_sources
from streamlog.processing.worker.word import WorkerWord, copies_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.client.client import Client
    from streamlog.client.membership.member import GroupMember
    from streamlog.client.producer.producer import Producer
    from streamlog.processing.dsl.pipeline import Pipeline
    from streamlog.processing.plan.plan import Plan
    from streamlog.processing.worker.config import RunConfig
    from streamlog.processing.worker.slots import Seat
    from streamlog.processing.worker.status import PipelineStatus, RunStatus

logger = logging.getLogger(__name__)

STATE_THREADS = 4
"""Threads of a pipeline for its state; a task uses one at a time."""
REBALANCE_TIMEOUT_MS = 60_000
"""How long the others wait for this worker's last checkpoint in a rebalance."""
HEARTBEATS_PER_SESSION = 3
LEAVE_TIMEOUT_S = 7.0
"""For the last checkpoint; with telling the group, a stop takes less than ten seconds."""


MEMBER_PHASES = ("joining", "running", "failed")
"""Those in which a pipeline may own tasks, so that it has something to end in good order."""


async def run_worker(
    pipelines: Sequence[Pipeline[..., object]],
    config: RunConfig,
    status: RunStatus,
    stop: trio.Event,
) -> None:
    """Runs pipelines until `stop` is set, or to the end of their input if the config says so.

    A pipeline that fails leaves its group and the others go on; its failure is raised when all
    have ended.

    Raises:
        UsageError: If two pipelines have the same name.
        StreamlogError: The first failure.
    """
    names = [pipeline.name for pipeline in pipelines]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f'two pipelines have the name "{name}", so they would share a group and its state',
                hint="Give one of them another: @pipeline(name=…)",
            )
    failures: list[Exception] = []

    async def run_one(pipeline: Pipeline[..., object]) -> None:
        name = pipeline.name
        try:
            await run_pipeline(pipeline, config, status.of(name), stop)
        except Exception as error:  # noqa: BLE001 (raised below, once the others have ended)
            status.of(name).phase = "failed"
            status.of(name).failures += 1
            error = first_of(error)
            # What to do about it is said when all have ended.
            what = error.message if isinstance(error, StreamlogError) else error
            logger.error('pipeline "%s" has stopped: %s', name, what)
            failures.append(error)

    # What is wrong with one is said before any has begun.
    plans = [pipeline.plan() for pipeline in pipelines]
    # One pipeline may read what another one here writes.
    config = replace(config, awaited=frozenset(t for plan in plans for t in plan.output_topics))
    with seldom_collected():
        async with trio.open_nursery() as nursery:
            for pipeline in pipelines:
                nursery.start_soon(run_one, pipeline)
    for failure in failures:
        raise failure


async def run_pipeline(
    pipeline: Pipeline[..., object], config: RunConfig, status: PipelineStatus, stop: trio.Event
) -> None:
    """Runs one pipeline, under the names that the config or else the registry says."""
    finished = trio.Event()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def watch_for_a_stop() -> None:
                await stop.wait()
                is_member = status.phase in MEMBER_PHASES
                scope.deadline = trio.current_time() + (LEAVE_TIMEOUT_S if is_member else 0)
                finished.set()

            nursery.start_soon(watch_for_a_stop)
            await _run(pipeline, config, status, finished)
            nursery.cancel_scope.cancel()
    if scope.cancelled_caught and status.phase in MEMBER_PHASES:
        logger.warning(
            'pipeline "%s" was stopped without a last checkpoint: no answer within %g s',
            pipeline.name,
            LEAVE_TIMEOUT_S,
        )
    status.phase = "stopped"


async def _run(
    pipeline: Pipeline[..., object],
    config: RunConfig,
    status: PipelineStatus,
    finished: trio.Event,
) -> None:
    client_config = ClientConfig(brokers=config.brokers, client_id=f"streamlog-{pipeline.name}")
    async with open_client(client_config) as client:
        naming = config.naming or (await read_registry(client)).naming(pipeline.name)
        plan = pipeline.plan(naming)
        setting = await _settle(pipeline.name, plan, config, client, SystemClock())
        async with (
            open_producer(client, ProducerConfig()) as producer,
            open_consumer(
                client,
                ConsumerConfig(auto_offset_reset=OffsetReset.NONE, chunk_records=CHUNK_RECORDS),
            ) as consumer,
            trio.open_nursery() as nursery,
        ):
            status.phase = "loading tables"
            await nursery.start(keep_tables, client, setting.tables)
            worker = PipelineWorker(setting, producer, consumer, status, finished)
            try:
                await _take_part(setting, producer, worker, status, nursery)
            finally:
                nursery.cancel_scope.cancel()
        worker.raise_failure()


async def _take_part(
    setting: Setting,
    producer: Producer,
    worker: PipelineWorker,
    status: PipelineStatus,
    nursery: trio.Nursery,
) -> None:
    """Joins the group and stays in it until the worker has finished."""
    plan, config = setting.plan, setting.config
    seat = take_seat(setting.state_folder)
    assignor = TaskAssignor(
        {sub.name: sub.input_topics for sub in plan.sub_topologies},
        setting.standbys,
        lambda: word_of(setting, seat),
    )
    standbys = Standbys(setting, status)
    take_overs = TakeOvers(setting, assignor, producer, worker, status, standbys)
    try:
        await finish_rewind(
            RewindWorld(
                client=setting.client,
                clock=setting.clock,
                threads=setting.threads,
                folder=setting.state_folder,
                retention=retention_of(plan.options),
            )
        )
        group = GroupConfig(
            group=plan.name,
            topics=tuple(topic for sub in plan.sub_topologies for topic in sub.input_topics),
            session_timeout_ms=config.session_timeout_ms,
            heartbeat_interval_ms=config.session_timeout_ms // HEARTBEATS_PER_SESSION,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            instance_id=seat.instance_id,
            assignors=(assignor,),
            leave_on_close=True,
        )
        nursery.start_soon(worker.serve)
        nursery.start_soon(standbys.run)
        status.phase = "joining"
        async with open_group_member(setting.client, group, take_overs) as member:
            worker.member = member
            nursery.start_soon(take_overs.run, member)
            nursery.start_soon(keep_copies, setting, assignor, member, standbys)
            if config.until_end:
                nursery.start_soon(watch_for_the_end, setting, member, take_overs, worker)
            nursery.start_soon(_say_when_joined, member, status)
            await worker.finished.wait()
    finally:
        seat.release()


def word_of(setting: Setting, seat: Seat) -> WorkerWord:
    """What this worker says of itself when it joins."""
    copies = find_copies(setting.state_folder, setting.changelog_identities())
    return WorkerWord(
        folder=seat.folder_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        metrics=setting.config.metrics,
        copies=copies_of(copies),
    )


async def _say_when_joined(member: GroupMember, status: PipelineStatus) -> None:
    await member.wait_joined()
    if status.phase == "joining":
        status.phase = "running"


def first_of(error: Exception) -> Exception:
    """Returns the error that speaks for a group of them: the first of ours, else the first."""
    if not isinstance(error, ExceptionGroup):
        return error
    ours = error.subgroup(StreamlogError)
    return first_of((ours or error).exceptions[0])


async def _settle(
    name: str, plan: Plan, config: RunConfig, client: Client, clock: Clock
) -> Setting:
    """Finds and creates the topics, and settles where the state lives."""
    admin = Admin(client)
    cluster = await admin.describe_cluster()
    await refuse_to_leave_behind(client, plan)
    names = (*plan.source_topics, *plan.table_topics)
    sources = await find_sources(admin, names, config.awaited - {*plan.output_topics})
    topics = await ensure_topics(admin, plan.topic_specs(sources.partition_counts))
    folder = config.state_dir / (cluster.cluster_id or "unnamed-cluster") / plan.name
    return Setting(
        pipeline=name,
        plan=plan,
        config=config,
        client=client,
        clock=clock,
        threads=WorkerThreads(STATE_THREADS),
        partition_counts={**sources.partition_counts, **topics.partition_counts},
        topic_ids={**sources.topic_ids, **topics.topic_ids},
        tables=plan.new_tables(),
        state_folder=folder,
    )
