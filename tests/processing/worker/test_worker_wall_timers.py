"""Timers that go by the clock on the wall: what fired stays as it was, however often it is redone.

A timer fires between two records, wherever the clock happens to be looked at. What it then finds
in the state depends on that place, so the place must be the same in every later life of the task.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import example, given
from hypothesis import strategies as st

from streamlog import Processor, Stream, Value, pipeline
from streamlog.processing.errors import HistoryError
from streamlog.testing import drive
from streamlog.testing.memory_worker import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.testing import Driver

KEYS = ("a", "b")
DELAYS_MS = st.sampled_from([0, 500, 3_000])

actions = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(KEYS), DELAYS_MS),
        st.tuples(st.just("look"), st.sampled_from([1, 1_000])),
        st.tuples(st.just("checkpoint")),
        st.tuples(st.just("crash"), st.sampled_from([None, *STEPS])),
        st.tuples(st.just("rewind"), st.sampled_from(["start", -1, -2])),
        st.tuples(st.just("lose the state")),
    ),
    max_size=30,
)


class Reminder(Processor[int, list[int]]):
    """Each record sets a timer of its own."""

    seen: Value[int]
    fired: Value[int]

    def process(self, key: bytes | None, value: int, ctx: Any) -> None:  # noqa: ANN401
        number = (self.seen.get() or 0) + 1
        self.seen.set(number)
        ctx.wall_timer(value, f"{number}")

    def on_timer(self, key: bytes | None, timer: Any, ctx: Any) -> Iterator[list[int]]:  # noqa: ANN401
        fired = (self.fired.get() or 0) + 1
        self.fired.set(fired)
        yield [int(timer.name), self.seen.get() or 0, fired]


@pipeline
def reminders(orders: Stream[int]) -> None:
    orders.process(Reminder).to("reminders")


BETWEEN_TWO = [("send", "a", 0), ("look", 1), ("checkpoint",), ("send", "a", 0)]


@given(actions)
@example([*BETWEEN_TWO, ("crash", "state")])
@example([*BETWEEN_TWO, ("checkpoint",), ("rewind", "start")])
def test_timers_fire_once_and_at_the_same_place_when_records_are_processed_again(
    actions: list[tuple[Any, ...]],
) -> None:
    sent: defaultdict[str, int] = defaultdict(int)
    now_ms = 0
    with drive(reminders, partitions=2) as t:
        for action, *arguments in actions:
            if action == "send":
                key, delay_ms = arguments
                sent[key] += 1
                t.send("orders", now_ms + delay_ms, key=key)
            elif action == "look":
                now_ms += arguments[0]
                look(t, now_ms)
            elif action == "checkpoint":
                t.checkpoint()
            elif action == "crash":
                t.crash(*arguments)
            elif action == "rewind":
                # Lost state takes its history with it.
                with suppress(HistoryError):
                    t.rewind(*arguments)
            else:
                t.delete_state()
        t.wait(timedelta(milliseconds=now_ms + 10_000))
        found = fired(t)
    for key in KEYS:
        mine = [each for owner, each in found if owner == key]
        # One and the same result of each timer, though it may have come several times.
        assert sorted(number for number, _, _ in set(mine)) == list(range(1, sent[key] + 1))
        assert sorted(count for _, _, count in set(mine)) == list(range(1, sent[key] + 1))


def look(t: Driver, now_ms: int) -> None:
    """Reads what is there, and looks at the clock."""
    t._process_all()
    for name in t._worker.task_names:
        t._worker.tick(name, now_ms)


def fired(t: Driver) -> list[tuple[str, tuple[int, ...]]]:
    return [(str(record.key), tuple(record.value)) for record in t.read("reminders")]
