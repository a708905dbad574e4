"""Kafka Streams as a peer: `ClicksStreams.java`, compiled here, in one JVM for all runs."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apache_kafka

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = Path(__file__).with_name("ClicksStreams.java")
HEAP = "1g"


def unavailable() -> str | None:
    """Says why Kafka Streams cannot be run here, or nothing if it can."""
    if shutil.which("javac") is None:
        return "no javac on the PATH (a JDK 17 or newer is needed to compile the peer's program)"
    return apache_kafka.unavailable()


@contextmanager
def kafka_streams() -> Iterator[Callable[..., tuple[float, float]]]:
    """Yields a function that runs one of the pipelines and returns its seconds of wall and CPU."""
    jars = apache_kafka.fetch()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["javac", "-cp", f"{jars}/*", "-d", folder, SOURCE], check=True)
        errors = Path(folder, "errors.log")
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                ["java", f"-Xmx{HEAP}", f"-Djava.io.tmpdir={folder}",
                 "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                 "-cp", f"{folder}:{jars}/*", "ClicksStreams"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
            )  # fmt: skip

        def run(*words: object) -> tuple[float, float]:
            assert process.stdin is not None
            assert process.stdout is not None
            print(*words, file=process.stdin, flush=True)
            answer = process.stdout.readline()
            if not answer:
                raise RuntimeError(f"Kafka Streams ended:\n{errors.read_text()[-3000:]}")
            wall, cpu = answer.split()
            return float(wall), float(cpu)

        try:
            yield run
        finally:
            process.terminate()
            process.wait(30)
