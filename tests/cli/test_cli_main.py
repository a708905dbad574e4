"""The tree of commands: what `--help` shows and costs, and how the line is read."""

from __future__ import annotations

import resource
import subprocess
import sys

import click
import pytest

from streamlog.cli.command import Command, Entry, Invocation, invocation
from streamlog.cli.main import TREE, cli, run

HELP_SECONDS_MAX = 0.2
HELP_LINES_MAX = 34
"""A screen of a small terminal window, with a line for every command."""


def test_the_first_screen_is_short_and_shows_every_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= HELP_LINES_MAX
    assert max(map(len, lines)) <= 80
    shown = [entry for entry in TREE if entry.section]
    for entry in shown:
        assert any(line.startswith(f"  {entry.name} ") for line in lines), entry.name
    assert not any(line.startswith("  topics ") for line in lines)


@pytest.mark.parametrize("entry", TREE, ids=lambda entry: entry.name)
def test_every_command_explains_itself(entry: Entry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([entry.name, "--help"]) == 0
    out = capsys.readouterr().out
    assert "--bootstrap-server" in out
    assert "Examples:" in out or "Commands:" in out


def test_help_imports_nothing_that_a_command_needs() -> None:
    code = (
        "import sys; from streamlog.cli.main import run; run(['--help'])\n"
        "heavy = {'trio', 'rich', 'msgspec', 'lmdb', 'cramjam', 'logging'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_is_quick() -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "streamlog", "--help"], capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    # Processor time, and the best of some: the machine may be busy with something else.
    assert min(seconds() for _ in range(5)) < HELP_SECONDS_MAX


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tpoic"], 'there is no command "streamlog tpoic". Did you mean "streamlog topic"?'),
        (["topic", "lst"], 'Did you mean "streamlog topic list"?'),
        (["topic", "list", "--formt", "json"], "--format"),
        (["topic", "create"], "NAME"),
        (["consume"], "no topic is named"),
        (["produce", "t", "-k", "a", "-K", ":"], "exclude each other"),
        (["consume", "t", "-g", "g", "-p", "0"], "-g and -p exclude each other"),
        (["consume", "t", "-g", "g", "-o", "5"], "-o 5 and -g exclude each other"),
        (["consume", "t", "-f", "%z"], "streamlog help formats"),
        (["consume", "t", "-p", "0,a"], "-p 0,1,2"),
        (["run", "app.py", "--drain"], "--until end"),
        (["topic", "list", "-X", "brokrs=a:1"], 'Did you mean "brokers"'),
        (["topic", "list", "-b", "host:port:1:x"], "host:port"),
    ],
)
def test_a_wrong_line_is_refused_with_the_way_out(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("streamlog: ")
    assert err.count("\n") == 1
    assert message in err


def test_global_options_stand_before_and_behind_the_command() -> None:
    seen: list[Invocation] = []

    @click.command("probe", cls=Command)
    def probe() -> None:
        seen.append(invocation())

    group = click.Group("root", params=cli.params, commands={"probe": probe})
    arguments = ["-b", "a:1", "-v", "probe", "-X", "client.id=x", "--format", "json", "-v"]
    group.main(arguments, standalone_mode=False)
    assert seen[0].settings.brokers == ("a:1",)
    assert seen[0].settings.text("client.id") == "x"
    assert seen[0].is_json
    assert seen[0].verbosity == 2


def test_nobody_there_is_said_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topic", "list", "-b", "127.0.0.1:1"]) == 3
    err = capsys.readouterr().err
    assert "127.0.0.1:1" in err
    assert "streamlog server" in err
    assert "-X brokers=HOST:PORT" in err
