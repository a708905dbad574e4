"""One assigned partition: where its reader is, what is fetched ahead, and what has to be found out.

Two offsets: `position` is where the caller's next chunk begins, `fetch_offset` where the next fetch
does; between them lies what is buffered. Whoever changes the position from outside (assign, seek)
starts a new `incarnation`, and answers to questions of an older one are dropped.

Before anything is fetched it may have to be found out where to begin (`lookup`: a timestamp or one
of the special offsets), and after a change of leader whether the log still holds what was read
(`must_validate`, KIP-320).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from streamlog.client.values import EARLIEST, LATEST

if TYPE_CHECKING:
    from streamlog.client.consumer.fetched import FetchedRecords
    from streamlog.client.values import TopicPartition
    from streamlog.errors import StreamlogError
    from streamlog.records.columns import Columns

NO_EPOCH = -1


class PartitionState:
    """See the module."""

    def __init__(self, partition: TopicPartition) -> None:
        self.partition = partition
        self.incarnation = 0
        self.position: int | None = None
        self.fetch_offset = -1
        self.lookup: int | None = None
        self.must_validate = False
        self.is_out_of_range = False
        """The broker has no such offset; what it has is to be found out."""
        self.is_paused = False
        self.error: StreamlogError | None = None
        self.retry_at_ms = 0.0
        self.missing_since_ms: float | None = None
        """Since when the broker says that there is no such partition."""
        self.high_watermark = -1
        self.last_epoch = NO_EPOCH
        """The leader epoch of the last batch that was handed out."""
        self.leader_epoch = NO_EPOCH
        """Of the leader that is fetched from."""
        self.fetching: int | None = None
        """The incarnation that a fetch is under way for."""
        self.tried_round = -1
        """The broker's main fetch beside which it was last fetched in vain."""
        self.buffered: deque[FetchedRecords] = deque()

    @property
    def buffered_bytes(self) -> int:
        """What is fetched and not yet handed out."""
        return sum(each.size_bytes for each in self.buffered)

    def seek(self, offset: int) -> None:
        """Goes to an offset, or has it looked up if it is `EARLIEST` or `LATEST`."""
        self.incarnation += 1
        self.buffered.clear()
        self.error = None
        self.must_validate = False
        self.is_out_of_range = False
        self.missing_since_ms = None
        self.retry_at_ms = 0.0
        self.last_epoch = NO_EPOCH
        if offset in (EARLIEST, LATEST):
            self.position, self.lookup = None, offset
        else:
            self.position, self.fetch_offset, self.lookup = offset, offset, None

    def found(self, offset: int) -> None:
        """The offset to begin with was looked up."""
        self.position, self.fetch_offset, self.lookup = offset, offset, None

    def fail(self, error: StreamlogError) -> None:
        """Nothing more can be had until somebody seeks."""
        self.error = error

    @property
    def is_unclear(self) -> bool:
        """Whether something has to be found out before a fetch."""
        return self.lookup is not None or self.must_validate or self.is_out_of_range

    @property
    def is_fetchable(self) -> bool:
        """Whether it is known what to fetch, somebody wants it, and it is not under way."""
        return (
            self.position is not None
            and self.fetching != self.incarnation
            and self.error is None
            and not self.is_paused
            and not self.is_unclear
        )

    def led_by(self, epoch: int) -> None:
        """The partition has a leader of this epoch; a new one has to be compared with."""
        if epoch > self.leader_epoch != NO_EPOCH and self.last_epoch != NO_EPOCH:
            self.must_validate = True
        self.leader_epoch = max(epoch, self.leader_epoch)

    def add(self, fetched: FetchedRecords) -> None:
        """Buffers what was fetched from `fetch_offset`."""
        self.missing_since_ms = None
        if fetched.end_offset > self.fetch_offset:
            # Also if it holds no record: the position moves on past it all the same.
            self.fetch_offset = fetched.end_offset
            self.buffered.append(fetched)

    def take(self, records_max: int) -> tuple[Columns, int]:
        """Hands out the next chunk; returns it and its leader epoch."""
        fetched = self.buffered[0]
        columns, epoch = fetched.take(records_max)
        self.position = fetched.offset
        if epoch != NO_EPOCH:
            self.last_epoch = epoch
        if fetched.is_exhausted:
            self.buffered.popleft()
        return columns, epoch
