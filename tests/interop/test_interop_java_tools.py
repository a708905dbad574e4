"""Apache Kafka's own command-line tools against our broker; skipped without a JDK and Maven."""

from __future__ import annotations

import apache_kafka
import pytest

MISSING = apache_kafka.unavailable()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]


def test_the_java_tools_create_fill_read_and_describe(broker: str, topic: str, group: str) -> None:
    server = ("--bootstrap-server", broker)
    apache_kafka.tool(
        "topics", *server, "--create", "--topic", topic, "--partitions", "3",
        "--config", "retention.ms=-1",
    )  # fmt: skip
    described = apache_kafka.tool("topics", *server, "--describe", "--topic", topic)
    assert "PartitionCount: 3" in described
    assert "retention.ms=-1" in described

    lines = "".join(f"key{index}:value{index}\n" for index in range(50))
    apache_kafka.tool(
        "console-producer", *server, "--topic", topic,
        "--reader-property", "parse.key=true", "--reader-property", "key.separator=:",
        "--compression-codec", "zstd",
        input=lines,
    )  # fmt: skip
    read = apache_kafka.tool(
        "console-consumer", *server, "--topic", topic, "--from-beginning", "--group", group,
        "--max-messages", "50", "--timeout-ms", "20000", "--formatter-property", "print.key=true",
    )  # fmt: skip
    assert sorted(read.split()) == sorted(
        f"{kind}{i}" for kind in ("key", "value") for i in range(50)
    )

    offsets = apache_kafka.tool("get-offsets", *server, "--topic", topic)
    assert sum(int(line.rpartition(":")[2]) for line in offsets.split()) == 50
    lag = apache_kafka.tool("consumer-groups", *server, "--describe", "--group", group)
    assert topic in lag
    configs = apache_kafka.tool(
        "configs", *server, "--describe", "--entity-type", "topics", "--entity-name", topic
    )
    assert "retention.ms=-1" in configs
    apache_kafka.tool("topics", *server, "--delete", "--topic", topic)
    assert topic not in apache_kafka.tool("topics", *server, "--list")


def test_the_java_producer_and_consumer_run_at_speed(broker: str, topic: str) -> None:
    server = ("--bootstrap-server", broker)
    apache_kafka.tool("topics", *server, "--create", "--topic", topic, "--partitions", "4")
    produced = apache_kafka.tool(
        "producer-perf-test", "--topic", topic, "--num-records", "200000", "--record-size", "200",
        "--throughput", "-1", "--producer-props", f"bootstrap.servers={broker}", "acks=all",
        "enable.idempotence=true", "compression.type=lz4",
    )  # fmt: skip
    assert "200000 records sent" in produced
    consumed = apache_kafka.tool(
        "consumer-perf-test", *server, "--topic", topic, "--num-records", "200000",
    )  # fmt: skip
    assert ", 200000," in consumed
