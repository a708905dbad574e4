"""Taking a task over: fence its changelog, bring the local state up to it, check it with the group.

The fence comes first: a record with our epoch at the end of the changelog. From then on whatever an
earlier owner still writes there is void, for us and for everybody who ever restores. Then the local
state is brought up to the fence, from where it last was (or from nothing). The epoch is larger than
any that was seen, so when the changelog turns out to know a larger one, a second fence is written.

Restoring ends by position, at the fence. What the state then says of its input positions is true.
The group's committed offsets are behind it by what a crash kept from being committed, or they are
equal, or somebody has moved them with another tool: the checkpoint number beside the offset tells.
Then the state is rewound to the checkpoint that fits, or the start is refused; it is never used as
it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.client.config import ConsumerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.values import EARLIEST, OffsetAndMetadata, TopicPartition
from streamlog.errors import RefusedError
from streamlog.processing.worker.metadata import parse_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.client import Client
    from streamlog.client.producer.producer import Producer
    from streamlog.doors import Threads
    from streamlog.processing.state.store import TaskStore

logger = logging.getLogger(__name__)

FENCES_MAX = 8
"""Each needs another worker to have fenced in between; so many in a row is a fault."""
POLL_WAIT_MS = 500
