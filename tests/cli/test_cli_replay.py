"""`streamlog replay` as a user types it: an edit, a version beside, the difference, the swap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command_runner import server, streamlog
from replay_scenario import (
    DAYS,
    EDITED,
    LIVE,
    edit_replay_compare_swap_and_run_on,
    flights,
    produce,
    recomputed,
    results,
)

from streamlog.cli.beginnings import parse_from
from streamlog.cli.main import run
from streamlog.cli.offsets import Anchor, Bound
from streamlog.cli.replaying import parse_until
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_an_edit_is_replayed_compared_swapped_in_and_runs_on(tmp_path: Path) -> None:
    with server(tmp_path / "data") as address:
        edit_replay_compare_swap_and_run_on(address, tmp_path)


@pytest.mark.slow
def test_a_part_is_replayed_and_dropped_again(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(EDITED)
    state = ("--state", str(tmp_path / "state"))
    with server(tmp_path / "data") as address:
        at = ("-b", address)
        replay = ("replay", str(file), "--as", "v2", *at)
        streamlog("topic", "create", "flights", "-p", "1", "-c", "retention.ms=-1", *at)
        made = flights(0, DAYS)
        produce(address, made)
        streamlog(*replay, "--from", "24", "--until", "72", "--drain", "-q", *state)
        part = recomputed(made[24:72], edited=True)
        assert results(address, "delays-per-carrier.v2")[0] == part
        streamlog(*replay, "--again", "--drain", "--workers", "2", *state)
        assert results(address, "delays-per-carrier.v2")[0] == recomputed(made, edited=True)
        planned = streamlog(*replay, "--drop", *state).stdout
        assert "delays.v2.flights.changelog" in planned
        streamlog(*replay, "--drop", "--execute", *state)
        left = streamlog("topic", "list", *at).stdout
        assert ".v2" not in left
        assert "flights" in left


# What is refused before anything is started.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--diff", "--swap"), "exclude each other"),
        (("--diff", "--from", "start"), "--from is for the replay itself"),
        (("--execute",), "goes with --swap or --drop"),
        (("--drop", "--tombstones"), "goes with --swap"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", "app.py", "--as", "v2", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_version_needs_a_name_and_one_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.py"
    file.write_text(LIVE + LIVE[LIVE.index("@pipeline") :].replace("def delays", "def others"))
    assert run(["replay", str(file)]) == 2
    assert "--as" in capsys.readouterr().err
    assert run(["replay", str(file), "--as", "v2"]) == 2
    assert f"Name one: {file}:delays" in capsys.readouterr().err
    assert run(["replay", f"{file}:delays", "--as", "v.2"]) == 2
    assert "--as v2" in capsys.readouterr().err


def test_bounds_are_those_of_consume() -> None:
    assert parse_from("start", 0) == Bound(Anchor.START)
    assert parse_from("@-1h", 7_200_000) == Bound(Anchor.TIME, 3_600_000)
    assert parse_until("end", 0) == Bound(Anchor.END)
    assert parse_until("47", 0) == Bound(Anchor.OFFSET, 47)
    assert parse_until("@2013-07-01T00:00", 0) == Bound(Anchor.TIME, 1_372_636_800_000)
    with pytest.raises(UsageError, match="Say that with --until"):
        parse_from("3:9", 0)
    with pytest.raises(UsageError):
        parse_until("+3", 0)
