"""One input, or a drain, may cause any number of outputs; here the numbers are small."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from msgspec import Struct

from streamlog import Output, Stream, Windowed, count, pipeline, tumbling
from streamlog.processing.repartition import outbox, withdrawn, writers
from streamlog.testing import Driver, drive
from streamlog.testing.memory_worker import STEPS, CheckpointStep

KEYS = 23

pytestmark = pytest.mark.skipif(
    not outbox.__file__.endswith(".py"), reason="what is compiled has its constants in it"
)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (outbox, writers, withdrawn):
        for name, value in (("INDEX_BITS", 2), ("BLOCK", 4), ("DRAIN_INDEX", 2)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)


class Counted(Struct):
    n: int


@pipeline
def counts(words: Stream[str]) -> Output:
    minutes = words.window(tumbling(timedelta(minutes=1))).aggregate(Counted, n=count())
    by_length = minutes.key_by(lambda each: str(each.value.n))
    return (
        by_length.window(tumbling(timedelta(minutes=1)))
        .aggregate(Counted, n=count(), name="again")
        .to("counts")
    )


def send(t: Driver, minute: int) -> None:
    for number in range(KEYS):
        for nth in range(number % 3 + 1):
            time = minute * 60_000 + nth
            t.send("words", "word", key=f"key-{number}", timestamp=time, partition=number % 2)


def found(t: Driver) -> dict[tuple[object, int], int]:
    records = t.read("counts", Windowed[Counted])
    return {(each.key, each.timestamp): each.value.value.n for each in records}


def expected(*minutes: int) -> dict[tuple[object, int], int]:
    keys = Counter(str(number % 3 + 1) for number in range(KEYS))
    return {
        (key, minute * 60_000 + 59_999): number
        for minute in minutes
        for key, number in keys.items()
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("at", [None, *STEPS])
def test_windows_that_close_together_are_all_counted_once(
    at: CheckpointStep | None, seed: int
) -> None:
    with drive(counts, partitions=2, seed=seed) as t:
        for minute in range(4):
            send(t, minute)
            t.run()
            t.crash(at)
            t.run()
        t.drain()
        t.crash(at)
        t.run()
        # A drained pipeline goes on: what comes is numbered behind all that the drain put out.
        send(t, 9)
        t.run()
        t.drain()
        assert found(t) == expected(0, 1, 2, 3, 9)
