"""Dead letters from the terminal: which there are, and sending them back where they came from.

What was sent back is remembered as the committed offsets of a group, `<topic>.retry`. If sending is
cut short before the commit, records are sent once more; the pipeline counts them once all the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.cli.output import Table
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.values import EARLIEST, LATEST, OffsetAndMetadata, TopicPartition
from streamlog.config import did_you_mean
from streamlog.errors import NotFoundError
from streamlog.processing.failures.dead_letters import (
    ERRORS,
    Cause,
    headers_back,
    read_cause,
    read_return,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from streamlog.client.admin.admin import Admin
    from streamlog.client.client import Client
    from streamlog.client.producer.producer import Producer
    from streamlog.records.columns import Headers

SUFFIX = ".dlq"
POLL_MS = 200
SEND_RECORDS = 500
"""Sent at once to one partition, so that each wait is short."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter; `cause` is missing if the record is none."""

    place: TopicPartition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    cause: Cause | None

    @property
    def identity(self) -> tuple[str, int, int]:
        """Which record it is, however often it failed: where it stood first."""
        assert self.cause is not None
        returned = read_return(self.headers)
        offset = self.cause.offset if returned is None else returned.offset
        return self.cause.topic, self.cause.partition, offset

    @property
    def times_sent(self) -> int:
        """How often it was sent back before."""
        returned = read_return(self.headers)
        return 0 if returned is None else returned.count

    @property
    def own_headers(self) -> Headers:
        """The headers that are not ours."""
        return without(self.headers, ERRORS)


@dataclass(slots=True)
class Extent:
    """What a topic of dead letters holds, by partition."""

    topic: str
    first: dict[TopicPartition, int]
    end: dict[TopicPartition, int]
    sent: dict[TopicPartition, int]
    """Up to where letters were sent back or dropped."""

    @property
    def group(self) -> str:
        """Remembers what was sent back."""
        return f"{self.topic}.retry"


async def find_letters(admin: Admin, name: str) -> Extent:
    """Finds the dead letters of a pipeline, or of a topic of them.

    Raises:
        NotFoundError: If there are none; names the nearest.
    """
    found = await admin.describe_topics([name + SUFFIX, name])
    topic = found.get(name + SUFFIX) or found.get(name)
    if topic is None:
        every = [each.name for each in await admin.list_topics()]
        known = [each.removesuffix(SUFFIX) for each in every if each.endswith(SUFFIX)]
        there = f"There are those of {', '.join(sorted(known))}" if known else "There are none yet"
        raise NotFoundError(
            f'"{name}" has no dead letters: there is no topic "{name}{SUFFIX}"',
            hint=did_you_mean(name, known) or there,
        )
    places = [TopicPartition(topic.name, each.partition) for each in topic.partitions]
    first = await admin.list_offsets(dict.fromkeys(places, EARLIEST))
    end = await admin.list_offsets(dict.fromkeys(places, LATEST))
    extent = Extent(
        topic.name,
        {place: at.offset if (at := first[place]) else 0 for place in places},
        {place: at.offset if (at := end[place]) else 0 for place in places},
        {},
    )
    committed = await admin.group_offsets(extent.group, places)
    for place in places:
        sent = committed[place].offset if place in committed else 0
        extent.sent[place] = min(max(sent, extent.first[place]), extent.end[place])
    return extent


async def first_letters(
    client: Client, extent: Extent, begin: Mapping[TopicPartition, int], count: int
) -> list[Letter]:
    """Returns the first letters from `begin` on, partition by partition, up to a number in all."""
    letters: list[Letter] = []

    def take(letter: Letter) -> bool:
        letters.append(letter)
        return len(letters) < count

    for place in sorted(begin):
        if len(letters) < count:
            await read_letters(client, {place: begin[place]}, extent.end, take)
    return letters


async def read_letters(
    client: Client,
    begin: Mapping[TopicPartition, int],
    end: Mapping[TopicPartition, int],
    take: Callable[[Letter], bool],
) -> None:
    """Hands over the letters from `begin` up to `end`, each partition in its order.

    It ends early when `take` says that it needs no more.
    """
    left = {place: at for place, at in begin.items() if at < end[place]}
    async with open_consumer(client) as consumer:
        await consumer.assign(left)
        while left:
            for chunk in await consumer.poll(POLL_MS):
                place, columns = chunk.topic_partition, chunk.columns
                if place not in left:
                    continue
                headers = columns.headers or [()] * len(columns)
                for index, offset in enumerate(columns.offsets):
                    if offset >= end[place]:
                        break
                    letter = Letter(
                        place,
                        offset,
                        columns.timestamps[index],
                        columns.keys[index],
                        columns.values[index],
                        headers[index],
                        read_cause(headers[index]),
                    )
                    if not take(letter):
                        return
                if chunk.next_offset >= end[place]:
                    del left[place]
                    await consumer.unassign([place])


# Listing.


@dataclass(slots=True)
class Summary:
    """Counts by where the records stand, and what went wrong with them."""

    total: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    pending: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    newest: dict[tuple[str, int, str, str], str] = field(default_factory=dict)

    def add(self, letter: Letter, *, pending: bool) -> None:
        """Counts a letter."""
        cause = letter.cause
        if cause is None:
            kind = (letter.place.topic, letter.place.partition, "", "(no dead letter)")
        else:
            what = cause.exception_class or ("(behind another)" if cause.behind is not None else "")
            kind = (cause.topic, cause.partition, cause.step, what)
            self.newest[kind] = max(self.newest.get(kind, ""), cause.time)
        self.total[kind] += 1
        self.pending[kind] += pending

    def table(self) -> Table:
        """Returns the counts as a table."""
        table = Table(["TOPIC", "PARTITION", "STEP", "EXCEPTION", "LETTERS", "PENDING", "NEWEST"])
        for kind in sorted(self.total):
            topic, partition, step, what = kind
            counts = (self.total[kind], self.pending[kind])
            table.rows.append(
                [topic, partition, step or None, what, *counts, self.newest.get(kind)]
            )
        return table


# Sending back.


@dataclass(slots=True)
class Return:
    """Letters to send back, by the partition where they stood, in their order there."""

    letters: dict[TopicPartition, list[Letter]] = field(default_factory=dict)
    upto: dict[TopicPartition, int] = field(default_factory=dict)
    """By partition of the dead letters: where those begin that are not dealt with here."""
    notes: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many letters are sent."""
        return sum(map(len, self.letters.values()))

    def table(self) -> Table:
        """Returns what goes where."""
        table = Table(["TO-TOPIC", "PARTITION", "RECORDS", "FIRST-OFFSET", "LAST-OFFSET", "SENT"])
        for place, letters in sorted(self.letters.items()):
            offsets = [letter.identity[2] for letter in letters]
            sent = max(letter.times_sent for letter in letters)
            table.rows.append([*place, len(letters), min(offsets), max(offsets), sent])
        return table


def records(count: int) -> str:
    """Says how many records.

    >>> records(1), records(2)
    ('1 record', '2 records')
    """
    return f"{count} record{'' if count == 1 else 's'}"


def plan_return(letters: Iterable[Letter]) -> Return:
    """Decides what is sent back: each record once, in the order in which they stood.

    Of several letters of one record (a crash repeats some) the last one counts.
    """
    back = Return()
    chosen: dict[tuple[str, int, int], Letter] = {}
    strangers = large = 0
    for letter in letters:
        back.upto[letter.place] = letter.offset + 1
        if letter.cause is None:
            strangers += 1
        elif letter.cause.left_bytes is not None:
            large += 1
        else:
            chosen[letter.identity] = letter
    by_place: defaultdict[TopicPartition, list[Letter]] = defaultdict(list)
    for topic, partition, offset in sorted(chosen):
        by_place[TopicPartition(topic, partition)].append(chosen[topic, partition, offset])
    back.letters = dict(by_place)
    if strangers:
        back.notes.append(f"{records(strangers)} no dead letter: passed over")
    if large:
        back.notes.append(
            f"{records(large)} too large to be kept here: passed over; their headers say where "
            "they stand"
        )
    return back


async def check_destinations(admin: Admin, back: Return) -> None:
    """Refuses if a partition to which letters go does not exist any more."""
    there = await admin.describe_topics({place.topic for place in back.letters})
    for place in back.letters:
        topic = there.get(place.topic)
        if topic is None or all(each.partition != place.partition for each in topic.partitions):
            raise NotFoundError(
                f"{place}, where dead letters came from, does not exist any more",
                hint="Drop them: streamlog dlq drop --help",
            )


async def send_back(
    producer: Producer, admin: Admin, extent: Extent, back: Return, *, dropped: bool = False
) -> None:
    """Sends letters back, waits until they are acknowledged, and remembers it."""
    for place, letters in back.letters.items():
        for start in range(0, len(letters), SEND_RECORDS):
            some = letters[start : start + SEND_RECORDS]
            delivery = await producer.send_columns(
                place.topic,
                place.partition,
                [letter.key for letter in some],
                [letter.value for letter in some],
                [letter.timestamp_ms for letter in some],
                [
                    headers_back(letter.cause, letter.headers, dropped=dropped)
                    for letter in some
                    if letter.cause is not None
                ],
            )
            await delivery.wait()
    await remember(admin, extent, back.upto)


async def remember(admin: Admin, extent: Extent, upto: Mapping[TopicPartition, int]) -> None:
    """Notes up to where letters are dealt with."""
    moved = {place: at for place, at in upto.items() if at > extent.sent[place]}
    if moved:
        await admin.alter_group_offsets(
            extent.group, {place: OffsetAndMetadata(at) for place, at in moved.items()}
        )
