"""`streamlog rewind` and `streamlog state` as a user types them, over a broker of our own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command_runner import COMMAND, server, streamlog

from streamlog.cli.main import run
from streamlog.cli.rewind_target import parse_rewind_target
from streamlog.errors import UsageError
from streamlog.processing.rewind.target import Back, ClockTime, Edge, EventTime, Target

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
