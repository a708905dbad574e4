"""Named state against dictionaries and lists; timers against a list of all that were set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from operator_harness import Event, Harness
from operator_runs import Stop, run, stops

from streamlog.processing.operators.named_state import List, Map, Place, Value
from streamlog.processing.operators.processor import (
    Calls,
    ProcessorContext,
    ProcessorStep,
    Timer,
)
from streamlog.serde.msgpack import MsgpackSerde

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlog.processing.operators.processor import Outputs

INTS: MsgpackSerde[Any] = MsgpackSerde(int)
KEYS: MsgpackSerde[Any] = MsgpackSerde(cast("Any", str | int | tuple[int, str] | None))
LONG = b"long" * 200

keys = st.sampled_from([b"a", b"b", None, LONG])


class States:
    """One of each kind, at a place."""

    def __init__(self, place: Place) -> None:
        self.value: Value[int] = Value(place, "value", INTS)
        self.map: Map[Any, int] = Map(place, "map", KEYS, INTS)
        self.list: List[int] = List(place, "list", INTS)


class Model:
    """The same with what Python has."""

    def __init__(self) -> None:
        self.value: int | None = None
        self.map: dict[Any, int] = {}
        self.list: list[int] = []


ACTIONS: dict[str, tuple[Callable[[States, Any, int], object], Callable[[Model, Any, int], object]]]
ACTIONS = {
    "get": (lambda s, k, n: s.value.get(), lambda m, k, n: m.value),
    "set": (lambda s, k, n: s.value.set(n), lambda m, k, n: setattr(m, "value", n)),
    "clear": (lambda s, k, n: s.value.clear(), lambda m, k, n: setattr(m, "value", None)),
    "put": (lambda s, k, n: s.map.update({k: n}), lambda m, k, n: m.map.update({k: n})),
    "pop key": (lambda s, k, n: s.map.pop(k, None), lambda m, k, n: m.map.pop(k, None)),
    "items": (lambda s, k, n: dict(s.map), lambda m, k, n: m.map),
    "sizes": (
        lambda s, k, n: (len(s.map), bool(s.map), k in s.map, len(s.list)),
        lambda m, k, n: (len(m.map), bool(m.map), k in m.map, len(m.list)),
    ),
    "clear map": (lambda s, k, n: s.map.clear(), lambda m, k, n: m.map.clear()),
    "append": (lambda s, k, n: s.list.append(n), lambda m, k, n: m.list.append(n)),
    "extend": (lambda s, k, n: s.list.extend([n, 1]), lambda m, k, n: m.list.extend([n, 1])),
    "pop": (
        lambda s, k, n: s.list.pop() if s.list else None,
        lambda m, k, n: m.list.pop() if m.list else None,
    ),
    "popleft": (
        lambda s, k, n: s.list.popleft() if s.list else None,
        lambda m, k, n: m.list.pop(0) if m.list else None,
    ),
    "read": (
        lambda s, k, n: (list(s.list), s.list[1:], s.list[-1:], n in s.list),
        lambda m, k, n: (m.list, m.list[1:], m.list[-1:], n in m.list),
    ),
    "clear list": (lambda s, k, n: s.list.clear(), lambda m, k, n: m.list.clear()),
}

map_keys = st.sampled_from(["", "a", "ab", 0, -1, 2**40, (1, "x"), None, "long" * 200])
calls = st.lists(
    st.builds(
        Event,
        keys,
        st.tuples(st.sampled_from(sorted(ACTIONS)), map_keys, st.integers(0, 3)),
        st.just(0),
    ),
    max_size=30,
)


def acting(place: Place) -> Calls:
    states = States(place)

    def process(key: bytes | None, value: Any, ctx: ProcessorContext) -> Outputs:  # noqa: ANN401
        action, map_key, number = value
        return [ACTIONS[action][0](states, map_key, number)]

    return Calls(process, lambda key, timer, ctx: None)


def step(bind: Callable[[Place], Calls]) -> ProcessorStep:
    return ProcessorStep(name="Tested", bind=bind, layout="")


@given(calls, stops)
def test_state_is_what_python_has_for_each_key(calls: list[Event], stops: list[Stop]) -> None:
    results, harness = run(step(acting).make, calls, stops, tick_ms=None)
    models: dict[bytes | None, Model] = {}
    for event, (key, output, _) in zip(calls, results, strict=True):
        action, map_key, number = event.value
        model = models.setdefault(event.key, Model())
        assert (key, output) == (event.key, ACTIONS[action][1](model, map_key, number))
    if all(not (m.map or m.list or m.value is not None) for m in models.values()):
        assert not harness.rows.rows, "what was removed leaves nothing behind"


def test_keys_of_maps_come_in_their_order() -> None:
    def ordered(place: Place) -> Calls:
        states = States(place)

        def process(key: bytes | None, value: Any, ctx: ProcessorContext) -> Outputs:  # noqa: ANN401
            for number, each in enumerate(value):
                states.map[each] = number
            return [list(states.map)]

        return Calls(process, lambda key, timer, ctx: None)

    events = [Event(b"n", [5, -3, 300, 0], 0), Event(b"t", ["b", "", "ab", "ä"], 0)]
    results, _ = run(step(ordered).make, events)
    assert [value for _, value, _ in results] == [[-3, 0, 5, 300], ["", "ab", "b", "ä"]]


@given(calls, st.integers(0, 30))
def test_a_call_that_fails_leaves_no_trace(calls: list[Event], at: int) -> None:
    def failing(place: Place) -> Calls:
        states = States(place)
        inner = acting(place)

        def process(key: bytes | None, value: Any, ctx: ProcessorContext) -> Iterator[Any]:  # noqa: ANN401
            if value == "fail":
                states.value.set(99)
                states.value.clear()
                states.map["new"] = 99
                states.map.clear()
                states.list.append(99)
                ctx.timer(5, "new")
                ctx.cancel("old")
                ctx.wall_timer(3, "old")
                yield 1
                raise ValueError("no")
            ctx.timer(7, "old")
            ctx.wall_timer(7, "old")
            yield from inner.process(key, value, ctx) or ()

        return Calls(process, lambda key, timer, ctx: None)

    plain, broken = Harness(step(failing).make), Harness(step(failing).make)
    plain.send_all(calls)
    broken.send_all(calls[:at])
    for key in (b"a", LONG):
        with pytest.raises(ValueError, match="no"):
            broken.send(Event(key, "fail", 0))
    broken.send_all(calls[at:])
    plain.checkpoint()
    broken.checkpoint()
    assert broken.rows.rows == plain.rows.rows


def test_state_outside_a_call_is_refused() -> None:
    kept: list[States] = []

    def bind(place: Place) -> Calls:
        kept.append(States(place))
        return acting(place)

    Harness(step(bind).make).send(Event(b"a", ("get", "", 0), 0))
    with pytest.raises(RuntimeError, match="while process or on_timer runs"):
        kept[0].value.get()


# Timers.

Setting = tuple[str, int, str, bool]
"""Set or cancel, how long from the record, name, whether on the wall."""

settings = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "cancel"]),
        st.integers(-3, 12),
        st.sampled_from(["", "x", "zz"]),
        st.just(False),
    ),
    max_size=3,
)
timed = st.lists(st.tuples(keys, settings, st.integers(0, 3)), max_size=12)


def timing(place: Place) -> Calls:
    """Does what records say; a timer called "x" sets one called "zz" 4 later."""

    def process(key: bytes | None, value: list[Setting], ctx: ProcessorContext) -> Outputs:
        for action, delay, name, wall in value:
            if action == "set":
                (ctx.wall_timer if wall else ctx.timer)(ctx.timestamp + delay, name)
            else:
                (ctx.cancel_wall if wall else ctx.cancel)(name)
        return None

    def on_timer(key: bytes | None, timer: Timer, ctx: ProcessorContext) -> Outputs:
        at = round(timer.at.timestamp() * 1000)
        if timer.name == "x":
            (ctx.wall_timer if timer.wall else ctx.timer)(at + 4, "zz")
        return [(at, timer.name)]

    return Calls(process, on_timer)


Fired = tuple[bytes | None, tuple[int, str], int]


class TimersModel:
    """All timers that are set, by key and name."""

    def __init__(self) -> None:
        self.timers: dict[tuple[bytes | None, str], tuple[int, int]] = {}

    def take(self, event: Event) -> None:
        for action, delay, name, _ in event.value:
            if action == "set":
                self.timers[event.key, name] = (event.timestamp + delay, event.timestamp)
            else:
                self.timers.pop((event.key, name), None)

    def fire(self, through: int) -> list[Fired]:
        fired: list[Fired] = []
        while self.timers:
            place = min(self.timers, key=lambda each: (self.timers[each][0], *_order(each)))
            at, set_at = self.timers[place]
            if at > through:
                break
            del self.timers[place]
            key, name = place
            if name == "x":
                self.timers[key, "zz"] = (at + 4, max(at, set_at))
            fired.append((key, (at, name), max(at, set_at)))
        return fired


def _order(place: tuple[bytes | None, str]) -> tuple[int, bytes, str]:
    key, name = place
    rank = 0 if key is None else 2 if len(key) > 128 else 1
    return rank, key or b"", name


def events_of(timed: list[tuple[bytes | None, list[Setting], int]]) -> list[Event]:
    events, at = [], 0
    for key, value, later in timed:
        at += later
        events.append(Event(key, value, at))
    return events


@given(timed, stops, st.sampled_from([1, 4]))
def test_timers_fire_when_stream_time_has_come(
    timed: list[tuple[bytes | None, list[Setting], int]], stops: list[Stop], tick: int
) -> None:
    events = events_of(timed)
    results, harness = run(step(timing).make, events, stops, tick, writers=1)
    results += harness.move_time(100)
    harness.checkpoint()
    model = TimersModel()
    expected = []
    now = -1
    for event in events:
        floored = event.timestamp - event.timestamp % tick
        if floored > now:
            now = floored
            expected += model.fire(now)
        model.take(event)
    assert results == expected + model.fire(100)
    assert not harness.rows.rows


@given(timed, st.lists(st.integers(0, 30), max_size=5))
def test_timers_on_the_wall_fire_in_order_of_due_time_whenever_somebody_looks(
    timed: list[tuple[bytes | None, list[Setting], int]], looks: list[int]
) -> None:
    on_the_wall = [
        (key, [(action, delay, name, True) for action, delay, name, _ in value], later)
        for key, value, later in timed
    ]
    events = events_of(on_the_wall)
    harness = Harness(step(timing).make)
    harness.send_all(events)
    harness.checkpoint()
    model = TimersModel()
    for event in events:
        model.take(event)
    due = model.fire(100)
    for look in looks:
        first = harness.operator.next_tick()
        passed = [value for _, value, _ in harness.operator.tick(look)]
        assert passed == [value for _, value, _ in due if value[0] <= look]
        assert not passed or (first is not None and first <= look)
        # A crash, and it is looked later: what came out before comes first.
        harness.restart()
    assert [value for _, value, _ in harness.operator.tick(100)] == [value for _, value, _ in due]


def test_what_a_timer_on_the_wall_yields_is_as_new_as_stream_time() -> None:
    harness = Harness(step(timing).make)
    harness.send(Event(b"a", [("set", 5, "", True)], 10))
    harness.send(Event(b"b", [], 500))
    assert list(harness.operator.tick(15)) == [(b"a", (15, ""), 500)]


def test_a_drain_fires_what_is_set_and_lets_a_periodic_timer_end() -> None:
    def periodic(place: Place) -> Calls:
        def process(key: bytes | None, value: int, ctx: ProcessorContext) -> Outputs:
            ctx.timer(value)
            return None

        def on_timer(key: bytes | None, timer: Timer, ctx: ProcessorContext) -> Outputs:
            ctx.timer(ctx.timestamp + 10)
            return [ctx.timestamp]

        return Calls(process, on_timer)

    harness = Harness(step(periodic).make)
    harness.send_all([Event(b"a", 10, 0), Event(b"b", 25, 0)])
    assert [value for _, value, _ in harness.drain()] == [10, 20, 25]


def test_a_timer_that_would_fire_for_ever_is_refused() -> None:
    def endless(place: Place) -> Calls:
        def process(key: bytes | None, value: int, ctx: ProcessorContext) -> Outputs:
            ctx.timer(value)
            return None

        def on_timer(key: bytes | None, timer: Timer, ctx: ProcessorContext) -> Outputs:
            ctx.timer(timer.at)
            return None

        return Calls(process, on_timer)

    harness = Harness(step(endless).make)
    harness.send(Event(b"a", 5, 0))
    with pytest.raises(ValueError, match="again and again"):
        harness.move_time(5)


@pytest.mark.parametrize("returned", ["text", 5, {"a": 1}])
def test_what_is_returned_and_not_yielded_is_explained(returned: object) -> None:
    def bind(place: Place) -> Calls:
        def process(key: bytes | None, value: Any, ctx: ProcessorContext) -> Any:  # noqa: ANN401
            return returned

        return Calls(process, lambda key, timer, ctx: None)

    with pytest.raises(TypeError, match=r"Tested\.process returned .* write `yield`"):
        Harness(step(bind).make).send(Event(b"a", 1, 0))


def test_a_timers_name_has_a_limit() -> None:
    def bind(place: Place) -> Calls:
        def process(key: bytes | None, value: Any, ctx: ProcessorContext) -> Outputs:  # noqa: ANN401
            ctx.timer(0, "n" * 65)
            return None

        return Calls(process, lambda key, timer, ctx: None)

    with pytest.raises(ValueError, match="too long"):
        Harness(step(bind).make).send(Event(b"a", 1, 0))
