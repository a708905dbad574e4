"""What `--from` means in each partition of a pipeline's streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.cli.consuming import extents_of
from streamlog.cli.offsets import Anchor, Bound, Extent, Range, offset_of, parse_offsets
from streamlog.cli.output import note
from streamlog.client.admin.admin import Admin
from streamlog.client.values import TopicPartition
from streamlog.errors import UsageError
from streamlog.processing.replay.offsets import describe, streams_of
from streamlog.processing.worker.beginning import settle_beginning
from streamlog.processing.worker.topics import find_sources

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from streamlog.cli.pipeline_file import AnyPipeline
    from streamlog.client.client import Client
    from streamlog.processing.worker.span import Input

BOUND_FORMS = "start, end, @2013-07-01T00:00, @-2h, -1000 or an offset"


def parse_from(text: str, now_ms: int) -> Bound:
    """Returns where to begin; a range is refused.

    >>> parse_from("-100", now_ms=0)
    Bound(anchor=<Anchor.END: 'end'>, number=-100)
    """
    parsed = parse_offsets(text, now_ms)
    if parsed.stop is not None:
        raise UsageError(
            f"--from {text} says an end as well",
            hint=f"Say that with --until. --from takes {BOUND_FORMS}",
        )
    return parsed.start


def begins_in(
    streams: Collection[str], extents: Mapping[TopicPartition, Extent], begin: Bound
) -> dict[Input, int]:
    """Returns the offsets of a bound in the partitions of streams.

    Where it begins at the oldest record there is nothing to remember.
    """
    if begin == Bound(Anchor.START):
        return {}
    return {
        place: min(max(offset_of(begin, extent), extent.oldest), extent.end)
        for place, extent in extents.items()
        if place.topic in streams
    }


async def begin_at(client: Client, pipeline: AnyPipeline, begin: Bound, *, quiet: bool) -> None:
    """Notes where a pipeline that has never run begins.

    Raises:
        RefusedError: If it has positions already.
    """
    admin = Admin(client)
    streams = streams_of(pipeline.plan())
    counts = (await find_sources(admin, streams)).partition_counts
    places = [TopicPartition(topic, n) for topic, count in counts.items() for n in range(count)]
    extents = await extents_of(admin, places, Range(begin))
    settled = await settle_beginning(client, pipeline, begins_in(streams, extents, begin))
    if not quiet:
        note(f"{pipeline.name} begins here: {describe(settled)}")
