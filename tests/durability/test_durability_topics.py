"""Topics that are created and deleted while the server is killed: fully there or gone."""

from __future__ import annotations

import contextlib
import random
import threading
from dataclasses import dataclass, field

import pytest
from durability_server import ServerProcess, wait_until
from durability_wire import Wire, batch_of

from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.metadata import MetadataRequest, MetadataResponse

KILLS = 8
METADATA_VERSION = 12


@dataclass
class TopicChanges:
    """Creates and deletes topics of its own; knows of each how many partitions it must have.

    A change that was asked for and not answered leaves doubt: both outcomes are right.
    """

    name: str
    port: int
    rng: random.Random
    expected: dict[str, set[int]] = field(default_factory=dict)
    """By name, the partition counts that are right; 0 is a topic that is not there."""
    answered_count: int = 0

    def run(self) -> None:
        """Goes on until the server is killed."""
        serial = 0
        with contextlib.suppress(ConnectionError), Wire(self.port) as wire:
            while True:
                existing = [name for name, counts in self.expected.items() if 0 not in counts]
                if existing and self.rng.random() < 0.5:
                    self._delete(wire, self.rng.choice(existing))
                else:
                    self._create(wire, f"{self.name}-{serial}", self.rng.choice((1, 3, 6)))
                    serial += 1
                self.answered_count += 1

    def _create(self, wire: Wire, name: str, count: int) -> None:
        self.expected[name] = {0, count}
        assert wire.create_topic(name, count) == ErrorCode.NONE
        self.expected[name] = {count}

    def _delete(self, wire: Wire, name: str) -> None:
        self.expected[name].add(0)
        assert wire.delete_topic(name) == ErrorCode.NONE
        self.expected[name] = {0}


def topics_of(wire: Wire) -> dict[str, int]:
    """Returns the partition counts of all topics, as clients are told."""
    answer = wire.call(MetadataRequest(topics=None), MetadataResponse, METADATA_VERSION)
    return {str(topic.name): len(topic.partitions) for topic in answer.topics}


@pytest.mark.slow
def test_a_topic_is_fully_there_or_gone_after_a_kill(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = random.Random("topics")
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        known: dict[str, set[int]] = {}
        for round_number in range(KILLS):
            changes = [
                TopicChanges(
                    f"round-{round_number}-{name}", server.port, random.Random(rng.random())
                )
                for name in ("a", "b")
            ]
            threads = [threading.Thread(target=change.run, daemon=True) for change in changes]
            for thread in threads:
                thread.start()
            enough = rng.randint(1, 25)
            wait_until(
                lambda: sum(change.answered_count for change in changes) >= enough,  # noqa: B023
                f"{enough} changes",
            )
            server.kill()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()
            server.start()
            recent: dict[str, set[int]] = {}
            for change in changes:
                recent |= change.expected
            known |= recent
            check_topics(server, known, recent)


def check_topics(
    server: ServerProcess, known: dict[str, set[int]], recent: dict[str, set[int]]
) -> None:
    """Holds what is there against what may be; settles what was in doubt; tries recent topics."""
    with Wire(server.port) as wire:
        topics = topics_of(wire)
        for name, counts in known.items():
            assert topics.get(name, 0) in counts, name
            known[name] = {topics.get(name, 0)}
        assert set(topics) <= set(known)
        wanted = {f"{name}-{index}" for name, count in topics.items() for index in range(count)}
        # Deleted directories have another name until they are unlinked.
        assert server.partition_dirs() == wanted
        for name in recent:
            for index in range(topics.get(name, 0)):
                base = wire.must_produce(name, index, batch_of(f"{name} {index}"))
                assert wire.read(name, index)[base] == f"{name} {index}"
