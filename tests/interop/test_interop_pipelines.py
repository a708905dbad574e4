"""Pipelines and the command against a real Apache Kafka; skipped without a JDK and Maven.

What `tests/pipelines` shows on our own broker must hold on Kafka as well: the demo, killed workers,
lost state, several workers. One node serves all of it; the demo loads all flights, and the other
runs are of the same pipelines under other names over a part of them, so that they begin anew.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import apache_kafka
import pytest
import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.processing.plan.topics import KEPT

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))
sys.path.insert(0, str(Path(__file__).parent.parent / "pipelines"))

import flights_recomputed as recomputed
from command_runner import (
    COMMAND,
    TIMEOUT_S,
    environment,
    killed_when_written,
    read_results,
    streamlog,
)
from pipeline_inputs import flights_file, send, table_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from apache_kafka import Node

MISSING = apache_kafka.unavailable()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]

PART, PARTITIONS, UNTIL = "flights-part", 4, datetime(2013, 3, 1, tzinfo=UTC)
EXPECTED: dict[str, Callable[[datetime | None], recomputed.Results]] = {
    "delays-per-carrier": recomputed.delays_per_carrier,
    "cancellations-per-origin": recomputed.cancellations_per_origin,
}


@dataclass(frozen=True)
class Demo:
    """What the demo said; its topics stay there."""

    output: str
    summary: str


@pytest.fixture(scope="module")
def demo(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    done = streamlog("demo", "--exit", "--data", str(folder), "-X", f"brokers={kafka}")
    return Demo(done.stdout, done.stderr)


@pytest.fixture(scope="module")
def part(kafka: str, demo: Demo) -> None:
    """Two months of the flights in a topic of their own, beside the demo's tables."""

    async def load() -> None:
        async with open_client(ClientConfig(brokers=(kafka,))) as client:
            await Admin(client).create_topics([NewTopic(PART, PARTITIONS, configs=KEPT)])
            flights = [sent._replace(topic=PART) for sent in table_records("flights", UNTIL)]
            await send(client, flights, PARTITIONS)

    trio.run(load)


def assert_all_results(
    address: str, suffix: str = "", until: datetime | None = UNTIL, *, once: bool = False
) -> None:
    for topic, recompute in EXPECTED.items():
        results, count = read_results(address, topic + suffix)
        expected = recompute(until)
        assert results.keys() == expected.keys()
        assert results == expected
        assert not once or count == len(expected)


def test_the_demo_finds_what_plain_python_finds(kafka: str, demo: Demo) -> None:
    assert "UA\tUnited Air Lines Inc." in demo.output
    assert demo.summary.count(" records in, 0 late, ") == len(EXPECTED), demo.summary
    assert_all_results(kafka, until=None, once=True)


def test_the_demo_goes_on_where_it_was(kafka: str, demo: Demo, tmp_path: Path) -> None:
    """Nothing is loaded twice, and the state comes back from Kafka's changelogs."""
    again = streamlog("demo", "--exit", "--data", str(tmp_path), "-X", f"brokers={kafka}")
    assert "were there already" in again.stderr
    assert again.stdout == demo.output
    assert_all_results(kafka, until=None, once=True)


def run_command(node: Node, folder: Path, suffix: str) -> tuple[str, ...]:
    return (
        "run", flights_file(folder, suffix, PART), "--until", "end", "--drain", "--quiet",
        "-b", node.address, "--state", str(folder / "state"),
    )  # fmt: skip


def test_workers_that_are_killed_come_back_and_count_nothing_twice(
    node: Node, part: None, tmp_path: Path
) -> None:
    run = run_command(node, tmp_path, "-killed")
    written = "*_killed.*.repartition-*"
    for more in (200_000, 400_000, 600_000, 800_000):
        assert killed_when_written(node.data, written, more, *run)
    streamlog(*run)
    assert_all_results(node.address, "-killed")


def test_a_worker_without_its_local_state_restores_it_from_the_changelog(
    node: Node, part: None, tmp_path: Path
) -> None:
    run = run_command(node, tmp_path, "-restored")
    assert killed_when_written(node.data, "*_restored.*.repartition-*", 2_000_000, *run)
    shutil.rmtree(tmp_path / "state")
    streamlog(*run)
    assert_all_results(node.address, "-restored")


def test_two_workers_find_the_same_as_one(node: Node, part: None, tmp_path: Path) -> None:
    streamlog(*run_command(node, tmp_path, "-shared"), "--workers", "2")
    assert_all_results(node.address, "-shared")


# The command.


def with_input(text: str, *arguments: str) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=text, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_creates_fills_reads_and_describes(kafka: str, topic: str, group: str) -> None:
    streamlog("topic", "create", topic, "-p", "3", "-c", "retention.ms=-1", "-b", kafka)
    listed = streamlog("topic", "list", "--format", "json", "-b", kafka).stdout
    assert topic in listed
    lines = "".join(f"key{number}:value{number}\n" for number in range(20))
    with_input(lines, "produce", topic, "-K", ":", "-z", "lz4", "-H", "h=x", "-b", kafka)
    with_input("one more\n", "produce", topic, "-p", "2", "-b", kafka)

    described = streamlog("topic", "describe", topic, "-b", kafka).stdout
    assert "retention.ms" in described
    offsets = apache_kafka.tool("get-offsets", "--bootstrap-server", kafka, "--topic", topic)
    assert sum(int(line.rpartition(":")[2]) for line in offsets.split()) == 21

    read = streamlog("consume", topic, "-e", "-f", r"%k=%s\n", "-b", kafka).stdout
    expected = [f"key{number}=value{number}" for number in range(20)]
    assert sorted(read.splitlines()) == sorted([*expected, "=one more"])
    newest = streamlog("consume", topic, "-p", "2", "-o", "-1", "-e", "-J", "-b", kafka).stdout
    assert json.loads(newest)["payload"] == "one more"

    first = streamlog("consume", topic, "-g", group, "-n", "12", "-b", kafka).stdout
    second = streamlog("consume", topic, "-g", group, "-n", "9", "-b", kafka).stdout
    assert sorted([*first.splitlines(), *second.splitlines()]) == sorted(
        [*(f"value{number}" for number in range(20)), "one more"]
    )
    assert group in streamlog("group", "list", "-b", kafka).stdout
    assert topic in streamlog("group", "describe", group, "-b", kafka).stdout
    lag = apache_kafka.tool(
        "consumer-groups", "--bootstrap-server", kafka, "--describe", "--group", group
    )
    lags = [line.split() for line in lag.splitlines() if line.startswith(group)]
    assert [(row[3] == row[4], row[5]) for row in lags] == [(True, "0")] * 3

    streamlog("topic", "delete", topic, "--execute", "-b", kafka)
    assert topic not in streamlog("topic", "list", "-b", kafka).stdout


def test_what_is_not_there_is_said_as_on_our_own_broker(kafka: str, topic: str) -> None:
    for arguments in (("consume", topic, "-e"), ("topic", "describe", topic)):
        done = subprocess.run(
            [*COMMAND, *arguments, "-b", kafka],
            capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env=environment(),
        )  # fmt: skip
        assert done.returncode != 0
        assert f'topic "{topic}" does not exist' in done.stderr
        assert "Traceback" not in done.stderr
