"""A data folder on a disk that runs full: produce is refused, reads go on, space heals it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from durability_disk import Ballast, small_disk
from durability_server import ServerProcess, wait_until
from durability_wire import Wire, batch_of

from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from streamlog.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestTopic,
    OffsetFetchResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
DISK_BYTES = 24 * MIB
PARTITION_COUNT = 3
SMALL, LARGE = "s" * 100, "x" * 200_000
COMMIT_VERSION, OFFSET_FETCH_VERSION = 8, 7


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("disk"), DISK_BYTES) as folder:
        yield folder


class Writer:
    """Writes and knows what was acknowledged."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._count = 0
        self.acknowledged: dict[tuple[int, int], str] = {}

    def write(self, padding: str = SMALL) -> ErrorCode:
        """Tries one record; returns what the broker said."""
        partition = self._count % PARTITION_COUNT
        value = f"{self._count} {padding}"
        self._count += 1
        with Wire(self._server.port) as wire:
            answer = wire.produce("data", partition, batch_of(value))
        if answer.error_code == ErrorCode.NONE:
            self.acknowledged[partition, answer.base_offset] = value
        return ErrorCode(answer.error_code)

    def write_until_full(self) -> None:
        """Writes until no partition takes more."""
        refused = 0
        while refused < PARTITION_COUNT:
            code = self.write(LARGE)
            assert code in (ErrorCode.NONE, ErrorCode.KAFKA_STORAGE_ERROR)
            refused = refused + 1 if code else 0

    def check(self) -> None:
        """Nothing acknowledged is missing, and nothing else is there."""
        with Wire(self._server.port) as wire:
            read = {
                (partition, offset): value
                for partition in range(PARTITION_COUNT)
                for offset, value in wire.read("data", partition).items()
            }
        assert read == self.acknowledged


def commit(wire: Wire, offset: int) -> ErrorCode:
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
    request = OffsetCommitRequest(
        group_id="readers",
        generation_id_or_member_epoch=-1,
        topics=[OffsetCommitRequestTopic(name="data", partitions=[partition])],
    )
    answer = wire.call(request, OffsetCommitResponse, COMMIT_VERSION)
    return ErrorCode(answer.topics[0].partitions[0].error_code)


def committed(wire: Wire) -> int:
    topic = OffsetFetchRequestTopic(name="data", partition_indexes=[0])
    request = OffsetFetchRequest(group_id="readers", topics=[topic])
    answer = wire.call(request, OffsetFetchResponse, OFFSET_FETCH_VERSION)
    return answer.topics[0].partitions[0].committed_offset


@pytest.fixture
def server(disk: Path) -> Iterator[ServerProcess]:
    with ServerProcess(disk / "data") as server:
        with Wire(server.port) as wire:
            settings = {"segment.bytes": str(MIB)}
            assert wire.create_topic("data", PARTITION_COUNT, settings) == ErrorCode.NONE
        yield server


@pytest.mark.slow
def test_a_full_disk_refuses_writes_serves_reads_and_heals(
    server: ServerProcess, disk: Path
) -> None:
    writer, ballast = Writer(server), Ballast(disk)
    for _ in range(20):
        assert writer.write() == ErrorCode.NONE
    with Wire(server.port) as wire:
        assert commit(wire, 7) == ErrorCode.NONE
    for _ in range(2):
        ballast.fill()
        for _ in range(2 * PARTITION_COUNT):
            assert writer.write(LARGE) == ErrorCode.KAFKA_STORAGE_ERROR
        writer.check()
        with Wire(server.port) as wire:
            assert committed(wire) == 7
            assert wire.create_topic("more", 2) != ErrorCode.NONE
        # Its log says what is the matter.
        assert server.transcript.find("No space left on device")
        ballast.remove()
        for _ in range(PARTITION_COUNT):
            assert writer.write(LARGE) == ErrorCode.NONE
        writer.check()
    with Wire(server.port) as wire:
        assert wire.create_topic("more", 2) == ErrorCode.NONE
        assert commit(wire, 9) == ErrorCode.NONE
    server.restart()
    writer.check()
    with Wire(server.port) as wire:
        assert committed(wire) == 9


@pytest.mark.slow
def test_a_commit_that_does_not_fit_is_refused_and_the_next_one_works(
    server: ServerProcess, disk: Path
) -> None:
    ballast = Ballast(disk)
    with Wire(server.port) as wire:
        assert commit(wire, 1) == ErrorCode.NONE
        ballast.fill()
        acknowledged = 1
        codes = set()
        for offset in range(2, 200):
            code = commit(wire, offset)
            codes.add(code)
            if code == ErrorCode.NONE:
                acknowledged = offset
            assert committed(wire) == acknowledged
        ballast.remove()
        assert codes - {ErrorCode.NONE} <= {
            ErrorCode.KAFKA_STORAGE_ERROR,
            ErrorCode.COORDINATOR_NOT_AVAILABLE,
            ErrorCode.UNKNOWN_SERVER_ERROR,
        }
        assert commit(wire, 500) == ErrorCode.NONE
    server.restart()
    with Wire(server.port) as wire:
        assert committed(wire) == 500


@pytest.mark.slow
def test_a_log_that_fills_the_disk_itself_loses_nothing(server: ServerProcess, disk: Path) -> None:
    writer, ballast = Writer(server), Ballast(disk)
    (disk / "ballast").write_bytes(bytes(4 * MIB))
    writer.write_until_full()
    writer.check()
    server.restart()
    writer.check()
    ballast.remove()
    wait_until(lambda: writer.write(LARGE) == ErrorCode.NONE, "it can be written again")
    for _ in range(PARTITION_COUNT):
        assert writer.write() == ErrorCode.NONE
    writer.check()
    server.stop()
    server.start()
    writer.check()


@pytest.mark.slow
def test_a_server_stopped_with_a_full_disk_starts_again(server: ServerProcess, disk: Path) -> None:
    writer, ballast = Writer(server), Ballast(disk)
    for _ in range(20):
        assert writer.write() == ErrorCode.NONE
    ballast.fill()
    server.stop()
    server.start()
    writer.check()
    ballast.remove()
    assert writer.write(LARGE) == ErrorCode.NONE
    server.restart()
    writer.check()
