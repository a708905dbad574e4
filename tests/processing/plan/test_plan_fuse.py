"""What a failure inside a fused function tells: the step, the record, and whether state changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from streamlog import Stream, pipeline, sum_, tumbling
from streamlog.processing.plan.fuse import fuse
from streamlog.processing.plan.surroundings import Surroundings
from streamlog.processing.repartition.writers import LATE
from streamlog.processing.worker.batch import Batch

if TYPE_CHECKING:
    from streamlog.processing.dsl.pipeline import Pipeline
    from streamlog.processing.plan.fuse import Blame, Fused


@dataclass
class MemoryRows:
    """Stands for the rows of a window: remembers what was added."""

    added: list[object] = field(default_factory=list)

    def window(self, end: int) -> dict[object, object]:
        return {}

    def touch(self, end: int, key: object) -> MemoryRows:
        return self

    def add(self, values: tuple[object, ...], timestamp: int, writer: int) -> None:
        self.added.append(values)


def compiled(pipeline: Pipeline[..., Any], rows: MemoryRows, *, state_last: bool = True) -> Fused:
    sub = pipeline.plan().sub_topologies[0]
    around = Surroundings(
        tables={},
        rows={node.name: rows for node in sub.stateful},  # type: ignore[misc]
        operators={},
        closed_through={},
        partition=0,
        answers={},
    )
    return fuse(sub.entry, "test", around, state_last=state_last)


def blame(fused: Fused, values: list[int], ends: list[int] | None = None) -> Blame:
    count = len(values)
    batch = Batch(
        values=values,
        keys=[b"k"] * count,
        timestamps=[0] * count,
        offsets=list(range(count)),
        times=[0] * count,
        task_times=[0] * count,
        writers=[0] * count,
        ends=[ends or [1000] * count for _ in fused.windows],
    )
    with pytest.raises(ZeroDivisionError) as caught:
        fused.run(0, count, batch)
    return fused.blame_of(caught.value.__traceback__)


SECOND = timedelta(seconds=1)


class Total(Struct):
    total: float


def invert(value: int) -> float:
    return 1 / value


def test_a_step_without_state_spoils_nothing() -> None:
    @pipeline
    def plain(numbers: Stream[int]) -> None:
        numbers.map(lambda n: n + 1).map(invert).to("inverted")

    rows = MemoryRows()
    found = blame(compiled(plain, rows), [1, 2, -1])
    assert (found.node and found.node.name, found.index, found.spoils) == ("map-invert", 2, False)


def test_a_selector_comes_before_the_state_changes() -> None:
    @pipeline
    def totals(numbers: Stream[int]) -> None:
        numbers.window(tumbling(SECOND)).aggregate(Total, total=sum_(invert)).to("sums")

    rows = MemoryRows()
    found = blame(compiled(totals, rows), [1, 1, 0, 1], [1000, LATE, 1000, LATE])
    assert (found.index, found.late, found.spoils) == (2, (1,), False)
    assert rows.added == [(1.0,)]


@pytest.mark.parametrize(("state_last", "spoils"), [(True, False), (False, True)])
def test_branches_without_state_come_first_where_asked(state_last: bool, spoils: bool) -> None:
    @pipeline
    def both(numbers: Stream[int]) -> None:
        numbers.filter(lambda n: n < 9).window(tumbling(SECOND)).count().to("counts")
        numbers.map(invert).to("inverted")

    rows = MemoryRows()
    found = blame(compiled(both, rows, state_last=state_last), [0])
    assert found.spoils is spoils
    assert len(rows.added) == int(spoils)


def test_a_loop_around_state_spoils_from_its_first_line() -> None:
    @pipeline
    def split(numbers: Stream[int]) -> None:
        parts = numbers.flat_map(lambda n: [n, 0]).map(invert)
        parts.window(tumbling(SECOND)).count().to("counts")

    rows = MemoryRows()
    found = blame(compiled(split, rows), [1])
    # The first turn of the loop has counted, the second fails before the window.
    assert len(rows.added) == 1
    assert found.spoils
