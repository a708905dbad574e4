"""A real Apache Kafka on this machine, to compare with: jars from Maven Central, one KRaft node.

Needs a JDK 17 or newer and Maven; `unavailable()` says what is missing. The jars (126 MB) are
fetched once into `STREAMLOG_KAFKA_HOME` (default: a folder in the user's cache).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))

from free_ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = os.environ.get("STREAMLOG_KAFKA_VERSION", "4.3.0")
HOME = Path(
    os.environ.get("STREAMLOG_KAFKA_HOME", Path.home() / ".cache" / "streamlog" / "apache-kafka")
)
START_TIMEOUT_S = 90

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>peer</groupId><artifactId>apache-kafka</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""
DEPENDENCY = (
    "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
)
ARTIFACTS = (
    ("org.apache.kafka", "kafka_2.13", VERSION),
    ("org.apache.kafka", "kafka-tools", VERSION),
    ("org.slf4j", "slf4j-simple", "1.7.36"),
)
TOOLS = {
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "configs": "kafka.admin.ConfigCommand",
    "topics": "org.apache.kafka.tools.TopicCommand",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
}


@dataclass(frozen=True)
class Node:
    """A running Apache Kafka: its address, and the folder of its logs."""

    address: str
    data: Path


def unavailable() -> str | None:
    """Says why Apache Kafka cannot be run here, or nothing if it can."""
    if shutil.which("java") is None:
        return "no java on the PATH (a JDK 17 or newer is needed to run Apache Kafka)"
    if not (_jars() / ".complete").exists() and shutil.which("mvn") is None:
        return "no mvn on the PATH (Maven fetches Apache Kafka's jars)"
    return None


def _jars() -> Path:
    return HOME / f"jars-{VERSION}"


def fetch() -> Path:
    """Fetches the jars once; returns their folder."""
    jars = _jars()
    if not (jars / ".complete").exists():
        jars.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            pom = Path(folder, "pom.xml")
            pom.write_text(
                POM.format(dependencies="".join(DEPENDENCY.format(*a) for a in ARTIFACTS))
            )
            subprocess.run(
                ["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies",
                 f"-DoutputDirectory={jars}"],
                check=True, timeout=600,
            )  # fmt: skip
        (jars / ".complete").touch()
    return jars


def java(main: str, *args: str, heap: str = "512m") -> list[str]:
    """Returns the command that runs a class of Apache Kafka's."""
    return [
        "java", f"-Xmx{heap}", "-XX:+UseG1GC", "-XX:TieredStopAtLevel=4",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{fetch()}/*", main, *args,
    ]  # fmt: skip


def tool(name: str, *args: str, input: str | None = None, timeout: float = 90) -> str:  # noqa: A002
    """Runs one of Apache Kafka's own tools; returns what it printed, raises if it failed."""
    done = subprocess.run(
        java(TOOLS[name], *args), input=input, capture_output=True, text=True, timeout=timeout
    )
    if done.returncode != 0:
        raise RuntimeError(f"{name} {' '.join(args)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _properties(port: int, controller_port: int, data: Path) -> str:
    return "\n".join(
        (
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@127.0.0.1:{controller_port}",
            f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names=CONTROLLER",
            f"log.dirs={data}",
            "offsets.topic.replication.factor=1",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "share.coordinator.state.topic.replication.factor=1",
            "share.coordinator.state.topic.min.isr=1",
            "group.initial.rebalance.delay.ms=0",
        )
    )


@contextmanager
def running(folder: Path, *, heap: str = "1g") -> Iterator[str]:
    """Runs one Apache Kafka node on a free port with its data in `folder`; yields its address."""
    port, controller_port = free_port(), free_port()
    properties = folder / "server.properties"
    properties.write_text(_properties(port, controller_port, folder / "data"))
    storage = "kafka.tools.StorageTool"
    subprocess.run(
        java(storage, "format", "-t", "c3RyZWFtbG9nLXRlc3RzIQ", "-c", str(properties)),
        check=True, capture_output=True, timeout=START_TIMEOUT_S,
    )  # fmt: skip
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            java("kafka.Kafka", str(properties), heap=heap),
            stdout=output, stderr=output, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        _wait_until_it_answers(process, port, log)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("Apache Kafka did not start:\n" + log.read_text()[-3000:])
