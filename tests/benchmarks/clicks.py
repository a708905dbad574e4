"""The windowed count of clicks and its relatives: against Kafka Streams and Quix Streams.

All read the same topics of one streamlog broker, in turn, with one thread each; what is set up
before the first click (a group, topics, a compiled JVM) is not measured. A figure ends when the
last result is acknowledged and the last position committed. Beside the rates of a clock on the wall
there are those of CPU time: the machine's cores are shared with the broker.

Kafka Streams counts in two ways. `final` is what the pipeline does: one result for each window,
when it is over. `updates` is its default: a result whenever its cache is flushed, which is less
work for the store. Both commit once a second, as the pipeline does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import uuid
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import clicks_quix
import clicks_streams
from clicks_load import Load, create_topic, load, read_all
from report import Row, compare
from servers import streamlog_server

COUNT = 300_000
COMMIT_MS = 1_000
QUIX_SHARE = 5
"""It gets one click of so many, or it would take most of the time."""

STREAMS = {
    "final": "final",
    "updates": "count",
    "repartition": "repartition",
    "join": "join",
    "table join": "table",
}
"""What the peer's program calls its pipelines."""
WHAT = {
    "count": "count clicks per user and minute",
    "repartition": "the same, repartitioned by a field of the value",
    "join": "clicks joined with a global table, all written",
    "join versions": "clicks joined with a table by event time, all written",
}
PEERS = {
    "count": ("final", "updates", "quix"),
    "repartition": ("repartition",),
    "join": ("join",),
    "join versions": ("table join",),
}


class Rates(NamedTuple):
    """Of each round, records per second."""

    wall: list[float]
    cpu: list[float]


def ours(kind: str, data: Load, folder: Path, workers: int = 1) -> tuple[float, float]:
    """Runs a pipeline in processes of its own; returns its seconds of wall and of CPU."""
    results = create_topic(data.address, kind.replace(" ", "-"))
    program = Path(__file__).with_name("clicks_worker.py")
    name = f"clicks-{uuid.uuid4().hex[:8]}"
    processes = [
        subprocess.Popen(
            [sys.executable, program, kind, name, data.address, folder,
             data.clicks, data.users, results],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(workers)
    ]  # fmt: skip
    said = [process.communicate(timeout=600) for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        if process.returncode:
            raise RuntimeError(f"the pipeline failed:\n{errors[-3000:]}")
    written = len(read_all(data.address, results))
    expected = data.windows if kind in ("count", "repartition") else data.clicks_count
    if written != expected:
        raise RuntimeError(f"{kind}: {written} results, not {expected}")
    figures = [json.loads(output) for output, _ in said]
    wall = max(each["end"] for each in figures) - min(each["begin"] for each in figures)
    return wall, sum(each["cpu_s"] for each in figures)


def compiled() -> bool:
    """Says whether streamlog's hot modules are."""
    from streamlog.records import codec

    return not codec.__file__.endswith(".py")


def run(messages: int | None, rounds: int) -> list[Row]:
    """Runs all in turn."""
    if missing := clicks_streams.unavailable():
        print(f"clicks: left out: {missing}", file=sys.stderr)
        return []
    if not compiled():
        print("clicks: streamlog runs uncompiled here", file=sys.stderr)
    try:
        quix = clicks_quix.install()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"clicks: no Quix Streams: {error}", file=sys.stderr)
        quix = None
    rates: defaultdict[str, Rates] = defaultdict(lambda: Rates([], []))

    def note(name: str, count: int, seconds: tuple[float, float]) -> None:
        print(f"  {name}: {count / seconds[0]:,.0f} records/s", file=sys.stderr, flush=True)
        rates[name].wall.append(count / seconds[0])
        rates[name].cpu.append(count / seconds[1])

    with (
        tempfile.TemporaryDirectory() as path,
        streamlog_server(Path(path, "broker")) as (address, _process, _seconds),
        clicks_streams.kafka_streams() as streams,
    ):
        folder = Path(path)
        data = load(address, messages or COUNT)
        few = load(address, data.clicks_count // QUIX_SHARE) if quix else data

        def theirs(kind: str) -> tuple[float, float]:
            expected = data.in_shop if kind == "repartition" else data.clicks_count
            return streams(
                STREAMS[kind], f"streams-{uuid.uuid4().hex[:8]}", address, data.clicks, data.users,
                create_topic(address, STREAMS[kind]), expected, COMMIT_MS,
            )  # fmt: skip

        for kind in STREAMS:
            theirs(kind)  # The JVM compiles what is hot.
        for _ in range(rounds):
            for kind, peers in PEERS.items():
                note(kind, data.clicks_count, ours(kind, data, folder))
                for peer in peers:
                    if peer in STREAMS:
                        note(f"streams {peer}", data.clicks_count, theirs(peer))
                    elif quix:
                        words = (f"quix-{uuid.uuid4().hex[:8]}", address, folder / uuid.uuid4().hex)
                        topics = (few.clicks, create_topic(address, "quix"))
                        note(
                            peer,
                            few.clicks_count,
                            clicks_quix.run(quix, *words, *topics, few.clicks_count),
                        )
    return list(rows(rates))


def rows(rates: dict[str, Rates]) -> list[Row]:
    """Makes the report's lines."""
    found: list[Row] = []
    for kind, peers in PEERS.items():
        for peer in peers:
            name = f"Kafka Streams, {peer}" if peer in STREAMS else "Quix Streams"
            measured = rates.get(f"streams {peer}" if peer in STREAMS else peer)
            if measured is None:
                continue
            for unit, mine, its in (
                ("records/s", rates[kind].wall, measured.wall),
                ("records/s of CPU", rates[kind].cpu, measured.cpu),
            ):
                found.append(compare(WHAT[kind], unit, mine, name, its))
    return found
