"""Compares what a version has put out with what the live pipeline has, topic by topic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from streamlog.client.admin.admin import Admin
from streamlog.client.values import EARLIEST, LATEST, TopicPartition
from streamlog.processing.plan.naming import Naming, beside
from streamlog.processing.replay.diff import ALWAYS, NEVER, Comparison, Part, compare, pairs
from streamlog.processing.replay.offsets import flat
from streamlog.processing.replay.reach import kind_of, looks_back_ms, reach
from streamlog.processing.replay.result import Kind, results_of
from streamlog.processing.replay.result_table import Side, open_result_table
from streamlog.processing.replay.skipped import newest_skipped_ms
from streamlog.processing.replay.standing import read_records, standing_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.client.client import Client
    from streamlog.client.values import FetchedChunk
    from streamlog.doors import Threads
    from streamlog.processing.dsl.pipeline import Pipeline
    from streamlog.processing.plan.plan import Plan
    from streamlog.processing.replay.reach import TopicKind
    from streamlog.processing.replay.registry import Version
    from streamlog.processing.replay.result import Result
    from streamlog.processing.replay.result_table import ResultTable
    from streamlog.processing.replay.standing import Standing

SAMPLE_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Sides:
    """A version and the live pipeline, as far as comparing them needs to know."""

    version_plan: Plan
    live_plan: Plan
    """Of the version's code, drawn with the live names: what is written once it is swapped in."""
    version: Standing
    live: Standing
    after_ms: int
    """Results that begin at or before this may lack records that the version has not read."""

    def topics(self) -> list[tuple[str, str]]:
        """Returns the live output topics, each with the version's."""
        return list(zip(self.live_plan.output_topics, self.version_plan.output_topics, strict=True))

    def version_part(self, topic: str) -> Part:
        """Returns the part of time for which the version has put out all of a topic."""
        if not self.version.has_begun_all(self.live):
            return Part(self.after_ms, NEVER)
        at_end = self.version.has_read(self.live)
        kind = kind_of(self.version_plan, topic)
        if at_end and not kind.waits:
            return Part(self.after_ms)
        plan, side = self.version_plan, self.version
        through = reach(plan, topic, side.ends, side.writer_counts, to_the_end=at_end)
        return Part(self.after_ms, through)

    def part(self, live_topic: str, topic: str) -> Part:
        """Returns the part of time for which both have put out all of a topic."""
        mine = self.version_part(topic)
        if not self.live.has_begun_all(self.version):
            return Part(self.after_ms, NEVER)
        at_end = self.live.has_read(self.version)
        if at_end and not kind_of(self.version_plan, topic).waits:
            return mine
        plan, side = self.live_plan, self.live
        through = reach(plan, live_topic, side.ends, side.writer_counts, to_the_end=at_end)
        return Part(self.after_ms, min(mine.through_ms, through))


async def find_sides(
    client: Client,
    pipeline: Pipeline[..., object],
    live_name: str,
    version: str,
    note: Version,
    live_note: Version | None = None,
) -> Sides:
    """Looks up where both sides stand.

    Args:
        client: Of the cluster.
        pipeline: The version's code.
        live_name: Under which name the live pipeline runs.
        version: The version.
        note: What the registry says of it.
        live_note: What the registry says of the live one, if anything.
    """
    version_plan = pipeline.plan(beside(pipeline.name, version))
    live_plan = pipeline.plan(Naming(live_name))
    newest = await newest_skipped_ms(client, version_plan, note.begins)
    if live_note is not None and live_note.begins:
        # What the live one has left out at its beginning is missing likewise.
        left_out = await newest_skipped_ms(client, version_plan, live_note.begins)
        newest = max(newest, left_out)
    version_side = await standing_of(client, version_plan)
    # Where it has nothing to read after its beginning, it commits nothing.
    positions = {**flat(note.begins), **version_side.positions}
    return Sides(
        version_plan=version_plan,
        live_plan=live_plan,
        version=replace(version_side, positions=positions),
        live=await standing_of(client, live_plan),
        after_ms=NEVER if newest == NEVER else newest + looks_back_ms(version_plan),
    )


async def compare_outputs(
    client: Client, threads: Threads, sides: Sides, sample_max: int = SAMPLE_MAX
) -> list[Comparison]:
    """Returns what each output topic's comparison finds."""
    found: list[Comparison] = []
    for live_topic, topic in sides.topics():
        comparison = Comparison(live_topic, topic, sides.part(live_topic, topic))
        async with open_result_table(threads) as table:
            # A row holds until the next, so what one side alone has read by now must not count.
            is_rows = kind_of(sides.version_plan, topic).kind is Kind.ROWS
            await fill(
                client,
                threads,
                table,
                sides,
                (live_topic, topic),
                through_ms=comparison.part.through_ms if is_rows else ALWAYS,
            )
            both = partial(pairs_of, table)
            await threads.run(lambda: compare(both(), comparison, sample_max))  # noqa: B023
        found.append(comparison)
    return found


def pairs_of(table: ResultTable) -> Iterator[tuple[Result | None, Result | None]]:
    """Yields what both sides have of each identity."""
    return pairs(table.results(Side.LIVE), table.results(Side.VERSION))


async def fill(
    client: Client,
    threads: Threads,
    table: ResultTable,
    sides: Sides,
    topics: tuple[str, str],
    *,
    through_ms: int = ALWAYS,
) -> None:
    """Reads both topics of one output into a table: the newest results of each side.

    Args:
        client: Of the cluster.
        threads: For the disk.
        table: Where they go.
        sides: The sides.
        topics: The live topic and the version's.
        through_ms: Records that are later are left out, as if they had not come yet.
    """
    kind = kind_of(sides.version_plan, topics[1])
    for side, name in zip((Side.LIVE, Side.VERSION), topics, strict=True):
        await _read(client, threads, table, side, name, kind, sides.after_ms, through_ms)


async def _read(
    client: Client,
    threads: Threads,
    table: ResultTable,
    side: Side,
    topic: str,
    kind: TopicKind,
    after_ms: int,
    through_ms: int,
) -> None:
    admin = Admin(client)
    there = (await admin.describe_topics([topic])).get(topic)
    if there is None:
        return
    places = [TopicPartition(topic, each.partition) for each in there.partitions]
    ends = await admin.list_offsets(dict.fromkeys(places, LATEST))
    # A result's timestamp is not before what it is about: what is older need not be read.
    since = EARLIEST if after_ms < 0 else after_ms + 1
    starts = await admin.list_offsets(dict.fromkeys(places, since))

    def put(chunk: FetchedChunk) -> None:
        results = results_of(chunk.columns, kind.kind, kind.window_ms)
        table.put(side, (each for each in results if each[1].timestamp_ms <= through_ms))

    async def take(chunk: FetchedChunk) -> None:
        await threads.run(lambda: put(chunk))

    await read_records(
        client,
        {each: at.offset for each, at in starts.items() if at is not None},
        {each: 0 if at is None else at.offset for each, at in ends.items()},
        take,
    )
