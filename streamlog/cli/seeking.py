"""Moving a group's offsets: what would move where, as a plan, and doing it.

The plan is made from what the partitions hold now; nothing is moved beyond that. Whatever keeps the
plan from being what was asked for is said in a note beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.cli.aims import Aim, Target
from streamlog.cli.output import Table, note
from streamlog.client.values import EARLIEST, LATEST, OffsetAndMetadata, TopicPartition
from streamlog.config import did_you_mean
from streamlog.errors import NotFoundError, RefusedError, UsageError
from streamlog.processing.replay.registry_topic import read_registry
from streamlog.processing.replay.versions import Role, identify
from streamlog.processing.worker.note import parse_note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.admin.admin import Admin
    from streamlog.client.admin.values import GroupDescription
    from streamlog.client.client import Client
    from streamlog.processing.replay.registry import Registry
    from streamlog.processing.replay.versions import Identity

Scope = dict[str, frozenset[int] | None]

MEMBERS_NAMED_MAX = 5
"""More of them are counted."""


@dataclass(frozen=True, slots=True)
class Move:
    """One partition: where the group stands, where it will, and where the partition ends."""

    place: TopicPartition
    start: int | None
    to: int
    end: int


@dataclass(slots=True)
class Seek:
    """What would move, and what has to be said about it."""

    group: str
    moves: list[Move] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changes(self) -> dict[TopicPartition, int]:
        """Those that do not stand where they will already."""
        return {move.place: move.to for move in self.moves if move.start != move.to}

    def table(self) -> Table:
        """Returns the plan as a table; LAG is what there will be to read."""
        table = Table(["TOPIC", "PARTITION", "FROM", "TO", "DELTA", "LAG"])
        for move in self.moves:
            delta = None if move.start is None else move.to - move.start
            table.rows.append([*move.place, move.start, move.to, delta, max(move.end - move.to, 0)])
        return table


async def plan_seek(
    admin: Admin, group: str, target: Target, scope: Scope, *, allow_new_topics: bool
) -> Seek:
    """Looks up where a group would stand.

    Raises:
        NotFoundError: If the group, or a topic or partition that is named, does not exist.
    """
    committed = await admin.group_offsets(group)
    seek = Seek(group)
    wanted = await _aimed_at(admin, group, target, committed)
    new = allow_new_topics or target.aim is Aim.POSITIONS
    places = await _places(admin, seek, scope, wanted, committed, new=new)
    oldest = await admin.list_offsets(dict.fromkeys(places, EARLIEST))
    ends = await admin.list_offsets(dict.fromkeys(places, LATEST))
    times: Mapping[TopicPartition, object] = {}
    if target.aim is Aim.TIME:
        times = await admin.list_offsets(dict.fromkeys(places, target.number))
    for place in places:
        first = found.offset if (found := oldest[place]) else 0
        end = found.offset if (found := ends[place]) else first
        start = committed[place].offset if place in committed else None
        at = times.get(place)
        to = _offset(target, first, end, start, wanted.get(place), getattr(at, "offset", None))
        if to is None:
            seek.notes.append(f"{place} has no committed offset to count from: left alone")
            continue
        kept = min(max(to, first), end)
        if kept != to:
            seek.notes.append(f"{place} holds offsets {first} to {end}: {to} becomes {kept}")
        seek.moves.append(Move(place, start, kept, end))
    return seek


def _offset(
    target: Target, first: int, end: int, start: int | None, wanted: int | None, at: int | None
) -> int | None:
    """Where the target is in a partition; nothing if that cannot be said."""
    match target.aim:
        case Aim.START:
            return first
        case Aim.END:
            return end
        case Aim.TIME:
            return end if at is None else at
        case Aim.OFFSET:
            return target.number
        case Aim.SHIFT:
            return None if start is None else start + target.number
        case Aim.CURRENT:
            return start
        case Aim.GROUP | Aim.POSITIONS:
            return wanted


async def _aimed_at(
    admin: Admin,
    group: str,
    target: Target,
    committed: Mapping[TopicPartition, OffsetAndMetadata],
) -> dict[TopicPartition, int]:
    """The positions that the target names by itself; none for those that all partitions have."""
    if target.aim is Aim.POSITIONS:
        positions = dict(target.positions or {})
        if not positions:
            raise UsageError("there is no position in the file")
        return positions
    if target.aim is not Aim.GROUP:
        if not committed:
            await existing_group(admin, group)
        return {}
    other = await admin.group_offsets(target.group)
    if not other:
        await existing_group(admin, target.group)
        raise NotFoundError(f'group "{target.group}" has committed nothing')
    return {place: at.offset for place, at in other.items()}


async def _places(
    admin: Admin,
    seek: Seek,
    scope: Scope,
    wanted: Mapping[TopicPartition, int],
    committed: Mapping[TopicPartition, OffsetAndMetadata],
    *,
    new: bool,
) -> list[TopicPartition]:
    """The partitions that the plan is about, in order."""
    known = {place.topic for place in committed}
    if scope and not new and (strange := sorted(scope.keys() - known)):
        raise UsageError(
            f'group "{seek.group}" has committed nothing in topic "{strange[0]}"',
            hint=did_you_mean(strange[0], known) or "To move it there too: --allow-new-topics",
        )
    topics = set(scope) or ({place.topic for place in wanted} if new else known)
    there = await admin.describe_topics(topics)
    for topic in sorted(topics - there.keys()):
        if topic in scope:
            raise NotFoundError(
                f'topic "{topic}" does not exist', hint="See them: streamlog topic list"
            )
        seek.notes.append(f'topic "{topic}" does not exist any more: left alone')
    places = [
        TopicPartition(topic, each.partition)
        for topic in sorted(there)
        for each in there[topic].partitions
        if (numbers := scope.get(topic)) is None or each.partition in numbers
    ]
    for topic, numbers in scope.items():
        for number in sorted(numbers or ()):
            if TopicPartition(topic, number) not in places:
                raise NotFoundError(f'there is no partition {number} in "{topic}"')
    for place in sorted(set(wanted) - set(places)):
        if place.topic in there and place.topic not in scope:
            seek.notes.append(f"{place} does not exist: left alone")
    if wanted:
        places = [place for place in places if place in wanted]
    return places


async def existing_group(admin: Admin, name: str) -> GroupDescription:
    """Returns a group.

    Raises:
        NotFoundError: If there is none of this name.
    """
    known = [group.group for group in await admin.list_groups()]
    if name not in known:
        nearest = did_you_mean(name, known)
        raise NotFoundError(
            f'group "{name}" does not exist', hint=nearest or "See them: streamlog group list"
        )
    return (await admin.describe_groups([name]))[name]


def check_empty(group: GroupDescription, what: str) -> None:
    """Refuses if the group has members, and says who they are."""
    if group.members:
        raise RefusedError(f"{who_reads(group)}, so {what}", hint="Stop them first")


def who_reads(group: GroupDescription) -> str:
    """Says who the members of a group are."""
    named = [
        f"{each.client_id} at {each.client_host.removeprefix('/')}"
        + (f" ({each.instance_id})" if each.instance_id else "")
        for each in group.members[:MEMBERS_NAMED_MAX]
    ]
    more = len(group.members) - len(named)
    count = len(group.members)
    return (
        f'group "{group.group}" has {count} member{"s" if count > 1 else ""}, '
        f"{', '.join(named)}{f' and {more} more' if more else ''}"
    )


def version_of(registry: Registry, group: str) -> Identity | None:
    """Returns which version of a pipeline a group is of; nothing if it is the only one, or none."""
    identity = identify(registry, group)
    others = registry.versions_of(identity.pipeline).keys() - {group}
    return None if identity.version is None and not others else identity


async def note_version(client: Client, group: str) -> None:
    """Says which version of a pipeline a group is of: groups are named as they are."""
    registry = await read_registry(client)
    identity = version_of(registry, group)
    if identity is None:
        return
    live = registry.live(identity.pipeline).runs_as
    elsewhere = "" if identity.role is Role.LIVE else f". Live is group {live}"
    note(f'group "{group}" is of pipeline {identity.pipeline} ({identity.in_words}){elsewhere}')


def is_pipeline(committed: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
    """Whether a pipeline's checkpoints stand beside these offsets."""
    return any(parse_note(at.metadata) is not None for at in committed.values())
