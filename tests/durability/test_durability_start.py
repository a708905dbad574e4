"""Starts that cannot be: each ends with one sentence that says why, and harms nothing."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from durability_disk import small_disk
from durability_server import ServerProcess, wait_until
from durability_wire import Wire, batch_of, connect, is_closed_by_peer

from streamlog.broker.server.limits import ServerLimits
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED, BAD_DATA = 5, 6
FILES_MAX = 64


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        with Wire(server.port) as wire:
            assert wire.create_topic("data", 2) == ErrorCode.NONE
            wire.must_produce("data", 0, batch_of("first"))
        yield server


def said_once(text: str) -> str:
    """Returns the one line that a failed start prints."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("streamlog: ")
    return lines[0]


def test_a_second_server_on_the_same_folder_names_the_first(server: ServerProcess) -> None:
    second = ServerProcess(server.data)
    second.spawn()
    assert second.wait_ended() == REFUSED
    line = said_once(second.transcript.text)
    assert f"{server.data} is in use by process {server.pid}" in line
    assert "Stop that server first" in line
    with Wire(server.port) as wire:
        assert wire.read("data", 0) == {0: "first"}
        assert wire.must_produce("data", 0, batch_of("second")) == 1


@pytest.mark.slow
def test_the_lock_goes_with_the_process(server: ServerProcess) -> None:
    for _ in range(3):
        server.restart()
    with Wire(server.port) as wire:
        assert wire.read("data", 0) == {0: "first"}


def test_a_port_that_is_taken_is_said_so(
    server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    second = ServerProcess(tmp_path_factory.mktemp("other"))
    second.port = server.port
    second.spawn()
    assert second.wait_ended() == REFUSED
    line = said_once(second.transcript.text)
    assert f"cannot listen on 127.0.0.1:{server.port}" in line
    assert "--listen" in line


def test_an_address_of_another_machine_is_said_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    other = ServerProcess(
        tmp_path_factory.mktemp("other"), options=["--listen", "203.0.113.9:9092"]
    )
    other.spawn()
    assert other.wait_ended() == REFUSED
    assert "cannot listen on 203.0.113.9:9092" in said_once(other.transcript.text)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_said_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with small_disk(tmp_path_factory.mktemp("disk"), 8 << 20) as disk:
        with ServerProcess(disk / "data") as server, Wire(server.port) as wire:
            assert wire.create_topic("data") == ErrorCode.NONE
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for folder in (disk / "data", disk / "fresh"):
            refused = ServerProcess(folder)
            refused.spawn()
            assert refused.wait_ended() == BAD_DATA
            line = said_once(refused.transcript.text)
            assert "read-only" in line.lower()
            assert str(folder) in line
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        with ServerProcess(disk / "data") as server, Wire(server.port) as wire:
            assert wire.must_produce("data", 0, batch_of("works")) == 0


def test_a_data_folder_that_is_a_file_is_said_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("other") / "data"
    path.write_text("not a folder")
    refused = ServerProcess(path)
    refused.spawn()
    assert refused.wait_ended() in (2, BAD_DATA)
    assert str(path) in refused.transcript.text
    assert path.read_text() == "not a folder"


@pytest.mark.slow
def test_a_first_start_that_was_killed_is_no_obstacle(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = random.Random("first start")
    for _ in range(6):
        with ServerProcess(tmp_path_factory.mktemp("data") / "data") as server:
            server.kill()
            shutil.rmtree(server.data)
            server.spawn()
            server.transcript.thread.join(rng.uniform(0.05, 0.6))
            server.kill()
            server.start()
            with Wire(server.port) as wire:
                assert wire.create_topic("data") == ErrorCode.NONE
                assert wire.must_produce("data", 0, batch_of("works")) == 0


@pytest.mark.parametrize("name", ["meta.properties", "recovery-point-offset-checkpoint"])
def test_a_damaged_file_of_the_folder_is_named(server: ServerProcess, name: str) -> None:
    server.stop()
    path = server.data / name
    content = path.read_bytes()
    path.write_bytes(b"\x00\xff nonsense")
    server.spawn()
    assert server.wait_ended() == BAD_DATA
    assert str(path) in said_once(server.transcript.text)
    path.write_bytes(content)
    server.start()
    with Wire(server.port) as wire:
        assert wire.read("data", 0) == {0: "first"}


def test_few_open_files_are_enough_for_many_partitions(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    limited = ["prlimit", f"--nofile={FILES_MAX}"]
    with ServerProcess(tmp_path_factory.mktemp("data"), prefix=limited) as server:
        with Wire(server.port) as wire:
            assert wire.create_topic("wide", 2 * FILES_MAX) == ErrorCode.NONE
            for partition in range(2 * FILES_MAX):
                value = f"in {partition}"
                assert wire.must_produce("wide", partition, batch_of(value)) == 0
            for partition in range(2 * FILES_MAX):
                assert wire.read("wide", partition) == {0: f"in {partition}"}
        server.restart()
        with Wire(server.port) as wire:
            for partition in range(2 * FILES_MAX):
                assert wire.read("wide", partition) == {0: f"in {partition}"}


def test_connections_never_take_the_descriptors_of_the_log(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    limited = ["prlimit", f"--nofile={FILES_MAX}"]
    with ServerProcess(tmp_path_factory.mktemp("data"), prefix=limited) as server:
        with Wire(server.port) as wire, contextlib.ExitStack() as stack:
            assert wire.create_topic("data") == ErrorCode.NONE
            socks = [stack.enter_context(connect(server.port)) for _ in range(2 * FILES_MAX)]
            server.transcript.wait_for("refused a connection of .*connections are open, the most")
            for number in range(20):
                assert wire.must_produce("data", 0, batch_of(f"{number}")) == number
            assert len(wire.read("data", 0)) == 20
            assert socks
        wait_until(lambda: is_served(server), "there are descriptors again")


def test_too_few_open_files_are_refused_with_the_number(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    refused = ServerProcess(tmp_path_factory.mktemp("data"), prefix=["prlimit", "--nofile=40"])
    refused.spawn()
    assert refused.wait_ended() == REFUSED
    assert "may have 40 open files" in said_once(refused.transcript.text)


def test_the_soft_limit_of_open_files_is_raised(tmp_path_factory: pytest.TempPathFactory) -> None:
    soft = ["prlimit", f"--nofile={FILES_MAX}:4096"]
    with ServerProcess(tmp_path_factory.mktemp("data"), prefix=soft) as server:
        limits = Path(f"/proc/{server.pid}/limits").read_text()
        assert re.search(r"Max open files\s+4096\s+4096", limits)


def is_served(server: ServerProcess) -> bool:
    try:
        with Wire(server.port, timeout_s=5) as wire:
            return len(wire.read("data", 0)) == 20
    except (ConnectionError, TimeoutError):
        return False


@pytest.mark.slow
def test_a_stop_in_the_middle_of_everything_is_clean(server: ServerProcess) -> None:
    with contextlib.ExitStack() as stack:
        # Some of them are being accepted while it stops.
        socks = [stack.enter_context(connect(server.port)) for _ in range(50)]
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < ServerLimits().stop_grace_s, "it waited for nobody"
        assert all(is_closed_by_peer(sock) for sock in socks)
    assert Path(server.data, ".kafka_cleanshutdown").exists()
    server.start()
    assert not server.transcript.find("WARNING|ERROR")
