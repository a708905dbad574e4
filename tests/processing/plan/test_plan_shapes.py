"""Graphs of odd shapes, run with crashes in several orders and compared with plain Python.

Of streams every record that comes out is compared, of tables the rows that hold in the end.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import pytest

from streamlog import (
    Pipeline,
    Processor,
    Stream,
    Table,
    Value,
    cogroup,
    count,
    pipeline,
    sessions,
    sum_,
    tumbling,
)
from streamlog.testing import Driver, drive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Event(msgspec.Struct, frozen=True):
    key: str
    size: int
    at: int


class Totals(msgspec.Struct):
    count: int
    size: int


Row: TypeAlias = tuple[str, Any, int]
"""Key, value, timestamp."""
Inputs: TypeAlias = dict[str, list[Row]]
Shape: TypeAlias = tuple[Pipeline[..., object], Inputs, dict[str, Any]]

TEN = timedelta(seconds=10)
LONG = timedelta(seconds=200)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def events(seed: int, number: int = 50) -> list[Row]:
    rng = random.Random(seed)
    times = sorted(rng.sample(range(100_000), number))
    return [
        (f"s{rng.randrange(4)}", Event(f"k{rng.randrange(3)}", rng.randrange(10), at), at)
        for at in times
    ]


def by_key(rows: Iterable[Row]) -> list[Row]:
    return [(value.key, value, at) for _, value, at in rows]


def window(key: str, start: int, size_ms: int, value: object) -> Row:
    begin = datetime.fromtimestamp(start / 1000, UTC)
    end = begin + timedelta(milliseconds=size_ms)
    return key, {"start": begin, "end": end, "value": value}, start + size_ms - 1


def counted(rows: Iterable[Row], size_ms: int = 10_000) -> list[Row]:
    counts = Counter((key, at - at % size_ms) for key, _, at in rows)
    return [window(key, start, size_ms, number) for (key, start), number in counts.items()]


def joined(left: list[Row], right: list[Row], span_ms: int) -> list[Row]:
    return [
        (key, Event(one.key, one.size * 10 + other.size, one.at), max(at, other_at))
        for key, one, at in left
        for other_key, other, other_at in right
        if key == other_key and abs(at - other_at) <= span_ms
    ]


def pair(one: Event, other: Event) -> Event:
    return Event(one.key, one.size * 10 + other.size, one.at)


def written(rows: Iterable[tuple[Any, object, int]]) -> list[tuple[Any, bytes, int]]:
    """What is written, in an order of its own; what a crash writes again is written once."""
    return sorted({(key, msgspec.json.encode(v, order="sorted"), at) for key, v, at in rows})


def numbered(rows: list[Row]) -> list[Row]:
    """Rows that differ, so that none is lost in a set."""
    return [
        (key, Event(value.key, number, value.at), at)
        for number, (key, value, at) in enumerate(rows)
    ]


# A stream and itself.


def a_stream_merged_with_itself() -> Shape:
    @pipeline
    def shape(events: Stream[Event]) -> None:
        both = events.merge(events)
        both.key_by(lambda event: event.key).window(tumbling(TEN)).count().to("keyed")
        both.window(tumbling(TEN)).count(name="plain").to("plain")

    rows = events(1)
    twice = {"keyed": counted(by_key(rows * 2)), "plain": counted(rows * 2)}
    return shape, {"events": rows}, twice


def branches_behind_one_key_merged_again() -> Shape:
    @pipeline
    def shape(events: Stream[Event]) -> None:
        keyed = events.key_by(lambda event: event.key)
        small, large, rest = keyed.split(lambda e: e.size < 3, lambda e: e.size < 6)
        merged = small.merge(large, name="some").merge(rest, name="all")
        merged.window(tumbling(TEN)).count().to("merged")
        merged.to("raw")
        overlap = keyed.filter(lambda e: e.size < 5).merge(keyed.filter(lambda e: e.size > 2))
        overlap.window(tumbling(TEN)).count(name="overlap").to("overlap")

    rows = by_key(events(2))
    doubled = [row for row in rows if row[1].size < 5] + [row for row in rows if row[1].size > 2]
    results = {"merged": counted(rows), "raw": rows, "overlap": counted(doubled)}
    return shape, {"events": events(2)}, results


def a_stream_joined_with_its_own_count() -> Shape:
    @pipeline
    def shape(events: Stream[Event]) -> None:
        so_far = events.count()
        events.join(so_far, lambda event, number: [event.at, number]).to("numbered")

    rows = events(3)
    numbers = [
        (key, [at, sum(other == key and time <= at for other, _, time in rows)], at)
        for key, _, at in rows
    ]
    return shape, {"events": rows}, {"numbered": numbers}


def a_stream_joined_with_its_own_windows() -> Shape:
    @pipeline
    def shape(events: Stream[Event]) -> None:
        keyed = events.key_by(lambda event: event.key)
        before = keyed.window(tumbling(TEN), grace=seconds(3)).count().table()
        keyed.join(before, lambda e, w: [e.at, w.value if w else 0], how="left").to("compared")

    rows = by_key(events(4))
    windows = counted(rows)

    def last_of(key: str, at: int) -> int:
        found = [(end, row["value"]) for other, row, end in windows if other == key and end <= at]
        return int(max(found)[1]) if found else 0

    return (
        shape,
        {"events": events(4)},
        {"compared": [(k, [at, last_of(k, at)], at) for k, _, at in rows]},
    )


def windows_merged_with_what_they_were_made_of() -> Shape:
    @pipeline
    def shape(events: Stream[Event]) -> None:
        keyed = events.key_by(lambda event: event.key)
        counts = keyed.window(tumbling(seconds(5)), grace=seconds(1)).count(name="first")
        made = counts.map(lambda result: Event("", result.value, 0))
        made.merge(keyed, name="both").window(tumbling(TEN)).count(name="second").to("counts")

    rows = by_key(events(5))
    return shape, {"events": events(5)}, {"counts": counted(rows + counted(rows, 5_000))}


# Joins.


def two_joins_that_share_a_side() -> Shape:
    @pipeline
    def shape(a: Stream[Event], b: Stream[Event], c: Stream[Event]) -> None:
        keyed = a.key_by(lambda event: event.key)
        left = keyed.join(b, pair, within=seconds(9), grace=LONG, name="left")
        right = keyed.join(c, pair, within=seconds(9), grace=LONG, name="right")
        left.to("left")
        left.join(right, pair, within=seconds(5), grace=LONG, name="both").to("both")

    a, b, c = (numbered(by_key(events(seed))) for seed in (6, 7, 8))
    left, right = joined(a, b, 9_000), joined(a, c, 9_000)
    return shape, {"a": a, "b": b, "c": c}, {"left": left, "both": joined(left, right, 5_000)}


def a_join_with_what_a_join_has_made() -> Shape:
    @pipeline
    def shape(a: Stream[Event], b: Stream[Event]) -> None:
        first = a.join(b, pair, within=seconds(4), name="first")
        second = a.join(first, pair, within=seconds(4), name="second")
        second.window(tumbling(TEN), grace=seconds(4)).count().to("counts")
        first.join(first, pair, within=seconds(1), name="itself").to("itself")

    a, b = numbered(events(9)), numbered(events(10))
    first = joined(a, b, 4_000)
    results = {"counts": counted(joined(a, first, 4_000)), "itself": joined(first, first, 1_000)}
    return shape, {"a": a, "b": b}, results


def windows_behind_as_of_behind_sessions() -> Shape:
    @pipeline
    def shape(clicks: Stream[Event], orders: Stream[Event]) -> None:
        visits = clicks.key_by(lambda e: e.key).window(sessions(seconds(3))).count(name="visits")
        lengths = visits.map(lambda visit: visit.value, to=int)
        keyed = orders.key_by(lambda e: e.key, name="orders-by-key")
        known = keyed.as_of(lengths, lambda order, n: Event(order.key, n, order.at), name="known")
        known.window(tumbling(TEN)).sum_(lambda e: e.size, name="sums").to("sums")

    clicks, orders = events(11, 80), events(12)
    times: dict[str, list[int]] = defaultdict(list)
    ended: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for key, _, at in by_key(clicks):
        if times[key] and at - times[key][-1] > 3_000:
            ended[key].append((times[key][-1], len(times.pop(key))))
        times[key].append(at)
    for key, open_ones in times.items():
        ended[key].append((open_ones[-1], len(open_ones)))
    sums: Counter[tuple[str, int]] = Counter()
    for key, _, at in by_key(orders):
        before = [length for end, length in ended[key] if end <= at]
        if not before:
            continue
        sums[key, at - at % 10_000] += before[-1]
    results = [window(key, start, 10_000, total) for (key, start), total in sums.items()]
    return shape, {"clicks": clicks, "orders": orders}, {"sums": results}


# Topics behind topics.


def repartitions_behind_repartitions() -> Shape:
    @pipeline
    def shape(events: Stream[Event]) -> None:
        again = events.repartition(3, name="one").repartition(2, name="two")
        again.window(tumbling(TEN)).count().to("plain")
        keyed = events.repartition(4, name="three").key_by(lambda event: event.key)
        keyed.repartition(2, name="four").window(tumbling(TEN)).count(name="keyed").to("keyed")

    rows = events(13)
    return shape, {"events": rows}, {"plain": counted(rows), "keyed": counted(by_key(rows))}


def six_levels() -> Shape:
    def modulo(number: int) -> Callable[[int], str]:
        return lambda value: f"{value % (number + 1)}"

    @pipeline
    def shape(events: Stream[Event]) -> None:
        keyed = events.key_by(lambda event: event.key)
        results = keyed.window(tumbling(seconds(1)), grace=seconds(1)).count(name="level-0")
        for level in range(1, 6):
            values = results.map(lambda result: result.value, to=int, name=f"values-{level}")
            again = values.key_by(modulo(level), name=f"by-{level}")
            windows = again.window(tumbling(seconds(level + 1)), grace=seconds(1))
            results = windows.sum_(lambda value: value, name=f"level-{level}")  # type: ignore[assignment]
        results.to("sums")

    rows: list[Row] = [(key, 1, at) for key, _, at in by_key(events(14, 150))]
    for level in range(6):
        size_ms = (level + 1) * 1_000
        sums: Counter[tuple[str, int]] = Counter()
        for key, value, at in rows:
            sums[modulo(level)(value) if level else key, at - at % size_ms] += value
        rows = [(key, value, start + size_ms - 1) for (key, start), value in sums.items()]
    results = [window(key, at + 1 - 6_000, 6_000, value) for key, value, at in rows]
    return shape, {"events": events(14, 150)}, {"sums": results}


def copies_left_out_and_put_in_order_for_a_processor() -> Shape:
    class Before(Processor[Event, Event]):
        last: Value[int]

        def process(self, key: bytes | None, value: Event, ctx: object) -> Iterable[Event]:
            yield Event(value.key, self.last.get(-1), value.at)
            self.last.set(value.at)

    @pipeline
    def shape(events: Stream[Event]) -> None:
        keyed = events.merge(events, name="twice").key_by(lambda event: event.key)
        once = keyed.dedup(by=lambda event: event.at, within=seconds(50))
        once.in_order().process(Before).to("before")

    last: dict[str, int] = {}
    results: list[Row] = []
    for key, value, at in by_key(events(15)):
        results.append((key, Event(key, last.get(key, -1), at), at))
        last[key] = value.at
    return shape, {"events": events(15)}, {"before": results}


# Tables, of which the rows that hold in the end are compared.


def a_table_that_goes_into_many_joins() -> Shape:
    @pipeline
    def shape(t: Table[Event], u: Table[Event]) -> None:
        def sizes(one: Event | None, other: Event | None) -> list[int]:
            return [one.size if one else -1, other.size if other else -1]

        t.join(u, sizes, name="inner").to("inner")
        t.join(t, sizes, name="itself").to("itself")
        negative = t.map(lambda row: Event(row.key, -row.size, row.at))
        t.filter(lambda row: row.size < 5).join(negative, sizes, how="outer", name="o").to("outer")
        groups = t.group_by(lambda row: row.key).count(name="groups")
        groups.group_by(lambda number: f"{number}", name="by-count").count(name="sizes").to("sizes")
        foreign = t.join_on(u, sizes, key=lambda row: f"s{row.key[1]}", name="foreign")
        foreign.join(t, lambda both, row: [*both, row.at], name="thrice").to("foreign")

    changes = [
        (key, None if number % 7 == 0 else value, at)
        for number, (key, value, at) in enumerate(events(16))
    ]
    other = events(17, 20)
    t = {key: row for key, row in {k: v for k, v, _ in changes}.items() if row is not None}
    u = {key: row for key, row, _ in other}
    groups = Counter(row.key for row in t.values())
    rows: dict[str, Any] = {
        "inner": {key: [row.size, u[key].size] for key, row in t.items() if key in u},
        "itself": {key: [row.size, row.size] for key, row in t.items()},
        "outer": {k: [row.size if row.size < 5 else -1, -row.size] for k, row in t.items()},
        "sizes": {f"{size}": number for size, number in Counter(groups.values()).items()},
        "foreign": {
            key: [row.size, u[f"s{row.key[1]}"].size, row.at]
            for key, row in t.items()
            if f"s{row.key[1]}" in u
        },
    }
    return shape, {"t": changes, "u": other}, rows


def a_stream_grouped_with_its_own_windows() -> Shape:
    @pipeline
    def shape(events: Stream[Event]) -> None:
        keyed = events.key_by(lambda event: event.key)
        counts = keyed.window(tumbling(TEN)).count(name="windows")
        ways = {
            "windows": counts.fields(size=sum_(lambda result: result.value)),
            "again": events.key_by(lambda e: e.key, name="again").fields(
                size=sum_(lambda e: e.size)
            ),
            "itself": keyed.fields(size=sum_(lambda event: event.size)),
        }
        for name, part in ways.items():
            cogroup(Totals, keyed.fields(count=count()), part, name=f"with-{name}").to(name)

    numbers, sizes = Counter[str](), Counter[str]()
    for key, value, _ in by_key(events(18)):
        numbers[key] += 1
        sizes[key] += value.size
    rows = {key: {"count": number, "size": sizes[key]} for key, number in numbers.items()}
    same = {key: {"count": number, "size": number} for key, number in numbers.items()}
    return shape, {"events": events(18)}, {"windows": same, "again": rows, "itself": rows}


def run(t: Driver, inputs: Inputs, seed: int | None) -> None:
    rng = random.Random(seed)
    rest = {topic: list(rows) for topic, rows in inputs.items()}
    while rest:
        topic = rng.choice(sorted(rest))
        size = rng.randint(1, 15)
        for key, value, at in rest[topic][:size]:
            t.send(topic, value, key=key, timestamp=at)
        del rest[topic][:size]
        if not rest[topic]:
            del rest[topic]
        if seed is not None and rng.random() < 0.4:
            t.crash(rng.choice(["outputs", "changelog", "state", "commit", None]))
    t.drain()


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize(
    "shape",
    [
        a_stream_merged_with_itself,
        branches_behind_one_key_merged_again,
        a_stream_joined_with_its_own_count,
        a_stream_joined_with_its_own_windows,
        windows_merged_with_what_they_were_made_of,
        two_joins_that_share_a_side,
        a_join_with_what_a_join_has_made,
        windows_behind_as_of_behind_sessions,
        repartitions_behind_repartitions,
        six_levels,
        copies_left_out_and_put_in_order_for_a_processor,
        a_table_that_goes_into_many_joins,
        a_stream_grouped_with_its_own_windows,
    ],
)
def test_odd_shapes_give_what_plain_python_gives(
    shape: Callable[[], Shape], partitions: int
) -> None:
    declared, inputs, expected = shape()
    for seed in (None, 1, 2):
        with drive(declared, partitions=partitions, seed=seed) as t:
            run(t, inputs, seed)
            for topic, wanted in expected.items():
                records = t.read(topic)
                if isinstance(wanted, dict):
                    rows = {record.key: record.value for record in records}
                    held = {key: row for key, row in rows.items() if row is not None}
                    assert held == wanted, (topic, seed)
                else:
                    found = written((each.key, each.value, each.timestamp) for each in records)
                    assert found == written(wanted), (topic, seed)
