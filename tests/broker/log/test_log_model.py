"""A partition against a list: any mix of what a server does, in any order, with crashes."""

from __future__ import annotations

import random

from fake_disk import FakeDisk
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from log_support import NOW_MS, Partition, batch_of, flush, read_all

from streamlog.broker.log.config import LogConfig

CONFIG = LogConfig(
    segment_bytes=500, index_interval_bytes=120, retention_bytes=2500, segment_ms=1000
)


class LogMachine(RuleBasedStateMachine):
    """The model: all values that were appended, and three offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = FakeDisk()
        self.partition = Partition(self.disk, CONFIG, files_max=2)
        self.log = self.partition.create()
        self.values: list[bytes] = []
        self.times: list[int] = []
        self.flushed = 0
        self.start = 0

    @rule(count=st.integers(1, 5), size=st.integers(0, 60), time=st.integers(0, 5000))
    def append(self, count: int, size: int, time: int) -> None:
        values = [b"%d:" % (len(self.values) + n) + b"x" * size for n in range(count)]
        times = [NOW_MS + time - n for n in range(count)]
        info = self.log.append(batch_of(*values, timestamps=times), now_ms=NOW_MS)
        assert info.base_offset == len(self.values)
        self.values += values
        self.times += times

    @rule()
    def flush(self) -> None:
        flush(self.log)
        self.flushed = len(self.values)

    @rule(part=st.floats(0, 1))
    def delete_records(self, part: float) -> None:
        offset = int(part * self.flushed)
        self.start = self.log.delete_records(offset)
        assert self.start >= offset

    @rule()
    def enforce_retention(self) -> None:
        self.partition.log_start_offset = self.log.log_start_offset
        for segment in self.log.enforce_retention(NOW_MS):
            for path in segment.retire():
                self.disk.unlink(path)
        self.partition.log_start_offset = self.start = self.log.log_start_offset

    @rule(clean=st.booleans(), seed=st.none() | st.integers(0, 99))
    def restart(self, clean: bool, seed: int | None) -> None:
        self.partition.log_start_offset = self.start
        self.partition.recovery_point = self.flushed
        if clean:
            self.log.close()
            self.partition.recovery_point = self.flushed = len(self.values)
        chance = random.Random(seed) if seed is not None else None
        self.disk.lose_power(chance) if seed != 0 else self.disk.restart()
        self.log = self.partition.open(clean=clean)
        end = self.log.log_end_offset
        assert self.flushed <= end <= len(self.values)
        del self.values[end:], self.times[end:]
        self.flushed = end

    @rule(part=st.floats(0, 1))
    def look_up(self, part: float) -> None:
        wanted = NOW_MS + int(part * 5000)
        found = [n for n in range(self.start, self.flushed) if self.times[n] >= wanted]
        expected = (found[0], self.times[found[0]]) if found else None
        assert self.log.offset_for_timestamp(wanted) == expected

    @invariant()
    def agrees(self) -> None:
        log = self.log
        assert (log.log_start_offset, log.high_watermark) == (self.start, self.flushed)
        assert log.log_end_offset == len(self.values)

    @invariant()
    def reads_what_was_written(self) -> None:
        found = read_all(self.log)
        expected = range(self.start, self.flushed)
        assert found == {offset: self.values[offset] for offset in expected}


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
