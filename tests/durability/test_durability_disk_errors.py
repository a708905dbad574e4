"""System calls that fail while the server runs: nothing that did not reach the disk is promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from durability_disk import failing_calls
from durability_server import ServerProcess
from durability_wire import Wire, batch_of

from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

LARGE = "x" * 5000
SEGMENT_BYTES = 20_000


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        with Wire(server.port) as wire:
            settings = {"segment.bytes": str(SEGMENT_BYTES)}
            for name in ("one", "two"):
                assert wire.create_topic(name, 1, settings) == ErrorCode.NONE
                for number in range(3):
                    wire.must_produce(name, 0, batch_of(f"{name} {number}"))
        yield server


def acknowledged(name: str) -> dict[int, str]:
    return {number: f"{name} {number}" for number in range(3)}


def test_a_sync_that_failed_is_never_believed(server: ServerProcess) -> None:
    # Only the first sync fails: a second would succeed, without having written anything.
    with failing_calls(server.pid, ["fdatasync:error=EIO:when=1"]), Wire(server.port) as wire:
        answer = wire.produce("one", 0, batch_of("not on the disk"))
        assert answer.error_code == ErrorCode.KAFKA_STORAGE_ERROR
        for name in ("one", "two", "one"):
            answer = wire.produce(name, 0, batch_of("refused"))
            assert answer.error_code == ErrorCode.KAFKA_STORAGE_ERROR
        # What is on the disk is served, what may not be is not shown.
        for name in ("one", "two"):
            assert wire.read(name, 0) == acknowledged(name)
    server.transcript.wait_for(r"log directory \S+ failed.*Input/output error.*\.log")
    server.transcript.wait_for("nothing more is written until the server is started again")
    server.restart()
    with Wire(server.port) as wire:
        for name in ("one", "two"):
            values = wire.read(name, 0)
            assert values.items() >= acknowledged(name).items()
            assert "refused" not in values.values()
            wire.must_produce(name, 0, batch_of("it works again"))


def test_a_write_that_failed_closes_one_partition_and_no_other(server: ServerProcess) -> None:
    segment = server.data / "one-0" / f"{0:020}.log"
    with (
        failing_calls(server.pid, ["pwrite64:error=EIO:when=1+"], paths=[segment]),
        Wire(server.port) as wire,
    ):
        answer = wire.produce("one", 0, batch_of("lost"))
        assert answer.error_code == ErrorCode.KAFKA_STORAGE_ERROR
        assert "Input/output error" in str(answer.error_message)
        assert wire.read("one", 0) == acknowledged("one")
        assert wire.must_produce("two", 0, batch_of("unharmed")) == 3
    with Wire(server.port) as wire:
        # It does not heal by itself: nobody knows what is in the file.
        answer = wire.produce("one", 0, batch_of("lost"))
        assert answer.error_code == ErrorCode.KAFKA_STORAGE_ERROR
    server.transcript.wait_for("one-0 could not be written.*Input/output error")
    server.restart()
    with Wire(server.port) as wire:
        assert wire.read("one", 0) == acknowledged("one")
        assert wire.must_produce("one", 0, batch_of("it works again")) == 3


def test_a_short_write_is_cut_off_again(server: ServerProcess) -> None:
    segment = server.data / "one-0" / f"{0:020}.log"
    before = segment.stat().st_size
    with (
        failing_calls(server.pid, ["pwrite64:error=ENOSPC:when=1"], paths=[segment]),
        Wire(server.port) as wire,
    ):
        answer = wire.produce("one", 0, batch_of("no room"))
        assert answer.error_code == ErrorCode.KAFKA_STORAGE_ERROR
        assert segment.stat().st_size == before
        assert wire.must_produce("one", 0, batch_of("room again")) == 3
    server.transcript.wait_for("one-0 could not be written.*No space left on device")


def test_a_read_that_failed_is_told_and_the_others_are_served(server: ServerProcess) -> None:
    segment = server.data / "one-0" / f"{0:020}.log"
    server.restart()  # what it has not written or read itself, it looks at before it sends
    with (
        failing_calls(server.pid, ["pread64:error=EIO"], paths=[segment]),
        Wire(server.port) as wire,
    ):
        assert wire.fetch("one", 0, 0).error_code == ErrorCode.KAFKA_STORAGE_ERROR
        assert wire.read("two", 0) == acknowledged("two")
    server.transcript.wait_for("cannot read one-0.*Input/output error")
    with Wire(server.port) as wire:
        assert wire.read("one", 0) == acknowledged("one")


@pytest.mark.parametrize("suffix", ["index", "timeindex", "snapshot"])
def test_files_that_follow_from_the_log_may_fail(server: ServerProcess, suffix: str) -> None:
    directory = server.data / "one-0"
    values = acknowledged("one")
    # At a roll the indexes and a snapshot are written.
    paths = [
        directory / f"{offset:020}.{suffix}{ending}"
        for offset in range(20)
        for ending in ("", ".tmp")
    ]
    with (
        failing_calls(server.pid, ["pwrite64:error=ENOSPC"], paths=paths),
        Wire(server.port) as wire,
    ):
        for number in range(3, 15):
            value = f"{number} {LARGE}"
            assert wire.must_produce("one", 0, batch_of(value)) == number
            values[number] = value
        assert wire.read("one", 0) == values
    assert len(list(directory.glob("*.log"))) > 2
    server.restart()
    with Wire(server.port) as wire:
        assert wire.read("one", 0) == values
        assert wire.must_produce("one", 0, batch_of("next")) == 15


def test_checkpoints_that_cannot_be_written_stop_nothing(server: ServerProcess) -> None:
    blocked = server.data / "recovery-point-offset-checkpoint.tmp"
    blocked.mkdir()
    said = len(server.transcript.lines)
    with Wire(server.port) as wire:
        for number in range(3, 15):
            assert wire.must_produce("one", 0, batch_of(f"{number} {LARGE}")) == number
        server.transcript.wait_for("recovery-point-offset-checkpoint was not written", start=said)
        assert len(wire.read("one", 0)) == 15
    server.kill()
    blocked.rmdir()
    server.start()
    with Wire(server.port) as wire:
        assert len(wire.read("one", 0)) == 15
