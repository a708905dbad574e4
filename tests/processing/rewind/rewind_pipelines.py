"""Pipelines to be rewound, whose functions can be changed while they rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from streamlog import Output, Stream, count, last, pipeline, sum_, tumbling

if TYPE_CHECKING:
    import random

    from streamlog.processing.worker.placement import TaskName
    from streamlog.testing import Driver

Results = dict[tuple[int, bytes | None, int], bytes | None]
TOPIC = "numbers"
PARTITIONS = 2


class Number(Struct):
    """An event, which knows where it stands."""

    partition: int
    index: int
    amount: int


class Total(Struct):
    """A result."""

    numbers: int
    amount: int
    last: int


class Span(Struct):
    """A result of results."""

    totals: int
    amount: int


@dataclass
class Edit:
    """From which index of each partition on the edited functions are used."""

    begins: dict[int, int] = field(default_factory=dict)

    def holds(self, number: Number) -> bool:
        """Whether a record is processed by the edited functions."""
        return number.index >= self.begins.get(number.partition, 1 << 62)


EDIT = Edit()


def keep(number: Number) -> bool:
    """The edit keeps other numbers."""
    return number.amount % 5 != (1 if EDIT.holds(number) else 3)


def key_of(number: Number) -> str:
    """The edit has other keys, in other partitions."""
    return f"{'new' if EDIT.holds(number) else 'k'}{number.amount % 4}"


def ms(value: int) -> timedelta:
    """Milliseconds."""
    return timedelta(milliseconds=value)


@pipeline
def totals(numbers: Stream[Number]) -> Output:
    """Two levels of windows, so two repartitions."""
    return (
        numbers.filter(keep)
        .key_by(key_of, name="by-amount")
        .window(tumbling(ms(10)), grace=ms(7))
        .aggregate(
            Total, numbers=count(), amount=sum_(amount_of), last=last(index_of), name="totals"
        )
        .key_by(parity_of, name="by-parity")
        .window(tumbling(ms(40)), grace=ms(3))
        .aggregate(Span, totals=count(), amount=sum_(total_of), name="spans")
        .to("spans-out")
    )


def amount_of(number: Number) -> int:
    """Its amount."""
    return number.amount


def index_of(number: Number) -> int:
    """Its index."""
    return number.index


def parity_of(window: Any) -> str:  # noqa: ANN401
    """Of the number of numbers."""
    return "odd" if window.value.numbers % 2 else "even"


def total_of(window: Any) -> int:  # noqa: ANN401
    """The amount of a window."""
    return int(window.value.amount)


@dataclass
class Feed:
    """Numbers of both partitions, not yet sent."""

    rest: dict[int, list[tuple[Number, int]]]

    def send(self, t: Driver, partition: int, count_: int) -> None:
        """Sends some."""
        for number, time in self.rest[partition][:count_]:
            t.send(TOPIC, number, partition=partition, timestamp=time)
        del self.rest[partition][:count_]

    def send_all(self, t: Driver) -> None:
        """Sends what is left."""
        for partition in self.rest:
            self.send(t, partition, len(self.rest[partition]))


def some_numbers(rng: random.Random, count_: int) -> Feed:
    """Makes numbers, time going on in them with some disorder."""
    rest = {}
    for partition in range(PARTITIONS):
        time = rng.randrange(20)
        rest[partition] = list[tuple[Number, int]]()
        for index in range(count_):
            time += rng.choice([0, 0, 1, 2, 9]) - (rng.random() < 0.2) * rng.randrange(12)
            rest[partition].append((Number(partition, index, rng.randrange(50)), max(time, 0)))
    return Feed(rest)


@dataclass(frozen=True)
class Outcome:
    """What a run has come to."""

    rows: dict[TaskName, list[tuple[bytes, bytes]]]
    late: dict[TaskName, int]
    closed: dict[TaskName, dict[str, int]]
    results: Results


def outcome(t: Driver) -> Outcome:
    """Looks at all state and at the newest results."""
    t.run()
    worker = t._worker
    tasks = {name: worker.task(name) for name in worker.task_names}
    return Outcome(
        rows={name: task._store.rows() for name, task in tasks.items()},
        late={name: task.statistics().late_records for name, task in tasks.items()},
        closed={name: task._store.meta.closed_through for name, task in tasks.items()},
        results=results(t),
    )


def results(t: Driver) -> Results:
    """The newest result by partition, key and time."""
    found: Results = {}
    for topic in t.plan.output_topics:
        for number, partition in enumerate(t.log.topics[topic]):
            for _, timestamp, key, value, _ in partition.columns.rows():
                found[number, key, timestamp] = value
    return found
