"""What tests of joins share: records with their writers' time, and interrupted runs."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st
from mixing import mixed
from operator_harness import Event

from streamlog.processing.operators.join_rows import encode_row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from operator_harness import Harness

    from streamlog.processing.operators.as_of_next import AsOfNextSpec
    from streamlog.processing.operators.interval_join import IntervalJoinSpec
    from streamlog.processing.operators.operator import Result
    from streamlog.processing.operators.versioned_join import VersionedJoinSpec

LONG = b"long" * 150
KEYS = [b"a", b"b", LONG]
STREAM, OTHER = 0, 1
TABLE = 1


class Timed(NamedTuple):
    """A record, the stream time of its writer, and its number among all."""

    event: Event
    time: int
    number: int


def timed(events: Sequence[Event]) -> list[Timed]:
    """Each record with the stream time of its writer."""
    times: dict[int, int] = {}
    found = []
    for number, event in enumerate(events):
        times[event.writer] = max(times.get(event.writer, event.timestamp), event.timestamp)
        found.append(Timed(event, times[event.writer], number))
    return found


def canonical(results: Sequence[object]) -> list[bytes]:
    """Results without their order."""
    return sorted(encode_row(result) for result in results)


def mixed_anew(events: Sequence[Event], rng: Random) -> list[Event]:
    """The same records of each writer in their order, mixed in another way."""
    return mixed(events, attrgetter("writer"), rng)


@st.composite
def events_of_writers(
    draw: st.DrawFn,
    *,
    writers: int = 3,
    count_max: int = 40,
    behind: Sequence[int] = (0, 0, 0, 1, 5, 30),
    has_tombstones: bool = False,
) -> list[Event]:
    """Records of several writers on two ports, each writer's out of order to a degree.

    Args:
        draw: Hypothesis's.
        writers: How many there are.
        count_max: So many records at most.
        behind: How far a record may be behind its writer's time, each as likely.
        has_tombstones: Whether the table at the second port loses rows.
    """
    events = []
    moments = [0] * writers
    for number in range(draw(st.integers(0, count_max))):
        writer = draw(st.integers(0, writers - 1))
        moments[writer] += draw(st.integers(0, 6))
        timestamp = max(moments[writer] - draw(st.sampled_from(behind)), 0)
        port = draw(st.integers(0, 1))
        ends = has_tombstones and port == TABLE and draw(st.integers(0, 3)) == 0
        key = draw(st.sampled_from([*KEYS, None]))
        events.append(Event(key, None if ends else number, timestamp, port, writer))
    return events


def run_with_restarts(
    harness: Harness, events: Sequence[Event], data: st.DataObject
) -> list[Result]:
    """Sends all records, with checkpoints and restarts between them; returns what counts."""
    results: list[Result] = []
    pending: list[Result] = []
    position = saved = 0
    while position < len(events):
        action = data.draw(st.sampled_from(["send"] * 6 + ["checkpoint", "restart"]))
        if action == "send":
            pending += harness.send(events[position])
            position += 1
        elif action == "checkpoint":
            harness.checkpoint()
            results += pending
            pending, saved = [], position
        else:
            harness.restart()
            pending, position = [], saved
    return results + pending


def expected_interval(spec: IntervalJoinSpec, events: Sequence[Event]) -> tuple[list[Any], int]:
    """All results of the join once nothing more comes, and how many records were late."""
    records = timed(events)
    lefts = [each for each in records if each.event.port == 0]
    rights = [each for each in records if each.event.port == 1]
    results: list[Any] = []
    matched: set[int] = set()

    def deadline(record: Timed) -> int:
        bound = spec.before_ms if record.event.port else spec.after_ms
        return record.event.timestamp + max(bound, 0) + spec.grace_ms

    for left in lefts:
        for right in rights:
            distance = right.event.timestamp - left.event.timestamp
            if (
                left.event.key == right.event.key
                and left.event.key is not None
                and -spec.before_ms <= distance <= spec.after_ms
                and left.time <= deadline(right)
                and right.time <= deadline(left)
                and (spec.where is None or spec.where(left.event.value, right.event.value))
            ):
                moment = max(left.event.timestamp, right.event.timestamp)
                results.append((left.event.key, (left.event.value, right.event.value), moment))
                matched |= {id(left), id(right)}
    late = 0
    for record in records:
        event = record.event
        if id(record) in matched:
            continue
        if event.key is not None and record.time > deadline(record):
            late += 1
        elif spec.how == "outer" or (spec.how == "left" and event.port == 0):
            pair = (event.value, None) if event.port == 0 else (None, event.value)
            results.append((event.key, pair, event.timestamp))
    return results, late


def held(spec: VersionedJoinSpec, record: Timed, versions: Sequence[Timed]) -> Any:  # noqa: ANN401
    """What a record should meet, by looking at all versions there ever are."""
    moment = record.event.timestamp
    due = max(moment + spec.grace_ms, record.time)
    reach = spec.history_ms + (not spec.exact)
    ended: int | None = None
    for version in sorted(versions, key=newest_last, reverse=True):
        age = moment - version.event.timestamp
        if (
            version.event.key != record.event.key
            or version.time > due
            or age < (0 if spec.exact else 1)
            or (spec.tolerance_ms is not None and age > spec.tolerance_ms)
            or (ended is not None and version.time - reach <= ended)
        ):
            continue
        if version.event.value is not None:
            return version.event.value
        end = max(version.event.timestamp, version.time - reach)
        ended = end if ended is None else max(ended, end)
    return None


def newest_last(version: Timed) -> tuple[int, int, int]:
    return version.event.timestamp, version.event.writer, version.number


def expected_versioned(spec: VersionedJoinSpec, events: Sequence[Event]) -> tuple[list[Any], int]:
    records = timed(events)
    versions = [each for each in records if each.event.port == TABLE]
    results: list[Any] = []
    late = 0
    for record in records:
        event = record.event
        if event.port == TABLE:
            continue
        if event.key is not None and event.timestamp < record.time - spec.history_ms:
            late += 1
            continue
        row = None if event.key is None else held(spec, record, versions)
        if row is not None or spec.how == "left":
            results.append((event.key, (event.value, row), event.timestamp))
    return results, late


def nearest(spec: AsOfNextSpec, record: Timed, others: Sequence[Timed]) -> Any:  # noqa: ANN401
    """What a record should meet, by looking at all others there ever are."""
    moment = record.event.timestamp
    given_up = max(moment + spec.tolerance_ms + spec.grace_ms, record.time)

    def visible(other: Timed) -> int:
        return max(other.event.timestamp + spec.grace_ms, other.time)

    near = [
        other
        for other in others
        if other.event.key == record.event.key
        and (0 if spec.exact else 1) <= other.event.timestamp - moment <= spec.tolerance_ms
        and visible(other) <= given_up
    ]
    if not near:
        return None
    settled = max(record.time, min(map(visible, near)))
    return min(
        (other.event.timestamp, other.event.writer, other.number, other.event.value)
        for other in near
        if visible(other) <= settled
    )[-1]


def expected_next(spec: AsOfNextSpec, events: Sequence[Event]) -> tuple[list[Any], int]:
    records = timed(events)
    others = [each for each in records if each.event.port == OTHER]
    results: list[Any] = []
    late = 0
    for record in records:
        event = record.event
        if event.port == OTHER:
            continue
        if event.key is not None and event.timestamp < record.time - spec.history_ms:
            late += 1
            continue
        other = None if event.key is None else nearest(spec, record, others)
        if other is not None or spec.how == "left":
            results.append((event.key, (event.value, other), event.timestamp))
    return results, late
