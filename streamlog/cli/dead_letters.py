"""Dead letters from the terminal: which there are, and sending them back where they came from.

What was sent back is remembered as the committed offsets of a group, `<topic>.retry`. If sending is
cut short before the commit, records are sent once more; the pipeline counts them once all the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.cli.output import Table
from streamlog.client.admin.admin import Admin
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.values import EARLIEST, LATEST, OffsetAndMetadata, TopicPartition
from streamlog.config import did_you_mean
from streamlog.errors import NotFoundError, RefusedError
from streamlog.processing.failures.dead_letters import headers_back, read_cause
from streamlog.processing.failures.policy import dead_letters_of, retry_group
from streamlog.processing.failures.returning import Letter
from streamlog.processing.replay.registry_topic import read_registry
from streamlog.processing.replay.versions import Role, identify, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamlog.client.client import Client
    from streamlog.client.producer.producer import Producer
    from streamlog.processing.failures.returning import Return
    from streamlog.processing.replay.versions import Identity

SUFFIX = ".dlq"
POLL_MS = 200
SEND_RECORDS = 500
"""Sent at once to one partition, so that each wait is short."""


@dataclass(slots=True)
class Extent:
    """What a topic of dead letters holds, by partition."""

    topic: str
    owner: Identity | None
    """Which pipeline's or version's; nothing if a topic was named."""
    first: dict[TopicPartition, int]
    end: dict[TopicPartition, int]
    sent: dict[TopicPartition, int]
    """Up to where letters were sent back or dropped."""

    @property
    def group(self) -> str:
        """Remembers what was sent back."""
        return retry_group(self.topic)


async def find_letters(client: Client, name: str) -> Extent:
    """Finds the dead letters of a pipeline's live version, of another one, or of a topic of them.

    Raises:
        NotFoundError: If there are none; names the nearest.
    """
    admin = Admin(client)
    registry = await read_registry(client)
    meant = resolve(registry, name)
    wanted = dead_letters_of(meant.name)
    found = await admin.describe_topics([wanted, name])
    topic = found.get(wanted) or found.get(name)
    if topic is None:
        every = [each.name for each in await admin.list_topics()]
        known = [
            identify(registry, each.removesuffix(SUFFIX)).called
            for each in every
            if each.endswith(SUFFIX)
        ]
        there = f"There are those of {', '.join(sorted(known))}" if known else "There are none yet"
        raise NotFoundError(
            f'"{name}" has no dead letters: there is no topic "{wanted}"',
            hint=did_you_mean(name, known) or there,
        )
    has_own_name = topic.name.endswith(SUFFIX)
    owner = identify(registry, topic.name.removesuffix(SUFFIX)) if has_own_name else None
    places = [TopicPartition(topic.name, each.partition) for each in topic.partitions]
    first = await admin.list_offsets(dict.fromkeys(places, EARLIEST))
    end = await admin.list_offsets(dict.fromkeys(places, LATEST))
    extent = Extent(
        topic.name,
        owner,
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


def table_of(back: Return) -> Table:
    """Returns what goes where."""
    table = Table(["TO-TOPIC", "PARTITION", "RECORDS", "FIRST-OFFSET", "LAST-OFFSET", "SENT"])
    for place, letters in sorted(back.letters.items()):
        offsets = [letter.identity[2] for letter in letters]
        sent = max(letter.times_sent for letter in letters)
        table.rows.append([*place, len(letters), min(offsets), max(offsets), sent])
    return table


def check_reader(extent: Extent) -> None:
    """Refuses to send back what nobody would take.

    Raises:
        RefusedError: If the letters are a former version's.
    """
    owner = extent.owner
    if owner is not None and owner.role is Role.FORMER:
        raise RefusedError(
            f"{owner.full} is a former version of {owner.pipeline} and does not run any more: "
            "nobody would take them",
            hint=f"The live version has its own: streamlog dlq list {owner.pipeline}",
        )


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
