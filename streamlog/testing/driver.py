"""`drive`: runs a pipeline inside a test, without broker, event loop or waiting.

    with drive(delays, partitions=2) as t:
        t.send("airlines", {"name": "United"}, key="UA")
        t.send("flights", {"carrier": "UA", "dep_delay": 5.0}, key="UA1", timestamp=0)
        t.drain()
        assert t.read("delays-per-carrier")[0].value["value"]["flights"] == 1

It is the pipeline as it runs in production, repartition topics, changelogs and LMDB state included;
only the log is in memory, and time is what the records say. `crash` ends it in the middle.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import msgspec

from streamlog.errors import UsageError
from streamlog.processing.operators.event_time import milliseconds_of
from streamlog.processing.operators.plain import encode_plain
from streamlog.processing.rewind.target import Back, Edge, EventTime
from streamlog.records.murmur2 import partition_of
from streamlog.testing.memory_letters import MemoryLetters
from streamlog.testing.memory_log import MemoryLog
from streamlog.testing.memory_rewind import MemoryRewind
from streamlog.testing.memory_worker import STEPS, CheckpointStep, MemoryWorker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

    from streamlog.processing.dsl.pipeline import Pipeline
    from streamlog.processing.rewind.target import Target
    from streamlog.processing.worker.placement import TaskName
    from streamlog.testing.memory_letters import DeadLetter

T = TypeVar("T")

CHUNK_RECORDS = 1_000
ROUNDS_MAX = 10_000
"""Rounds of checkpoints until nothing moves; a plan has a few levels, so far fewer."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was read, decoded."""

    key: str | bytes | None
    """Text if it is UTF-8."""
    value: Any
    timestamp: int
    partition: int


class Driver:
    """A running pipeline; made by `drive`."""

    def __init__(
        self,
        pipeline: Pipeline[..., object],
        partitions: int | Mapping[str, int],
        folder: Path,
        seed: int | None,
    ) -> None:
        self.plan = pipeline.plan()
        inputs = (*self.plan.source_topics, *self.plan.table_topics)
        counts = {
            topic: partitions if isinstance(partitions, int) else partitions.get(topic, 1)
            for topic in inputs
        }
        for spec in self.plan.topic_specs(counts):
            wanted = None if isinstance(partitions, int) else partitions.get(spec.name)
            counts[spec.name] = wanted or spec.partition_count
        self.log = MemoryLog(counts)
        self._folder = folder
        self._worker = MemoryWorker(self.plan, self.log, folder)
        self._letters = MemoryLetters(self.plan, self.log)
        self._random = None if seed is None else random.Random(seed)
        self._read: dict[tuple[str, int], int] = {}
        self._wall_ms = 0

    def send(
        self,
        topic: str,
        value: object,
        *,
        key: object = None,
        timestamp: datetime | int = 0,
        partition: int | None = None,
    ) -> None:
        """Appends a record to a topic.

        Args:
            topic: One of the pipeline's inputs.
            value: Text and bytes go as they are, anything else as JSON; `None` is a tombstone.
            key: Likewise; equal keys go to one partition, as Kafka's clients place them.
            timestamp: A datetime with a time zone, or milliseconds since 1970.
            partition: The partition, instead of the key's; without both it is partition 0.
        """
        if topic not in self.log.topics:
            known = ", ".join((*self.plan.source_topics, *self.plan.table_topics))
            raise UsageError(f"the pipeline has no topic {topic}; it reads {known}")
        key_bytes = encode_plain(key)
        count = len(self.log.topics[topic])
        if partition is None:
            partition = 0 if key_bytes is None else partition_of(key_bytes, count)
        self.log.partition(topic, partition).append(
            [key_bytes], [encode_plain(value)], [milliseconds_of(timestamp)]
        )

    def run(self) -> None:
        """Processes everything that was sent, checkpoints included, until nothing moves."""
        MemoryRewind(self._worker).finish()
        for _ in range(ROUNDS_MAX):
            self._process_all()
            if not self.checkpoint():
                return
        raise AssertionError("the pipeline does not come to rest")

    def _process_all(self) -> None:
        self._worker.load_tables()
        pending = True
        while pending:
            names = [name for name in self._worker.task_names if self._worker.lag(name)]
            pending = bool(names)
            if self._random is not None:
                self._random.shuffle(names)
            for name in names:
                self._worker.step(name, self._chunk())

    def _chunk(self) -> int:
        return CHUNK_RECORDS if self._random is None else self._random.randint(1, 20)

    def checkpoint(self) -> bool:
        """Makes the work of all tasks durable; returns whether there was anything new."""
        taken = [self._worker.checkpoint(name) for name in self._worker.task_names]
        return any(taken)

    def drain(self) -> None:
        """Runs, then tells all sources that no more will come, so that every window closes."""
        self.run()
        for name in self._sources():
            self._worker.drain(name)
        self.run()

    def wait(self, span: timedelta) -> None:
        """Runs, then lets the wall clock go on, second by second at most a thousand times.

        It matters to sources that are silent (`@pipeline(idle=…, quiet=…)`) and to timers that go
        by the wall clock; event time is what records say.
        """
        self.run()
        span_ms = round(span.total_seconds() * 1000)
        step_ms = max(1000, span_ms // 1000)
        end_ms = self._wall_ms + span_ms
        while True:
            for name in self._worker.task_names:
                self._worker.tick(name, self._wall_ms)
            self.run()
            if self._wall_ms >= end_ms:
                return
            self._wall_ms = min(self._wall_ms + step_ms, end_ms)

    def _sources(self) -> list[TaskName]:
        sources = {sub.name for sub in self.plan.sub_topologies if not sub.upstream}
        return [name for name in self._worker.task_names if name.sub_topology in sources]

    def crash(self, at: CheckpointStep | None = None) -> None:
        """Ends every task at once, as kill -9 does; what is not durable is gone.

        Args:
            at: First begin a checkpoint and die behind this step: "outputs" were produced,
                "changelog" was written, local "state" was, or the group's "commit" was as well.
        """
        if at is not None:
            if at not in STEPS:
                raise UsageError(f"{at!r} is no step of a checkpoint: {', '.join(STEPS)}")
            for name in self._worker.task_names:
                self._worker.checkpoint(name, at)
        self._worker.drop_all()
        self.log.generation += 1

    def rewind(
        self,
        to: Literal["start", "end"] | datetime | int,
        *,
        rebuild: bool = False,
        steps_max: int | None = None,
    ) -> None:
        """Crashes and rewinds state and positions together, as `streamlog rewind` does.

        Args:
            to: "start" or "end"; a datetime: where no record of that event time or later had been
                processed; a negative number: so many checkpoints back.
            rebuild: Let tasks whose history does not reach go to a snapshot, or begin anew.
            steps_max: Die behind so many steps of the rewind; whatever runs next finishes it.

        Raises:
            HistoryError: If the history does not reach.
        """
        self.crash()
        MemoryRewind(self._worker).rewind(_target(to), rebuild=rebuild, steps_max=steps_max)

    def snapshot(self) -> None:
        """Takes a snapshot of each task as of its last checkpoint; see `@pipeline(snapshots=…)`.

        The driver takes none by itself.
        """
        for name in self._worker.task_names:
            self._worker.take_snapshot(name)

    def delete_state(self) -> None:
        """Crashes and deletes the local state; it is restored from the changelogs.

        A rewind that was cut short is finished before.
        """
        self.crash()
        MemoryRewind(self._worker).finish()
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    @overload
    def read(self, topic: str) -> list[Record]: ...

    @overload
    def read(self, topic: str, value_type: type[T]) -> list[Record]: ...

    def read(self, topic: str, value_type: type[T] | None = None) -> list[Record]:
        """Returns the records of a topic which were not read before, partition by partition.

        Args:
            topic: Any topic of the pipeline.
            value_type: What their JSON is decoded as; by default dictionaries and plain values.
        """
        records: list[Record] = []
        for number, partition in enumerate(self.log.topics[topic]):
            begin = self._read.get((topic, number), 0)
            self._read[topic, number] = partition.end
            for _, timestamp, key, value, _ in partition.read(begin, partition.end).rows():
                records.append(Record(_text(key), _value(value, value_type), timestamp, number))
        return records

    @property
    def late_records(self) -> int:
        """Records that came after their window had closed, over all tasks."""
        return sum(
            self._worker.task(name).statistics().late_records for name in self._worker.task_names
        )

    @property
    def skipped_records(self) -> int:
        """Records that failed and were left out by policy, over all tasks."""
        return sum(self._worker.task(name).statistics().skipped for name in self._worker.task_names)

    def dead_letters(self) -> list[DeadLetter]:
        """Returns all records that failed and were set aside by policy, in the log's order."""
        return self._letters.read()

    def send_back(self) -> int:
        """Sends dead letters back, as `streamlog dlq retry` does; returns how many records."""
        return self._letters.send_back()

    def close(self) -> None:
        """Ends the pipeline."""
        self._worker.drop_all()


@contextmanager
def drive(
    pipeline: Pipeline[..., object],
    *,
    partitions: int | Mapping[str, int] = 1,
    seed: int | None = None,
) -> Iterator[Driver]:
    """Runs a pipeline for a test.

    Args:
        pipeline: What `@pipeline` made.
        partitions: Of each input, or by topic (1 if it is not named).
        seed: Mixes the tasks and cuts their input into small chunks, differently for each seed:
            results do not depend on it.
    """
    with tempfile.TemporaryDirectory(prefix="streamlog-") as folder:
        driver = Driver(pipeline, partitions, Path(folder), seed)
        try:
            yield driver
        finally:
            driver.close()


def _target(to: str | datetime | int) -> Target:
    if isinstance(to, datetime):
        return EventTime(milliseconds_of(to))
    if isinstance(to, int) and to < 0:
        return Back(-to)
    if to in ("start", "end"):
        return Edge(to)
    raise UsageError(
        f"a rewind goes to 'start', 'end', a datetime, or checkpoints back (-1, -2, ...): {to!r}"
    )


def _text(key: bytes | None) -> str | bytes | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        return key


def _value(data: bytes | None, value_type: type[Any] | None) -> object:
    if data is None:
        return None
    if value_type is not None:
        return msgspec.json.decode(data, type=value_type)
    try:
        return json.loads(data)
    except ValueError:
        return _text(data)
