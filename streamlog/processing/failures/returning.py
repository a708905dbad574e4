"""Which dead letters go back where they came from, and in which order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.client.values import TopicPartition
from streamlog.processing.failures.dead_letters import ERRORS, read_return, without

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.processing.failures.dead_letters import Cause
    from streamlog.records.columns import Headers


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
