"""The composition root: puts a broker together out of its parts, runs it, and takes it down.

The order is that of dependence, and taking down is the reverse: the coordination store, the topics,
the logs (which recover), the groups, and last the listeners, so that nobody is let in before
everything answers. What a crash left between two steps of a topic's creation is made up for here.
"""

from __future__ import annotations

import logging
import random
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from streamlog.broker.coordination.lmdb_store import open_lmdb_store
from streamlog.broker.coordination.topics import TopicRegistry
from streamlog.broker.descriptors import raise_descriptor_limit, share_out
from streamlog.broker.groups.service import open_group_service
from streamlog.broker.handlers.dispatch import Dispatcher
from streamlog.broker.handlers.fetch_purgatory import FetchPurgatory
from streamlog.broker.handlers.fetch_sessions import FetchSessions
from streamlog.broker.handlers.producer_ids import ProducerIds
from streamlog.broker.handlers.services import Services
from streamlog.broker.handlers.topic_admin import TopicAdmin
from streamlog.broker.log.config import LogConfig
from streamlog.broker.log.disk import OsDisk
from streamlog.broker.log.manager import LogManagerConfig, LogStatistics, open_log_manager
from streamlog.broker.log.pool import FILES_MAX
from streamlog.broker.log.startup import lock_directory
from streamlog.broker.metrics import broker_families
from streamlog.broker.server.server import Server, ServerStatistics, open_server
from streamlog.doors import Clock, Network, SystemClock, TcpNetwork, Threads, WorkerThreads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from streamlog.broker.config import BrokerConfig
    from streamlog.broker.log.disk import Disk
    from streamlog.metrics.exposition import Family

logger = logging.getLogger("streamlog.broker")

STORE_DIR = "coordination"
THREADS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The world outside; a simulation passes its own."""

    clock: Clock
    network: Network
    threads: Threads
    disk: Disk
    random: random.Random
    descriptors_max: int = 1 << 20
    """How many files and connections may be open."""

    @classmethod
    def real(cls) -> Doors:
        """Returns the operating system's."""
        return cls(
            clock=SystemClock(),
            network=TcpNetwork(),
            threads=WorkerThreads(THREADS_MAX),
            disk=OsDisk(),
            random=random.Random(),
            descriptors_max=raise_descriptor_limit(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerStatistics:
    """What a broker holds and has done."""

    topics: int
    partitions: int
    fetches_parked: int
    fetch_sessions: int
    requests_by_api: Mapping[str, int]
    logs: LogStatistics
    server: ServerStatistics


class Broker:
    """A running broker; made by `open_broker`.

    Args:
        services: Its parts.
        server: Its listeners.
        dispatcher: Its handlers.
    """

    def __init__(self, services: Services, server: Server, dispatcher: Dispatcher) -> None:
        self._services = services
        self._server = server
        self._dispatcher = dispatcher
        self.cluster_id = services.cluster_id
        self.host, self.port = server.addresses[0]
        self.addresses = server.addresses

    def statistics(self) -> BrokerStatistics:
        """Returns the counters as of now."""
        services = self._services
        return BrokerStatistics(
            topics=len(services.topics),
            partitions=sum(topic.partition_count for topic in services.topics),
            fetches_parked=len(services.purgatory),
            fetch_sessions=len(services.fetch_sessions),
            requests_by_api={
                key.name: count for key, count in self._dispatcher.requests_by_api.items()
            },
            logs=services.logs.statistics(),
            server=self._server.statistics(),
        )

    def families(self) -> list[Family]:
        """Returns the counters as of now, for `/metrics`."""
        return broker_families(
            self._services,
            self._server.statistics(),
            {key.name: count for key, count in self._dispatcher.requests_by_api.items()},
            self._services.config.advertise or (self.host, self.port),
        )

    def why_ill(self) -> str | None:
        """Says why nothing is written any more, if that is so."""
        offline = self._services.logs.offline
        return None if offline is None else offline.message


def _check_unlocked(disk: Disk, path: str) -> None:
    """Says that another server is at work here before anything else could stumble over it.

    The log manager takes the lock for good, but it needs the topics' settings, so the store is
    opened first.
    """
    lock_directory(disk, path).release()


@contextmanager
def _without_groups() -> Iterator[None]:
    """Lets an error that happened alone out of the exception groups of the nurseries around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaf: BaseException = group
        while isinstance(leaf, BaseExceptionGroup) and len(leaf.exceptions) == 1:
            leaf = leaf.exceptions[0]
        if isinstance(leaf, BaseExceptionGroup):
            raise
        raise leaf from leaf.__cause__


@asynccontextmanager
async def open_broker(config: BrokerConfig, doors: Doors | None = None) -> AsyncIterator[Broker]:
    """Runs a broker while the block runs; it answers when this has been entered.

    Leaving the block stops it gracefully: requests under way are answered, everything is flushed
    and the data folder is marked as cleanly closed. To stop on a signal, leave the block; a
    cancellation from outside skips the grace, and the next start then recovers.

    Raises:
        LogDirLockedError: Another server works on the same data folder.
        AddressInUseError: Something else listens on the port.
        StorageError: The data folder cannot be used.
        RefusedError: The process may open too few files.
    """
    doors = doors or Doors.real()
    descriptors = share_out(
        doors.descriptors_max,
        connections_max=config.limits.connections_max,
        files_max=FILES_MAX,
    )
    with _without_groups():
        async with AsyncExitStack() as stack:
            services = await _open_services(config, doors, stack, files_max=descriptors.files)
            dispatcher = Dispatcher(services)

            def answer_all() -> None:
                services.purgatory.close()
                services.groups.stop()

            server = await stack.enter_async_context(
                open_server(
                    doors.network,
                    config.listen,
                    dispatcher.handle,
                    replace(config.limits, connections_max=descriptors.connections),
                    before_stop=answer_all,
                )
            )
            yield Broker(services, server, dispatcher)


async def _open_services(
    config: BrokerConfig, doors: Doors, stack: AsyncExitStack, *, files_max: int
) -> Services:
    """Opens everything but the listeners; the stack closes it in reverse order."""
    await doors.threads.run(partial(_check_unlocked, doors.disk, str(config.data)))
    store = await stack.enter_async_context(open_lmdb_store(config.data / STORE_DIR, doors.threads))
    topics = await TopicRegistry.load(store)
    log_manager = open_log_manager(
        config.data,
        doors.disk,
        doors.threads,
        doors.clock,
        _log_settings(config, topics, files_max),
    )
    logs = await stack.enter_async_context(log_manager)
    groups = await stack.enter_async_context(
        open_group_service(store, doors.clock, config.groups, topics=topics, rng=doors.random)
    )
    admin = TopicAdmin(config, store, topics, logs, groups)
    await admin.restore()
    purgatory = FetchPurgatory()
    logs.on_high_watermark(purgatory.note_progress)
    return Services(
        config=config,
        cluster_id=logs.properties.cluster_id,
        clock=doors.clock,
        logs=logs,
        topics=topics,
        topic_admin=admin,
        groups=groups,
        producer_ids=ProducerIds(store, config.node_id),
        purgatory=purgatory,
        fetch_sessions=FetchSessions(config.fetch_sessions_max, doors.random),
    )


def _log_settings(config: BrokerConfig, topics: TopicRegistry, files_max: int) -> LogManagerConfig:
    defaults = LogConfig.from_mapping(config.topic_defaults)
    return LogManagerConfig(
        cluster_id=config.cluster_id,
        node_id=config.node_id,
        default_config=defaults,
        open_files_max=files_max,
        topic_configs={
            topic.name: LogConfig.from_mapping(topic.configs, base=defaults) for topic in topics
        },
    )
