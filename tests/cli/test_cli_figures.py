"""The worker's figures as rows, and tables as text and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.cli.figures import Figures, phase_of, summary_line
from streamlog.cli.output import Table, write_table
from streamlog.processing.worker.placement import TaskName
from streamlog.processing.worker.status import RestoreFigures, RunStatus

if TYPE_CHECKING:
    import pytest


def test_rates_are_taken_over_the_last_moments() -> None:
    status = RunStatus()
    figures = Figures(status)
    pipeline = status.of("totals")
    rates = []
    for second, records in enumerate([0, 1000, 4000, 7000, 7000, 7000, 7000]):
        pipeline.records_in = records
        rates.append(figures.table(float(second), wall_ms=0).rows[0][3])
    assert rates == ["0", "1,000", "2,000", "3,000", "1,500", "0", "0"]


def test_a_row_says_how_far_a_pipeline_is() -> None:
    status = RunStatus()
    pipeline = status.of("totals")
    assert Figures(status).table(0.0, wall_ms=0).rows == [
        ["totals", "starting", "0", "0", "0", "0", None, "0", None]
    ]
    pipeline.phase, pipeline.records_in, pipeline.lag = "running", 12_345, 6
    pipeline.late_records, pipeline.open_windows, pipeline.checkpoints = 1, 2_000, 3
    pipeline.stream_time_ms, pipeline.last_checkpoint_ms = 1_357_035_420_000, 10_000
    assert Figures(status).table(0.0, wall_ms=10_700).rows == [
        ["totals", "running", "12,345", "0", "6", "1", "2013-01-01 10:17", "2,000", "0.7 s ago"]
    ]
    assert summary_line(pipeline) == "totals: running, 12,345 records in, 1 late, 3 checkpoints"


def test_a_piped_table_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(["NAME", "LOG-END"], [["a", 1], ["b", None], ["c", 0.5]])
    write_table(table, as_json=False)
    assert capsys.readouterr().out == "NAME\tLOG-END\na\t1\nb\t-\nc\t0.50\n"


def test_json_keeps_numbers_and_nulls(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(Table(["NAME", "LOG-END"], [["ä", None]]), as_json=True)
    assert capsys.readouterr().out == '[{"name": "ä", "log_end": null}]\n'


def test_restores_say_how_far_they_are() -> None:
    pipeline = RunStatus().of("totals")
    pipeline.phase = "running"
    for partition in range(2):
        restore = RestoreFigures(began_at=0.0)
        restore.aim(0, 2_000)
        pipeline.restores[TaskName("by-user", partition)] = restore
    assert phase_of(pipeline, 1.0) == "restoring 2 tasks: 0 of 4,000, 0/s"
    for restore in pipeline.restores.values():
        restore.advance(500, 400)
    assert phase_of(pipeline, 2.0) == "restoring 2 tasks: 1,000 of 4,000, 400/s, 6 s left"
