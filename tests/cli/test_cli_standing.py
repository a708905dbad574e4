"""Running pipelines as tables and pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from streamlog.cli.pipeline_file import load_pipelines
from streamlog.cli.plan_pictures import plan_as_json, plan_as_mermaid, plan_as_text
from streamlog.cli.standing import Style, TopFigures, running_of, tasks_table, workers_table
from streamlog.client.values import TopicPartition
from streamlog.processing.replay.versions import Identity, Role
from streamlog.processing.worker.overview import PipelineSeen, TaskSeen, WorkerSeen
from streamlog.processing.worker.watching import parse_figures
from streamlog.processing.worker.word import WorkerWord

FLIGHTS = str(Path(__file__).parent.parent.parent / "pipelines" / "flights.py")
NAME = "delays_per_carrier"
REPARTITION = f"{NAME}.by-carrier.repartition"
WORKER = WorkerSeen(
    member_id="m",
    instance_id=None,
    host="far",
    word=WorkerWord(host="far", pid=7, metrics="far:9400"),
    tasks=(TopicPartition("flights", 0), TopicPartition(REPARTITION, 0)),
)


def task(topic: str, partition: int, offset: int, worker: WorkerSeen | None = WORKER) -> TaskSeen:
    return TaskSeen(
        input=TopicPartition(topic, partition),
        worker=worker,
        offset=offset,
        end=1_500,
        lag=1_500 - offset,
        sequence=3,
        checkpoint_ms=8_000,
        stream_time_ms=1_357_035_420_000,
    )


ALONE = Identity(NAME, NAME, None, Role.LIVE)


def seen(offset: int = 1_000, identity: Identity = ALONE) -> PipelineSeen:
    return PipelineSeen(
        identity=identity,
        state="running",
        workers=(WORKER,),
        tasks=(task("flights", 0, offset), task(REPARTITION, 0, 1_500, None)),
    )


def test_a_worker_and_a_task_have_their_rows() -> None:
    assert workers_table([seen()], 10_000).records() == [
        {
            "pipeline": NAME,
            "version": None,
            "role": "live",
            "state": "running",
            "host": "far",
            "pid": 7,
            "tasks": 1,
            "lag": 500,
            "stream_time": "2013-01-01 10:17",
            "checkpoint_age": "2.0 s",
            "metrics": "far:9400",
        }
    ]
    (exact,) = workers_table([seen()], 10_000, Style(exact=True)).records()
    assert exact["checkpoint_age_s"] == 2.0
    assert exact["stream_time"] == "2013-01-01T10:17:00.000Z"
    first, second = tasks_table([seen()], 10_000).rows
    assert first == [
        *(
            NAME,
            None,
            "live",
            "flights[0]",
            "flights",
            0,
            "far",
            7,
            1_000,
            1_500,
            500,
            3,
            "2.0 s",
            "2013-01-01 10:17",
        ),
    ]
    assert second[6:8] == [None, None]


def test_versions_are_told_apart() -> None:
    version = seen(identity=Identity(f"{NAME}.v2", NAME, "v2", Role.LIVE))
    former = seen(identity=Identity(NAME, NAME, "first", Role.FORMER))
    wanted = [(NAME, "v2", "live"), (NAME, "first", "former")]
    both = [version, former]
    tables = [
        workers_table(both, 10_000),
        TopFigures().pipelines(both, 0.0, 10_000, {}),
    ]
    for table in tables:
        rows = table.records()
        assert [(row["pipeline"], row["version"], row["role"]) for row in rows] == wanted
    assert {tuple(row[:3]) for row in tasks_table(both, 10_000).rows} == set(wanted)
    # What workers serve bears the pipeline's name, whatever version they run.
    served = {"far:9400": parse_figures(EXPOSITION)}
    (row,) = TopFigures().pipelines([version], 0.0, 10_000, served).records()
    assert row["state_mb"] == 3.0
    assert running_of(version, 10_000).state == "v2, live, running"


def test_top_tells_rates_and_when_the_lag_is_gone() -> None:
    figures = TopFigures()
    served = {"far:9400": parse_figures(EXPOSITION)}
    rows = [
        figures.pipelines([seen(offset)], now, 10_000, served).records()[0]
        for now, offset in [(0.0, 0), (1.0, 500), (2.0, 1_000)]
    ]
    assert [row["records_per_s"] for row in rows] == [0, 500, 500]
    assert [row["drained_in"] for row in rows] == [None, "2.0 s", "1.0 s"]
    assert rows[0]["restoring"] == 2
    assert rows[0]["state_mb"] == 3.0
    stuck = [figures.tasks([seen(1_000)], now, 10_000) for now in (0.0, 5.0)][-1].records()
    # Those most behind come first.
    assert [row["drained_in"] for row in stuck] == ["stalled", "now"]
    exact = TopFigures(Style(exact=True))
    for now, offset in [(0.0, 500), (1.0, 1_000)]:
        (row,) = exact.pipelines([seen(offset)], now, 10_000, served).records()
    assert row["drained_in_s"] == 1.0
    alone = TopFigures().pipelines([seen()], 0.0, 10_000, {}).records()[0]
    assert alone["restoring"] is None


EXPOSITION = f"""\
# TYPE streamlog_pipeline_state_bytes gauge
streamlog_pipeline_state_bytes{{pipeline="{NAME}",task="flights[0]"}} 1000000
streamlog_pipeline_state_bytes{{pipeline="{NAME}",task="by-carrier[0]"}} 2e+06
streamlog_pipeline_state_bytes{{pipeline="other",task="x[0]"}} 5
streamlog_pipeline_restoring_tasks{{pipeline="{NAME}"}} 2
streamlog_pipeline_lag nonsense
"""


def test_pictures_show_where_tasks_are() -> None:
    (plan,) = [p.plan() for p in load_pipelines(f"{FLIGHTS}:{NAME}")]
    running = running_of(seen(), 10_000)
    text = plan_as_text(plan, running)
    assert f"pipeline {NAME} (running)" in text
    line = "0: far/7, at 1,000, lag 500, checkpoint 3 2.0 s ago, time 2013-01-01 10:17"
    assert f"    tasks         {line}" in text
    assert "0: nobody, at 1,500, lag 0" in text
    chart = plan_as_mermaid([plan], {NAME: running})
    assert f'subgraph p0["{NAME} (running)"]' in chart
    assert '"flights<br/>1 tasks, lag 500<br/>checkpoint 2.0 s ago<br/>far/7: 0"' in chart
    document = plan_as_json(plan, running)
    assert document["state"] == "running"
    subs = document["sub_topologies"]
    assert isinstance(subs, list)
    assert [row["lag"] for sub in subs for row in sub["tasks"]] == [500, 0]


def test_a_task_that_reads_several_topics_has_one_line() -> None:
    tasks = [
        replace(task(topic, n, 1_000), sub_topology="prices-sales")
        for topic in ("prices", "sales")
        for n in (0, 1)
    ]
    running = running_of(replace(seen(), tasks=tuple(tasks)), 10_000)
    first, second = running.tasks["prices"]
    assert first.startswith("0: far/7, at prices 1,000, sales 1,000, lag 1,000, checkpoint 3 ")
    assert second.startswith("1: ")
    assert running.tasks["sales"] == running.tasks["prices"]
    assert running.totals["prices"][0] == "2 tasks, lag 2,000"
    assert running.totals["prices"][-1] == "far/7: 0, 1"
    assert len(running.records["prices"]) == 4


def test_a_pipeline_that_never_ran_is_a_plan() -> None:
    (plan,) = [p.plan() for p in load_pipelines(f"{FLIGHTS}:{NAME}")]
    assert "(never ran)" in plan_as_text(plan, running_of(None, 0))
