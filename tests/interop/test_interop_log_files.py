"""Our log directories in Apache Kafka's hands, and Apache Kafka's in ours."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import apache_kafka
import pytest
from confluent_kafka import Producer

from streamlog.broker.log.config import LogConfig
from streamlog.broker.log.disk import OsDisk
from streamlog.broker.log.manager import LogManagerConfig, open_log_manager
from streamlog.doors import SystemClock, WorkerThreads
from streamlog.records.batch import Codec
from streamlog.records.codec import decode_batches, encode_batch

if TYPE_CHECKING:
    from streamlog.broker.log.partition_log import PartitionLog

MISSING = apache_kafka.unavailable()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]
BASE_MS = 1_700_000_000_000
COMPLAINTS = ("ismatch", "out of order", "isvalid: false", "Exception", "Non-consecutive")


def fill(log: PartitionLog, batches: int) -> None:
    """Appends batches in every codec, with times that go back and forth."""
    for number in range(batches):
        times = [BASE_MS + number * 50 + (number * 7919 + record) % 400 for record in range(5)]
        values: list[bytes | None] = [b"%d/%d" % (number, record) * 20 for record in range(5)]
        batch = encode_batch(
            [b"k%d" % record for record in range(5)],
            values,
            times,
            codec=Codec(number % 5),
            producer_id=77,
            producer_epoch=1,
            base_sequence=number * 5,
        )
        log.append(batch, now_ms=BASE_MS + number)


def read_all(log: PartitionLog) -> list[tuple[int, bytes | None, bytes | None]]:
    found: list[tuple[int, bytes | None, bytes | None]] = []
    at = log.log_start_offset
    while at < log.high_watermark:
        part = log.read(at, 1 << 20, at_least_one=True)
        columns, at = decode_batches(part.read(), fetch_offset=at)
        found += zip(columns.offsets, columns.keys, columns.values, strict=True)
    return found


def dump(*files: Path, options: tuple[str, ...] = ()) -> str:
    return apache_kafka.tool("dump-log", "--files", ",".join(map(str, files)), *options)


async def write_with(path: Path, config: LogConfig) -> None:
    async with open_log_manager(path, OsDisk(), WorkerThreads(2), SystemClock()) as logs:
        await logs.create("orders", uuid.UUID(int=5), 1, config)
        log = logs.get("orders", 0)
        assert log is not None
        fill(log, 200)
        log.begin_leader_epoch(3)
        await logs.wait_flushed(log, log.log_end_offset)
        await logs.delete_records(log, 300)


@pytest.mark.parametrize("timestamp_type", ["CreateTime", "LogAppendTime"])
async def test_apache_kafka_finds_no_fault_with_our_files(
    tmp_path: Path, timestamp_type: str
) -> None:
    config = LogConfig(
        segment_bytes=16_384,
        index_interval_bytes=500,
        message_timestamp_type=timestamp_type,
        message_timestamp_after_max_ms=1 << 60,
        retention_ms=-1,
        file_delete_delay_ms=0,
    )
    await write_with(tmp_path, config)
    folder = tmp_path / "orders-0"
    logs = sorted(folder.glob("*.log"))
    assert len(logs) > 2
    records = dump(*logs, options=("--print-data-log",))
    indexes = dump(*sorted(folder.glob("*.index")), *sorted(folder.glob("*.timeindex")))
    checked = dump(*sorted(folder.glob("*.index")), options=("--index-sanity-check",))
    snapshots = dump(*sorted(folder.glob("*.snapshot")))
    for text in (records, indexes, checked, snapshots):
        for complaint in COMPLAINTS:
            assert complaint not in text, text[:3000]
    assert checked.count("passed sanity check") + checked.count("is empty") == len(logs)
    assert indexes.count("offset: ") > 50
    assert records.count("| offset: ") == 1000 - int(logs[0].stem)
    assert "offset: 999" in records
    assert "producerId: 77 producerEpoch: 1" in snapshots
    assert "lastSequence: 999" in snapshots


def produce(address: str) -> None:
    """Writes with every codec, as an idempotent and as a transactional producer."""
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        settings = {"bootstrap.servers": address, "compression.type": codec, "linger.ms": 5}
        producer = Producer({**settings, "enable.idempotence": True})
        for number in range(2000):
            value = f"{codec}-{number}".ljust(300, "x")
            producer.produce("orders", value, f"k{number}", timestamp=BASE_MS + number)
        assert producer.flush(30) == 0
    producer = Producer({"bootstrap.servers": address, "transactional.id": "t"})
    producer.init_transactions(30)
    for ending in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce("orders", ending.__name__, "t")
        assert producer.flush(30) == 0
        ending(30)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that Apache Kafka has written and closed; copy it before use."""
    folder = tmp_path_factory.mktemp("apache")
    with apache_kafka.running(folder) as address:
        apache_kafka.tool(
            "topics", "--bootstrap-server", address, "--create", "--topic", "orders",
            "--partitions", "1", "--config", "segment.bytes=1048576",
            "--config", "retention.ms=-1",
        )  # fmt: skip
        produce(address)
    return folder / "data"


@pytest.mark.parametrize("clean", [True, False])
async def test_a_folder_that_apache_kafka_wrote_is_taken_over(
    written: Path, tmp_path: Path, clean: bool
) -> None:
    data = Path(shutil.copytree(written, tmp_path / "data"))
    if not clean:
        (data / ".kafka_cleanshutdown").unlink()
    config = LogManagerConfig(default_config=LogConfig(retention_ms=-1))
    async with open_log_manager(data, OsDisk(), WorkerThreads(2), SystemClock(), config) as logs:
        assert logs.properties.cluster_id == "c3RyZWFtbG9nLXRlc3RzIQ"
        assert logs.was_clean is clean
        assert logs.failures == {}
        assert "__cluster_metadata" not in logs.topics()
        log = logs.get("orders", 0)
        assert log is not None
        assert log.topic_id is not None
        assert len(log.segments) > 1
        found = read_all(log)
        assert [value for _, key, value in found if key == b"t"] == [
            b"commit_transaction",
            b"abort_transaction",
        ]
        codecs = ("none", "gzip", "snappy", "lz4", "zstd")
        wanted = [f"{codec}-{number}".ljust(300, "x") for codec in codecs for number in range(2000)]
        assert [value for _, key, value in found if key != b"t"] == [w.encode() for w in wanted]
        assert log.log_end_offset == 10_004, "two markers stand behind the transactions"
        assert log.last_stable_offset == 10_004
        assert len(log.producers) == 6
        assert log.offset_for_timestamp(BASE_MS + 1500) == (1500, BASE_MS + 1500)
        fill(log, 20)
        await logs.wait_flushed(log, log.log_end_offset)
        assert len(read_all(log)) == len(found) + 100
    text = dump(*sorted((data / "orders-0").glob("*.log")), options=("--deep-iteration",))
    assert not any(complaint in text for complaint in COMPLAINTS)
    assert "offset: 10103" in text
