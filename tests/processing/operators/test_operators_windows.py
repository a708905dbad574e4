"""Every kind of window against sets and loops: any order, lateness, writers, restarts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_harness import Event, Harness
from windows_reference import Counted, Hopping, Reference, Sent, Sessions, Sliding, values_of

from streamlog import count, count_windows, first, hopping, last, sessions, sliding, sum_, tumbling
from streamlog.processing.dsl.nodes import OperatorNode
from streamlog.processing.dsl.windowing import Emit, check_windowing, late_node, window_node

if TYPE_CHECKING:
    from random import Random

FIELDS = {
    "events": count(),
    "total": sum_(lambda amount: amount),
    "oldest": first(),
    "newest": last(),
}
SPECS = tuple(each.spec(name, float | None) for name, each in FIELDS.items())
INTERVAL_MS = 9


def build(values: list[Any]) -> dict[str, Any]:
    return dict(zip(FIELDS, values, strict=True))


def ms(number: int) -> timedelta:
    return timedelta(milliseconds=number)


@dataclass(frozen=True)
class Case:
    windows: Any
    grace: int | None
    reference: Reference

    def node(self, emit: Emit) -> OperatorNode:
        grace = None if self.grace is None else ms(self.grace)
        windowing = check_windowing(self.windows, grace, emit)
        found = window_node(cast("Any", None), windowing, "step", None, SPECS, build)
        assert isinstance(found, OperatorNode)
        return found

    def late(self) -> OperatorNode:
        grace = None if self.grace is None else ms(self.grace)
        parent = OperatorNode(
            name="", location=cast("Any", None), value_type=None, parents=(),
            make=cast("Any", None), layout="",
        )  # fmt: skip
        return late_node(parent, check_windowing(self.windows, grace, "final"), None)


CASES = {
    "hopping": Case(hopping(ms(10), advance=ms(5)), 3, Hopping(10, 5, 0, 3)),
    "hopping unevenly": Case(hopping(ms(11), advance=ms(4), offset=ms(3)), 7, Hopping(11, 4, 3, 7)),
    "tumbling with an offset": Case(tumbling(ms(10), offset=ms(-3)), 0, Hopping(10, 10, 7, 0)),
    "sliding": Case(sliding(ms(6)), 4, Sliding(6, 4)),
    "sliding without grace": Case(sliding(ms(12)), None, Sliding(12, 0)),
    "sessions": Case(sessions(ms(5)), None, Sessions(5, 5)),
    "sessions with little grace": Case(sessions(ms(7)), 2, Sessions(7, 2)),
    "sessions with much grace": Case(sessions(ms(3)), 20, Sessions(3, 20)),
}
COUNTED = Case(count_windows(3), None, Counted(3))
TIMED = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
WITH_COUNTED = pytest.mark.parametrize(
    "case", [*CASES.values(), COUNTED], ids=[*CASES.keys(), "counted"]
)
EMITS = pytest.mark.parametrize("emit", ["final", "changes", ms(INTERVAL_MS)], ids=str)

KEYS = [b"a", b"b", None, b"long" * 150]
amounts = st.none() | st.sampled_from([0.1, 0.2, 0.3, -0.1, 1e16, 1.0, -1e16, 3.5])
raw = st.tuples(
    st.sampled_from(KEYS), st.integers(0, 60), amounts, st.integers(0, 2), st.integers(0, 4)
)
histories = st.lists(raw, max_size=40)
interruptions = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["checkpoint", "checkpoint", "restart"])),
    max_size=8,
)


def stamped(history: list[Any], *, drift: bool) -> list[Sent]:
    """Records with the times of their writers; with a drift, times grow as on a live stream."""
    times: dict[int, int] = {}
    found = []
    for number, (key, at, amount, writer, step) in enumerate(history):
        moment = at // 4 + number * step if drift else at
        times[writer] = max(times.get(writer, moment), moment)
        found.append(Sent(key, moment, amount, writer, number, times[writer]))
    return found


@dataclass
class Run:
    """Sends records, with checkpoints and restarts between them."""

    node: OperatorNode
    results: list[Any] = field(default_factory=list)
    batches: list[list[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.harness = Harness(self.node.make, self.node.tick_ms, writers=3)

    def send(self, records: list[Sent], stops: list[tuple[int, str]]) -> Run:
        """What each record caused is in `batches`."""
        left = sorted(stops)
        saved = 0
        index = 0
        while index < len(records):
            while left and left[0][0] <= index:
                _, action = left.pop(0)
                if action == "checkpoint":
                    self.harness.checkpoint()
                    saved = index
                else:
                    self.harness.restart()
                    del self.batches[saved:]
                    index = saved
            each = records[index]
            event = Event(each.key, each.amount, each.at, writer=each.writer)
            self.batches.append(self.harness.send(event))
            index += 1
        return self

    def drain(self) -> list[Any]:
        """Returns all results, those of the end included."""
        self.batches.append(self.harness.drain())
        return [result for batch in self.batches for result in batch]


def plain(result: Any) -> tuple[Any, ...]:  # noqa: ANN401 (an operator's result)
    key, windowed, timestamp = result
    return key, millis(windowed.start), millis(windowed.end), windowed.value, timestamp


def millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def key_of(key: Any) -> bytes | None:  # noqa: ANN401 (counted windows have their place in it)
    return cast("bytes | None", key[0] if isinstance(key, tuple) else key)


def bag(rows: list[tuple[Any, ...]]) -> Counter[str]:
    return Counter(map(repr, rows))


@WITH_COUNTED
@settings(max_examples=120, deadline=None)
@given(history=histories, stops=interruptions, drift=st.booleans())
def test_final_results_are_those_of_sets_and_loops(
    case: Case, history: list[Any], stops: list[tuple[int, str]], drift: bool
) -> None:
    records = stamped(history, drift=drift)
    run = Run(case.node("final")).send(records, stops)
    found = [plain(each) for each in run.drain()]
    expected = [
        (key_of(key), start, end, values_of(held), case.reference.last((key, start, end)))
        for (key, start, end), held in case.reference.windows(records).items()
    ]
    assert bag(found) == bag(expected)
    assert run.harness.late == sum(map(case.reference.is_late, records))
    for batch in run.batches:
        order = [(r[2], r[0] is not None, r[0] or b"") for r in batch]
        assert order == sorted(order)


@WITH_COUNTED
@settings(max_examples=120, deadline=None)
@given(history=histories, stops=interruptions, drift=st.booleans())
def test_each_change_comes_out_at_once(
    case: Case, history: list[Any], stops: list[tuple[int, str]], drift: bool
) -> None:
    records = stamped(history, drift=drift)
    run = Run(case.node("changes")).send(records, stops)
    before: dict[Any, list[Sent]] = {}
    for index, batch in enumerate(run.batches):
        record = records[index]
        after = case.reference.windows(records[: index + 1])
        changed = {
            identity: held
            for identity, held in after.items()
            if record in held or identity not in before
        }
        gone = [identity for identity in before if identity not in after]
        assert bag([plain(each)[:4] for each in batch]) == bag(
            [
                (key_of(key), start, end, values_of(held))
                for (key, start, end), held in changed.items()
            ]
        )
        if not isinstance(case.reference, Counted):
            replaced = [span for _, windowed, _ in batch for span in windowed.replaces]
            assert sorted((millis(a), millis(b)) for a, b in replaced) == sorted(
                (start, end) for _, start, end in gone
            )
        lag = case.node("changes").lag_ms
        assert all(each[2] >= record.time - lag for each in batch) or case is COUNTED
        before = after
    assert run.harness.drain() == []
    assert run.harness.late == sum(map(case.reference.is_late, records))


@TIMED
@settings(max_examples=120, deadline=None)
@given(history=histories, stops=interruptions, drift=st.booleans())
def test_changes_come_out_at_intervals_of_their_writers_time(
    case: Case, history: list[Any], stops: list[tuple[int, str]], drift: bool
) -> None:
    records = stamped(history, drift=drift)
    run = Run(case.node(ms(INTERVAL_MS))).send(records, stops)
    found = run.drain()
    expected: list[tuple[Any, ...]] = []
    replaced: list[tuple[Any, ...]] = []
    before: dict[Any, list[Sent]] = {}
    for due in sorted({r.time // INTERVAL_MS * INTERVAL_MS + INTERVAL_MS for r in records}):
        seen = [r for r in records if r.time < due]
        fresh = [r for r in seen if r.time >= due - INTERVAL_MS]
        after = case.reference.windows(seen)
        for identity, held in after.items():
            if identity not in before or any(r in held for r in fresh):
                moment = min(due - 1, case.reference.last(identity))
                expected.append((*identity, values_of(held), moment))
        replaced += [identity for identity in before if identity not in after]
        before = after
    assert bag([plain(each) for each in found]) == bag(expected)
    spans = [(k, millis(a), millis(b)) for k, w, _ in found for a, b in w.replaces]
    assert bag(spans) == bag(replaced)


def shuffled(records: list[Sent], order: list[int]) -> list[Sent]:
    """The same records of each writer in the same order, mixed in another way."""
    queues = {w: [r for r in records if r.writer == w] for w in range(3)}
    mixed = []
    for each in [*order, 0, 1, 2]:
        for writer in (each, (each + 1) % 3, (each + 2) % 3):
            if queues[writer]:
                mixed.append(queues[writer].pop(0))
                break
    for queue in queues.values():
        mixed += queue
    return mixed


@TIMED
@EMITS
@settings(max_examples=60, deadline=None)
@given(
    history=histories,
    stops=interruptions,
    order=st.lists(st.integers(0, 2), min_size=40, max_size=40),
    drift=st.booleans(),
)
def test_how_writers_are_mixed_shows_neither_in_results_nor_in_state(
    case: Case,
    emit: Emit,
    history: list[Any],
    stops: list[tuple[int, str]],
    order: list[int],
    drift: bool,
) -> None:
    records = stamped(history, drift=drift)
    one = Run(case.node(emit)).send(records, stops)
    other = Run(case.node(emit)).send(shuffled(records, order), [])
    one.harness.checkpoint()
    other.harness.checkpoint()
    assert one.harness.rows.rows == other.harness.rows.rows
    if emit != "changes":
        assert bag(one.drain()) == bag(other.drain())


@TIMED
@settings(max_examples=120, deadline=None)
@given(
    history=histories,
    drains=st.lists(st.integers(0, 40), max_size=3),
    restarts=st.lists(st.integers(0, 40), max_size=3),
)
def test_late_records_are_a_stream_of_their_own_and_drained_windows_stay_closed(
    case: Case, history: list[Any], drains: list[int], restarts: list[int]
) -> None:
    records = stamped(history, drift=False)
    windowed = Harness(case.node("final").make, case.node("final").tick_ms, writers=3)
    late = Harness(case.late().make, case.late().tick_ms, writers=3)
    results: list[Any] = []
    passed: list[Any] = []
    for index, each in enumerate(records):
        if index in drains:
            results += windowed.drain()
            assert late.drain() == []
        if index in restarts:
            for harness in (windowed, late):
                harness.checkpoint()
                harness.restart()
        event = Event(each.key, each.amount, each.at, writer=each.writer)
        results += windowed.send(event)
        found = late.send(event)
        passed += found
        assert windowed.late == len(passed)
        assert found in ([], [(each.key, each.amount, each.at)])
    results += windowed.drain()
    identities = [plain(each)[:3] for each in results]
    assert len(set(identities)) == len(identities)
    if not drains:
        assert len(passed) == sum(map(case.reference.is_late, records))
    windowed.checkpoint()
    assert len(windowed.rows.rows) <= 1, "only the mark of the drain is left"


@TIMED
@pytest.mark.parametrize("emit", ["final", "changes"])
@settings(max_examples=100, deadline=None)
@given(history=histories, ahead=st.lists(st.integers(0, 70), min_size=40, max_size=40))
def test_a_writer_that_comes_back_far_behind_opens_nothing_that_is_closed(
    case: Case, emit: Emit, history: list[Any], ahead: list[int]
) -> None:
    node = case.node(emit)
    windowed, late = Harness(node.make, 1).operator, Harness(case.late().make, 1).operator
    assert node.tick_ms is not None
    records: list[Sent] = []
    results: list[Any] = []
    found: list[Any] = []
    for each, time in zip(stamped(history, drift=False), ahead, strict=False):
        if time < 20:
            # Others go on without this writer.
            now = (each.time + time) // node.tick_ms * node.tick_ms
            results += windowed.advance(now)
            late.advance(now)
        arguments = (0, each.key, each.amount, each.at, each.time, each.writer)
        results += windowed.process(*arguments)
        found += late.process(*arguments)
        records.append(replace(each, time=max(each.time, windowed.now)))
        assert len(found) == windowed.late
    results += windowed.drain()
    expected = {
        identity: values_of(held) for identity, held in case.reference.windows(records).items()
    }
    shown: dict[Any, Any] = {}
    for result in results:
        key, start, end, value, _ = plain(result)
        for first_moment, last_moment in result[1].replaces:
            del shown[key, millis(first_moment), millis(last_moment)]
        assert emit == "changes" or (key, start, end) not in shown
        shown[key, start, end] = value
    assert shown == expected
    assert windowed.late == sum(map(case.reference.is_late, records))


@settings(max_examples=60, deadline=None)
@given(times=st.lists(st.integers(0, 150), max_size=150), seed=st.randoms())
def test_sliding_windows_that_hold_much(times: list[int], seed: Random) -> None:
    history = [(b"a", at, seed.choice([None, 0.1, -1e16, 3.5]), 0, 0) for at in times]
    records = stamped(history, drift=False)
    case = Case(sliding(ms(40)), 60, Sliding(40, 60))
    found = [plain(each)[:4] for each in Run(case.node("final")).send(records, []).drain()]
    expected = case.reference.windows(records)
    assert bag(found) == bag([(*each, values_of(held)) for each, held in expected.items()])


def test_state_is_gone_when_windows_are_closed() -> None:
    for case in CASES.values():
        for emit in ("final", "changes", ms(INTERVAL_MS)):
            run = Run(case.node(emit))
            run.send(stamped([(b"a", at, 1.0, 0, 0) for at in range(0, 200, 3)], drift=False), [])
            run.harness.move_time(0)
            for writer in (1, 2):
                run.harness.send(Event(b"b", 1.0, 1000, writer=writer))
            run.harness.send(Event(b"b", 1.0, 1000))
            run.harness.move_time(2000)
            run.harness.checkpoint()
            assert run.harness.rows.rows == {}, case
