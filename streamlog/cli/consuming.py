"""Reading for `consume`: partitions by range, or as a member of a group, until all is printed.

By range: each partition is read from its first to its last wanted offset, which are looked up once
at the start. As a member: partitions come and go with the group's rebalances, and what has been
printed is committed, now and then and whenever a partition goes.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from streamlog.cli.connection import existing_topics
from streamlog.cli.offsets import Anchor, Bound, Extent, Range, offset_of, parse_offsets
from streamlog.cli.output import note
from streamlog.client.config import ConsumerConfig, GroupConfig, OffsetReset
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.membership.member import open_group_member
from streamlog.client.values import EARLIEST, LATEST, OffsetAndMetadata, TopicPartition
from streamlog.doors import WorkerThreads
from streamlog.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.cli.record_format import ChunkWriter
    from streamlog.client.admin.admin import Admin
    from streamlog.client.client import Client
    from streamlog.client.consumer.consumer import Consumer
    from streamlog.client.membership.member import GroupMember
    from streamlog.client.values import FetchedChunk

COMMIT_INTERVAL_S = 1.0
POLL_MS = 200
"""How long a wait for records may delay a look at whether all is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to read."""

    topics: tuple[str, ...]
    partitions: tuple[int, ...] | None
    offsets: str
    group: str | None
    exit_at_end: bool

    def check_for_group(self) -> None:
        """Raises if something was asked for that a member of a group cannot do."""
        if self.partitions is not None:
            raise UsageError("the group deals out the partitions: -g and -p exclude each other")
        if self.offsets not in ("start", "oldest", "end", "newest"):
            raise UsageError(
                f"-o {self.offsets} and -g exclude each other: a group goes on where it was",
                hint="For a group's first time there are -o start and -o end",
            )


class Printer:
    """Writes records to stdout, up to a number of them, in a thread: a pipe may be slow."""

    def __init__(self, write: ChunkWriter, records_max: int | None) -> None:
        self._write = write
        self._threads = WorkerThreads(1)
        self._left = records_max

    def is_full(self) -> bool:
        """Whether the wanted number of records has been printed."""
        return self._left == 0

    async def print_rows(self, chunk: FetchedChunk, rows: range) -> int:
        """Prints rows of a chunk; returns the offset behind the last printed."""
        if self._left is not None:
            if len(rows) > self._left:
                rows = rows[: self._left]
            self._left -= len(rows)
        data = self._write(chunk, rows)
        if data:
            await self._threads.run(lambda: _write_out(data))
        # Behind the last row there may be offsets without records (control records, compaction).
        if rows.stop == len(chunk.columns):
            return chunk.next_offset
        return chunk.columns.offsets[rows.stop]


def _write_out(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


async def print_selection(
    client: Client, admin: Admin, selection: Selection, printer: Printer
) -> None:
    """Prints what is selected, until it is all printed; for ever if it has no end."""
    topics = await existing_topics(admin, selection.topics)
    if selection.group is not None:
        await _print_as_member(client, selection, selection.group, printer)
        return
    places = [
        TopicPartition(topic.name, partition.partition)
        for topic in topics
        for partition in topic.partitions
    ]
    if selection.partitions is not None:
        _check_partitions(places, selection)
        places = [place for place in places if place.partition in selection.partitions]
    wanted = parse_offsets(selection.offsets, now_ms=time.time_ns() // 1_000_000)
    if selection.exit_at_end and wanted.stop is None:
        wanted = Range(wanted.start, Bound(Anchor.END))
    extents = await extents_of(admin, places, wanted)
    await _print_ranges(client, wanted, extents, printer, selection.exit_at_end)


def _check_partitions(places: list[TopicPartition], selection: Selection) -> None:
    for number in selection.partitions or ():
        if not any(place.partition == number for place in places):
            names = " and ".join(f'"{name}"' for name in selection.topics)
            raise NotFoundError(
                f"there is no partition {number} in {names}",
                hint=f"See them: streamlog topic describe {selection.topics[0]}",
            )


async def extents_of(
    admin: Admin, places: list[TopicPartition], wanted: Range
) -> dict[TopicPartition, Extent]:
    """Looks up what the partitions hold, and what the range's times mean in them."""
    oldest = await admin.list_offsets(dict.fromkeys(places, EARLIEST))
    ends = await admin.list_offsets(dict.fromkeys(places, LATEST))
    times: dict[TopicPartition, dict[int, int]] = {place: {} for place in places}
    for bound in (wanted.start, wanted.stop):
        if bound is not None and bound.anchor is Anchor.TIME:
            found_at = await admin.list_offsets(dict.fromkeys(places, max(bound.number, 0)))
            for place, found in found_at.items():
                if found is not None and found.offset >= 0:
                    times[place][bound.number] = found.offset
    return {
        place: Extent(
            oldest=found.offset if (found := oldest[place]) else 0,
            end=found.offset if (found := ends[place]) else 0,
            offset_of_time=times[place],
        )
        for place in places
    }


async def _print_ranges(
    client: Client,
    wanted: Range,
    extents: dict[TopicPartition, Extent],
    printer: Printer,
    exit_at_end: bool,
) -> None:
    starts = {place: offset_of(wanted.start, extent) for place, extent in extents.items()}
    stops: dict[TopicPartition, int] = {}
    if wanted.stop is not None:
        for place, extent in extents.items():
            stop = offset_of(wanted.stop, extent)
            stops[place] = min(stop, extent.end) if exit_at_end else stop
    reading = {
        place: min(max(start, extents[place].oldest), extents[place].end)
        for place, start in starts.items()
        if start < stops.get(place, start + 1)
    }
    for place in reading:
        if starts[place] > extents[place].end:
            note(f"{place} ends at {extents[place].end}: waiting for offset {starts[place]}")
    async with open_consumer(client, ConsumerConfig()) as consumer:
        await consumer.assign(reading)
        left = set(reading)
        while left and not printer.is_full():
            for chunk in await consumer.poll(POLL_MS):
                place = chunk.topic_partition
                if place not in left or printer.is_full():
                    continue
                stop_here = stops.get(place)
                await printer.print_rows(chunk, _rows_between(chunk, starts[place], stop_here))
                if stop_here is not None and chunk.next_offset >= stop_here:
                    left.discard(place)
                    await consumer.unassign([place])


def _rows_between(chunk: FetchedChunk, start: int, stop: int | None) -> range:
    """The rows of a chunk whose offsets are wanted."""
    from bisect import bisect_left

    offsets = chunk.columns.offsets
    last = len(offsets) if stop is None else bisect_left(offsets, stop)
    return range(bisect_left(offsets, start), last)


class _Member:
    """A member's side of a rebalance: reads what it is given, commits what it has printed."""

    def __init__(self, consumer: Consumer, reset: int) -> None:
        self._consumer = consumer
        self._reset = reset
        self._member: GroupMember | None = None
        self._joined = trio.Event()
        self._printed: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        """Where the partitions that are read ended when they were given."""

    def joined(self, member: GroupMember) -> None:
        """Tells which member this is."""
        self._member = member
        self._joined.set()

    def printed(self, place: TopicPartition, next_offset: int) -> None:
        """Notes how far a partition has been printed."""
        if place in self.ends:
            self._printed[place] = next_offset

    @property
    def is_at_end(self) -> bool:
        """Whether all has been printed that was there when the partitions were given."""
        return all(self._position(place) >= end for place, end in self.ends.items())

    def _position(self, place: TopicPartition) -> int:
        at = self._printed.get(place)
        return at if at is not None else (self._consumer.position(place) or 0)

    async def commit(self, places: Iterable[TopicPartition] | None = None) -> None:
        """Commits what has been printed since the last time."""
        wanted = {
            place: offset
            for place, offset in self._printed.items()
            if self._committed.get(place) != offset and (places is None or place in set(places))
        }
        if wanted and self._member is not None:
            await self._member.commit(
                {place: OffsetAndMetadata(offset) for place, offset in wanted.items()}
            )
            self._committed.update(wanted)

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Begins to read where the group was."""
        await self._joined.wait()
        if not partitions:
            return
        assert self._member is not None
        committed = await self._member.committed(partitions)
        starts = {
            place: found.offset if (found := committed.get(place)) else self._reset
            for place in partitions
        }
        self.ends.update(await self._consumer.end_offsets(partitions))
        await self._consumer.assign(starts)

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Commits and stops reading."""
        await self._consumer.unassign(partitions)
        await self.commit(partitions)
        self._forget(partitions)

    async def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        """Stops reading; what was not committed is another member's now."""
        await self._consumer.unassign(partitions)
        self._forget(partitions)

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for place in partitions:
            self._printed.pop(place, None)
            self._committed.pop(place, None)
            self.ends.pop(place, None)


async def _print_as_member(
    client: Client, selection: Selection, group: str, printer: Printer
) -> None:
    from_end = selection.offsets in ("end", "newest")
    reset = OffsetReset.LATEST if from_end else OffsetReset.EARLIEST
    async with open_consumer(client, ConsumerConfig(auto_offset_reset=reset)) as consumer:
        listener = _Member(consumer, LATEST if from_end else EARLIEST)
        config = GroupConfig(group=group, topics=selection.topics)
        async with open_group_member(client, config, listener) as member:
            listener.joined(member)
            await member.wait_joined()
            committed_at = trio.current_time()
            while not printer.is_full():
                for chunk in await consumer.poll(POLL_MS):
                    if printer.is_full():
                        break
                    next_offset = await printer.print_rows(chunk, range(len(chunk.columns)))
                    listener.printed(chunk.topic_partition, next_offset)
                if trio.current_time() - committed_at >= COMMIT_INTERVAL_S:
                    await listener.commit()
                    committed_at = trio.current_time()
                if selection.exit_at_end and listener.is_at_end:
                    break
