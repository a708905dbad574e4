"""Committed offsets of consumer groups: what was acknowledged before a kill is there after it."""

from __future__ import annotations

import random
import threading

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from durability_server import ServerProcess, wait_until
from durability_wire import Wire

from streamlog.wire.error_codes import ErrorCode

KILLS = 10
PARTITION_COUNT = 3
GROUPS = ("alpha", "beta")
REQUEST_TIMEOUT_S = 30


class Committer:
    """Commits ever larger offsets for all partitions; knows the last that was acknowledged."""

    def __init__(self, address: str, group: str) -> None:
        self.group = group
        self.acknowledged = 0
        self.attempted = 0
        self.failures: list[str] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": address,
                "group.id": group,
                "enable.auto.commit": False,
                "log_level": 0,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
            }
        )
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self.attempted += 1
            offsets = [
                TopicPartition("work", partition, self.attempted * 10 + partition)
                for partition in range(PARTITION_COUNT)
            ]
            try:
                results = self._consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                # The answer to this one may be lost; nothing is known of it.
                self.failures.append(str(error))
                continue
            assert results is not None
            if all(result.error is None for result in results):
                self.acknowledged = self.attempted

    def finish(self) -> None:
        self._is_stopping.set()
        self._thread.join(REQUEST_TIMEOUT_S)
        assert not self._thread.is_alive(), f"{self.group} hangs"
        self._consumer.close()


def committed(address: str, group: str) -> list[int]:
    consumer = Consumer({"bootstrap.servers": address, "group.id": group, "log_level": 0})
    try:
        wanted = [TopicPartition("work", partition) for partition in range(PARTITION_COUNT)]
        found = consumer.committed(wanted, timeout=REQUEST_TIMEOUT_S)
        return [partition.offset for partition in found]
    finally:
        consumer.close()


@pytest.mark.slow
def test_acknowledged_offsets_survive_kills(tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random("offsets")
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        with Wire(server.port) as wire:
            assert wire.create_topic("work", PARTITION_COUNT) == ErrorCode.NONE
        for _ in range(KILLS):
            committers = [Committer(server.address, group) for group in GROUPS]
            for committer in committers:
                enough = rng.randint(1, 60)
                wait_until(
                    lambda: committer.acknowledged >= enough,  # noqa: B023 - called at once
                    f"commits of {committer.group}: {committer.failures[:3]}",
                )
            server.kill()
            lows = {committer.group: committer.acknowledged for committer in committers}
            server.start()
            for committer in committers:
                committer.finish()
                offsets = committed(server.address, committer.group)
                first = offsets[0]
                # All partitions of one commit, or none.
                assert offsets == [first + partition for partition in range(PARTITION_COUNT)]
                assert first % 10 == 0
                assert lows[committer.group] <= first // 10 <= committer.attempted
                assert first // 10 >= committer.acknowledged
