"""What a worker tells of itself: every figure under its name, readable, and why it is not well."""

from __future__ import annotations

import pytest

from streamlog.metrics.exposition import render
from streamlog.processing.worker.metrics import why_ill, why_not_ready, worker_families
from streamlog.processing.worker.placement import TaskName
from streamlog.processing.worker.status import InputFigures, RestoreFigures, RunStatus, TaskFigures

parser = pytest.importorskip("prometheus_client.parser")

TASK = TaskName("by-user", 3)


def status() -> RunStatus:
    found = RunStatus(restarts=2)
    pipeline = found.of("totals")
    pipeline.phase, pipeline.tasks, pipeline.rebalances = "running", 1, 4
    pipeline.checkpoint_s.observe(0.02)
    pipeline.by_task[TASK] = TaskFigures(
        records_in=100,
        records_out=7,
        late_records=2,
        stream_time_ms=1_500,
        checkpoints=5,
        last_checkpoint_ms=8_000,
        state_rows=11,
        state_bytes=4096,
        inputs={("clicks", 3): InputFigures(100, 130)},
    )
    pipeline.by_task[TaskName("by-user", 4)] = TaskFigures()
    return found


def figures(found: RunStatus) -> dict[str, float]:
    text = render(worker_families(found, 10_000)).decode()
    return {
        ",".join(
            [sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))]
        ): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_task_has_its_figures() -> None:
    found = figures(status())
    where = "pipeline=totals,task=by-user[3]"
    prefix = "streamlog_pipeline"
    assert found[f"{prefix}_records_total,{where}"] == 100
    assert found[f"{prefix}_records_out_total,{where}"] == 7
    assert found[f"{prefix}_late_records_total,{where}"] == 2
    assert found[f"{prefix}_watermark_seconds,{where}"] == 1.5
    assert found[f"{prefix}_state_rows,{where}"] == 11
    assert found[f"{prefix}_state_bytes,{where}"] == 4096
    assert found[f"{prefix}_checkpoints_total,{where}"] == 5
    assert found[f"{prefix}_checkpoint_age_seconds,{where}"] == 2
    assert found[f"{prefix}_lag,partition=3,{where},topic=clicks"] == 30
    assert found[f"{prefix}_position,partition=3,{where},topic=clicks"] == 100
    assert found[f"{prefix}_checkpoint_seconds_count,pipeline=totals"] == 1
    assert found[f"{prefix}_restarts_total,pipeline=totals"] == 2
    assert found[f"{prefix}_rebalances_total,pipeline=totals"] == 4
    assert f"{prefix}_watermark_seconds,pipeline=totals,task=by-user[4]" not in found


def test_restores_and_warm_copies_say_how_far_they_are() -> None:
    found = status()
    pipeline = found.of("totals")
    restore = pipeline.restores[TASK] = RestoreFigures(began_at=0.0)
    restore.aim(100, 1_100)
    restore.advance(600, 450)
    standby = pipeline.standbys[TaskName("by-user", 5)] = RestoreFigures(began_at=0.0)
    standby.aim(0, 10)
    pipeline.restored_records = 10
    values = figures(found)
    assert values["streamlog_pipeline_restore_left,pipeline=totals,task=by-user[3]"] == 500
    assert values["streamlog_pipeline_restore_records_total,pipeline=totals"] == 460
    assert values["streamlog_pipeline_standby_lag,pipeline=totals,task=by-user[5]"] == 10
    assert restore.eta_s(5.0) == 5.0
    restore.aim(600, 1_200)  # another fence was needed
    assert (restore.begin, restore.left) == (100, 600)


def test_a_worker_says_why_it_is_not_ready_or_not_well() -> None:
    found = RunStatus()
    assert why_not_ready(found) == "no pipeline has begun"
    found = status()
    assert (why_ill(found), why_not_ready(found)) == (None, None)
    found.of("totals").restores[TASK] = RestoreFigures(began_at=0.0)
    assert why_not_ready(found) == "totals: restoring 1 tasks"
    found.of("totals").phase = "joining"
    assert why_not_ready(found) == "totals: joining"
    found.of("totals").phase = "failed"
    assert why_ill(found) == "failed: totals"
