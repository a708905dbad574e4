"""Silent sources: who waits for them, and for how long; decisions that outlive crashes."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from streamlog import Output, Stream, pipeline, tumbling
from streamlog.processing.repartition.position import NO_TIME
from streamlog.processing.worker.silence import Silence, Verdict
from streamlog.testing import drive
from streamlog.testing.memory_worker import STEPS, CheckpointStep

SECOND = timedelta(seconds=1)


class Click(msgspec.Struct):
    page: int


def test_silence_begins_at_the_first_look_and_is_told_once() -> None:
    silence = Silence(idle=5 * SECOND, quiet=None)
    assert silence.look(1_000, 70, caught_up=True) == Verdict()
    assert silence.look(5_999, 70, caught_up=True) == Verdict()
    assert silence.look(6_000, 70, caught_up=True) == Verdict(fell_idle=True)
    assert silence.look(9_000, 70, caught_up=True) == Verdict()
    silence.heard()
    assert silence.look(10_000, 70, caught_up=True) == Verdict()
    assert silence.look(15_000, 70, caught_up=True) == Verdict(fell_idle=True)


def test_whoever_has_not_read_to_the_end_is_not_silent() -> None:
    silence = Silence(idle=SECOND, quiet=SECOND)
    for now_ms in range(0, 10_000, 500):
        assert silence.look(now_ms, 70, caught_up=False) == Verdict()


def test_quiet_time_goes_on_as_the_clock_does() -> None:
    silence = Silence(idle=None, quiet=2 * SECOND)
    assert silence.look(1_000, 500, caught_up=True) == Verdict()
    assert silence.look(2_999, 500, caught_up=True) == Verdict()
    assert silence.look(3_000, 500, caught_up=True) == Verdict(time=2_500)
    assert silence.look(3_500, 2_500, caught_up=True) == Verdict(time=3_000)


def test_a_source_that_never_had_a_record_has_no_time_to_go_on() -> None:
    silence = Silence(idle=None, quiet=SECOND)
    silence.look(0, NO_TIME, caught_up=True)
    assert silence.look(9_000, NO_TIME, caught_up=True) == Verdict()


@pipeline(idle=5 * SECOND)
def paged(clicks: Stream[Click]) -> Output:
    return clicks.key_by(lambda c: c.page).window(tumbling(SECOND)).count().to("counts")


@pipeline(quiet=10 * SECOND, idle=None)
def quiet(clicks: Stream[Click]) -> Output:
    return clicks.window(tumbling(SECOND)).count().to("counts")


def test_an_unused_partition_holds_windows_up_only_until_it_counts_as_idle() -> None:
    with drive(paged, partitions=3) as t:
        for number in range(5):
            t.send("clicks", Click(1), timestamp=number * 1_000, partition=number % 2)
        t.run()
        assert t.read("counts") == []
        t.wait(4 * SECOND)
        assert t.read("counts") == []
        t.wait(2 * SECOND)
        assert [r.timestamp for r in t.read("counts")] == [999, 1999, 2999, 3999]
        t.send("clicks", Click(1), timestamp=4_500, partition=2)
        t.drain()
        assert [r.value["value"] for r in t.read("counts")] == [2], "the idle one is heard again"
        assert t.late_records == 0


@pytest.mark.parametrize("crash", [None, *STEPS])
def test_windows_close_on_a_quiet_stream_and_a_crash_changes_nothing(
    crash: CheckpointStep | None,
) -> None:
    with drive(quiet) as t:
        for number in range(4):
            t.send("clicks", Click(1), key="k", timestamp=number * 500)
        t.run()
        assert [r.timestamp for r in t.read("counts")] == [999]
        t.wait(9 * SECOND)
        assert t.read("counts") == []
        if crash is not None:
            t.crash(at=crash)
            t.wait(9 * SECOND)
        t.wait(2 * SECOND)
        assert {(r.timestamp, r.value["value"]) for r in t.read("counts")} == {(1999, 2)}
        t.send("clicks", Click(1), key="k", timestamp=1_700)
        t.run()
        assert t.late_records == 1, "its window was closed by the clock"


def test_a_decision_is_durable_before_it_acts() -> None:
    with drive(quiet) as t:
        t.send("clicks", Click(1), key="k", timestamp=500)
        t.run()
        worker, name = t._worker, t._worker.task_names[0]
        worker.tick(name, 0)
        worker.tick(name, 10_000)
        assert worker.checkpoint(name, "changelog")
        assert t.log.partition("counts", 0).end == 0
        t.crash()
        t.delete_state()
        t.send("clicks", Click(1), key="k", timestamp=700)
        t.run()
        assert [r.value["value"] for r in t.read("counts")] == [1], "restored, it acts first"
        assert t.late_records == 1
