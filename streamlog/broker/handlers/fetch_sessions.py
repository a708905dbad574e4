"""Incremental fetch sessions (KIP-227): the broker remembers which partitions a consumer reads.

A consumer of a thousand partitions of which three have news should not name a thousand in every
request, nor get a thousand empty answers. It asks for a session with its first full fetch (id 0,
epoch 0); from then on a request names only what changed (moved offsets, added and forgotten
partitions), the epoch counts the requests, and the response leaves out partitions without data
whose high watermark and log start are what was last told. A broker may decline by answering id 0,
and a client then goes on with full fetches, so sessions cost nothing but memory: their number is
bounded, and an unused one makes place for a new one.

    id 0, epoch -1   no session            id n, epoch -1   close n, then as without a session
    id 0, epoch 0    full fetch, new       id n, epoch 0    close n, full fetch, new
    id n, epoch k    incremental; k must be the next in turn

Nothing here knows time, randomness or the log; they come as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

EPOCH_FINAL = -1
EPOCH_INITIAL = 0
EPOCH_MAX = (1 << 31) - 1
UNUSED_MS_MIN = 120_000
"""How long a session must have been unused before a new one may take its place."""

PartitionKey = tuple[str, int]


class FetchSessionError(Exception):
    """The request's session id or epoch is wrong; the client starts a new session."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(slots=True)
class WantedPartition:
    """One partition of a fetch: where to read, and what the client was last told about it."""

    topic: str
    partition: int
    fetch_offset: int
    bytes_max: int
    leader_epoch: int
    told_high_watermark: int = -1
    told_log_start_offset: int = -1
    told_nothing: bool = True

    def update(self, other: WantedPartition) -> None:
        """Takes over what the client now asks for; what it was told stays."""
        self.fetch_offset = other.fetch_offset
        self.bytes_max = other.bytes_max
        self.leader_epoch = other.leader_epoch

    def is_news(
        self, *, size: int, error_code: int, high_watermark: int, log_start_offset: int
    ) -> bool:
        """Tells whether an incremental response must name this partition, and notes it as told."""
        is_news = (
            size > 0
            or error_code != 0
            or self.told_nothing
            or high_watermark != self.told_high_watermark
            or log_start_offset != self.told_log_start_offset
        )
        # After an error the next success must be told, so remember what no success can equal.
        self.told_high_watermark = -1 if error_code else high_watermark
        self.told_log_start_offset = log_start_offset
        self.told_nothing = False
        return is_news


@dataclass(slots=True)
class FetchSession:
    """A consumer's partitions, in the order in which the next response serves them."""

    session_id: int
    epoch: int
    partitions: dict[PartitionKey, WantedPartition]
    used_ms: int

    def move_to_end(self, keys: Iterable[PartitionKey]) -> None:
        """Lets partitions that just had data queue behind those that had none."""
        for key in keys:
            wanted = self.partitions.pop(key, None)
            if wanted is not None:
                self.partitions[key] = wanted


@dataclass(slots=True)
class FetchContext:
    """What a request amounts to: the partitions to read, and how to answer."""

    partitions: list[WantedPartition]
    session: FetchSession | None = None
    is_incremental: bool = False

    @property
    def session_id(self) -> int:
        """What the response bears: 0 without a session."""
        return self.session.session_id if self.session is not None else 0


class FetchSessions:
    """All sessions of a broker.

    Args:
        count_max: How many are kept.
        random: Where ids come from.
    """

    def __init__(self, count_max: int, random: Random) -> None:
        self._count_max = count_max
        self._random = random
        # In the order of their last use: a session is put back at the end each time.
        self._sessions: dict[int, FetchSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(
        self,
        session_id: int,
        epoch: int,
        wanted: list[WantedPartition],
        forgotten: Iterable[PartitionKey],
        *,
        now_ms: int,
    ) -> FetchContext:
        """Finds out which partitions a request means, by the table above.

        Raises:
            FetchSessionError: There is no such session, or the epoch is not the next in turn.
        """
        if epoch == EPOCH_FINAL:
            self._sessions.pop(session_id, None)
            return FetchContext(wanted)
        if epoch == EPOCH_INITIAL:
            self._sessions.pop(session_id, None)
            return FetchContext(wanted, self._create(wanted, now_ms) if wanted else None)
        return self._resume(session_id, epoch, wanted, forgotten, now_ms=now_ms)

    def _resume(
        self,
        session_id: int,
        epoch: int,
        wanted: list[WantedPartition],
        forgotten: Iterable[PartitionKey],
        *,
        now_ms: int,
    ) -> FetchContext:
        session = self._sessions.get(session_id)
        if session is None:
            raise FetchSessionError(ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        if session.epoch != epoch:
            raise FetchSessionError(ErrorCode.INVALID_FETCH_SESSION_EPOCH)
        session.epoch = 1 if epoch == EPOCH_MAX else epoch + 1
        session.used_ms = now_ms
        for item in wanted:
            known = session.partitions.get((item.topic, item.partition))
            if known is None:
                session.partitions[item.topic, item.partition] = item
            else:
                known.update(item)
        for key in forgotten:
            session.partitions.pop(key, None)
        del self._sessions[session_id]
        if not session.partitions:
            return FetchContext([])
        self._sessions[session_id] = session
        return FetchContext(list(session.partitions.values()), session, is_incremental=True)

    def _create(self, wanted: list[WantedPartition], now_ms: int) -> FetchSession | None:
        if len(self._sessions) >= self._count_max:
            oldest = next(iter(self._sessions.values()), None)
            if oldest is None or now_ms - oldest.used_ms < UNUSED_MS_MIN:
                return None
            del self._sessions[oldest.session_id]
        session_id = self._random.randint(1, EPOCH_MAX)
        while session_id in self._sessions:
            session_id = self._random.randint(1, EPOCH_MAX)
        partitions = {(item.topic, item.partition): item for item in wanted}
        session = FetchSession(session_id, 1, partitions, now_ms)
        self._sessions[session_id] = session
        return session
