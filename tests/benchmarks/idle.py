"""An idle server: how soon it answers, and how much memory it holds."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import apache_kafka
from confluent_kafka.admin import AdminClient
from report import Row
from servers import streamlog_server


def resident_mb(pid: int) -> float:
    """Returns the resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"no VmRSS of {pid}")


def run(messages: int | None, rounds: int) -> list[Row]:
    """Starts each server, asks it for its metadata once, and looks at its memory."""
    del messages
    starts, memory = [], []
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory() as folder,
            streamlog_server(Path(folder)) as (address, process, seconds),
        ):
            starts.append(seconds)
            AdminClient({"bootstrap.servers": address}).list_topics(timeout=10)
            memory.append(resident_mb(process.pid))
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        with apache_kafka.running(Path(folder)) as address:
            kafka_start = time.perf_counter() - begin
            AdminClient({"bootstrap.servers": address}).list_topics(timeout=10)
    peer = f"Apache Kafka {apache_kafka.VERSION}, with formatting"
    return [
        Row("start until it answers", "s", median(starts), peer, kafka_start, ""),
        Row("memory of an idle server", "MB", median(memory), "", None, ""),
    ]
