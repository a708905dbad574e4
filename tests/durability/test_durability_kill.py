"""A server that is killed at any moment: what it had acknowledged is there afterwards."""

from __future__ import annotations

import os
import random

import pytest
from durability_load import Ledger, LiveReader, LoadingProducer, stop_all
from durability_server import ServerProcess
from durability_wire import Wire

from streamlog.wire.error_codes import ErrorCode

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PARTITION_COUNT = 4
KILLS = int(os.environ.get("STREAMLOG_TEST_KILLS", "12"))
"""More of them, for an hour or a night, find what twelve do not."""
BETWEEN_KILLS = (20, 4000)
"""How many acknowledgements lie between two kills."""
START_KILL_CHANCE = 0.3
START_KILL_S_MAX = 0.6


@pytest.mark.slow
@pytest.mark.parametrize("write_caching", ["false", "true"])
def test_nothing_acknowledged_is_lost_or_repeated_by_kills(
    tmp_path_factory: pytest.TempPathFactory, write_caching: str
) -> None:
    rng = random.Random(f"kills {write_caching}")
    ledger = Ledger("numbers", PARTITION_COUNT)
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        # Small segments: kills meet rolls too.
        settings = {"segment.bytes": str(1 << 17), "write.caching": write_caching}
        with Wire(server.port) as wire:
            assert wire.create_topic("numbers", PARTITION_COUNT, settings) == ErrorCode.NONE
        producers = [
            LoadingProducer(server.address, ledger, f"with-{codec}", codec) for codec in CODECS
        ]
        reader = LiveReader(server.address, ledger)
        try:
            for _ in range(KILLS):
                ledger.wait_acknowledged(ledger.acknowledged_count + rng.randint(*BETWEEN_KILLS))
                server.kill()
                if rng.random() < START_KILL_CHANCE:
                    kill_while_it_starts(server, rng)
                server.start()
                ledger.check(server.port)
        finally:
            stop_all(producers)
        for producer in producers:
            producer.finish()
        assert ledger.acknowledged_count == sum(producer.sent_count for producer in producers)
        ledger.check(server.port)
        reader.finish(ledger.acknowledged_count)
        assert len(list(server.data.glob("numbers-*/*.log"))) > 2 * PARTITION_COUNT
        server.stop()
        server.start()
        ledger.check(server.port)


def kill_while_it_starts(server: ServerProcess, rng: random.Random) -> None:
    """Kills it in the middle of its recovery, or shortly before or after."""
    server.spawn()
    server.transcript.thread.join(rng.uniform(0, START_KILL_S_MAX))
    server.kill()
