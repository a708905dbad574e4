"""A crash at every step that changes the disk, and a power failure that keeps only what was synced.

The scenario appends, flushes, rolls, deletes and closes; it notes what a server would have
acknowledged at each moment. Whatever step is the last one, the log must come back with everything
that was acknowledged, in order, and go on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from fake_disk import DiskCrashError, FakeDisk
from log_support import (
    NOW_MS,
    Partition,
    assert_numbered,
    batch_of,
    fill,
    numbered,
    read_all,
)

from streamlog.broker.log.config import LogConfig
from streamlog.broker.log.errors import CorruptSegmentError

if TYPE_CHECKING:
    from streamlog.broker.log.partition_log import PartitionLog

CONFIG = LogConfig(segment_bytes=600, index_interval_bytes=150)
PRODUCER = 7
FAR_TOO_MANY_STEPS = 2000


@dataclass
class Scenario:
    """A server's work on one partition, and what it has promised so far."""

    disk: FakeDisk
    partition: Partition = field(init=False)
    acknowledged: int = 0
    acknowledged_sequence: int = -1
    log_start: int = 0

    def __post_init__(self) -> None:
        self.partition = Partition(self.disk, CONFIG)

    def run(self, log: PartitionLog) -> None:
        """Appends batches in flush rounds of one or two, deletes records once, and closes."""
        for number in range(41):
            value = (b"%d" % number).ljust(20)
            log.append(batch_of(value, producer=(PRODUCER, 0, number)), now_ms=NOW_MS)
            if number % 3 != 1:
                self.flush(log)
            if number == 25:
                self.partition.log_start_offset = self.log_start = log.delete_records(12)
                for segment in log.enforce_retention(NOW_MS):
                    for path in segment.retire():
                        self.disk.unlink(path)
        log.close()

    def flush(self, log: PartitionLog) -> None:
        ticket = log.begin_flush()
        assert ticket is not None
        ticket.run(self.disk)
        if ticket.seals:
            self.partition.recovery_point = ticket.end.offset
        log.flushed(ticket)
        self.acknowledged = log.high_watermark

    def check(self, log: PartitionLog) -> None:
        """Checks all promises on a log that was opened after the crash, and goes on with it."""
        assert log.log_end_offset >= self.acknowledged
        assert log.log_start_offset >= self.log_start
        end = log.log_end_offset
        assert_numbered(read_all(log), log.log_start_offset, end)
        # A producer that got no answer repeats its last five batches, then goes on.
        for number in range(max(0, end - 5), end):
            value = (b"%d" % number).ljust(20)
            again = log.append(batch_of(value, producer=(PRODUCER, 0, number)), now_ms=NOW_MS)
            assert (again.duplicate, again.base_offset) == (True, number)
        following = batch_of(b"%d" % end, producer=(PRODUCER, 0, end))
        assert log.append(following, now_ms=NOW_MS).base_offset == end
        fill(log, 10)
        assert_numbered(read_all(log), log.log_start_offset, end + 11)


def steps_of_scenario() -> int:
    disk = FakeDisk()
    scenario = Scenario(disk)
    log = scenario.partition.create()
    before = disk.steps
    scenario.run(log)
    return disk.steps - before


STEPS = steps_of_scenario()


def crashed(step: int, torn_bytes: int = 0) -> Scenario:
    disk = FakeDisk()
    scenario = Scenario(disk)
    log = scenario.partition.create()
    disk.crash_at, disk.torn_bytes = disk.steps + step, torn_bytes
    with pytest.raises(DiskCrashError):
        scenario.run(log)
    return scenario


def test_the_scenario_does_all_that_it_is_meant_to() -> None:
    disk = FakeDisk()
    scenario = Scenario(disk)
    scenario.run(scenario.partition.create())
    kinds = {line.split(" ", 1)[0] for line in disk.trace}
    assert kinds >= {"create", "pwrite", "datasync", "rename", "unlink", "sync_dir"}
    assert len(scenario.partition.open(clean=True).segments) > 3
    assert 100 < STEPS < FAR_TOO_MANY_STEPS


@pytest.mark.parametrize("torn_bytes", [0, 1, 40, 85])
def test_a_killed_process_loses_nothing(torn_bytes: int) -> None:
    for step in range(1, STEPS + 1):
        scenario = crashed(step, torn_bytes)
        scenario.disk.restart()
        scenario.check(scenario.partition.open())


def test_a_power_failure_loses_nothing_that_was_acknowledged() -> None:
    for step in range(1, STEPS + 1):
        scenario = crashed(step)
        scenario.disk.lose_power()
        scenario.check(scenario.partition.open())


@pytest.mark.parametrize("seed", range(4))
def test_a_power_failure_that_keeps_some_pages_and_names_loses_nothing_either(seed: int) -> None:
    for step in range(1, STEPS + 1):
        chance = random.Random(seed * FAR_TOO_MANY_STEPS + step)
        scenario = crashed(step, torn_bytes=chance.randrange(90))
        scenario.disk.lose_power(chance)
        scenario.check(scenario.partition.open())


def test_what_recovery_shows_survives_a_power_failure_right_after() -> None:
    for step in range(1, STEPS + 1):
        scenario = crashed(step, torn_bytes=40)
        scenario.disk.restart()
        scenario.acknowledged = scenario.partition.open().high_watermark
        scenario.disk.lose_power()
        scenario.check(scenario.partition.open())


@pytest.mark.parametrize("power", [False, True])
def test_recovery_may_itself_be_interrupted_at_every_step(power: bool) -> None:
    for step in range(3, STEPS + 1, 7):
        scenario = crashed(step, torn_bytes=50)
        disk = scenario.disk
        disk.lose_power(random.Random(step))
        for recovery_step in range(1, 60):
            disk.crash_at = disk.steps + recovery_step
            try:
                log = scenario.partition.open()
            except DiskCrashError:
                disk.lose_power(random.Random(recovery_step)) if power else disk.restart()
            else:
                break
        else:
            pytest.fail("recovery makes no progress")
        disk.crash_at = None
        scenario.check(log)


def test_five_unclean_ends_in_a_row_lose_nothing() -> None:
    disk = FakeDisk()
    scenario = Scenario(disk)
    log = scenario.partition.create()
    for life in range(5):
        fill(log, 13)
        log.append(numbered(log.log_end_offset), now_ms=NOW_MS)
        disk.lose_power(random.Random(life))
        log = scenario.partition.open()
        assert log.log_end_offset >= 13 * (life + 1)
        assert_numbered(read_all(log), 0, log.log_end_offset)


def test_the_checks_notice_a_disk_that_does_not_sync() -> None:
    """The scenario would be worthless if lost data went unnoticed."""
    lost = 0
    for step in range(1, STEPS + 1, 5):
        scenario = crashed(step)
        scenario.disk._root.lose(None)
        scenario.acknowledged += 1
        scenario.disk.restart()
        try:
            scenario.check(scenario.partition.open())
        except (AssertionError, CorruptSegmentError):
            lost += 1
    assert lost > STEPS / 10
