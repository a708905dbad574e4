"""A worker's figures for `/metrics`, `/healthz` and `/readyz`.

The names are Kafka Streams' words under `streamlog_pipeline_`. Each worker tells of the tasks it
runs; sums over workers are the pipeline's, since a task has one worker. A task that moves begins to
count anew elsewhere, which Prometheus takes for a counter that was reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.metrics.exposition import Family, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamlog.processing.worker.status import PipelineStatus, RunStatus, TaskFigures

PREFIX = "streamlog_pipeline_"

_OF_TASK: tuple[tuple[str, Kind, str, Callable[[TaskFigures], float | None]], ...] = (
    ("records_total", Kind.COUNTER, "Records read.", lambda t: t.records_in),
    ("records_out_total", Kind.COUNTER, "Records written.", lambda t: t.records_out),
    (
        "late_records_total",
        Kind.COUNTER,
        "Records that came too late, since the state began.",
        lambda t: t.late_records,
    ),
    (
        "watermark_seconds",
        Kind.GAUGE,
        "Stream time of a task, in seconds since 1970.",
        lambda t: None if t.stream_time_ms is None else t.stream_time_ms / 1000,
    ),
    ("open_windows", Kind.GAUGE, "Keys in windows that are open.", lambda t: t.open_windows),
    ("state_rows", Kind.GAUGE, "Rows of a task's state.", lambda t: t.state_rows),
    ("state_bytes", Kind.GAUGE, "Bytes of a task's state on disk.", lambda t: t.state_bytes),
    ("checkpoints_total", Kind.COUNTER, "Checkpoints of a task.", lambda t: t.checkpoints),
)

_OF_PIPELINE: tuple[tuple[str, Kind, str, Callable[[PipelineStatus], float]], ...] = (
    ("tasks", Kind.GAUGE, "Tasks that run here.", lambda p: p.tasks),
    ("rebalances_total", Kind.COUNTER, "Generations of the group seen.", lambda p: p.rebalances),
    ("failures_total", Kind.COUNTER, "What ended a pipeline here.", lambda p: p.failures),
    ("dead_letter_total", Kind.COUNTER, "Records set aside.", lambda p: p.dead_letters),
    ("skipped_records_total", Kind.COUNTER, "Records that failed: left out.", lambda p: p.skipped),
    ("retries_total", Kind.COUNTER, "Attempts after the first.", lambda p: p.retried),
    ("restoring_tasks", Kind.GAUGE, "Tasks being taken over.", lambda p: len(p.restores)),
    ("standby_tasks", Kind.GAUGE, "Tasks kept warm for others.", lambda p: len(p.standbys)),
)


def worker_families(status: RunStatus, wall_ms: int) -> list[Family]:
    """Returns everything that a worker tells about itself."""
    pipelines = [pipeline for _, pipeline in sorted(status.pipelines.items())]
    restarts = Family(f"{PREFIX}restarts_total", Kind.COUNTER, "Times this worker was restarted.")
    phase = Family(f"{PREFIX}phase", Kind.GAUGE, "What a pipeline is at: its label.")
    for pipeline in pipelines:
        restarts.add(status.restarts, pipeline=pipeline.name)
        phase.add(1, pipeline=pipeline.name, phase=pipeline.phase)
    families = [phase, restarts]
    for name, kind, meaning, of_pipeline in _OF_PIPELINE:
        family = Family(PREFIX + name, kind, meaning)
        for pipeline in pipelines:
            family.add(of_pipeline(pipeline), pipeline=pipeline.name)
        families.append(family)
    for name, kind, meaning, of_task in _OF_TASK:
        family = Family(PREFIX + name, kind, meaning)
        for pipeline in pipelines:
            for task, figures in sorted(pipeline.by_task.items()):
                family.add(of_task(figures), pipeline=pipeline.name, task=task)
        families.append(family)
    return [*families, *_checkpoints(pipelines, wall_ms), *_inputs(pipelines), *_copies(pipelines)]


def _checkpoints(pipelines: Iterable[PipelineStatus], wall_ms: int) -> Iterable[Family]:
    age = Family(f"{PREFIX}checkpoint_age_seconds", Kind.GAUGE, "Since a task's last checkpoint.")
    took = Family(f"{PREFIX}checkpoint_seconds", Kind.HISTOGRAM, "How long checkpoints took.")
    process = Family(f"{PREFIX}process_seconds", Kind.HISTOGRAM, "How long chunks took.")
    for pipeline in pipelines:
        for task, figures in sorted(pipeline.by_task.items()):
            if figures.last_checkpoint_ms is not None:
                seconds = max(wall_ms - figures.last_checkpoint_ms, 0) / 1000
                age.add(seconds, pipeline=pipeline.name, task=task)
        took.add_histogram(pipeline.checkpoint_s, pipeline=pipeline.name)
        process.add_histogram(pipeline.process_s, pipeline=pipeline.name)
    return age, took, process


def _inputs(pipelines: Iterable[PipelineStatus]) -> Iterable[Family]:
    lag = Family(f"{PREFIX}lag", Kind.GAUGE, "Offsets that are left to read.")
    position = Family(f"{PREFIX}position", Kind.GAUGE, "The next offset to read.")
    for pipeline in pipelines:
        for task, figures in sorted(pipeline.by_task.items()):
            for (topic, partition), each in sorted(figures.inputs.items()):
                where = {
                    "pipeline": pipeline.name,
                    "task": task,
                    "topic": topic,
                    "partition": partition,
                }
                lag.add(each.lag, **where)
                position.add(each.position, **where)
    return lag, position


def _copies(pipelines: Iterable[PipelineStatus]) -> Iterable[Family]:
    """State that is being built up, and state that is kept warm."""
    left = Family(f"{PREFIX}restore_left", Kind.GAUGE, "Offsets of the changelog left to restore.")
    done = Family(
        f"{PREFIX}restore_records_total", Kind.COUNTER, "Records restored from the changelog."
    )
    behind = Family(f"{PREFIX}standby_lag", Kind.GAUGE, "Offsets a warm copy is behind.")
    for pipeline in pipelines:
        for task, restore in sorted(pipeline.restores.items()):
            left.add(restore.left, pipeline=pipeline.name, task=task)
        running = sum(restore.records for restore in pipeline.restores.values())
        done.add(pipeline.restored_records + running, pipeline=pipeline.name)
        for task, standby in sorted(pipeline.standbys.items()):
            behind.add(standby.left, pipeline=pipeline.name, task=task)
    return left, done, behind


def why_ill(status: RunStatus) -> str | None:
    """Says what the worker cannot go on with; nothing if all is well."""
    failed = [name for name, each in sorted(status.pipelines.items()) if each.phase == "failed"]
    return f"failed: {', '.join(failed)}" if failed else None


def why_not_ready(status: RunStatus) -> str | None:
    """Says what the worker waits for before all its tasks run; nothing if they do."""
    if not status.pipelines:
        return "no pipeline has begun"
    for name, each in sorted(status.pipelines.items()):
        if each.phase != "running":
            return f"{name}: {each.phase}"
        if each.restores:
            return f"{name}: restoring {len(each.restores)} tasks"
    return None
