"""What a handler gets (a request's circumstances, the broker's parts), and what it may return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from streamlog.broker.traffic import BrokerTraffic
from streamlog.wire.schema import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streamlog.broker.config import BrokerConfig
    from streamlog.broker.coordination.topics import TopicRegistry
    from streamlog.broker.groups.service import GroupService
    from streamlog.broker.handlers.fetch_purgatory import FetchPurgatory
    from streamlog.broker.handlers.fetch_sessions import FetchSessions
    from streamlog.broker.handlers.producer_ids import ProducerIds
    from streamlog.broker.handlers.topic_admin import TopicAdmin
    from streamlog.broker.log.log_slice import LogSlice
    from streamlog.broker.log.manager import LogManager
    from streamlog.broker.server.reply import Peer
    from streamlog.doors import Clock
    from streamlog.wire.messages.fetch import FetchResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a broker that handlers work with."""

    config: BrokerConfig
    cluster_id: str
    clock: Clock
    logs: LogManager
    topics: TopicRegistry
    topic_admin: TopicAdmin
    groups: GroupService
    producer_ids: ProducerIds
    purgatory: FetchPurgatory
    fetch_sessions: FetchSessions
    traffic: BrokerTraffic = field(default_factory=BrokerTraffic)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who asks, and in which version."""

    broker: Services
    version: int
    client_id: str | None
    peer: Peer

    @property
    def address(self) -> tuple[str, int]:
        """What this client is told to connect to: what it connected to, unless configured."""
        return self.broker.config.advertise or (self.peer.local_address, self.peer.local_port)


class Later:
    """A response that is known later; the connection goes on with the next request meanwhile.

    Args:
        complete: Waits for it.
    """

    __slots__ = ("complete",)

    def __init__(self, complete: Callable[[], Awaitable[Response | None]]) -> None:
        self.complete = complete


@dataclass(frozen=True, slots=True)
class FetchAnswer:
    """A Fetch response whose records are ranges of files: one or None for each partition."""

    response: FetchResponse
    slices: list[LogSlice | None]


Answer: TypeAlias = Response | FetchAnswer | Later | None
"""None: the protocol has no response for this request."""
