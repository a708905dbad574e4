"""What a server leaves behind that was killed under load and then stopped: Apache Kafka's own tool
for log directories finds no fault with it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from durability_load import Ledger, LoadingProducer, stop_all
from durability_server import ServerProcess
from durability_wire import Wire

from streamlog.wire.error_codes import ErrorCode

sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

import apache_kafka

MISSING = apache_kafka.unavailable()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]
PARTITION_COUNT = 2
COMPLAINTS = ("ismatch", "out of order", "isvalid: false", "Exception", "Non-consecutive", "orrupt")


def dump(*paths: Path, options: tuple[str, ...] = ()) -> str:
    assert paths
    text = apache_kafka.tool("dump-log", "--files", ",".join(map(str, paths)), *options)
    for complaint in COMPLAINTS:
        assert complaint not in text, re.findall(f".*{complaint}.*", text)[:3]
    return text


def test_apache_kafka_reads_what_a_killed_server_left(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    ledger = Ledger("numbers", PARTITION_COUNT)
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        with Wire(server.port) as wire:
            settings = {"segment.bytes": str(1 << 17), "index.interval.bytes": "500"}
            assert wire.create_topic("numbers", PARTITION_COUNT, settings) == ErrorCode.NONE
        producers = [
            LoadingProducer(server.address, ledger, f"with-{codec}", codec)
            for codec in ("none", "lz4", "zstd")
        ]
        try:
            for _ in range(3):
                ledger.wait_acknowledged(ledger.acknowledged_count + 6000)
                server.restart()
        finally:
            stop_all(producers)
        for producer in producers:
            producer.finish()
        server.stop()
        offsets = 0
        for partition in range(PARTITION_COUNT):
            folder = server.data / f"numbers-{partition}"
            logs = sorted(folder.glob("*.log"))
            assert len(logs) > 2
            text = dump(*logs, options=("--print-data-log",))
            found = [int(offset) for offset in re.findall(r"^\| offset: (\d+)", text, re.MULTILINE)]
            assert found == list(range(len(found)))
            offsets += len(found)
            indexes = sorted([*folder.glob("*.index"), *folder.glob("*.timeindex")])
            dump(*indexes)
            dump(*folder.glob("*.index"), options=("--index-sanity-check",))
            snapshots = dump(*folder.glob("*.snapshot"))
            assert snapshots.count("producerId: ") >= len(producers)
        assert offsets == ledger.acknowledged_count
        server.start()
