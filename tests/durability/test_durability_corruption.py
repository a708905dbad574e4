"""Files that changed behind the server's back: named, refused or repaired, never cut away."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from durability_disk import flip_bit
from durability_server import ServerProcess
from durability_wire import Wire, batch_of

from streamlog.records.batch import iter_headers
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopic,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SEGMENT_BYTES = 20_000
RECORD_COUNT = 40
BODY_POSITION, LENGTH_POSITION, BASE_OFFSET_POSITION = 100, 9, 6
DELETE_VERSION = 2
BAD_DATA = 6
VALUES = {offset: f"{offset} " + "x" * 2000 for offset in range(RECORD_COUNT)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with sealed segments, whose server was stopped in order."""
    data = tmp_path_factory.mktemp("written")
    with ServerProcess(data) as server:
        with Wire(server.port) as wire:
            settings = {"segment.bytes": str(SEGMENT_BYTES)}
            for name in ("one", "two"):
                assert wire.create_topic(name, 1, settings) == ErrorCode.NONE
                for value in VALUES.values():
                    wire.must_produce(name, 0, batch_of(value))
        server.stop()
    return data


@pytest.fixture
def server(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server over a copy of it."""
    data = Path(shutil.copytree(written, tmp_path_factory.mktemp("copy") / "data"))
    with ServerProcess(data) as server:
        yield server


def segments(server: ServerProcess) -> list[Path]:
    found = sorted((server.data / "one-0").glob("*.log"))
    assert len(found) >= 3
    return found


def position_of(segment: Path, offset: int) -> int:
    """Where the batch with an offset begins."""
    for position, header in iter_headers(segment.read_bytes()):
        if header.base_offset == offset:
            return position
    raise AssertionError(f"no offset {offset} in {segment}")


def readable(wire: Wire, topic: str) -> dict[int, str]:
    """Reads around what is refused, offset by offset."""
    values: dict[int, str] = {}
    for offset in range(RECORD_COUNT):
        data = wire.fetch(topic, 0, offset, bytes_max=100)
        if data.error_code == ErrorCode.NONE:
            values |= wire.read(topic, 0, offset, until=offset + 1)
        else:
            assert data.error_code == ErrorCode.KAFKA_STORAGE_ERROR
    return values


def without(*offsets: int) -> dict[int, str]:
    return {offset: value for offset, value in VALUES.items() if offset not in offsets}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["stop", "kill"])
@pytest.mark.parametrize(
    "inside",
    [BODY_POSITION, LENGTH_POSITION, BASE_OFFSET_POSITION],
    ids=["body", "length", "base-offset"],
)
def test_damage_in_a_sealed_segment_is_named_and_hides_nothing_else(
    server: ServerProcess, ending: str, inside: int
) -> None:
    segment = segments(server)[1]
    damaged = int(segment.stem) + 4
    position = position_of(segment, damaged)
    (server.stop if ending == "stop" else server.kill)()
    flip_bit(segment, position + inside)
    content = segment.read_bytes()
    server.start()
    with Wire(server.port) as wire:
        assert wire.read("two", 0) == VALUES
        found = readable(wire, "one")
        # A wrong body is one batch; past a wrong length nobody finds the way without an index.
        assert set(VALUES) - set(found) <= set(range(damaged, int(segments(server)[2].stem)))
        assert damaged not in found
        if inside == BODY_POSITION:
            assert found == without(damaged)
        assert all(VALUES[offset] == value for offset, value in found.items())
        assert wire.must_produce("one", 0, batch_of("goes on")) == RECORD_COUNT
    name = f"{segment.parent.name}/{segment.name}"
    server.transcript.wait_for(f"cannot read one-0.*{name} is damaged at byte {position}")
    assert "DeleteRecords" in server.transcript.text
    assert segment.read_bytes() == content


@pytest.mark.slow
def test_damage_can_be_moved_past(server: ServerProcess) -> None:
    segment = segments(server)[1]
    damaged = int(segment.stem) + 4
    server.stop()
    flip_bit(segment, position_of(segment, damaged) + BODY_POSITION)
    server.start()
    with Wire(server.port) as wire:
        partition = DeleteRecordsPartition(partition_index=0, offset=damaged + 1)
        topic = DeleteRecordsTopic(name="one", partitions=[partition])
        request = DeleteRecordsRequest(topics=[topic], timeout_ms=10_000)
        answer = wire.call(request, DeleteRecordsResponse, DELETE_VERSION)
        assert answer.topics[0].partitions[0].error_code == ErrorCode.NONE
        rest = wire.read("one", 0, damaged + 1)
        assert rest == {offset: value for offset, value in VALUES.items() if offset > damaged}


@pytest.mark.slow
@pytest.mark.parametrize("change", ["flip", "truncate", "remove"])
def test_a_log_that_lost_what_was_flushed_stays_closed(server: ServerProcess, change: str) -> None:
    segment = segments(server)[-1]
    # A stop in order has written down how far the log was flushed.
    server.stop()
    server.start()
    server.kill()
    if change == "flip":
        flip_bit(segment, BODY_POSITION)
    elif change == "truncate":
        with segment.open("r+b") as file:
            file.truncate(500)
    else:
        segment.unlink()
    before = {path: path.read_bytes() for path in segment.parent.glob("*.log")}
    server.start()
    server.transcript.wait_for(r"one-0 stays closed: .*one-0\S*/?\S* is damaged at byte \d+")
    with Wire(server.port) as wire:
        assert wire.fetch("one", 0, 0).error_code == ErrorCode.KAFKA_STORAGE_ERROR
        answer = wire.produce("one", 0, batch_of("more"))
        assert answer.error_code == ErrorCode.KAFKA_STORAGE_ERROR
        assert wire.read("two", 0) == VALUES
        assert wire.must_produce("two", 0, batch_of("goes on")) == RECORD_COUNT
    # Not even a later stop and start cuts anything.
    server.stop()
    server.start()
    assert before == {path: path.read_bytes() for path in segment.parent.glob("*.log")}


TORN_TAILS = {
    "half-a-batch": bytes(batch_of("y" * 500))[:300],
    "half-a-header": bytes(batch_of("y" * 500))[:20],
    "zeros": bytes(4096),
    "noise": random.Random("noise").randbytes(1000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TORN_TAILS)
def test_a_torn_tail_is_cut_and_reported(server: ServerProcess, name: str) -> None:
    tail = TORN_TAILS[name]
    segment = segments(server)[-1]
    with Wire(server.port) as wire:
        wire.must_produce("one", 0, batch_of("last"))
    server.kill()
    whole = segment.read_bytes()
    with segment.open("ab") as file:
        file.write(tail)
    server.start()
    server.transcript.wait_for(
        f"one-0 ends at offset {RECORD_COUNT + 1}; {len(tail)} bytes behind it were cut: "
        rf"\S*{segment.parent.name}/{segment.name} at byte {len(whole)}"
    )
    assert segment.read_bytes() == whole
    with Wire(server.port) as wire:
        assert wire.read("one", 0) == VALUES | {RECORD_COUNT: "last"}
        assert wire.must_produce("one", 0, batch_of("next")) == RECORD_COUNT + 1
    server.stop()
    server.start()
    assert not server.transcript.find("cut")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_indexes_are_made_again_whatever_happened_to_them(
    server: ServerProcess, ending: str
) -> None:
    rng = random.Random("indexes")
    (server.stop if ending == "stop" else server.kill)()
    for path in sorted((server.data / "one-0").iterdir()):
        if path.suffix not in (".index", ".timeindex", ".snapshot"):
            continue
        match rng.randrange(4):
            case 0:
                path.unlink()
            case 1:
                path.write_bytes(b"")
            case 2:
                path.write_bytes(rng.randbytes(rng.choice((8, 12, 24, 96))))
            case 3:
                path.write_bytes(path.read_bytes()[:-3])
    (server.data / "one-0" / "leader-epoch-checkpoint").write_bytes(b"nonsense")
    server.start()
    with Wire(server.port) as wire:
        assert wire.read("one", 0) == VALUES
        assert readable(wire, "one") == VALUES
        assert wire.must_produce("one", 0, batch_of("goes on")) == RECORD_COUNT


@pytest.mark.slow
@pytest.mark.parametrize("change", ["garbage", "cut", "torn-pages"])
def test_a_damaged_coordination_store_is_refused_and_changes_nothing(
    server: ServerProcess, change: str
) -> None:
    server.stop()
    store = server.data / "coordination" / "data.mdb"
    content = store.read_bytes()
    noise = random.Random("store").randbytes(len(content))
    damaged = {
        "garbage": noise,
        "cut": content[:5000],
        "torn-pages": content[:8192] + noise[8192:],
    }
    store.write_bytes(damaged[change])
    before = sorted(server.partition_dirs())
    server.spawn()
    assert server.wait_ended() == BAD_DATA
    assert "coordination" in server.transcript.text
    assert "Restore the directory from a copy" in server.transcript.text
    assert sorted(server.partition_dirs()) == before
    store.write_bytes(content)
    server.start()
    with Wire(server.port) as wire:
        assert wire.read("one", 0) == VALUES


@pytest.mark.slow
def test_topics_are_taken_over_when_the_coordination_store_is_gone(server: ServerProcess) -> None:
    server.stop()
    damaged = segments(server)[-1]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:500])
    shutil.rmtree(server.data / "coordination")
    server.start()
    server.transcript.wait_for("topic two with 1 partitions is taken over from the data folder")
    with Wire(server.port) as wire:
        assert wire.read("two", 0) == VALUES
        assert wire.must_produce("two", 0, batch_of("goes on")) == RECORD_COUNT
        assert wire.fetch("one", 0, 0).error_code == ErrorCode.KAFKA_STORAGE_ERROR
    server.stop()
    # What could not be opened then is still the same topic once it is repaired.
    damaged.write_bytes(content)
    server.start()
    with Wire(server.port) as wire:
        assert wire.read("one", 0) == VALUES
        assert wire.read("two", 0) == VALUES | {RECORD_COUNT: "goes on"}
    assert not list(server.data.glob("*stray"))
