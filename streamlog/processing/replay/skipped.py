"""Until when the records reach that a replay left out at its beginning.

A result that begins later than all of them lacks none of them. Where event time is the record's
timestamp, the brokers are asked: "the first record at or after a time" lies before the beginning
for as long as that time is not after the newest record left out, so halving finds it in fifty
steps, without reading any. Where the pipeline makes event times of values, the last records before
the beginning are read: what lies further back would have to be out of order by as many.

Records that retention has deleted are before all that is there, so the oldest that is there stands
for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamlog.client.admin.admin import Admin
from streamlog.client.values import EARLIEST, TopicPartition
from streamlog.processing.operators.event_time import event_times
from streamlog.processing.replay.diff import NEVER
from streamlog.processing.replay.offsets import sources_of, streams_of
from streamlog.processing.replay.standing import read_records

if TYPE_CHECKING:
    from streamlog.client.client import Client
    from streamlog.client.values import FetchedChunk
    from streamlog.processing.dsl.nodes import SourceNode
    from streamlog.processing.plan.plan import Plan
    from streamlog.processing.replay.offsets import Offsets

TIME_BITS: Final = 48
"""Enough for the year 9999 in milliseconds."""
READ_BACK: Final = 100_000
"""Records of each partition."""


async def newest_skipped_ms(client: Client, plan: Plan, begins: Offsets) -> int:
    """Returns the largest event time among the records before these offsets; `NEVER` if none are.

    Args:
        client: Of the cluster.
        plan: Says how sources tell the time.
        begins: A partition that is not named was read from its oldest record.
    """
    newest = NEVER
    for node in sources_of(plan):
        if node.topic not in streams_of(plan):
            continue
        places = [
            TopicPartition(node.topic, number)
            for number in range(await client.partition_count(node.topic))
        ]
        oldest = await Admin(client).list_offsets(dict.fromkeys(places, EARLIEST))
        starts = {each: at.offset for each, at in oldest.items() if at is not None}
        stops = {
            each: max(begins.get(each.topic, {}).get(each.partition, start), start)
            for each, start in starts.items()
            if max(begins.get(each.topic, {}).get(each.partition, start), start) > 0
        }
        if not stops:
            continue
        # Where everything was read that is there, its oldest record stands for what is not.
        stops = {each: max(stop, starts[each] + 1) for each, stop in stops.items()}
        if node.event_time is None:
            newest = max(newest, await _newest_timestamp(client, stops))
        else:
            newest = max(newest, await _newest_event_time(client, node, starts, stops))
    return newest


async def _newest_timestamp(client: Client, stops: dict[TopicPartition, int]) -> int:
    """The largest timestamp before these offsets, by asking what comes after times."""
    admin = Admin(client)
    low = dict.fromkeys(stops, -1)  # Some record before the stop is not older than this, or -1.
    high = dict.fromkeys(stops, 1 << TIME_BITS)  # None is as new as this.
    while any(high[each] - low[each] > 1 for each in stops):
        asked = {each: (low[each] + high[each]) // 2 for each in stops}
        found = await admin.list_offsets({each: max(at, 0) for each, at in asked.items()})
        for each, at in found.items():
            if at is not None and at.offset < stops[each]:
                low[each] = asked[each]
            else:
                high[each] = asked[each]
    newest = max(low.values(), default=-1)
    return NEVER if newest < 0 else newest


async def _newest_event_time(
    client: Client,
    node: SourceNode,
    starts: dict[TopicPartition, int],
    stops: dict[TopicPartition, int],
) -> int:
    times: list[int] = []

    async def take(chunk: FetchedChunk) -> None:
        columns = chunk.columns
        stop = stops[chunk.topic_partition]
        count = sum(1 for offset in columns.offsets if offset < stop)
        found: list[int] = []
        assert node.event_time is not None
        values = node.serde.decode_all(columns.values[:count])
        event_times(node.event_time, values, columns.timestamps, found)
        times.append(max(found, default=NEVER))

    begins = {each: max(starts[each], stop - READ_BACK) for each, stop in stops.items()}
    await read_records(client, begins, stops, take)
    return max(times, default=NEVER)
