"""More windows are open than the results of one input are numbered for, and all close in one go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streamlog import Output, Stream, pipeline, tumbling
from streamlog.processing.repartition.position import BLOCK, DRAIN_INDEX
from streamlog.testing import Driver, drive

WINDOWS = BLOCK - DRAIN_INDEX + 20_000
"""A drain's results begin at one number and go on, through the next block's, to here."""
MINUTE = timedelta(minutes=1)


@pipeline
def counts(numbers: Stream[int]) -> Output:
    """Zeros go straight to where the windows' results go to, by the same topic."""
    zeros = numbers.filter(lambda number: number == 0)
    per_key = numbers.window(tumbling(MINUTE)).count().map(lambda each: each.value, to=int)
    by_number = zeros.merge(per_key).key_by(str, name="by-number")
    return by_number.window(tumbling(MINUTE)).count(name="again").to("counts")


def send(t: Driver, count: int, number: int, minute: int) -> None:
    keys: list[bytes | None] = [b"%d" % each for each in range(count)]
    values: list[bytes | None] = [b"%d" % number] * count
    t.log.partition("numbers", 0).append(keys, values, [minute * 60_000] * count)


def found(t: Driver) -> dict[tuple[object, int], int]:
    return {(each.key, each.timestamp): each.value["value"] for each in t.read("counts")}


@pytest.mark.slow
def test_hundreds_of_thousands_of_windows_close_in_one_go_and_are_counted_once() -> None:
    with drive(counts) as t:
        send(t, WINDOWS, 7, minute=0)
        t.run()
        for name in t._sources():
            t._worker.drain(name)
        # It dies when all results are out and nothing says so: they come again.
        t.crash("outputs")
        t.drain()
        assert found(t) == {("1", 59_999): WINDOWS}
        # What the next record causes is numbered behind all that the drain has put out.
        send(t, 1, 0, minute=1)
        t.drain()
        assert found(t) == {("0", 119_999): 1, ("1", 119_999): 1}
