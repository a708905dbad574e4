"""`streamlog rewind` and `streamlog state` as a user types them, over a broker of our own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import trio
from command_runner import COMMAND, server, streamlog

from streamlog.cli.main import run
from streamlog.cli.rewind_target import parse_rewind_target
from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.client.values import TopicPartition
from streamlog.errors import UsageError
from streamlog.processing.rewind.target import Back, ClockTime, Edge, EventTime, Target
from streamlog.processing.worker.left_here import states_here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest_plugins = ("cli_fixtures",)

NOW_MS = 1_800_000_000_000
APP = """
from datetime import timedelta
from msgspec import Struct
from streamlog import Output, Stream, count, pipeline, tumbling

class Click(Struct):
    user: str

class Clicks(Struct):
    clicks: int

@pipeline(history=timedelta(hours=1))
def clicks_per_user(clicks: Stream[Click]) -> Output:
    return (
        clicks.key_by(lambda c: c.user, name="by-user")
        .window(tumbling(timedelta(days=1)))
        .aggregate(Clicks, clicks=count(), name="clicks")
        .to("clicks-out")
    )
"""


FORGETFUL = APP.replace(
    "history=timedelta(hours=1)", "history=timedelta(0), snapshots=timedelta(milliseconds=1)"
)
"""Keeps no history but the last checkpoint, and a snapshot of nearly every one."""


@pytest.mark.parametrize(
    ("text", "by", "target"),
    [
        ("start", None, Edge.START),
        ("earliest", None, Edge.START),
        ("end", None, Edge.END),
        ("-3", None, Back(3)),
        ("@-2h", None, ClockTime(NOW_MS - 7_200_000)),
        ("@-1h30m", "event", EventTime(NOW_MS - 5_400_000)),
        ("@2013-07-01", None, EventTime(1_372_636_800_000)),
        ("@2013-07-01T00:00", None, EventTime(1_372_636_800_000)),
        ("@1372636800000", "clock", ClockTime(1_372_636_800_000)),
    ],
)
def test_where_to_go(text: str, by: str | None, target: Target) -> None:
    assert parse_rewind_target(text, NOW_MS, by) == target


@pytest.mark.parametrize("text", ["", "@", "tuesday", "3", "+3", "@tuesday", "2013-07-01"])
def test_nowhere_to_go(text: str) -> None:
    with pytest.raises(UsageError, match=r"does not say where to go.*@-2h or -3"):
        parse_rewind_target(text, NOW_MS)


class Shell:
    """A folder with a pipeline's file, state and a broker."""

    def __init__(self, folder: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = folder / "app.py"
        self.file.write_text(APP)
        self.state = folder / "state"
        self.address = address
        self.clicks = 0
        self.err = ""
        self._folder = folder
        self._capsys = capsys

    def click(self, count: int) -> None:
        """Sends clicks and has the pipeline read them."""
        users = [f"u{number % 5}" for number in range(count)]
        lines = "".join(f'{user}:{{"user": "{user}"}}\n' for user in users)
        command = [*COMMAND, "produce", "clicks", "-K:", "-b", self.address]
        subprocess.run(command, input=lines, text=True, check=True, capture_output=True)
        self.clicks += count
        # In a process of its own: its import of the file must not stay here.
        broker = ("-b", self.address, "--state", str(self.state))
        streamlog("run", str(self.file), "--until", "end", "--quiet", *broker)

    def __call__(self, *arguments: str, code: int = 0) -> str:
        self._capsys.readouterr()
        ended = run([*arguments, "-b", self.address])
        out, self.err = self._capsys.readouterr()
        assert ended == code, self.err
        return out

    def rewind(self, *arguments: str, code: int = 0) -> list[dict[str, object]]:
        out = self("rewind", *arguments, "--state", str(self.state), "--format", "json", code=code)
        found: list[dict[str, object]] = json.loads(out) if out else []
        return found

    def look(self, *arguments: str, code: int = 0) -> str:
        return self("state", *arguments, "--state", str(self.state), code=code)

    def counted(self) -> int:
        """What the state adds up to."""
        rows = self.look("export", "clicks_per_user", "clicks").splitlines()
        return sum(json.loads(row)["value"]["clicks"] for row in rows)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with server(tmp_path / "data") as address:
        found = Shell(tmp_path, address, capsys)
        found("topic", "create", "clicks", "-p", "2")
        yield found


@pytest.mark.slow
def test_a_plan_then_the_deed_by_file_and_by_name(shell: Shell) -> None:
    for count in (50, 30):
        shell.click(count)
    assert shell.counted() == 80
    plan = shell.rewind(f"{shell.file}:clicks_per_user", "--to", "-1")
    assert "Nothing was changed" in shell.err
    again = f"--to -1 --execute -b {shell.address} --state {shell.state}"
    assert again in shell.err
    shell.rewind("clicks_per_user", "--to", "@-1m", "--by", "event")
    assert "--to @-1m --by event --execute" in shell.err
    sources = [row for row in plan if str(row["task"]).startswith("clicks[")]
    assert sum(int(str(row["read_again"])) for row in sources) == 30
    assert shell.counted() == 80
    done = shell.rewind("clicks_per_user", "--to", "-1", "--execute")
    assert [row["task"] for row in done] == [row["task"] for row in plan]
    assert "tasks went back" in shell.err
    assert shell.counted() <= 50
    shell.click(20)
    assert shell.counted() == 100
    shell.rewind("clicks_per_user", "--to", "start", "--execute")
    assert json.loads(shell.look("list", "clicks_per_user", "--format", "json")) == []
    shell.click(1)
    assert shell.counted() == 101


@pytest.mark.slow
def test_what_cannot_be_is_said_with_a_way_out(shell: Shell) -> None:
    shell.click(10)
    shell.rewind("click_per_user", "--to", "-1", code=4)
    assert 'Did you mean "clicks_per_user"?' in shell.err
    shell.rewind("clicks_per_user", "--to", "yesterday", code=2)
    assert "does not say where to go" in shell.err
    shell.rewind("clicks_per_user", "--to", "-5", "--execute")
    for path in sorted(shell.state.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    target = f"{shell.file}:clicks_per_user"
    plan = shell.rewind(target, "--to", "-2")
    shell.rewind(target, "--to", "-2", "--execute", code=5)
    assert "does not reach back so far" in shell.err
    assert "--rebuild" in shell.err
    assert len(plan) == 4
    shell.rewind(target, "--to", "-2", "--rebuild", "--execute")
    shell.click(5)
    assert shell.counted() == 15


@pytest.mark.slow
def test_past_the_history_it_begins_with_a_snapshot(shell: Shell) -> None:
    shell.file.write_text(FORGETFUL)
    for count in (40, 30, 20, 10):
        shell.click(count)
    copies = json.loads(shell.look("snapshots", "clicks_per_user", "--format", "json"))
    assert {row["task"] for row in copies} >= {"clicks[0]", "by-user[0]"}
    assert all(row["usable"] and row["bytes"] > 0 for row in copies)
    (listed,) = json.loads(shell.look("list", "--format", "json"))
    assert listed["snapshots"] == len(copies)
    assert listed["snapshot_bytes"] == sum(row["bytes"] for row in copies)
    target = f"{shell.file}:clicks_per_user"
    shell.rewind(target, "--to", "-2", code=5)
    assert "does not reach back so far" in shell.err
    assert "to a snapshot" in shell.err
    plan = shell.rewind(target, "--to", "-2", "--rebuild")
    assert "Do it: " in shell.err
    assert "--rebuild --execute" in shell.err
    sources = [row for row in plan if str(row["task"]).startswith("clicks[")]
    assert "snapshot" in {row["reached"] for row in sources}
    assert 0 < sum(int(str(row["to_offset"])) for row in sources) <= 70
    read = sum(int(str(row["read_again"])) for row in sources)
    assert read == 100 - sum(int(str(row["to_offset"])) for row in sources)
    assert shell.rewind(target, "--to", "-2", "--rebuild", "--execute") == plan
    assert shell.counted() == 100 - read
    shell.click(5)
    assert shell.counted() == 105
    shell.look("drop", "clicks_per_user", "--snapshots", "--execute")
    assert shell.look("snapshots", "clicks_per_user").count("\n") == 1
    shell.rewind(target, "--to", "-2", "--rebuild", "--execute")
    shell.click(5)
    assert shell.counted() == 110


async def delete_records(address: str, topic: str, before: int) -> None:
    """Deletes records of the partition that has some."""
    async with open_client(ClientConfig(brokers=(address,))) as client:
        await Admin(client).delete_records({TopicPartition(topic, 0): before})


@pytest.mark.slow
def test_what_the_log_has_lost_is_not_built_upon(shell: Shell) -> None:
    shell.file.write_text(FORGETFUL)
    for count in (40, 30, 20, 10):
        shell.click(count)
    trio.run(delete_records, shell.address, "clicks", 95)
    target = f"{shell.file}:clicks_per_user"
    plan = shell.rewind(target, "--to", "-2", "--rebuild", code=5)
    assert "gone" in {row["reached"] for row in plan}
    assert "records that have to be read again were deleted: clicks[" in shell.err
    shell.rewind(target, "--to", "-2", "--rebuild", "--execute", code=5)
    shell.rewind(target, "--to", "start")
    assert "What the log does not hold any more stays out: clicks[0] at offset" in shell.err


@pytest.mark.slow
def test_a_renamed_pipeline_is_told_its_old_name(shell: Shell) -> None:
    shell.click(10)
    shell.file.write_text(APP.replace("def clicks_per_user", "def clicks_by_user"))
    shell.rewind(f"{shell.file}:clicks_by_user", "--to", "start", code=4)
    assert 'pipeline "clicks_by_user" has never run on this cluster' in shell.err
    assert '@pipeline(name="clicks_per_user")' in shell.err
    shell.file.write_text(APP.replace('name="by-user"', 'name="by-name"'))
    shell.rewind(f"{shell.file}:clicks_per_user", "--to", "start", code=4)
    assert 'its part "by-name" has not run yet' in shell.err
    assert "streamlog rewind clicks_per_user --to" in shell.err


@pytest.mark.slow
def test_where_nothing_moves_there_is_nothing_to_do(shell: Shell) -> None:
    shell.click(10)
    shell.rewind("clicks_per_user", "--to", "@2100-01-01")
    assert "Nothing to do: no task has come further than @2100-01-01" in shell.err
    assert "Do it" not in shell.err
    shell.rewind("clicks_per_user", "--to", "end")
    assert "To put the group's offsets where the state is: streamlog rewind" in shell.err
    shell.rewind("clicks_per_user", "--to", "end", "--execute")
    assert "No task had to go back" in shell.err


@pytest.mark.slow
def test_while_it_runs_it_is_said_who_runs_it(shell: Shell) -> None:
    shell.click(10)
    broker = ("-b", shell.address, "--state", str(shell.state))
    worker = subprocess.Popen([*COMMAND, "run", str(shell.file), *broker])
    try:
        deadline = time.monotonic() + 30
        (folder,) = shell.state.glob("*/clicks_per_user")
        while time.monotonic() < deadline:
            if {each.holder for each in states_here(folder)} == {worker.pid}:
                break
        shell.rewind("clicks_per_user", "--to", "start")
        assert f"it is running, process {worker.pid} on " in shell.err
        shell.rewind("clicks_per_user", "--to", "start", "--execute", code=5)
        assert f"is running: process {worker.pid} on " in shell.err
        listed = json.loads(shell.look("list", "clicks_per_user", "--format", "json"))
        assert {row["used_by"] for row in listed} == {f"process {worker.pid}"}
        assert shell.look("drop", "clicks_per_user").count("\n") == 1
        assert "all state here is in use" in shell.err
        shell.look("drop", "clicks_per_user", "--all", "--execute", code=5)
        assert f"in use by process {worker.pid}" in shell.err
    finally:
        worker.terminate()
        worker.wait()
    shell.look("drop", "clicks_per_user", code=2)
    assert "--task 'NAME[0]', or --all" in shell.err
    shell.look("drop", "clicks_per_user", "--task", "clicks[7]", code=4)
    shell.look("drop", "clicks_per_user", "--task", "clicks[0]", "--execute")
    assert not (next(shell.state.glob("*/clicks_per_user")) / "clicks" / "0").exists()
    shell.click(5)
    assert shell.counted() == 15


@pytest.mark.slow
def test_state_is_listed_read_and_exported(shell: Shell) -> None:
    shell.click(50)
    assert "clicks_per_user\t-\tlive\t4\t5\t" in shell.look("list")
    listed = json.loads(shell.look("list", "clicks_per_user", "--format", "json"))
    assert {row["store"] for row in listed} == {"clicks"}
    assert sum(row["rows"] for row in listed) == 5
    (row,) = json.loads(shell.look("get", "clicks_per_user", "clicks", "u3", "--format", "json"))
    assert (row["key"], row["value"]) == ("u3", '{"clicks": 10}')
    assert row["start"].endswith("T00:00:00.000Z")
    assert (
        "no row of key"
        in (shell.look("get", "clicks_per_user", "clicks", "u9", code=4), shell.err)[1]
    )
    assert "Did you mean" in (shell.look("scan", "clicks_per_user", "click", code=4), shell.err)[1]
    scanned = shell.look("scan", "clicks_per_user", "clicks", "-n", "3", "--format", "csv")
    assert scanned.splitlines()[0] == "task,store,key,start,end,times,value"
    assert len(scanned.splitlines()) == 4
    assert shell.look("scan", "clicks_per_user", "clicks", "--prefix", "x").count("\n") == 1
    assert shell.look("scan", "clicks_per_user", "clicks", "--until", "2001-01-01").count("\n") == 1
    exported = shell._folder / "state.csv"
    shell.look("export", "clicks_per_user", "-o", str(exported), "--format", "csv")
    assert len(exported.read_text().splitlines()) == 6
    export = f"{sys.executable} -m streamlog state export clicks_per_user --state {shell.state}"
    piped = ["bash", "-o", "pipefail", "-c", f"{export} | true"]
    done = subprocess.run(piped, capture_output=True, text=True, check=False)
    assert (done.returncode, "error" in done.stderr) == (0, False)
    shell.look("export", "no_such", code=4)
    assert "There is state of clicks_per_user" in shell.err
