"""A worker's live figures as a table: what `run` and `demo` show while they work."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from streamlog.cli.output import Table

if TYPE_CHECKING:
    from streamlog.processing.worker.status import PipelineStatus, RunStatus

RATE_WINDOW_S = 2.0
"""Over how long a rate is taken: long enough to be steady, short enough to be live."""

UPRIGHT_MAX = 3
"""More pipelines than this do not fit beside each other."""


@dataclass(slots=True)
class Rate:
    """Records per second, from the counts of the last moments."""

    window_s: float = RATE_WINDOW_S
    samples: list[tuple[float, int]] = field(default_factory=list)

    def update(self, now: float, count: int) -> float:
        """Takes a count; returns the rate over the window."""
        self.samples.append((now, count))
        while len(self.samples) > 2 and self.samples[1][0] <= now - self.window_s:
            self.samples.pop(0)
        return self.value

    @property
    def value(self) -> float:
        """The rate; none below zero, for who goes back works all the same."""
        (then, before), (now, count) = self.samples[0], self.samples[-1]
        return max((count - before) / (now - then), 0.0) if now > then else 0.0

    @property
    def is_steady(self) -> bool:
        """Whether it is of the whole window."""
        return self.samples[-1][0] - self.samples[0][0] >= self.window_s


@dataclass(slots=True)
class Figures:
    """Turns the worker's counters into rows; keeps what rates need."""

    status: RunStatus
    _rates: dict[str, Rate] = field(default_factory=dict)

    def table(self, now: float, wall_ms: int) -> Table:
        """Returns one row for each pipeline; `now` is monotonic, in seconds."""
        table = Table(
            [
                *("PIPELINE", "STATE", "RECORDS IN", "RECORDS/S", "LAG", "LATE"),
                *("STREAM TIME", "OPEN WINDOWS", "LAST CHECKPOINT"),
            ]
        )
        for name, figures in sorted(self.status.pipelines.items()):
            rate = self._rates.setdefault(name, Rate()).update(now, figures.records_in)
            table.rows.append(
                [
                    name,
                    phase_of(figures, now),
                    f"{figures.records_in:,}",
                    f"{rate:,.0f}",
                    f"{figures.lag:,}",
                    f"{figures.late_records:,}",
                    instant(figures.stream_time_ms),
                    f"{figures.open_windows:,}",
                    _age(figures, wall_ms),
                ]
            )
        return table


def phase_of(figures: PipelineStatus, now: float) -> str:
    """Says what a pipeline is at; while tasks are restored, how far they are."""
    if figures.phase != "running" or not figures.restores:
        return figures.phase
    restores = figures.restores.values()
    total = sum(each.total for each in restores)
    done = total - sum(each.left for each in restores)
    rate = sum(each.rate(now) for each in restores)
    words = f"restoring {len(restores)} tasks: {done:,} of {total:,}, {rate:,.0f}/s"
    left = [left for each in restores if (left := each.eta_s(now)) is not None]
    return f"{words}, {max(left):.0f} s left" if len(left) == len(restores) else words


def upright(table: Table) -> Table:
    """Turns a few rows into columns, so that their figures fit a terminal of 80 columns.

    >>> upright(Table(["NAME", "LAG"], [["a", "1"], ["b", "2"]])).rows
    [['LAG', '1', '2']]
    """
    if len(table.rows) > UPRIGHT_MAX:
        return table
    columns = ["", *(str(row[0]) for row in table.rows)]
    turned = Table(columns)
    for position, name in enumerate(table.columns[1:], start=1):
        turned.rows.append([name, *(row[position] for row in table.rows)])
    return turned


def summary_line(figures: PipelineStatus) -> str:
    """Says in one line what a pipeline has done."""
    failed = ""
    if figures.skipped or figures.dead_letters:
        failed = f"{figures.skipped:,} skipped, {figures.dead_letters:,} dead letters, "
    return (
        f"{figures.name}: {figures.phase}, {figures.records_in:,} records in, "
        f"{figures.late_records:,} late, {failed}{figures.checkpoints:,} checkpoints"
    )


def instant(timestamp_ms: int | None) -> str | None:
    """Writes a moment in UTC, without what is zero anyway.

    >>> instant(1_357_035_420_000)
    '2013-01-01 10:17'
    """
    if timestamp_ms is None:
        return None
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _age(figures: PipelineStatus, wall_ms: int) -> str | None:
    if figures.last_checkpoint_ms is None:
        return None
    return f"{max(wall_ms - figures.last_checkpoint_ms, 0) / 1000:.1f} s ago"
