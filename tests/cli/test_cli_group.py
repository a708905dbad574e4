"""`group seek`, `export`, `import` and `delete` against a broker in a process of its own."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from command_runner import COMMAND, environment

from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.client.values import OffsetAndMetadata, TopicPartition
from streamlog.processing.worker.note import Note, format_note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from command_runner import Shell

pytest_plugins = ("cli_fixtures",)

DEADLINE_S = 30


@pytest.fixture(scope="module", autouse=True)
def topics(address: str) -> None:
    """Two topics: `one` with ten records from a minute apart, `two` with three partitions."""
    for topic, partitions in (("one", "1"), ("two", "3")):
        run_once(address, "topic", "create", topic, "-p", partitions)
    run_once(address, "produce", "one", feed="".join(f"{n}\n" for n in range(10)))
    run_once(address, "produce", "two", "-p", "1", feed="a\nb\n")


def run_once(address: str, *arguments: str, feed: str = "") -> None:
    subprocess.run(
        [*COMMAND, *arguments, "-b", address],
        input=feed,
        text=True,
        check=True,
        capture_output=True,
        env=environment(),
    )


def make_group(shell: Shell, name: str, lines: str) -> None:
    shell("group", "import", name, "-", "--execute", stdin=lines)


def moves(shell: Shell, *arguments: str) -> list[list[object]]:
    """What a seek would move: topic, partition, from, to."""
    rows = shell.json("group", "seek", *arguments)
    assert isinstance(rows, list)
    return [[row["topic"], row["partition"], row["from"], row["to"]] for row in rows]


def test_a_group_is_moved_as_planned(shell: Shell) -> None:
    make_group(shell, "billing", "one,0,4\n")
    plan = "TOPIC\tPARTITION\tFROM\tTO\tDELTA\tLAG\none\t0\t4\t1\t-3\t9\n"
    assert shell("group", "seek", "billing", "--to", "-3") == plan
    assert "Nothing was moved" in shell.err
    assert "streamlog group export billing > billing.csv" in shell.err
    assert shell("group", "export", "billing") == "one,0,4\n"
    assert shell("group", "seek", "billing", "--to", "-3", "--execute") == plan
    assert shell.err == 'group "billing": 1 of 1 offsets moved\n'
    assert shell("group", "export", "billing") == "one,0,1\n"
    assert shell("consume", "one", "-g", "billing", "-n", "1") == "1\n"


def test_every_target(shell: Shell) -> None:
    make_group(shell, "aims", "one,0,4\n")
    make_group(shell, "other", "one,0,7\ntwo,1,1\n")
    for to, offset in [
        *(("start", 0), ("end", 10), ("current", 4), ("6", 6), ("+2", 6), ("-1", 3)),
        *(("@-1h", 0), ("@1h", 10), ("@2013-07-01T00:00", 0), ("@committed-of:other", 7)),
    ]:
        assert moves(shell, "aims", "--to", to) == [["one", 0, 4, offset]], to
    for words, offset in [
        *((("--to-earliest",), 0), (("--to-latest",), 10), (("--to-current",), 4)),
        *((("--shift-by", "-2"), 2), (("--to-offset", "9"), 9), (("--by-duration", "PT1H"), 0)),
        *((("--to-datetime", "2013-07-01T00:00:00.000"), 0), (("--to-group", "other"), 7)),
    ]:
        assert moves(shell, "aims", *words, "--dry-run") == [["one", 0, 4, offset]], words


def test_what_lies_outside_of_the_log_is_kept_within(shell: Shell) -> None:
    make_group(shell, "outside", "one,0,4\n")
    assert moves(shell, "outside", "--to", "99") == [["one", 0, 4, 10]]
    assert "one[0] holds offsets 0 to 10: 99 becomes 10\n" in shell.err
    assert moves(shell, "outside", "--to", "-5") == [["one", 0, 4, 0]]


def test_only_some_partitions_and_new_ones(shell: Shell) -> None:
    make_group(shell, "some", "two,1,2\ntwo,2,0\n")
    # Those that were never committed are moved by a target that needs no place to count from.
    expected = [["two", 0, None, 0], ["two", 1, 2, 0], ["two", 2, 0, 0]]
    assert moves(shell, "some", "--to", "start") == expected
    assert moves(shell, "some", "--to", "-1") == [["two", 1, 2, 1], ["two", 2, 0, 0]]
    assert "two[0] has no committed offset to count from" in shell.err
    assert moves(shell, "some", "--to", "0", "--topics", "two:1") == [["two", 1, 2, 0]]
    shell("group", "seek", "some", "--to", "0", "--topics", "one", code=2)
    assert 'has committed nothing in topic "one". To move it there too: --allow-new' in shell.err
    shell("group", "seek", "some", "--to", "0", "--topics", "two:7", code=4)
    assert moves(shell, "some", "--to", "end", "--topics", "one", "--allow-new-topics") == [
        ["one", 0, None, 10]
    ]


def test_a_mistake_is_named(shell: Shell) -> None:
    make_group(shell, "mistaken", "one,0,4\n")
    shell("group", "seek", "mistakne", "--to", "start", code=4)
    assert 'Did you mean "mistaken"?' in shell.err
    shell("group", "seek", "mistaken", code=2)
    assert "it is not said where to move the group" in shell.err
    shell("group", "seek", "mistaken", "--to", "start", "--to-latest", code=2)
    assert "name one target" in shell.err
    shell("group", "seek", "mistaken", "--to-group", "nobody", code=4)
    assert 'group "nobody" does not exist' in shell.err


def test_positions_go_to_a_file_and_back(shell: Shell, tmp_path: Path) -> None:
    make_group(shell, "kept", "one,0,4\ntwo,1,2\n")
    for name, options in (("kept.csv", ()), ("kept.json", ("--format", "json"))):
        (tmp_path / name).write_text(shell("group", "export", "kept", *options))
        shell("group", "seek", "kept", "--to", "start", "--execute")
        shell("group", "seek", "kept", "--from-file", str(tmp_path / name), "--execute")
        assert shell("group", "export", "kept") == "one,0,4\ntwo,0,0\ntwo,1,2\ntwo,2,0\n"
    # A file may name what the group has never read, and topics that are gone.
    lines = "copy,one,0,3\ncopy,gone,0,1\ncopy,two,9,1\n"
    shell("group", "import", "copy", "-", "--execute", stdin=lines)
    assert 'topic "gone" does not exist any more' in shell.err
    assert "two[9] does not exist: left alone" in shell.err
    assert shell("group", "export", "copy") == "one,0,3\n"


@contextmanager
def a_member(shell: Shell, group: str) -> Iterator[None]:
    """Another process reads in the group."""
    command = [*COMMAND, "consume", "one", "-g", group, "-b", shell.address]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    ) as process:
        try:
            deadline = time.monotonic() + DEADLINE_S
            while True:
                groups = shell.json("group", "list")
                assert isinstance(groups, list)
                if any((row["group"], row["state"]) == (group, "Stable") for row in groups):
                    break
                assert time.monotonic() < deadline
            yield
        finally:
            process.terminate()


@pytest.mark.slow
def test_a_group_with_members_stays_and_they_are_named(shell: Shell) -> None:
    make_group(shell, "busy", "one,0,4\n")
    with a_member(shell, "busy"):
        shell("group", "seek", "busy", "--to", "start")
        assert 'group "busy" has 1 member, streamlog at 127.0.0.1: it cannot be moved' in shell.err
        shell("group", "seek", "busy", "--to", "start", "--execute", code=5)
        assert shell.err == (
            'streamlog: group "busy" has 1 member, streamlog at 127.0.0.1, so its offsets cannot '
            "be moved. Stop them first\n"
        )
        shell("group", "delete", "busy", "--execute", code=5)


def test_a_pipeline_is_pointed_to_rewind(shell: Shell) -> None:
    async def commit_as_a_pipeline() -> None:
        async with open_client(ClientConfig(brokers=(shell.address,))) as client:
            at = OffsetAndMetadata(4, format_note(Note(sequence=7)))
            await Admin(client).alter_group_offsets("totals", {TopicPartition("one", 0): at})

    trio.run(commit_as_a_pipeline)
    shell("group", "seek", "totals", "--to", "start")
    assert '"totals" is a pipeline' in shell.err
    assert "streamlog rewind totals --to …" in shell.err
    shell("topic", "create", "totals.one.changelog")
    shell("group", "delete", "totals", "--execute")
    assert "begin anew, delete that too: streamlog topic delete totals.one.changelog" in shell.err


def test_groups_are_deleted(shell: Shell) -> None:
    make_group(shell, "old", "one,0,4\n")
    shown = shell("group", "delete", "old")
    assert shown == "GROUP\tSTATE\tMEMBERS\tOFFSETS\nold\tEmpty\t0\t1\n"
    assert "Do it: streamlog group delete old --execute" in shell.err
    shell("group", "delete", "old", "--execute")
    shell("group", "delete", "old", code=4)
    assert json.loads(shell("group", "list", "--format", "json"))
