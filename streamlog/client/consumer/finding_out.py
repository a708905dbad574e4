"""What has to be found out about a partition before it can be fetched (again).

Where to begin, if that was said as "earliest" or "latest"; whether a new leader's log still holds
what was read (KIP-320); and, when an offset is not in the log, what is, so that the error can say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.cluster.offsets import list_offsets
from streamlog.client.config import OffsetReset
from streamlog.client.consumer.validation import end_of_epoch
from streamlog.client.errors import LogTruncatedError, OffsetOutOfRangeError
from streamlog.client.values import EARLIEST, LATEST
from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamlog.client.client import Client
    from streamlog.client.cluster.offsets import Found
    from streamlog.client.config import ConsumerConfig
    from streamlog.client.consumer.partition_state import PartitionState
    from streamlog.client.values import TopicPartition

    Asked = tuple[PartitionState, int]
    """A state, and the incarnation that the question is about."""

OFFSET_OF_POLICY = {OffsetReset.EARLIEST: EARLIEST, OffsetReset.LATEST: LATEST}


async def find_out(
    client: Client, config: ConsumerConfig, states: Iterable[PartitionState]
) -> bool:
    """Finds out what is unclear; returns whether a partition has failed."""
    asked = [(state, state.incarnation) for state in states]
    await _look_up(client, config, [each for each in asked if each[0].lookup is not None])
    for state, incarnation in asked:
        if state.incarnation == incarnation and state.must_validate:
            await _validate(client, config, state)
    await _explain(client, config, [each for each in asked if each[0].is_out_of_range])
    return any(state.error is not None for state, _ in asked)


async def _ask(
    client: Client,
    config: ConsumerConfig,
    asked: Iterable[Asked],
    wanted: Mapping[TopicPartition, int],
) -> Found:
    """Looks up offsets; if that fails for good, so have the partitions."""
    if not wanted:
        return {}
    try:
        return await list_offsets(client, wanted, config.isolation)
    except StreamlogError as error:
        for state, incarnation in asked:
            if state.incarnation == incarnation:
                state.fail(error)
        return {}


async def _look_up(client: Client, config: ConsumerConfig, asked: list[Asked]) -> None:
    """Finds the offsets to begin with."""
    wanted = {state.partition: state.lookup for state, _ in asked if state.lookup is not None}
    found = await _ask(client, config, asked, wanted)
    for state, incarnation in asked:
        answer = found.get(state.partition)
        if state.incarnation == incarnation and answer is not None:
            state.found(answer.offset)


async def _validate(client: Client, config: ConsumerConfig, state: PartitionState) -> None:
    """Compares what was read with the log of a new leader (KIP-320)."""
    incarnation = state.incarnation
    try:
        end = await end_of_epoch(client, state.partition, state.last_epoch)
    except StreamlogError as error:
        if state.incarnation == incarnation:
            state.fail(error)
        return
    if state.incarnation != incarnation:
        return
    state.must_validate = False
    if end is None or end >= state.fetch_offset:
        return
    if config.auto_offset_reset is not OffsetReset.NONE:
        state.seek(end)
        return
    state.fail(
        LogTruncatedError(
            f"{state.partition} was read up to offset {state.fetch_offset:,}, but of that its new "
            f"leader's log has only what is below {end:,}",
            hint=f"Seek to {end} to go on with what is there now",
        )
    )


async def _explain(client: Client, config: ConsumerConfig, asked: list[Asked]) -> None:
    """Says what the log has instead of an offset that it does not have."""
    partitions = [state.partition for state, _ in asked]
    starts = await _ask(client, config, asked, dict.fromkeys(partitions, EARLIEST))
    ends = await _ask(client, config, asked, dict.fromkeys(partitions, LATEST))
    for state, incarnation in asked:
        start, end = starts.get(state.partition), ends.get(state.partition)
        if state.incarnation != incarnation or start is None or end is None:
            continue
        state.is_out_of_range = False
        if start.offset <= state.fetch_offset <= end.offset:
            continue
        has = f"it has {start.offset:,} to {end.offset - 1:,}"
        if start.offset == end.offset:
            has = f"it is empty, and the next one will be {end.offset:,}"
        state.fail(
            OffsetOutOfRangeError(
                f"{state.partition} has no offset {state.fetch_offset:,}: {has}",
                hint="Seek to an offset that is there, or set auto_offset_reset",
            )
        )
