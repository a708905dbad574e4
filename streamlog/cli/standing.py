"""Running pipelines as tables: what `ps`, `top` and `describe --running` show."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from streamlog.cli.figures import Rate, instant
from streamlog.cli.output import Table
from streamlog.cli.plan_pictures import Running
from streamlog.processing.worker.overview import total_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlog.cli.output import Cell
    from streamlog.client.values import TopicPartition
    from streamlog.processing.replay.versions import Identity
    from streamlog.processing.worker.overview import PipelineSeen, TaskSeen, WorkerSeen
    from streamlog.processing.worker.watching import WorkerFigures

RATE_WINDOW_S = 5.0
"""Committed offsets move at checkpoints only, a second apart."""
STALE_RATE = 0.5
"""Records per second below which nobody can say how long a lag takes."""


@dataclass(frozen=True, slots=True)
class Style:
    """How moments and spans are written: in words for people, as numbers for scripts."""

    exact: bool = False

    @property
    def unit(self) -> str:
        """What is added to the names of columns with spans."""
        return " S" if self.exact else ""

    def ago(self, moment_ms: int | None, wall_ms: int) -> str | float | None:
        """Writes how long ago something was.

        >>> Style().ago(1_000, 3_500), Style(exact=True).ago(1_000, 3_500)
        ('2.5 s', 2.5)
        """
        if moment_ms is None or not self.exact:
            return age(moment_ms, wall_ms)
        return max(wall_ms - moment_ms, 0) / 1000

    def instant(self, moment_ms: int | None) -> str | None:
        """Writes a moment.

        >>> Style().instant(61_500), Style(exact=True).instant(61_500)
        ('1970-01-01 00:01', '1970-01-01T00:01:01.500Z')
        """
        if moment_ms is None or not self.exact:
            return instant(moment_ms)
        moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def drained_in(self, lag: int, rate: Rate) -> str | float | None:
        """Writes how long a lag takes; as a number nothing if it takes for ever."""
        if not self.exact:
            return drained_in(lag, rate)
        if not lag:
            return 0.0
        return lag / rate.value if rate.value >= STALE_RATE else None


WORDS = Style()


def workers_table(pipelines: Sequence[PipelineSeen], wall_ms: int, style: Style = WORDS) -> Table:
    """Returns a row for each worker of each pipeline; a stopped pipeline has one without a host."""
    table = Table(
        [
            *("PIPELINE", "VERSION", "ROLE", "STATE", "HOST", "PID", "TASKS", "LAG"),
            *("STREAM TIME", f"CHECKPOINT AGE{style.unit}", "METRICS"),
        ]
    )
    for pipeline in pipelines:
        for worker in pipeline.workers or (None,):
            total = pipeline.total(worker)
            table.rows.append(
                [
                    *who(pipeline.identity),
                    pipeline.state,
                    *_where(worker),
                    total.tasks,
                    total.lag,
                    style.instant(total.stream_time_ms),
                    style.ago(total.checkpoint_ms, wall_ms),
                    None if worker is None else worker.word.metrics,
                ]
            )
    return table


def tasks_table(pipelines: Sequence[PipelineSeen], wall_ms: int, style: Style = WORDS) -> Table:
    """Returns a row for each partition that a task reads."""
    table = Table(
        [
            *("PIPELINE", "VERSION", "ROLE", "TASK", "TOPIC", "PARTITION", "HOST", "PID"),
            *("OFFSET", "END", "LAG"),
            *("CHECKPOINT", f"CHECKPOINT AGE{style.unit}", "STREAM TIME"),
        ]
    )
    for pipeline in pipelines:
        for task in pipeline.tasks:
            table.rows.append(
                [
                    *who(pipeline.identity),
                    task.name,
                    task.input.topic,
                    task.input.partition,
                    *_where(task.worker),
                    task.offset,
                    task.end,
                    task.lag,
                    task.sequence,
                    style.ago(task.checkpoint_ms, wall_ms),
                    style.instant(task.stream_time_ms),
                ]
            )
    return table


def who(identity: Identity | None) -> tuple[str | None, str | None, str | None]:
    """The cells that say which pipeline something is of, which version, and what that is to it."""
    if identity is None:
        return None, None, None
    return identity.pipeline, identity.version, identity.role.value


def _where(worker: WorkerSeen | None) -> tuple[str | None, int | None]:
    """The host and the process id, as far as they are known."""
    return (None, None) if worker is None else (worker.host, worker.word.pid or None)


def age(moment_ms: int | None, wall_ms: int) -> str | None:
    """Writes how long ago something was.

    >>> age(1_000, 3_500), age(0, 200_000), age(None, 0)
    ('2.5 s', '3 min', None)
    """
    return None if moment_ms is None else span(max(wall_ms - moment_ms, 0) / 1000)


def span(seconds: float) -> str:
    """Writes a duration as people say it.

    >>> span(0.04), span(95), span(7_300), span(400_000)
    ('0.0 s', '95 s', '2.0 h', '4.6 d')
    """
    for unit, size, upto in (("s", 1, 10), ("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < upto:
            digits = 1 if upto in (10, 172_800) else 0
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def running_of(pipeline: PipelineSeen | None, wall_ms: int) -> Running:
    """Puts a pipeline's running into words, by what its tasks read."""
    if pipeline is None:
        return Running(state="never ran")
    by_sub: dict[str, list[TaskSeen]] = {}
    for task in pipeline.tasks:
        by_sub.setdefault(task.sub_topology or task.input.topic, []).append(task)
    by_topic = {each.input.topic: own for own in by_sub.values() for each in own}
    rows = tasks_table([pipeline], wall_ms, Style(exact=True)).records()
    identity = pipeline.identity
    return Running(
        state=pipeline.state
        if identity.version is None
        else f"{identity.in_words}, {pipeline.state}",
        tasks={topic: _in_words(own, wall_ms) for topic, own in by_topic.items()},
        totals={topic: _box_words(own, wall_ms) for topic, own in by_topic.items()},
        records={
            topic: [row for row in rows if row["topic"] in {each.input.topic for each in own}]
            for topic, own in by_topic.items()
        },
    )


def _in_words(tasks: Sequence[TaskSeen], wall_ms: int) -> list[str]:
    """Writes a line for each task of a sub-topology."""
    by_partition: dict[int, list[TaskSeen]] = {}
    for task in tasks:
        by_partition.setdefault(task.input.partition, []).append(task)
    return [_line(inputs, wall_ms) for _, inputs in sorted(by_partition.items())]


def _line(inputs: Sequence[TaskSeen], wall_ms: int) -> str:
    """Writes a task in a line: of all that it reads."""
    task = inputs[0]
    words = [f"{task.input.partition}:"]
    words.append("nobody" if task.worker is None else _name_of(task.worker))
    places = [
        (f"{each.input.topic} " if len(inputs) > 1 else "") + f"{each.offset:,}"
        for each in inputs
        if each.offset is not None
    ]
    words.append(f"at {', '.join(places)}" if places else "nothing read")
    lags = [each.lag for each in inputs if each.lag is not None]
    if lags:
        words.append(f"lag {sum(lags):,}")
    if task.sequence is not None:
        ago = age(task.checkpoint_ms, wall_ms)
        words.append(f"checkpoint {task.sequence:,}" + (f" {ago} ago" if ago else ""))
    if task.stream_time_ms is not None:
        words.append(f"time {instant(task.stream_time_ms)}")
    return f"{words[0]} {', '.join(words[1:])}"


def _box_words(tasks: Sequence[TaskSeen], wall_ms: int) -> list[str]:
    total = total_of(tasks)
    words = [f"{total.tasks} tasks, lag {total.lag:,}"]
    ago = age(total.checkpoint_ms, wall_ms)
    if ago is not None:
        words.append(f"checkpoint {ago} ago")
    owners: dict[str, list[str]] = {}
    for task in tasks:
        owner = "nobody" if task.worker is None else _name_of(task.worker)
        owners.setdefault(owner, []).append(str(task.input.partition))
    return words + [
        f"{owner}: {', '.join(dict.fromkeys(own))}" for owner, own in sorted(owners.items())
    ]


def _name_of(worker: WorkerSeen) -> str:
    return f"{worker.host}/{worker.word.pid}" if worker.word.pid else worker.host


@dataclass(slots=True)
class TopFigures:
    """Turns one look after the other into rows with rates; keeps what these need."""

    style: Style = WORDS
    _rates: dict[tuple[str, TopicPartition | None], Rate] = field(default_factory=dict)

    def pipelines(
        self,
        seen: Sequence[PipelineSeen],
        now: float,
        wall_ms: int,
        workers: Mapping[str, WorkerFigures],
    ) -> Table:
        """Returns a row for each pipeline; `now` is monotonic, in seconds."""
        unit = self.style.unit
        table = Table(
            [
                *("PIPELINE", "VERSION", "ROLE", "STATE", "WORKERS", "TASKS", "RESTORING"),
                *("RECORDS/S", "LAG"),
                *(f"DRAINED IN{unit}", "STREAM TIME", f"CHECKPOINT AGE{unit}", "STATE MB", "LATE"),
            ]
        )
        for pipeline in seen:
            total = pipeline.total()
            rate = self._rate((pipeline.name, None), now, total.offset)
            served_as = pipeline.identity.pipeline
            own = [
                figures
                for worker in pipeline.workers
                if (figures := workers.get(worker.word.metrics or "")) is not None
            ]
            whole = bool(own) and len(own) == len(pipeline.workers)
            table.rows.append(
                [
                    *who(pipeline.identity),
                    pipeline.state,
                    len(pipeline.workers),
                    total.tasks,
                    int(_sum(own, served_as, "restoring_tasks")) if whole else None,
                    round(rate.value),
                    total.lag,
                    self.style.drained_in(total.lag, rate),
                    self.style.instant(total.stream_time_ms),
                    self.style.ago(total.checkpoint_ms, wall_ms),
                    round(_sum(own, served_as, "state_bytes") / 1e6, 1) if whole else None,
                    int(_sum(own, served_as, "late_records_total")) if whole else None,
                ]
            )
        return table

    def tasks(self, seen: Sequence[PipelineSeen], now: float, wall_ms: int) -> Table:
        """Returns a row for each partition that a task reads, those most behind first."""
        unit = self.style.unit
        table = Table(
            [
                *("PIPELINE", "VERSION", "ROLE", "TASK", "TOPIC", "HOST", "PID"),
                *("RECORDS/S", "LAG", f"DRAINED IN{unit}"),
                *("STREAM TIME", f"CHECKPOINT AGE{unit}"),
            ]
        )
        rows: list[tuple[int, list[Cell]]] = []
        for pipeline in seen:
            for task in pipeline.tasks:
                rate = self._rate((pipeline.name, task.input), now, task.offset or 0)
                rows.append((task.lag or 0, self._row(pipeline, task, rate, wall_ms)))
        rows.sort(key=lambda row: -row[0])
        table.rows += [row for _, row in rows]
        return table

    def _row(self, pipeline: PipelineSeen, task: TaskSeen, rate: Rate, wall_ms: int) -> list[Cell]:
        return [
            *who(pipeline.identity),
            task.name,
            task.input.topic,
            *_where(task.worker),
            round(rate.value),
            task.lag,
            self.style.drained_in(task.lag or 0, rate),
            self.style.instant(task.stream_time_ms),
            self.style.ago(task.checkpoint_ms, wall_ms),
        ]

    def _rate(self, key: tuple[str, TopicPartition | None], now: float, count: int) -> Rate:
        rate = self._rates.setdefault(key, Rate(RATE_WINDOW_S))
        rate.update(now, count)
        return rate


def _sum(workers: Sequence[WorkerFigures], pipeline: str, name: str) -> float:
    return sum(each.sum_of(name, pipeline) for each in workers)


def drained_in(lag: int, rate: Rate) -> str | None:
    """Says how long a lag takes at a rate, if nothing more comes; nothing if nobody can say yet.

    >>> rate = Rate(5.0, [(0.0, 0), (5.0, 2_500)])
    >>> drained_in(0, rate), drained_in(1_000, rate)
    ('now', '2.0 s')
    >>> (
    ...     drained_in(10, Rate(5.0, [(0.0, 7), (1.0, 7)])),
    ...     drained_in(10, Rate(5.0, [(0.0, 7), (5.0, 7)])),
    ... )
    (None, 'stalled')
    """
    if not lag:
        return "now"
    if rate.value >= STALE_RATE:
        return span(lag / rate.value)
    return "stalled" if rate.is_steady else None
