"""The five steps: their order, the fence, and checkpoints that do not fit one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from streamlog.client.values import RangeMetadata, TopicPartition
from streamlog.processing.worker import checkpoint as module
from streamlog.processing.worker.checkpoint import (
    FencedError,
    RunningTask,
    send_outputs,
    write_checkpoint,
)
from streamlog.processing.worker.placement import TaskName
from streamlog.processing.worker.task_values import Checkpoint, OutputBatch
from streamlog.records.errors import BatchTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.client.producer.producer import Producer
    from streamlog.processing.worker.task import Task

CHANGELOG = TopicPartition("p.s.changelog", 0)


class FakeDelivery:
    def __init__(self, log: list[str], label: str, metadata: RangeMetadata) -> None:
        self.log, self.label, self.metadata = log, label, metadata

    async def wait(self) -> RangeMetadata:
        self.log.append(f"acknowledged {self.label}")
        return self.metadata


class FakeProducer:
    """Appends at offsets of its own; `intruder` writes to the changelog in between."""

    def __init__(self, log: list[str], *, intruder_at: int | None = None) -> None:
        self.log, self.end, self.sends = log, 100, 0
        self.batches: list[list[bytes]] = []
        self.intruder_at = intruder_at

    async def send_columns(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes],
        values: Sequence[bytes | None],
        timestamps: Sequence[int],
        headers: object = None,
        *,
        atomic: bool = False,
    ) -> FakeDelivery:
        assert len(keys) == len(values) == len(timestamps)
        self.log.append(f"send {topic}")
        if topic == CHANGELOG.topic:
            assert atomic
            if self.sends == self.intruder_at:
                self.end += 1
            self.sends += 1
            self.batches.append(list(keys))
        base, self.end = self.end, self.end + len(keys)
        return FakeDelivery(self.log, topic, RangeMetadata(topic, partition, base, self.end - 1))


class FakeTask:
    def __init__(self, log: list[str], values: Sequence[bytes | None]) -> None:
        self.log, self.values, self.id = log, list(values), TaskName("s", 0)
        self.outputs = [OutputBatch("out", 0, [b"k"], [b"v"], [1], None)]

    def emit_markers(self) -> None:
        self.log.append("markers")

    def take_outputs(self) -> list[OutputBatch]:
        outputs, self.outputs = self.outputs, []
        return outputs

    def prepare_checkpoint(self) -> Checkpoint | None:
        self.log.append("prepare")
        keys = [b"%d" % i for i in range(len(self.values))]
        return Checkpoint(
            sequence=1, positions={("in", 0): 5}, changelog_keys=keys,
            changelog_values=self.values, metadata="note",
            changes=cast("Any", {}), meta=cast("Any", None),
        )  # fmt: skip

    def commit_checkpoint(self, checkpoint: Checkpoint, changelog_next_offset: int) -> None:
        self.log.append(f"state at {changelog_next_offset}")


class Inline:
    async def run(self, call: Callable[[], object]) -> object:
        return call()


def running(log: list[str], values: Sequence[bytes | None]) -> RunningTask:
    return RunningTask(cast("Task", FakeTask(log, values)), CHANGELOG, 101)


async def take(target: RunningTask, producer: FakeProducer) -> Checkpoint | None:
    return await write_checkpoint(target, cast("Producer", producer), Inline(), 0)  # type: ignore[arg-type]


async def test_outputs_are_acknowledged_before_the_changelog_and_that_before_the_state() -> None:
    log: list[str] = []
    target = running(log, [b"a", b"marker"])
    assert await take(target, FakeProducer(log)) is not None
    assert log == [
        "markers", "send out", "prepare", "acknowledged out",
        "send p.s.changelog", "acknowledged p.s.changelog", "state at 103",
    ]  # fmt: skip


async def test_a_write_of_somebody_else_fences_and_leaves_the_state_alone() -> None:
    log: list[str] = []
    target = running(log, [b"a", b"marker"])
    with pytest.raises(FencedError, match="another worker"):
        await take(target, FakeProducer(log, intruder_at=0))
    assert not [entry for entry in log if entry.startswith("state")]


async def test_a_large_checkpoint_spans_batches_and_its_marker_ends_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 100)
    log: list[str] = []
    producer = FakeProducer(log)
    target = running(log, [b"x" * 40] * 5 + [b"marker"])
    await take(target, producer)
    assert len(producer.batches) > 1
    assert [key for batch in producer.batches for key in batch] == [b"%d" % i for i in range(6)]
    assert log[-1] == "state at 107"


async def test_an_intruder_between_two_batches_of_one_checkpoint_fences_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 100)
    log: list[str] = []
    with pytest.raises(FencedError):
        await take(running(log, [b"x" * 40] * 5), FakeProducer(log, intruder_at=1))


async def test_an_output_that_fails_keeps_its_task_from_any_later_checkpoint() -> None:
    class Refusing(FakeProducer):
        async def send_columns(self, *_: object, **__: object) -> FakeDelivery:
            raise BatchTooLargeError("no")

    log: list[str] = []
    target = running(log, [b"a"])
    with pytest.raises(BatchTooLargeError):
        await send_outputs(target, cast("Producer", Refusing(log)))
    assert target.ended


async def test_a_value_that_no_batch_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 100)
    log: list[str] = []
    with pytest.raises(BatchTooLargeError, match="does not fit"):
        await take(running(log, [b"x" * 500]), FakeProducer(log))
